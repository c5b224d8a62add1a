//! The record of a volume: what the driver knows of the volume.

pub(in crate::volume) mod format;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::volume::error::{Error, Result};
use crate::volume::name::pvc::{self, Pvc};
use crate::volume::name::reach::Reach;
use crate::volume::name::source::Source;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::name::sub_dir::SubDirError;
use crate::volume::on_delete::OnDelete;
use crate::volume::policy::parameters::Ownership;

/// The largest record file that is read, in bytes. The files that the driver writes have a few hundred bytes.
pub const LONGEST_RECORD: u64 = 64 * 1024;

/// The content of `volumes/<key>.json` in the state directory. [`mod@format`] says what a later version may add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `CreateVolumeRequest.name`.
    pub name: String,
    /// The path of the directory, relative to the share.
    #[serde(with = "sub_dir_text")]
    pub sub_dir: SubDir,
    /// The capacity in bytes; 0 if none was asked for.
    pub capacity_bytes: u64,
    /// How many files and directories the volume may have, its own directory included; `None` for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// What happens to the directory when the volume is deleted.
    pub on_delete: OnDelete,
    /// Owner, group and mode of the directory.
    pub ownership: Ownership,
    /// Whether each publish mounts the directory itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct_mount: bool,
    /// With which options its export is reached, which are a part of its handle.
    #[serde(default, skip_serializing_if = "Reach::is_empty")]
    pub reach: Reach,
    /// What the volume was filled with when it was created; `None` if it began empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Whether the directory existed before the volume, and the volume took it over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub found: bool,
    /// The installation of the driver that created the volume, as its configuration names it. Several can use one share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<String>,
    /// The claim that the volume was created for, if the csi-provisioner has named it.
    #[serde(default, deserialize_with = "pvc::lenient", skip_serializing_if = "Option::is_none")]
    pub pvc: Option<Pvc>,
    /// When the volume was created, in seconds since 1970-01-01 UTC by the clock of the controller.
    pub created: u64,
    /// The fields of a later version. They are kept as they are.
    #[serde(flatten)]
    pub later: Map<String, Value>,
}

impl Record {
    /// The record of an empty volume without a capacity, which is deleted with its directory. The other fields have their defaults.
    #[must_use]
    pub fn new(name: String, sub_dir: SubDir) -> Self {
        Self {
            name,
            sub_dir,
            capacity_bytes: 0,
            inodes: None,
            on_delete: OnDelete::default(),
            ownership: Ownership::default(),
            direct_mount: false,
            reach: Reach::default(),
            source: None,
            found: false,
            installation: None,
            pvc: None,
            created: 0,
            later: Map::new(),
        }
    }

    /// Parses a record file. `path` is used in messages.
    pub fn from_json(json: &[u8], path: &str) -> Result<Self> {
        format::parse(json).map_err(|reason| Error::BadRecord { path: path.to_owned(), reason })
    }

    /// The content of the record file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        content_of(self)
    }
}

/// The content of a record file of any kind.
pub(in crate::volume) fn content_of(record: &impl Serialize) -> Vec<u8> {
    // Only a map whose keys are not texts could fail.
    let mut json = serde_json::to_vec_pretty(record).expect("a record has text keys only");
    json.push(b'\n');
    json
}

mod sub_dir_text {
    use super::{SubDir, SubDirError};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(in crate::volume) fn serialize<S: Serializer>(sub_dir: &SubDir, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(sub_dir.as_str())
    }

    pub(in crate::volume) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SubDir, D::Error> {
        let text = String::deserialize(from)?;
        SubDir::parse(&text).map_err(|error: SubDirError| D::Error::custom(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            name: "pvc-1".to_owned(),
            sub_dir: SubDir::parse("ns/claim").unwrap(),
            capacity_bytes: 1 << 30,
            inodes: Some(1000),
            on_delete: OnDelete::Archive,
            ownership: Ownership { mode: 0o2770, uid: Some(1000), gid: None },
            direct_mount: false,
            reach: Reach::parse("port=20490,vers=4.1").unwrap(),
            source: Some(Source::Snapshot("fast#snapshot-1".to_owned())),
            found: true,
            installation: Some("blue".to_owned()),
            pvc: Pvc::parse("shop/data"),
            created: 1_700_000_000,
            later: Map::new(),
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        assert_eq!(Record::from_json(&record().to_json(), "r").unwrap(), record());
    }

    #[test]
    fn a_record_with_other_options_than_those_to_reach_the_server_is_refused() {
        let json = String::from_utf8(record().to_json()).unwrap();
        for options in ["hard", "addr=1.2.3.4", "port=20490,hard", ""] {
            let json = json.replace("port=20490,vers=4.1", options);
            assert!(Record::from_json(json.as_bytes(), "r").is_err(), "{options}");
        }
    }

    #[test]
    fn a_record_that_leads_out_of_the_share_is_refused() {
        for path in ["../x", "/etc", "", "a/../../b", ".nfs-subdir-csi/volumes"] {
            let json = String::from_utf8(record().to_json()).unwrap().replace("ns/claim", path);
            assert!(Record::from_json(json.as_bytes(), "r").is_err(), "{path}");
        }
    }

    #[test]
    fn a_volume_whose_claim_has_no_name_that_kubernetes_allows_is_one_without_a_claim() {
        let json = String::from_utf8(record().to_json()).unwrap();
        assert!(json.contains(r#""pvc": "shop/data""#), "{json}");
        for text in [r#""""#, r#""shop\n/data""#, "null", "7"] {
            let json = json.replace(r#""shop/data""#, text);
            assert_eq!(Record::from_json(json.as_bytes(), "r").unwrap().pvc, None, "{text}");
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_kept_and_a_later_format_is_refused() {
        let mut json: Value = serde_json::from_slice(&record().to_json()).unwrap();
        json["quota"] = serde_json::json!({"project": 7});
        let read = Record::from_json(json.to_string().as_bytes(), "r").unwrap();
        let changed = Record { capacity_bytes: 5, ..read }.to_json();
        let written: Value = serde_json::from_slice(&changed).unwrap();
        assert_eq!((&written["quota"], &written["capacity_bytes"]), (&json["quota"], &Value::from(5)));
        for (format, is_known) in [(1, true), (2, false)] {
            json["format"] = Value::from(format);
            let read = Record::from_json(json.to_string().as_bytes(), "r");
            assert_eq!(read.is_ok(), is_known, "{read:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..400) {
            let _ = Record::from_json(&bytes, "r");
            let mut json = record().to_json();
            json.truncate(cut);
            json.extend(&bytes);
            let _ = Record::from_json(&json, "r");
        }
    }
}
