//! Which layer may import which. A layer is a folder of `src` with everything in it, or a single file. A file that belongs to no layer fails
//! the test, so a new file or folder has to be added to a layer here.

use super::imports::{Crate, Edge, Target};

/// The layers from the lowest to the highest. A layer may import the layers of the earlier rows in this list, but not the other layers of
/// its own row.
const LAYERS: [&[&str]; 20] = [
    &["linux", "cluster"],
    &["volume/error"],
    &["volume/on_delete", "volume/jobs"],
    &["volume/name"],
    &["volume/policy"],
    &["volume/share"],
    &["volume/volumes"],
    &["volume/copy"],
    &["volume/controller", "volume/node"],
    &["volume/operate"],
    &["volume/mod"],
    &["csi"],
    &["metrics"],
    &["server"],
    &["config", "endpoint", "quantity", "terminal"],
    &["telemetry"],
    &["config_file"],
    &["import", "operate", "quota"],
    &["lib"],
    &["main"],
];

/// What a layer may not import, although it is a lower layer.
const FORBIDDEN: [(&str, &[&str]); 9] = [
    // Commands, and the code that runs before a service starts, do not need gRPC or the server.
    ("import", &["csi", "server"]),
    ("operate", &["csi", "server"]),
    ("quota", &["csi", "server"]),
    ("terminal", &["csi", "server", "volume", "linux"]),
    ("config", &["csi", "server"]),
    ("config_file", &["csi", "server"]),
    ("endpoint", &["csi", "server", "volume", "linux"]),
    ("telemetry", &["csi", "server", "volume", "linux"]),
    // Decoding and encoding need no files.
    ("csi", &["std::fs"]),
];

/// Crates that only some layers may use.
const CRATES: [(&[&str], &[&str]); 6] = [
    (&["ureq", "rustls"], &["cluster"]),
    (&["tonic", "tonic_prost", "prost", "prost_types"], &["csi", "server"]),
    (&["nix", "rustix", "sys_mount", "libc"], &["linux"]),
    (&["tokio", "tokio_stream"], &["csi", "server", "main"]),
    (&["hyper", "hyper_util"], &["csi", "server"]),
    (&["prometheus_client"], &["csi", "metrics"]),
];

/// The layer of a file, and the number of its row.
fn layer_of(path: &str) -> Option<(&'static str, usize)> {
    let path = path.trim_end_matches(".rs");
    let rows =
        LAYERS.iter().enumerate().flat_map(|(row, layers)| layers.iter().map(move |layer| (*layer, row)));
    rows.into_iter().find(|(layer, _)| is_in(path, layer))
}

/// Whether a path is the layer's file, or is in the layer's folder.
fn is_in(path: &str, layer: &str) -> bool {
    path.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Every import that a rule forbids, and every file without a layer.
fn violations(krate: &Crate) -> Vec<String> {
    let unknown = krate.files().filter(|path| layer_of(path).is_none());
    let unknown =
        unknown.map(|path| format!("{path} belongs to no layer: add it to LAYERS")).collect::<Vec<_>>();
    let edges = krate.edges();
    let broken = edges
        .iter()
        .filter_map(|edge| Some(format!("{}: {}: {}", edge.from, edge.path.join("::"), broken_rule(edge)?)));
    unknown.into_iter().chain(broken).collect()
}

fn broken_rule(edge: &Edge) -> Option<String> {
    let (layer, row) = layer_of(&edge.from)?;
    let forbidden =
        FORBIDDEN.iter().find(|(from, _)| *from == layer).map_or(&[][..], |(_, forbidden)| forbidden);
    match &edge.to {
        Target::Crate(name) => {
            let users =
                CRATES.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, users)| users);
            let is_refused = users.is_some_and(|users| !users.contains(&layer));
            (is_refused || forbidden.contains(&name.as_str())).then(|| format!("{layer} may not use {name}"))
        }
        Target::File(to) => {
            let (below, below_row) = layer_of(to)?;
            let is_refused =
                below != layer && below_row >= row || forbidden.iter().any(|folder| is_in(below, folder));
            is_refused.then(|| format!("{layer} may not import {below} ({to})"))
        }
    }
}

