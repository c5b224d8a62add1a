//! The handles that PersistentVolumes use, from the output of `kubectl get pv -o json`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, stdin};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    csi: Option<Csi>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Csi {
    volume_handle: String,
}

/// The handles in the file, or in standard input for `-`, of whatever driver.
pub(super) fn handles(path: &Path) -> anyhow::Result<HashSet<String>> {
    let name = path.display();
    if path == Path::new("-") {
        return parse(stdin().lock()).with_context(|| "standard input");
    }
    parse(File::open(path).with_context(|| format!("read {name}"))?).with_context(|| name.to_string())
}

fn parse(from: impl Read) -> anyhow::Result<HashSet<String>> {
    let list: List = serde_json::from_reader(BufReader::new(from))
        .context("this is not the output of `kubectl get pv -o json`")?;
    if list.items.is_empty() {
        // An empty list is more likely a mistake than a cluster without volumes, and all volumes would count as unused.
        bail!("there is no PersistentVolume in it");
    }
    Ok(list.items.into_iter().filter_map(|object| Some(object.spec.csi?.volume_handle)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_and_an_empty_list_is_a_mistake() {
        let text = r#"{"items": [{"spec": {"csi": {"driver": "d", "volumeHandle": "fast#v"}}}, {"spec": {"nfs": {}}}]}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), HashSet::from(["fast#v".to_owned()]));
        for text in ["", "{}", "[]", r#"{"items": []}"#] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
