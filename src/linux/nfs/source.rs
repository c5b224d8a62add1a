//! Where an export is.

use std::fmt;

/// The server and the share of an export. The caller has checked both: there are no control characters, and the
/// share is an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NfsSource {
    /// Host name or address. An IPv6 address has no brackets.
    pub server: String,
    /// Absolute path on the server.
    pub share: String,
}

/// In the form of mount(8): `server:/share`, with an IPv6 address in brackets.
impl fmt::Display for NfsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.server.contains(':') {
            write!(f, "[{}]:{}", self.server, self.share)
        } else {
            write!(f, "{}:{}", self.server, self.share)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_written_in_brackets() {
        let source =
            |server: &str| NfsSource { server: server.to_owned(), share: "/srv".to_owned() }.to_string();
        assert_eq!(source("nas.example"), "nas.example:/srv");
        assert_eq!(source("2001:db8::1"), "[2001:db8::1]:/srv");
    }
}
