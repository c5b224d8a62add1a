//! The layers of `src/lib.rs` as a test: who may import what.

use std::path::{Path, PathBuf};

/// For each folder or file below `src`: words that its code may not contain, and why.
const RULES: [(&str, &[&str], &str); 7] = [
    (
        "linux",
        &["crate::volume", "crate::csi", "crate::server", "crate::config"],
        "linux/ knows nothing above it",
    ),
    ("volume", &["crate::csi", "crate::server", "crate::config"], "volume/ knows nothing above it"),
    ("linux", &["tonic::", "prost::", "tokio::"], "linux/ is plain synchronous Rust"),
    ("volume", &["tonic::", "prost::", "tokio::"], "volume/ is plain synchronous Rust"),
    ("volume", &["nix::", "rustix::", "sys_mount::", "libc::"], "system calls are made in linux/ only"),
    ("csi", &["nix::", "rustix::", "sys_mount::", "libc::", "std::fs"], "csi/ decodes, calls and encodes"),
    ("csi", &["crate::server", "crate::config"], "csi/ knows nothing above it"),
];

#[test]
fn arrows_never_turn_back() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for (folder, forbidden, rule) in RULES {
        let files = rust_files(&src.join(folder));
        assert!(!files.is_empty(), "no code in {folder}");
        for file in files {
            let code = std::fs::read_to_string(&file).unwrap();
            // Tests may reach for anything.
            let code = code.split("#[cfg(test)]").next().unwrap();
            for (number, line) in
                code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
            {
                if let Some(word) = forbidden.iter().find(|word| names(line, word)) {
                    broken.push(format!("{}:{}: {word}: {rule}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn no_file_is_too_long_to_read() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&src) {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines: split it by meaning", file.display());
    }
}

/// Whether the line holds `word` as a name of its own, as `unix::` does not hold `nix::`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
