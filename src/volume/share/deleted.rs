//! The names of deleted directories, which wait to be removed: `deleted/<key>.<due>.<pace>.<inode>.<claim>.<unique>`.
//!
//! When a directory is deleted, its name fixes when it may be removed and how fast. So the process that removes it needs no
//! configuration. Only the configuration of the process that deleted it counts.

use crate::linux::unique_text;

use crate::volume::name::handle::VolumeKey;

/// The folder of the state directory.
pub(super) const FOLDER: &str = "deleted";

/// What the name of a deleted directory contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// When it may be removed, in seconds since 1970 by the clock of the server; 0 for at once.
    pub(super) due: i64,
    /// How many of its entries may be removed in one second; `None` for no limit.
    pub(super) removals_per_second: Option<u32>,
    /// The inode number of the directory that was meant; 0 if no other directory can have taken its place.
    pub(super) inode: u64,
    /// The name of the claim of the volume's path ([`super::claims`]); empty if it was not a volume.
    pub(super) claim: String,
}

impl Terms {
    /// A name for the directory of `key`. No other directory ever has the same name.
    pub(super) fn name_of(&self, key: &VolumeKey) -> String {
        let pace = self.removals_per_second.unwrap_or(0);
        format!("{key}.{:x}.{pace:x}.{:x}.{}.{}", self.due, self.inode, self.claim, unique_text())
    }

    /// Parses a name. Returns `None` if [`Self::name_of`] does not make such names.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.rsplitn(6, '.');
        let (_unique, claim, inode, pace, due, _key) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let pace = u32::from_str_radix(pace, 16).ok()?;
        Some(Self {
            due: i64::from_str_radix(due, 16).ok()?,
            removals_per_second: Some(pace).filter(|pace| *pace > 0),
            inode: u64::from_str_radix(inode, 16).ok()?,
            claim: claim.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_and_how_fast_it_may_be_removed() {
        for key in ["v", "a.b.c", "pvc-6f2d1c9e-0000-4000-8000-000000000001"] {
            for (due, removals_per_second) in [(0, None), (1_700_000_000, Some(500))] {
                let terms = Terms { due, removals_per_second, inode: 77, claim: "c0ffee".to_owned() };
                let name = terms.name_of(&VolumeKey::of_name(key));
                assert!(name.starts_with(key) && name.len() < 200, "{name}");
                assert_eq!(Terms::parse(&name), Some(terms.clone()), "{name}");
                assert_ne!(name, terms.name_of(&VolumeKey::of_name(key)));
            }
        }
        for name in ["", "v", "v.1", "v.1.2.3.4", "v.x.0.1.c.u", "v.0.-1.1.c.u", "v.0.0.x.c.u"] {
            assert_eq!(Terms::parse(name), None, "{name}");
        }
    }
}
