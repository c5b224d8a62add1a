//! The CSI services: they decode a request, call the domain, and encode the answer. Besides the server, only they know
//! gRPC.

pub mod call;
pub mod controller;
pub mod decode;
pub mod encode;
pub mod identity;
pub mod node;
pub mod probe;
pub mod registration;
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
        // The option is counted in the proto file, so that a field that the build script overlooks is noticed.
        let marked = include_str!("../../proto/csi.proto").matches("(csi_secret) = true").count();
        let hidden =
            include_str!(concat!(env!("OUT_DIR"), "/redacting_debug.rs")).matches("[redacted]").count();
        assert!(marked > 0);
        assert_eq!(marked, hidden);
    }
}
