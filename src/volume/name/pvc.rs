//! The PersistentVolumeClaim that a volume was created for.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The longest name of an object that Kubernetes allows, in bytes.
const LONGEST_NAME: usize = 253;

/// Namespace and name of a PersistentVolumeClaim, written `namespace/name`. Both have the form that Kubernetes requires, so they can stand in
/// a table or in the label of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pvc {
    text: String,
    slash: usize,
}

impl Pvc {
    /// Reads `namespace/name`. `None` if Kubernetes has no such claim.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        (is_name(namespace) && is_name(name)).then(|| Self { text: text.to_owned(), slash: namespace.len() })
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The name of the claim.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }
}

/// Whether this can be the name of a namespace or a claim: lower case letters, digits, `-` and `.`
fn is_name(text: &str) -> bool {
    let is_plain =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"-.".contains(&letter);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_plain)
}

impl fmt::Display for Pvc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Pvc {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

/// Reads a claim that may be missing. What names no claim counts as none: it says who uses a volume, and no volume is given up for it.
pub(in crate::volume) fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Pvc>, D::Error> {
    Ok(Value::deserialize(from)?.as_str().and_then(Pvc::parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_has_the_names_that_kubernetes_allows() {
        let pvc = Pvc::parse("shop/data.0").unwrap();
        assert_eq!(
            (pvc.namespace(), pvc.name(), pvc.to_string()),
            ("shop", "data.0", "shop/data.0".to_owned())
        );
        let long = format!("shop/{}", "x".repeat(LONGEST_NAME + 1));
        for text in
            ["", "shop", "/", "shop/", "/data", "a/b/c", "shop/Data", "shop/a\nb", "shop/\"", long.as_str()]
        {
            assert_eq!(Pvc::parse(text), None, "{text}");
        }
    }
}
