//! Directories that are named after labels and annotations of the claim.

use std::collections::BTreeMap;
use std::sync::Mutex;

use nfs_subdir_csi::cluster::{Claim, ClusterError, ReadClaims};
use nfs_subdir_csi::csi::proto;
use tonic::{Code, Status};

use crate::support::{create, delete};
use crate::{Driver, PARAMETERS};

/// The UID of the claim of most tests, and the name that the csi-provisioner gives its volume.
const UID: &str = "6f2d1c9e-0000-4000-8000-00000000000a";
const VOLUME: &str = "pvc-6f2d1c9e-0000-4000-8000-00000000000a";

/// The claims of a cluster, and how often they were asked for. Without claims, there is no access to the cluster.
#[derive(Default)]
pub(crate) struct FakeClaims {
    claims: Mutex<Option<BTreeMap<(String, String), Claim>>>,
    asked: Mutex<usize>,
}

impl FakeClaims {
    /// Adds a claim of the namespace `ns`, with a label and an annotation of this value.
    pub(crate) fn put(&self, name: &str, uid: &str, team: &str) {
        let claim = Claim {
            uid: uid.to_owned(),
            labels: [("team".to_owned(), team.to_owned())].into(),
            annotations: [("nfs.io/storage-path".to_owned(), team.to_owned())].into(),
        };
        let mut claims = self.claims.lock().unwrap();
        claims.get_or_insert_default().insert(("ns".to_owned(), name.to_owned()), claim);
    }
}

impl ReadClaims for FakeClaims {
    fn read(&self, namespace: &str, name: &str) -> Result<Option<Claim>, ClusterError> {
        *self.asked.lock().unwrap() += 1;
        let claims = self.claims.lock().unwrap();
        let claims = claims.as_ref().ok_or_else(|| ClusterError::NoAccess("no token".to_owned()))?;
        Ok(claims.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }
}

async fn make(driver: &Driver, volume: &str, template: &str) -> Result<proto::Volume, Status> {
    let names = [
        ("csi.storage.k8s.io/pvc/namespace", "ns"),
        ("csi.storage.k8s.io/pvc/name", "data"),
        ("csi.storage.k8s.io/pv/name", volume),
        ("subDir", template),
    ];
    let parameters: Vec<_> = PARAMETERS.into_iter().chain(names).collect();
    let mut controller = driver.controller.controller.clone();
    Ok(controller.create_volume(create(volume, &parameters)).await?.into_inner().volume.unwrap())
}

#[tokio::test]
async fn a_directory_is_named_after_a_label_and_keeps_its_name_when_the_label_changes() {
    let driver = Driver::start().await;
    driver.claims.put("data", UID, "blue");
    let template =
        "${pvc.metadata.labels['team']}/${.PVC.annotations.nfs.io/storage-path}-${.PVC.labels.tier:-none}";
    let volume = make(&driver, VOLUME, template).await.unwrap();
    assert!(driver.share().join("blue/blue-none").is_dir());
    // A repeated request gets the same volume, without a look at the claim.
    driver.claims.put("data", UID, "red");
    assert_eq!(make(&driver, VOLUME, template).await.unwrap(), volume);
    assert_eq!(*driver.claims.asked.lock().unwrap(), 1);
    driver.controller.controller.clone().delete_volume(delete(&volume)).await.unwrap();
    assert!(!driver.share().join("blue").exists());
    // A template without labels asks nobody.
    make(&driver, "pvc-2", "${.PVC.name}").await.unwrap();
    assert_eq!(*driver.claims.asked.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_label_that_cannot_be_used_is_refused_and_nothing_is_made() {
    let driver = Driver::start().await;
    let template = "${.PVC.labels.team}";
    let check = |answer: Result<proto::Volume, Status>, code: Code, words: &str| {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), code, "{}", status.message());
        assert!(status.message().contains(words), "{}", status.message());
    };
    check(make(&driver, VOLUME, template).await, Code::FailedPrecondition, "components/claim-metadata");
    driver.claims.put("other", UID, "blue");
    check(make(&driver, VOLUME, template).await, Code::FailedPrecondition, "does not exist");
    driver.claims.put("data", "another-uid", "blue");
    check(make(&driver, VOLUME, template).await, Code::FailedPrecondition, "made anew");
    driver.claims.put("data", UID, "../../etc");
    check(make(&driver, VOLUME, template).await, Code::InvalidArgument, "not allowed");
    driver.claims.put("data", UID, "");
    check(make(&driver, VOLUME, template).await, Code::InvalidArgument, "no such label");
    let left: Vec<_> = driver.share().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter().all(|name| [".nfs-subdir-csi", "canary"]
            .iter()
            .any(|known| name.to_string_lossy().contains(known))),
        "{left:?}"
    );
}
