//! Templates for the path of a volume's directory, with the variables of csi-driver-nfs and of the nfs-client
//! provisioner.

use crate::cluster::Claim;
use crate::volume::error::{Error, Result};
use crate::volume::name::pvc::Pvc;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::name::sub_dir::{LONGEST_COMPONENT, check_component, cut};

/// The values of the variables in a template. The names of the claim are known if the csi-provisioner runs with
/// `--extra-create-metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// `metadata.name` of the PersistentVolumeClaim.
    pub pvc_name: Option<String>,
    /// `metadata.namespace` of the PersistentVolumeClaim.
    pub pvc_namespace: Option<String>,
    /// `metadata.name` of the PersistentVolume.
    pub pv_name: Option<String>,
}

/// The template of a StorageClass that names none.
const DEFAULT: &str = "${pvc.metadata.namespace}-${pvc.metadata.name}-${pv.metadata.name}";
/// Its variables as directories: none of their values can be something else than a part of one name.
const DEFAULT_END: &str = "${pvc.metadata.namespace}/${pvc.metadata.name}/${pv.metadata.name}";

impl Names {
    /// The claim, if both of its names are known.
    #[must_use]
    pub fn pvc(&self) -> Option<Pvc> {
        Pvc::parse(&format!("{}/{}", self.pvc_namespace.as_ref()?, self.pvc_name.as_ref()?))
    }

    /// The directory of a volume whose StorageClass names no template. If the claim is not known, this is `fallback`,
    /// which has one component. A name that would be too long loses the end of the claim's name.
    pub fn default_sub_dir(&self, fallback: &str) -> Result<SubDir> {
        let (Some(namespace), Some(name), Some(volume)) =
            (&self.pvc_namespace, &self.pvc_name, &self.pv_name)
        else {
            return Ok(SubDir::parse(fallback)?);
        };
        if namespace.len() + name.len() + volume.len() + 2 <= LONGEST_COMPONENT {
            return self.expand(DEFAULT, None);
        }
        // A namespace can have 63 bytes, a claim 253. The name of the volume stays whole, because it is unique.
        self.expand(DEFAULT_END, None)?;
        let suffix = format!("-{volume}");
        let room = LONGEST_COMPONENT.saturating_sub(suffix.len());
        Ok(SubDir::parse(&format!("{}{suffix}", cut(&format!("{namespace}-{name}"), room)))?)
    }

    /// Replaces the variables of a template by their values. Only a slash in the template separates components. A value
    /// is refused if it would add a component. `claim` has the labels and annotations; [`needs_claim`] tells whether it is used.
    pub fn expand(&self, template: &str, claim: Option<&Claim>) -> Result<SubDir> {
        let mut path = String::new();
        for part in parse(template)? {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Variable(variable) => {
                    path.push_str(variable.value(self, claim).map_err(|reason| invalid(template, &reason))?);
                }
            }
        }
        Ok(SubDir::parse(path.trim_matches('/'))?)
    }
}

/// Whether a template uses labels or annotations of the claim.
pub fn needs_claim(template: &str) -> Result<bool> {
    let is_metadata = |part: &Part| {
        matches!(part, Part::Variable(Variable { what: What::Label(_) | What::Annotation(_), .. }))
    };
    Ok(parse(template)?.iter().any(is_metadata))
}

