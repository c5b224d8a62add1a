//! Patterns for servers in the configuration.

use std::net::IpAddr;

use ipnet::IpNet;

/// The servers that can be named without a name in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum InlineServers {
    /// Every server.
    #[default]
    Any,
    /// The servers that match one of the patterns. An empty list allows no server.
    Listed(Vec<ServerPattern>),
}

/// A pattern for servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerPattern {
    /// Every server. It is written `*`.
    Any,
    /// This name or address.
    Exact(String),
    /// Every name within this domain. It is written `*.example.com` and kept with the dot: `.example.com`.
    Domain(String),
    /// Every address in this network. Names are not resolved to find out.
    Network(IpNet),
}

impl ServerPattern {
    /// Reads a pattern. A text that is neither a network nor a domain is a name. The brackets of an IPv6 address and a dot
    /// at the end make no difference.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = plain(text);
        if text == "*" {
            return Self::Any;
        }
        if let Ok(network) = text.parse() {
            return Self::Network(network);
        }
        // As a network, an IPv6 address has only one spelling.
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::Network(address.into());
        }
        match text.strip_prefix("*.") {
            Some(domain) => Self::Domain(format!(".{}", domain.to_ascii_lowercase())),
            None => Self::Exact(text.to_ascii_lowercase()),
        }
    }

    /// Whether a server, as a StorageClass or a handle names it, matches the pattern.
    #[must_use]
    pub fn fits(&self, server: &str) -> bool {
        let server = plain(server).to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Exact(name) => &server == name,
            Self::Domain(domain) => server.ends_with(domain.as_str()) && server.len() > domain.len(),
            Self::Network(network) => {
                server.parse::<IpAddr>().is_ok_and(|address| network.contains(&address))
            }
        }
    }
}

/// A server or pattern without the brackets of an IPv6 address and without a dot at the end.
fn plain(text: &str) -> &str {
    let text = text.trim();
    let text = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, "")) => address,
        _ => text,
    };
    text.strip_suffix('.').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::export::{Export, ExportRef};
    use crate::volume::policy::settings::Settings;

    fn inline(server: &str) -> ExportRef {
        ExportRef::Inline(Export::new(server, "/srv").unwrap())
    }

    #[test]
    fn inline_servers_are_compared_with_the_list() {
        let patterns =
            ["nas.example", "*.lab.example", "10.1.0.0/16", "fd00::/8", "[2001:db8::0:1]", "dot.example."]
                .map(ServerPattern::parse);
        let settings =
            Settings { inline_servers: InlineServers::Listed(patterns.to_vec()), ..Settings::default() };
        for server in [
            "nas.example",
            "NAS.Example",
            "a.lab.example",
            "10.1.2.3",
            "fd00::1",
            "[fd00::1]",
            "nas.example.",
            "2001:db8::1",
            "dot.example",
            "dot.example.",
        ] {
            assert!(settings.resolve(&inline(server)).is_ok(), "{server}");
        }
        for server in
            ["nas.example.evil", "xnas.example", "lab.example", "10.2.0.1", "10.1.0.1.evil", "fe80::1"]
        {
            assert!(settings.resolve(&inline(server)).is_err(), "{server}");
        }
        let none = Settings { inline_servers: InlineServers::Listed(Vec::new()), ..Settings::default() };
        assert!(none.resolve(&inline("nas.example")).is_err());
        assert!(Settings::default().resolve(&inline("anything")).is_ok());
    }
}
