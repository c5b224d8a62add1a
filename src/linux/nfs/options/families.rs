//! Options that replace one another, such as `hard` and `soft`.
//!
//! The kernel reads options from left to right, and a later option replaces an earlier one of the same family. This file
//! does the same, so that the order of the options matters here as it does for the kernel. What remains has one form:
//! lists with the same effect are equal.

use std::collections::BTreeMap;

/// What remains of a list of options: the last option of each family. The families are sorted by name, in an order in
/// which the kernel can read them.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Families(BTreeMap<String, (String, Option<String>)>);

/// `hard`, `soft` and `softerr`: what happens when the server is silent.
const RECOVERY: &str = "recovery";
/// Whether cached attributes are used when the server is silent.
const SOFT_REVAL: &str = "softreval";
/// `lock` and `nolock`: whether NFS 3 uses the lock manager.
const LOCK: &str = "lock";
/// Which locks only this node knows. The name sorts after [`LOCK`], because `lock` and `nolock` also set it.
const LOCAL_LOCK: &str = "lock.local";
/// The transport.
const PROTO: &str = "proto";

impl Families {
    /// Applies one option. `base` is its name without `no`.
    pub(super) fn apply(&mut self, base: &str, name: &str, value: Option<&str>) {
        match name {
            "hard" => {
                // The kernel also undoes `softreval`.
                self.0.remove(SOFT_REVAL);
                self.set(RECOVERY, name, None);
            }
            "soft" => self.set(RECOVERY, name, None),
            // The kernel does not know it, although nfs(5) describes it: it stands for the default.
            "nosoftreval" => drop(self.0.remove(SOFT_REVAL)),
            "softerr" => {
                self.set(RECOVERY, name, None);
                self.set(SOFT_REVAL, "softreval", None);
            }
            "actimeo" => {
                for time in ["acregmin", "acregmax", "acdirmin", "acdirmax"] {
                    self.set(time, time, value);
                }
            }
            "lock" | "nolock" => {
                self.0.remove(LOCAL_LOCK);
                self.set(LOCK, name, None);
            }
            "local_lock" => self.add_local_locks(value.unwrap_or_default()),
            "tcp" | "udp" | "rdma" | "proto" => self.set(PROTO, name, value),
            "sync" | "async" => self.set("sync", name, None),
            "lookupcache" => {
                self.set(base, name, value.map(|value| if value == "positive" { "pos" } else { value }));
            }
            _ => self.set(base, name, value),
        }
    }

    fn set(&mut self, family: &str, name: &str, value: Option<&str>) {
        self.0.insert(family.to_owned(), (name.to_owned(), value.map(str::to_owned)));
    }

    /// `local_lock=flock` and `local_lock=posix` add up, and `nolock` stands for both (`nfs_fs_context_parse_param` in
    /// the kernel).
    fn add_local_locks(&mut self, value: &str) {
        let implied = if self.contains("nolock") { "all" } else { "none" };
        let before = self.get("local_lock").unwrap_or(implied);
        let after = match (before, value) {
            (_, "none" | "all") => value,
            ("all", _) | ("flock", "posix") | ("posix", "flock") => "all",
            _ => value,
        };
        let after = after.to_owned();
        if after == implied && self.contains("nolock") {
            self.0.remove(LOCAL_LOCK);
        } else {
            self.set(LOCAL_LOCK, "local_lock", Some(&after));
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.values().find(|(own, _)| own == name).and_then(|(_, value)| value.as_deref())
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.values().any(|(own, _)| own == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|(name, _)| name.as_str())
    }

    /// Whether the options ask for `softerr` without `softreval`, which the kernel cannot do.
    pub(super) fn is_impossible(&self) -> bool {
        self.contains("softerr") && !self.contains("softreval")
    }

    /// The transport: `tcp`, `udp` or `rdma`, with a `6` at the end if only IPv6 may be used; `None` if none is given.
    pub(super) fn proto(&self) -> Option<&str> {
        self.0.get(PROTO).map(|(name, value)| value.as_deref().unwrap_or(name))
    }

    /// The options, separated by commas, as mount(2) takes them.
    pub(super) fn to_mount_data(&self) -> String {
        let text = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        self.0.values().map(text).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use crate::linux::nfs::options::parse;

    fn data(list: &str) -> String {
        parse(&[list]).unwrap().0.to_mount_data()
    }

    #[test]
    fn of_options_that_replace_one_another_the_last_one_counts() {
        for (list, last) in [
            ("soft,hard", "hard"),
            ("hard,soft", "soft"),
            ("softerr,soft", "soft,softreval"),
            ("softerr,hard", "hard"),
            ("softerr", "softerr,softreval"),
            ("softreval,hard", "hard"),
            ("soft,softreval,nosoftreval", "soft"),
            ("nosoftreval,softerr", "softerr,softreval"),
            ("sec=sys,sec=krb5", "sec=krb5"),
            ("actimeo=5,acregmin=7", "acdirmax=5,acdirmin=5,acregmax=5,acregmin=7"),
            ("acregmin=7,actimeo=5", "acdirmax=5,acdirmin=5,acregmax=5,acregmin=5"),
            ("nolock,lock", "lock"),
            ("lock,nolock", "nolock"),
            ("local_lock=flock,local_lock=posix", "local_lock=all"),
            ("nolock,local_lock=none", "nolock,local_lock=none"),
            ("nolock,local_lock=flock", "nolock"),
            ("local_lock=all,lock", "lock"),
            ("proto=tcp6,tcp", "tcp"),
            ("noac,ac", "ac"),
            ("cto,nocto", "nocto"),
            ("sync,async", "async"),
            ("timeo=1,timeo=2", "timeo=2"),
            ("fsc=a,nofsc", "nofsc"),
        ] {
            assert_eq!(data(list), last, "{list}");
        }
    }
}
