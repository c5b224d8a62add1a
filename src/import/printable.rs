//! Text that can be shown in a terminal.

/// Replaces control characters, which a terminal would obey. Tenants choose the names of files and directories.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
