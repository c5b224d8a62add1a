//! Two controllers whose NFS clients keep for ten minutes what they know of names and attributes. Each changes what the other one knows.

use std::fs;

use nfs_subdir_csi::csi::proto;
use tonic::Code;

use super::members::{Member, on_server};
use super::network::SERVER;
use crate::fixture::{Place, assert_refused, server, text, until};
use crate::support;

const ROUNDS: usize = 20;
const OPTIONS: &str = "nfsvers=4.2, actimeo=600, lookupcache=all";

fn request(name: &str) -> proto::CreateVolumeRequest {
    support::create(name, &[("export", "shared"), ("subDir", "claim")])
}

fn handle(name: &str) -> String {
    format!("shared#{name}")
}

#[tokio::test]
async fn what_a_client_has_cached_for_ten_minutes_decides_nothing() {
    let place = Place::take(&[]).await;
    let configuration = place.dir.join("long-caches.yaml");
    let exports =
        format!("exports: [{{name: shared, server: {SERVER}, share: /share, mountOptions: [{OPTIONS}]}}]\n");
    fs::write(&configuration, exports).unwrap();
    let args = ["--config", text(&configuration)];
    let (one, two) = (Member::controller(&place, 1, &args).await, Member::controller(&place, 2, &args).await);
    for round in 0..ROUNDS {
        let (maker, other) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let context = format!("round {round}");
        // The same name and the same directory in every round, so that both clients remember earlier ones.
        maker.create(request("v")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        other.create(request("v")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        fs::write(on_server("claim/file"), &context).unwrap();
        other.delete(&handle("v")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        assert!(!on_server("claim").exists(), "{context}: the directory of the maker is still there");
        assert_eq!(maker.get(&handle("v")).await.unwrap_err().code(), Code::NotFound, "{context}");
        // The maker remembers a record and a directory that are gone.
        maker.delete(&handle("v")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        other.create(request("v")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        fs::write(on_server("claim/file"), &context).unwrap();
        // Now it remembers that they are gone, or the ones before.
        maker.delete(&handle("v")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        assert!(!on_server("claim").exists(), "{context}: the directory of the other one is still there");

        // Another volume has the directory, and then somebody else.
        maker.create(request("w")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        assert_refused(other.create(request("v")).await, Code::AlreadyExists, "claim");
        other.delete(&handle("v")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        assert!(on_server("claim").is_dir(), "{context}: deleting `v` has deleted `w`");
        other.delete(&handle("w")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        fs::create_dir(on_server("claim")).unwrap();
        fs::write(on_server("claim/file"), "precious").unwrap();
        for controller in [maker, other] {
            assert_refused(controller.create(request("x")).await, Code::AlreadyExists, "does not belong");
        }
        assert_eq!(fs::read_to_string(on_server("claim/file")).unwrap(), "precious", "{context}");
        fs::remove_file(on_server("claim/file")).unwrap();
        fs::remove_dir(on_server("claim")).unwrap();
    }
    assert_eq!(server::entries("/share"), Vec::<String>::new());
    until("everything deleted is removed", || server::unfinished("/share").is_empty()).await;
}
