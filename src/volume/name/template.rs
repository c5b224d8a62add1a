//! Templates for the path of a volume's directory, with the variables of csi-driver-nfs and of the nfs-client
//! provisioner.

use crate::volume::error::{Error, Result};
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
    /// The directory of a volume whose StorageClass names no template. If the claim is not known, this is `fallback`,
    /// which has one component. A name that would be too long loses the end of the claim's name.
    pub fn default_sub_dir(&self, fallback: &str) -> Result<SubDir> {
        let (Some(namespace), Some(name), Some(volume)) =
            (&self.pvc_namespace, &self.pvc_name, &self.pv_name)
        else {
            return Ok(SubDir::parse(fallback)?);
        };
        if namespace.len() + name.len() + volume.len() + 2 <= LONGEST_COMPONENT {
            return self.expand(DEFAULT);
        }
        // A namespace can have 63 bytes, a claim 253. The name of the volume stays whole, because it is unique.
        self.expand(DEFAULT_END)?;
        let suffix = format!("-{volume}");
        let room = LONGEST_COMPONENT.saturating_sub(suffix.len());
        Ok(SubDir::parse(&format!("{}{suffix}", cut(&format!("{namespace}-{name}"), room)))?)
    }

    /// Replaces the variables of a template by their values. Only a slash in the template separates components. A value
    /// is refused if it would add a component.
    pub fn expand(&self, template: &str) -> Result<SubDir> {
        let mut path = String::new();
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once("${") {
            let (variable, after) = after.split_once('}').ok_or_else(|| {
                Error::invalid("subDir", format!("{template:?}: a `${{` is not closed by `}}`"))
            })?;
            path.push_str(literal);
            path.push_str(self.value(template, variable)?);
            rest = after;
        }
        path.push_str(rest);
        Ok(SubDir::parse(path.trim_matches('/'))?)
    }

    fn value(&self, template: &str, variable: &str) -> Result<&str> {
        let invalid = |reason: String| Error::invalid("subDir", format!("{template:?}: {reason}"));
        let value = match variable {
            "pvc.metadata.name" | ".PVC.name" => &self.pvc_name,
            "pvc.metadata.namespace" | ".PVC.namespace" => &self.pvc_namespace,
            "pv.metadata.name" | ".PV.name" => &self.pv_name,
            _ if variable.contains("labels") || variable.contains("annotations") => {
                return Err(invalid(format!(
                    "${{{variable}}}: labels and annotations of a claim are not passed to CSI drivers; use its name \
                     and namespace"
                )));
            }
            _ => {
                return Err(invalid(format!(
                    "unknown variable ${{{variable}}}; the known variables are ${{pvc.metadata.namespace}}, ${{pvc.metadata.name}}, \
                     ${{pv.metadata.name}}, ${{.PVC.namespace}}, ${{.PVC.name}} and ${{.PV.name}}"
                )));
            }
        };
        let value = value.as_deref().ok_or_else(|| {
            invalid(format!(
                "the value of ${{{variable}}} is not known: the csi-provisioner must run with --extra-create-metadata"
            ))
        })?;
        check_component(value)
            .map_err(|reason| invalid(format!("${{{variable}}} is {value:?}: {reason}")))?;
        Ok(value)
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
            assert_eq!(names().expand(template).unwrap().as_str(), "ns/claim");
        }
        assert_eq!(names().expand("fixed").unwrap().as_str(), "fixed");
        assert_eq!(names().expand("a$b-${pv.metadata.name}").unwrap().as_str(), "a$b-pvc-1");
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

    #[test]
    fn a_template_that_cannot_be_filled_says_why() {
        for (template, word) in [
            ("${.PVC.labels.app}", "labels"),
            ("${.PVC.annotations.nfs.io/storage-path}", "annotations"),
            ("${pvc.metadata.uid}", "unknown variable"),
            ("${pvc.metadata.name", "not closed"),
            ("a/../b", "not allowed"),
            ("${.PVC.name}//x", "empty"),
        ] {
            let error = names().expand(template).unwrap_err().to_string();
            assert!(error.contains(word), "{template}: {error}");
        }
        let error = Names::default().expand("${.PVC.name}").unwrap_err().to_string();
        assert!(error.contains("--extra-create-metadata"), "{error}");
    }

    proptest! {
        #[test]
        fn a_value_never_adds_a_component(value in "\\PC*|[a-z/.\\x00]{0,10}") {
            let names = Names { pvc_name: Some(value), ..names() };
            if let Ok(sub_dir) = names.expand("x/${.PVC.name}/y") {
                prop_assert_eq!(sub_dir.as_str().split('/').count(), 3);
            }
        }
    }
}
