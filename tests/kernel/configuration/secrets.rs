//! Secret mount options: they are used, and can be read nowhere but in the kernel's mount table.

use std::fs;
use std::path::{Path, PathBuf};

use nfs_subdir_csi::csi::proto;

use crate::configuration::edits::{configure, fast_at, of_default_export};
use crate::fixture::{Place, binary, mounts, server, text, until};
use crate::support::{self, Service, publish};

const CONFIG: &str = "/run/test-config/config.yaml";
/// Values of the secret options below, which no log, record or message may contain.
const PRIVATE: [&str; 6] = ["timeo=537", "\"537\"", "acregmin=17", "\"17\"", "hunter2", "acdirmin=23"];

/// Both services, which log at the most detailed level.
struct Logged {
    controller: Service,
    node: Service,
    log: PathBuf,
    place: Place,
}

impl Logged {
    async fn start() -> Self {
        let place = Place::take(&[]).await;
        let log = place.dir.join("log");
        let start = |role: &str, more: &[&str]| {
            let state = place.dir.join(role);
            let args = ["--state-dir", text(&state), "--config", CONFIG, "--log-level", "trace"];
            Service::start_logged(Path::new(binary()), role, &place.dir, &[&args, more].concat(), &log)
        };
        let kubelet = place.kubelet();
        let controller = start("controller", &[]);
        let node = start("node", &["--kubelet-dir", text(&kubelet), "--node-id", "node-1"]);
        Self { controller, node, log, place }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.controller.kill();
        self.node.kill();
    }
}

/// Replaces the file with the options of an export as kubelet does for a Secret: with a swap of symbolic links.
fn keep_private(version: &str, options: &str) -> PathBuf {
    let dir = Path::new("/run/test-config/private");
    fs::create_dir_all(dir.join(version)).unwrap();
    fs::write(dir.join(version).join("fast"), options).unwrap();
    let _ = fs::remove_file(dir.join("..new"));
    std::os::unix::fs::symlink(version, dir.join("..new")).unwrap();
    fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
    if !dir.join("fast").is_symlink() {
        std::os::unix::fs::symlink("..data/fast", dir.join("fast")).unwrap();
    }
    dir.join("fast")
}

fn with_private(path: &Path) -> String {
    let path = path.display();
    format!(
        "exports: [{{name: fast, server: 127.0.0.1, share: /share, mountOptionsFile: {path}}}]\ndefaultExport: fast\n"
    )
}