#[test]
fn no_layer_imports_what_is_not_below_it() {
    let found = violations(&super::this_crate());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn each_layer_has_a_file() {
    let krate = super::this_crate();
    for layer in LAYERS.concat() {
        let found = krate.files().any(|path| is_in(path.trim_end_matches(".rs"), layer));
        assert!(found, "there is no src/{layer}: remove it from LAYERS");
    }
}

/// The violations of a file with this code, in a crate that has some other files to which it can refer.
fn violations_of(path: &str, code: &str) -> Vec<String> {
    let others = [
        ("lib.rs", ""),
        ("main.rs", ""),
        ("config.rs", ""),
        ("linux/mod.rs", "mod dir; pub use dir::Dir;"),
        ("linux/dir.rs", ""),
        ("volume/mod.rs", ""),
        ("volume/error.rs", ""),
        ("volume/name/mod.rs", ""),
        ("volume/name/handle.rs", ""),
        ("volume/share/mod.rs", ""),
        ("volume/share/mounts.rs", ""),
        ("volume/volumes.rs", ""),
        ("volume/copy/mod.rs", ""),
        ("volume/controller/mod.rs", ""),
        ("volume/node/mod.rs", ""),
        ("volume/node/publish.rs", ""),
        ("csi/mod.rs", "pub mod proto {}"),
        ("server.rs", ""),
        ("import/mod.rs", ""),
    ];
    let mut files: Vec<(&str, &str)> = others.into_iter().filter(|(other, _)| *other != path).collect();
    files.push((path, code));
    violations(&super::planted(&files))
}

#[test]
fn a_planted_violation_is_noticed() {
    for (path, code, words) in [
        (
            "linux/dir.rs",
            "use crate::volume::error::Error;",
            "linux may not import volume/error (volume/error.rs)",
        ),
        ("linux/dir.rs", "fn f() { tokio::spawn(g()); }", "linux may not use tokio"),
        ("volume/error.rs", "use super::name::handle;", "volume/error may not import volume/name"),
        (
            "volume/name/handle.rs",
            "use crate::volume::{error, share::mounts};",
            "volume/name may not import volume/share",
        ),
        (
            "volume/share/mounts.rs",
            "use super::super::volumes::Volumes;",
            "volume/share may not import volume/volumes",
        ),
        ("volume/volumes.rs", "use crate::volume::copy::tree;", "volume/volumes may not import volume/copy"),
        (
            "volume/controller/mod.rs",
            "use crate::volume::node::publish;",
            "volume/controller may not import volume/node",
        ),
        ("volume/name/handle.rs", "use crate::csi::proto::Volume;", "volume/name may not import csi"),
        ("volume/name/handle.rs", "fn f() -> nix::errno::Errno { todo!() }", "volume/name may not use nix"),
        ("volume/node/publish.rs", "fn f() -> tonic::Status { todo!() }", "volume/node may not use tonic"),
        ("csi/mod.rs", "use std::{fs, io};", "csi may not use std::fs"),
        ("csi/mod.rs", "use crate::config::Cli;", "csi may not import config"),
        ("csi/mod.rs", "use crate::server;", "csi may not import server"),
        ("import/mod.rs", "use crate::csi::decode;", "import may not import csi"),
        ("import/mod.rs", "use crate::server;", "import may not import server"),
        ("import/mod.rs", "use rustix::fs as files;", "import may not use rustix"),
        ("import/mod.rs", "use sys_mount::Mount;", "import may not use sys_mount"),
        ("import/mod.rs", "use tonic::Status;", "import may not use tonic"),
        ("config.rs", "use crate::server::Role;", "config may not import server"),
        ("volume/extra.rs", "", "belongs to no layer"),
    ] {
        let found = violations_of(path, code);
        assert_eq!(found.len(), 1, "{path}: {code}: {found:?}");
        assert!(found[0].starts_with(path) && found[0].contains(words), "{path}: {code}: {found:?}");
    }
}

#[test]
fn what_the_layers_allow_is_not_a_violation() {
    for (path, code) in [
        ("volume/node/publish.rs", "use crate::{linux::Dir, volume::{copy, error, share::mounts, volumes}};"),
        ("volume/share/mounts.rs", "#[cfg(test)]\nmod tests { use crate::volume::volumes::Volumes; }"),
        ("csi/mod.rs", "use crate::volume::node::publish; use tonic::Status; fn f() { tokio::spawn(g()); }"),
        ("import/mod.rs", "use crate::config::ImportArgs; use crate::volume::controller;"),
        ("main.rs", "use nfs_subdir_csi::{csi, server, linux::Dir}; fn main() { tokio::runtime() }"),
    ] {
        assert_eq!(violations_of(path, code), Vec::<String>::new(), "{path}: {code}");
    }
}
