//! Where mount options come from: of contradicting ones, those of the source with the higher rank count.

use std::fs;

use tonic::Code;

use crate::fixture::{Driver, Setup, assert_refused, mounts};
use crate::support::{self, publish};

const CONFIG: &str = "/run/config-of-ranks.yaml";
const FILE: &str = "/run/options-of-ranks";

/// The sources in their documented rank: `mountOptions` of the configuration, `mountOptionsFile`, the mount flags of the
/// PersistentVolume, its `volumeAttributes`, and the secret.
#[tokio::test]
async fn the_options_of_each_source_replace_those_of_the_sources_before_it() {
    fs::write(FILE, "").unwrap();
    let config = |own: &str, file: &str| {
        fs::write(FILE, file).unwrap();
        let export = format!("name: fast, server: nfs-server, share: /share, mountOptionsFile: {FILE}");
        fs::write(CONFIG, format!("exports: [{{{export}, mountOptions: [{own}]}}]\n")).unwrap();
    };
    for (number, word) in ["acregmin=11", "hard", "nocto", "lookupcache=pos"].into_iter().enumerate() {
        let other = ["acregmin=10", "soft", "cto", "lookupcache=none"][number];
        for rank in 1..5 {
            let of = |source: usize| if source == rank { word } else { other };
            // The sources up to `rank` are given.
            let given = |source: usize| if source <= rank { of(source) } else { "" };
            config(given(0), given(1));
            let driver = Driver::start_with(Setup { args: &["--config", CONFIG], ..Setup::default() }).await;
            let mut volume = driver.create("v", &[]).await;
            let context = [("export", "fast"), ("subDir", "v"), ("mountOptions", given(3))];
            volume.volume_context = support::map(&context);
            let target = driver.target("a");
            let mut request = publish(&volume, &target, &[given(2)]);
            request.secrets = support::map(&[("mountOptions", given(4))]);
            driver.try_publish(request).await.unwrap();
            let options = mounts::at(&target).pop().unwrap().options;
            let is_default = ["cto"].contains(&word);
            assert_eq!(
                options.iter().any(|own| own == word),
                !is_default,
                "{word} in source {rank}: {options:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_read_only_flag_follows_the_same_ranks() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    for (number, (flags, attribute, read_only)) in
        [("ro", "rw", false), ("rw", "ro", true), ("ro", "", true)].into_iter().enumerate()
    {
        let mut volume = volume.clone();
        volume.volume_context.insert("mountOptions".to_owned(), attribute.to_owned());
        let target = driver.publish(&volume, &number.to_string(), &[flags]).await;
        assert_eq!(mounts::at(&target)[0].has_flag("ro"), read_only, "{flags} {attribute}");
    }
    let answer = driver.try_publish(publish(&volume, &driver.target("b"), &["hard", "harrd"])).await;
    assert_refused(answer, Code::InvalidArgument, "did you mean `hard`?");
}