/// A part of a template.
enum Part<'a> {
    Text(&'a str),
    Variable(Variable<'a>),
}

/// What stands between `${` and `}`.
struct Variable<'a> {
    text: &'a str,
    what: What<'a>,
    /// What is used if the value is missing or empty: `${…:-text}`.
    default: Option<&'a str>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    ClaimName,
    ClaimNamespace,
    VolumeName,
    Label(&'a str),
    Annotation(&'a str),
}

fn invalid(template: &str, reason: &str) -> Error {
    Error::invalid("subDir", format!("{template:?}: {reason}"))
}

fn parse(template: &str) -> Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once("${") {
        let (text, after) =
            after.split_once('}').ok_or_else(|| invalid(template, "a `${` is not closed by `}`"))?;
        parts.push(Part::Text(literal));
        parts.push(Part::Variable(Variable::parse(text).map_err(|reason| invalid(template, &reason))?));
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

impl<'a> Variable<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (name, default) =
            text.split_once(":-").map_or((text, None), |(name, default)| (name, Some(default)));
        let what = What::parse(name).ok_or_else(|| {
            format!(
                "unknown variable ${{{name}}}; the known variables are ${{pvc.metadata.namespace}}, ${{pvc.metadata.name}}, \
                 ${{pv.metadata.name}}, ${{.PVC.namespace}}, ${{.PVC.name}}, ${{.PV.name}}, and for a label or an annotation KEY of the claim \
                 ${{pvc.metadata.labels['KEY']}}, ${{pvc.metadata.annotations['KEY']}}, ${{.PVC.labels.KEY}} and ${{.PVC.annotations.KEY}}"
            )
        })?;
        Ok(Self { text, what, default })
    }

    /// The value, which is one component of a path or a part of one.
    fn value<'v>(&'v self, names: &'v Names, claim: Option<&'v Claim>) -> Result<&'v str, String> {
        let of_provisioner = "the csi-provisioner must run with --extra-create-metadata";
        let (value, missing) = match self.what {
            What::ClaimName => (names.pvc_name.as_ref(), of_provisioner),
            What::ClaimNamespace => (names.pvc_namespace.as_ref(), of_provisioner),
            What::VolumeName => (names.pv_name.as_ref(), of_provisioner),
            What::Label(key) => (
                claim.and_then(|claim| claim.labels.get(key)),
                "the claim has no such label: add it, or give a default with `:-`",
            ),
            What::Annotation(key) => (
                claim.and_then(|claim| claim.annotations.get(key)),
                "the claim has no such annotation: add it, or give a default with `:-`",
            ),
        };
        let value = value.map(String::as_str).filter(|value| !value.is_empty()).or(self.default);
        let value =
            value.ok_or_else(|| format!("the value of ${{{}}} is not known: {missing}", self.text))?;
        check_component(value).map_err(|reason| format!("${{{}}} is {value:?}: {reason}", self.text))?;
        Ok(value)
    }
}

