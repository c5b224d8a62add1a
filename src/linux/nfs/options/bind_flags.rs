//! The options that each bind mount has for itself.

/// The mount flags of a bind mount. All volumes of an export share its mount, and each has its own flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "these are independent flags of the kernel")]
pub struct BindFlags {
    /// `ro`
    pub read_only: bool,
    /// `nosuid`: setuid and setgid bits have no effect.
    pub nosuid: bool,
    /// `nodev`: device nodes cannot be opened.
    pub nodev: bool,
    /// `noexec`: nothing can be executed.
    pub noexec: bool,
}

impl BindFlags {
    /// The flags by their names in the mount table.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 4] {
        [("ro", self.read_only), ("nosuid", self.nosuid), ("nodev", self.nodev), ("noexec", self.noexec)]
    }

    /// Applies an option of mount(8). Returns `false` if it is not an option for bind mounts. As in mount(8), `user` and
    /// `users` imply `nosuid`, `nodev` and `noexec`, and `owner` and `group` imply the first two; later options can undo
    /// that.
    pub(super) fn apply(&mut self, name: &str) -> bool {
        match name {
            "ro" | "rw" => self.read_only = name == "ro",
            "nosuid" | "suid" => self.nosuid = name == "nosuid",
            "nodev" | "dev" => self.nodev = name == "nodev",
            "noexec" | "exec" => self.noexec = name == "noexec",
            "user" | "users" => (self.nosuid, self.nodev, self.noexec) = (true, true, true),
            "owner" | "group" => (self.nosuid, self.nodev) = (true, true),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_users_imply_flags_as_in_mount_8() {
        let mut flags = BindFlags::default();
        assert!(flags.apply("user") && flags.apply("exec"));
        assert_eq!(flags, BindFlags { read_only: false, nosuid: true, nodev: true, noexec: false });
        assert!(!flags.apply("hard"));
    }
}
