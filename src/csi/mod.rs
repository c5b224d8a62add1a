//! The CSI services: decode a request, call the domain, encode the answer. The only place, with the server, that
//! knows gRPC.

pub mod controller;
pub mod deadline;
pub mod decode;
pub mod dispatcher;
pub mod encode;
pub mod group;
pub mod guard;
pub mod identity;
pub mod lane;
pub mod node;
pub mod probe;
pub mod registration;
pub mod snapshot;
pub mod status;

/// Messages and services of `csi.v1`, generated from `proto/csi.proto`.
#[allow(clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/csi.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/redacting_debug.rs"));
}

/// Messages and service of kubelet's plugin registration, generated from `proto/registration.proto`.
#[allow(clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]
pub mod registration_proto {
    include!(concat!(env!("OUT_DIR"), "/pluginregistration.rs"));
}

#[cfg(test)]
mod tests {
    use super::proto::{CreateVolumeRequest, NodePublishVolumeRequest};

    #[test]
    fn secrets_are_in_no_debug_output() {
        let secrets = [("password".to_owned(), "hunter2".to_owned())];
        let create = CreateVolumeRequest {
            name: "v".to_owned(),
            secrets: secrets.clone().into(),
            ..Default::default()
        };
        let publish = NodePublishVolumeRequest { secrets: secrets.into(), ..Default::default() };
        for printed in [format!("{create:?} {create:#?}"), format!("{publish:?}")] {
            assert!(!printed.contains("hunter2") && !printed.contains("password"), "{printed}");
            assert!(printed.contains("[redacted]"), "{printed}");
        }
        assert!(format!("{create:?}").contains("name: \"v\""));
    }

    #[test]
    fn every_message_with_secrets_hides_them() {
        // Counted in the proto file, by its option, so that a field the build script overlooked is noticed.
        let marked = include_str!("../../proto/csi.proto").matches("(csi_secret) = true").count();
        let hidden =
            include_str!(concat!(env!("OUT_DIR"), "/redacting_debug.rs")).matches("[redacted]").count();
        assert!(marked > 0);
        assert_eq!(marked, hidden);
    }
}