#[tokio::test]
async fn options_from_secrets_are_used_and_neither_logged_nor_recorded() {
    configure(&with_private(&keep_private("1", "timeo=537,retrans=4\n")));
    let driver = Logged::start().await;
    let (mut controller, mut node) =
        (driver.controller.client().await.controller, driver.node.client().await.node);
    let mut request = of_default_export("v");
    request.secrets = support::map(&[("mountOptions", "acregmin=17")]);
    let volume = controller.create_volume(request).await.unwrap().into_inner().volume.unwrap();
    let mount = mounts::nfs(driver.controller.pid()).pop().unwrap();
    assert_eq!((mount.option("timeo"), mount.option("acregmin")), (Some("537"), Some("17")));

    let target = driver.place.target("a");
    let mut request = publish(&volume, &target, &[]);
    request.secrets = support::map(&[("mountOptions", "acdirmin=23")]);
    node.node_publish_volume(request).await.unwrap();
    let mount = mounts::at(&target).pop().unwrap();
    assert_eq!((mount.option("timeo"), mount.option("acdirmin")), (Some("537"), Some("23")));
    // Error messages must not contain the values either.
    let mut messages = String::new();
    for options in ["no-such-option=hunter2", "acregmin=hunter2", "addr=hunter2", "vers=4.2\nhunter2"] {
        let mut request = publish(&volume, &driver.place.target("b"), &[]);
        request.secrets = support::map(&[("mountOptions", options)]);
        messages += node.node_publish_volume(request).await.unwrap_err().message();
        let mut request = of_default_export("w");
        request.secrets = support::map(&[("mountOptions", options)]);
        messages += controller.create_volume(request).await.unwrap_err().message();
        let expand = proto::ControllerExpandVolumeRequest {
            volume_id: volume.volume_id.clone(),
            capacity_range: Some(proto::CapacityRange { required_bytes: 1 << 20, limit_bytes: 0 }),
            secrets: support::map(&[("mountOptions", options)]),
            ..Default::default()
        };
        messages += &controller
            .controller_expand_volume(expand)
            .await
            .map_or_else(|e| e.message().to_owned(), |_| String::new());
    }
    node.node_unpublish_volume(support::unpublish(&volume, &target)).await.unwrap();

    let log = driver.log();
    assert!(log.contains("CreateVolume") && log.contains("NodePublishVolume") && log.contains("[redacted]"));
    let mut records = String::new();
    for entry in server::exported("/share/.nfs-subdir-csi/volumes").read_dir().unwrap() {
        records += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    assert!(records.contains("\"v\""));
    for text in [&log, &records, &messages, &format!("{volume:?}")] {
        for value in PRIVATE {
            let at = text.find(value);
            assert!(at.is_none(), "{value} in …{}", &text[at.unwrap().saturating_sub(200)..]);
        }
    }
}

#[tokio::test]
async fn after_a_bad_edit_the_last_good_configuration_stays_in_force_and_both_services_log_it() {
    let count = |log: &str, words: &str| log.matches(words).count();
    let bad = "the configuration cannot be used; the last good one stays in force";
    configure(&with_private(&keep_private("1", "acregmin=17\n")));
    let driver = Logged::start().await;
    let (mut controller, mut node) =
        (driver.controller.client().await.controller, driver.node.client().await.node);
    let mut works = async |name: &str| {
        let volume =
            controller.create_volume(of_default_export(name)).await.unwrap().into_inner().volume.unwrap();
        let target = driver.place.target(name);
        node.node_publish_volume(publish(&volume, &target, &[])).await.unwrap();
        let shown = mounts::at(&target).pop().unwrap().option("acregmin").map(str::to_owned);
        node.node_unpublish_volume(support::unpublish(&volume, &target)).await.unwrap();
        shown
    };
    configure("exports: [{name: fast\n");
    until("both services log that the file is bad", || count(&driver.log(), bad) == 2).await;
    assert_eq!(works("one").await.as_deref(), Some("17"));
    configure("exports: []\nnonsense: 1\n");
    until("both services log what is bad in the next file", || count(&driver.log(), bad) == 4).await;
    assert!(driver.log().contains("line 2 column 1: unknown field `nonsense`"));
    assert_eq!(works("two").await.as_deref(), Some("17"));
    // A missing file, as during the replacement of a ConfigMap, changes nothing.
    fs::rename(CONFIG, "/run/test-config/away").unwrap();
    until("both services log that the file is missing", || count(&driver.log(), bad) == 6).await;
    assert_eq!(works("three").await.as_deref(), Some("17"));
    fs::rename("/run/test-config/away", CONFIG).unwrap();
    assert_eq!(count(&driver.log(), "configuration taken up"), 0);
    configure(&fast_at("127.0.0.1", "/small"));
    until("both services use the good file", || count(&driver.log(), "configuration taken up") == 2).await;
    assert_eq!(works("four").await, None);
    assert!(server::exported("/small/four").is_dir());
}

#[tokio::test]
async fn a_changed_secret_takes_effect_like_a_changed_configuration() {
    configure(&with_private(&keep_private("1", "acregmin=17\n")));
    let driver = Logged::start().await;
    let (mut controller, mut node) =
        (driver.controller.client().await.controller, driver.node.client().await.node);
    let volume = controller.create_volume(of_default_export("v")).await.unwrap().into_inner().volume.unwrap();
    let mut shown = async |pod: &str| {
        let target = driver.place.target(pod);
        node.node_publish_volume(publish(&volume, &target, &[])).await.unwrap();
        mounts::at(&target).pop().unwrap().option("acregmin").map(str::to_owned)
    };
    assert_eq!(shown("before").await.as_deref(), Some("17"));
    keep_private("2", "acregmin=18\n");
    until("both services use the new secret", || driver.log().matches("configuration taken up").count() == 2)
        .await;
    assert_eq!(shown("after").await.as_deref(), Some("18"));
    assert!(!driver.log().contains("acregmin"));
}
