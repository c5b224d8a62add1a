//! Files and folders stay small enough for a reader.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{files, read};

const LONGEST_FILE: usize = 400;
/// The largest average length of the files in `src`, in lines. Tests beside the code are included.
const LONGEST_AVERAGE: usize = 150;
const LARGEST_FOLDER: usize = 15;

/// The files with code of the project, without those that other programs have generated.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    let is_generated = |path: &PathBuf| ["go.sum", "Cargo.lock"].iter().any(|name| path.ends_with(name));
    folders.iter().flat_map(|folder| files(folder)).filter(|path| !is_generated(path)).collect()
}

fn lines(path: &Path) -> usize {
    read(path).map_or(0, |text| text.lines().count())
}

#[test]
fn no_file_is_too_long_to_read() {
    let lengths = sources(&["src", "tests", "e2e", "examples", "vm", "csi-sanity"]);
    let long: Vec<String> = lengths
        .iter()
        .map(|path| (path, lines(path)))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(
        long.is_empty(),
        "split by meaning what is longer than {LONGEST_FILE} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn the_files_of_the_driver_are_short_on_average() {
    let lengths: Vec<usize> =
        sources(&["src"]).iter().map(|path| lines(path)).filter(|lines| *lines > 0).collect();
    let average = lengths.iter().sum::<usize>() / lengths.len();
    assert!(average < LONGEST_AVERAGE, "{average} lines on average");
}

#[test]
fn no_folder_has_more_files_than_one_can_name() {
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for path in sources(&["src", "tests", "e2e", "examples", "vm", "csi-sanity"]) {
        *folders.entry(path.parent().unwrap().to_owned()).or_default() += 1;
    }
    let large: Vec<String> = folders
        .iter()
        .filter(|(_, files)| **files > LARGEST_FOLDER)
        .map(|(folder, files)| format!("{}: {files} files", folder.display()))
        .collect();
    assert!(
        large.is_empty(),
        "group what is in folders of more than {LARGEST_FOLDER} files:\n{}",
        large.join("\n")
    );
}
