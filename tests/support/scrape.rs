//! Reads the metrics of a service, as Prometheus does.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each user needs a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A free port of this machine.
pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The answer to a request: its first line, and everything after its headers.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: driver\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

/// The metrics of a service, or `None` while it does not serve any.
pub fn scrape(address: SocketAddr) -> Option<Metrics> {
    let (status, text) = request(address, "GET", "/metrics")?;
    assert_eq!(status, "HTTP/1.1 200 OK");
    Some(Metrics(text))
}

pub struct Metrics(pub String);

impl Metrics {
    /// The value of a sample, which is named with its labels as they stand in the text.
    pub fn value(&self, sample: &str) -> Option<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }

    /// All metrics with their types and the names of their labels.
    pub fn families(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
        for line in self.0.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            } else if !line.starts_with('#') {
                let (name, labels) = line.split_once('{').unwrap_or((line, ""));
                let of_histogram =
                    ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
                let name = of_histogram.filter(|name| families.contains_key(*name)).unwrap_or(name);
                let Some((_, own)) = families.get_mut(name) else { continue };
                let names =
                    labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()));
                own.extend(names.filter(|name| name != "le"));
            }
        }
        families
    }
}
