//! Tests of the architecture that `src/lib.rs` describes: which file may import which, that there are no circles, and that files and
//! folders stay small.

mod circles;
mod code;
mod imports;
mod rules;
mod sizes;
mod unsafe_code;

use std::fs;
use std::path::{Path, PathBuf};

/// The top folder of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder of the repository, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The content of a file, or `None` if it is not text.
fn read(path: &Path) -> Option<String> {
    let bytes = fs::read(root().join(path)).unwrap();
    String::from_utf8(bytes).ok()
}

/// This crate, as its files are now.
fn this_crate() -> imports::Crate {
    let code =
        files("src").into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    imports::Crate::new(code.map(|path| {
        let text = read(&path).unwrap();
        (path.strip_prefix("src").unwrap().to_str().unwrap().to_owned(), text)
    }))
}

/// A crate with these files, for tests that check whether a violation is noticed.
fn planted(files: &[(&str, &str)]) -> imports::Crate {
    imports::Crate::new(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())))
}