impl<'a> What<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let quoted = |rest: &'a str| {
            let key = rest.strip_prefix('[')?.strip_suffix(']')?;
            ['\'', '"'].iter().find_map(|quote| key.strip_prefix(*quote)?.strip_suffix(*quote))
        };
        let key = match name {
            "pvc.metadata.name" | ".PVC.name" => return Some(Self::ClaimName),
            "pvc.metadata.namespace" | ".PVC.namespace" => return Some(Self::ClaimNamespace),
            "pv.metadata.name" | ".PV.name" => return Some(Self::VolumeName),
            _ => {
                let label = || name.strip_prefix("pvc.metadata.labels").and_then(quoted);
                let annotation = || name.strip_prefix("pvc.metadata.annotations").and_then(quoted);
                let label = name.strip_prefix(".PVC.labels.").or_else(label).map(Self::Label);
                let annotation =
                    || name.strip_prefix(".PVC.annotations.").or_else(annotation).map(Self::Annotation);
                label.or_else(annotation)?
            }
        };
        let (Self::Label(text) | Self::Annotation(text)) = key else { return Some(key) };
        (!text.is_empty()).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Names {
        let some = |text: &str| Some(text.to_owned());
        Names { pvc_name: some("claim"), pvc_namespace: some("ns"), pv_name: some("pvc-1") }
    }

    #[test]
    fn the_variables_of_both_provisioners_give_the_same_directory() {
        for template in [
            "${pvc.metadata.namespace}/${pvc.metadata.name}",
            "${.PVC.namespace}/${.PVC.name}",
            "/${.PVC.namespace}/${pvc.metadata.name}/",
        ] {
            assert_eq!(names().expand(template, None).unwrap().as_str(), "ns/claim");
        }
        assert_eq!(names().expand("fixed", None).unwrap().as_str(), "fixed");
        assert_eq!(names().expand("a$b-${pv.metadata.name}", None).unwrap().as_str(), "a$b-pvc-1");
    }

    #[test]
    fn without_a_template_the_directory_is_named_after_the_claim_or_the_volume() {
        assert_eq!(names().default_sub_dir("vol").unwrap().as_str(), "ns-claim-pvc-1");
        assert_eq!(Names::default().default_sub_dir("vol").unwrap().as_str(), "vol");
    }

    #[test]
    fn a_long_claim_in_a_long_namespace_gets_a_directory_with_the_whole_name_of_the_volume() {
        let volume = "pvc-6f2d1c9e-0000-4000-8000-000000000000";
        let names = |claim: usize| Names {
            pvc_namespace: Some("n".repeat(63)),
            pvc_name: Some("c".repeat(claim)),
            pv_name: Some(volume.to_owned()),
        };
        for claim in [140, 150, 151, 152, 253] {
            let directory = names(claim).default_sub_dir("unused").unwrap();
            assert!(directory.as_str().ends_with(volume) && directory.as_str().len() <= 255, "{directory}");
        }
        let hostile = Names { pvc_name: Some("a/".repeat(130)), ..names(1) };
        assert!(hostile.default_sub_dir("unused").is_err());
    }

    /// The examples of the nfs-client provisioner's README, and the form of csi-driver-nfs' variables.
    #[test]
    fn labels_and_annotations_of_the_claim_have_two_forms() {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let claim = Claim {
            labels: pairs(&[("app", "web"), ("empty", "")]),
            annotations: pairs(&[("nfs.io/storage-path", "fast")]),
            ..Claim::default()
        };
        for (template, path) in [
            ("${.PVC.namespace}/${.PVC.annotations.nfs.io/storage-path}", "ns/fast"),
            ("${pvc.metadata.annotations['nfs.io/storage-path']}", "fast"),
            ("${pvc.metadata.labels[\"app\"]}-${.PVC.labels.app}", "web-web"),
            ("${.PVC.labels.tier:-none}/${.PVC.labels.empty:-x}/${.PVC.labels.app:-y}", "none/x/web"),
        ] {
            assert!(needs_claim(template).unwrap());
            assert_eq!(names().expand(template, Some(&claim)).unwrap().as_str(), path, "{template}");
        }
        assert!(!needs_claim("${.PVC.namespace}/${pvc.metadata.name:-x}").unwrap());
    }

    /// The value of an annotation is whatever the tenant writes. In the nfs-client provisioner it can lead out of the share.
    #[test]
    fn the_value_of_an_annotation_is_one_component() {
        for value in ["../../etc", "..", ".", "a/b", ".nfs-subdir-csi", "a\0b", "/"] {
            let claim =
                Claim { annotations: [("p".to_owned(), value.to_owned())].into(), ..Claim::default() };
            assert!(names().expand("${.PVC.annotations.p}", Some(&claim)).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_template_that_cannot_be_filled_says_why() {
        for (template, word) in [
            ("${.PVC.labels.app}", "no such label"),
            ("${pvc.metadata.annotations['nfs.io/storage-path']}", "no such annotation"),
            ("${.PVC.labels.}", "unknown variable"),
            ("${pvc.metadata.labels[app]}", "unknown variable"),
            ("${.PVC.labels.app:-a/b}", "not allowed"),
            ("${pvc.metadata.uid}", "unknown variable"),
            ("${pvc.metadata.name", "not closed"),
            ("a/../b", "not allowed"),
            ("${.PVC.name}//x", "empty"),
        ] {
            let error = names().expand(template, Some(&Claim::default())).unwrap_err().to_string();
            assert!(error.contains(word), "{template}: {error}");
        }
        let error = Names::default().expand("${.PVC.name}", None).unwrap_err().to_string();
        assert!(error.contains("--extra-create-metadata"), "{error}");
    }

    proptest! {
        #[test]
        fn a_value_never_adds_a_component(value in "\\PC*|[a-z/.\\x00]{0,10}") {
            let names = Names { pvc_name: Some(value), ..names() };
            if let Ok(sub_dir) = names.expand("x/${.PVC.name}/y", None) {
                prop_assert_eq!(sub_dir.as_str().split('/').count(), 3);
            }
        }
    }
}
