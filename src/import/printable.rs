//! Names on a share are the tenants' choice, and a terminal would obey some of them.

/// The text without what a terminal would obey: names on a share are the tenants' choice.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
