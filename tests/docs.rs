//! What the documents say is there: tests, files, keys, flags. A document that names what is gone misleads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use nfs_subdir_csi::config::Cli;
use nfs_subdir_csi::config_file;
use nfs_subdir_csi::volume::policy::keys::{KEYS, MUTABLE_KEYS};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents() -> Vec<PathBuf> {
    let docs = root().join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<PathBuf> = docs.chain([root().join("README.md")]).collect();
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents
}

/// What stands between backticks on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The part of a document below a heading, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
    rest.split("\n## ").next().unwrap()
}

/// The first cells of a table's rows, without its head.
fn first_cells(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with('|')).skip(2).map(|line| line.split('|').nth(1).unwrap())
}

/// The file of a module of tests, such as `grpc::lists` or `csi::status::tests`.
fn source_of(module: &str) -> String {
    let path = module.trim_end_matches("::tests").replace("::", "/");
    let shared = format!("tests/support/{}.rs", path.rsplit('/').next().unwrap());
    let files = [format!("tests/{path}.rs"), format!("src/{path}.rs"), format!("src/{path}/mod.rs"), shared];
    files.iter().find(|file| root().join(file).exists()).unwrap_or(&files[0]).clone()
}

/// The names of the tests in a source file.
fn tests_in(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some((before, rest)) = line.split_once("fn ")
            && (before.is_empty() || before == "async ")
        {
            if is_test {
                names.push(rest.split('(').next().unwrap());
            }
            is_test = false;
        }
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
    }
    names
}

/// Says what is wrong with the name of a test, or of a module of tests.
fn check_test(name: &str) -> Result<(), String> {
    let is_module = root().join(source_of(name)).exists();
    let (module, test) =
        if is_module { (name, None) } else { name.rsplit_once("::").map(|(m, t)| (m, Some(t))).unwrap() };
    let file = source_of(module);
    let source =
        std::fs::read_to_string(root().join(&file)).map_err(|_| format!("{name}: there is no {file}"))?;
    let tests = tests_in(&source);
    match test {
        Some(test) if !tests.contains(&test) => Err(format!("{name}: {file} has no such test")),
        None if tests.is_empty() => Err(format!("{name}: {file} has no test")),
        _ => Ok(()),
    }
}

#[test]
fn each_row_of_the_semantics_names_tests_that_there_are() {
    let text = read("docs/SEMANTICS.md");
    let mut wrong = Vec::new();
    let mut named = 0;
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.ends_with("proved by |"));
    for row in rows {
        let proof = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<&str> = quoted(proof).filter(|name| name.contains("::")).collect();
        if tests.is_empty() && proof.trim() != "same" {
            wrong.push(format!("no test: {row}"));
        }
        named += tests.len();
        wrong.extend(tests.into_iter().filter_map(|name| check_test(name).err()));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(named > 40, "only {named} names are found");
}

#[test]
fn a_test_that_is_not_there_is_noticed() {
    for gone in [
        "grpc::lists::no_such_test",
        "grpc::nothing::x",
        "kernel::policies::read",
        "csi::dispatcher::tests::x",
    ] {
        assert!(check_test(gone).is_err(), "{gone}");
    }
    for there in
        ["grpc::lists", "volume::name::sub_dir::tests::ordinary_names_are_taken", "csi::dispatcher::tests"]
    {
        check_test(there).unwrap();
    }
}

#[test]
fn each_file_that_a_document_names_is_there() {
    let mut checked = 0;
    for document in documents() {
        for name in quoted(&read(&document)) {
            let tops =
                ["src/", "tests/", "docs/", "examples/", "vm/", "e2e/", "deploy/", "proto/", "csi-sanity/"];
            if tops.iter().any(|top| name.starts_with(top)) && !name.contains([' ', '*', '<']) {
                // A reader's own copy of deploy/site, as docs/INSTALL.md has it.
                let name = name.replace("deploy/mine", "deploy/site");
                assert!(root().join(&name).exists(), "{}: there is no {name}", document.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 5, "only {checked} files are named");
}

#[test]
fn each_parameter_is_documented_and_no_other() {
    let text = read("docs/PARAMETERS.md");
    let table = section(&text, "StorageClass `parameters`");
    let documented: BTreeSet<&str> = first_cells(table).flat_map(quoted).collect();
    assert_eq!(documented, KEYS.into_iter().collect());
    let mutable = table.lines().find(|line| line.contains("VolumeAttributesClass")).unwrap();
    assert_eq!(quoted(mutable).collect::<Vec<_>>(), MUTABLE_KEYS);
}

/// The configuration in the document is read by the driver, which refuses every key that it does not know; and what it
/// says it does know is in the document.
#[test]
fn each_key_of_the_configuration_is_documented_and_no_other() {
    let text = read("docs/PARAMETERS.md");
    let example = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    std::fs::write(at("private"), "timeo=300\n").unwrap();
    let private = "/etc/nfs-subdir-csi/private/fast";
    assert!(example.contains(private));
    std::fs::write(at("example.yaml"), example.replace(private, at("private").to_str().unwrap())).unwrap();
    config_file::load(&at("example.yaml")).unwrap();

    for nest in ["x-x: 1", "exports: [{x-x: 1}]", "inline: {x-x: 1}", "limits: {x-x: 1}"] {
        std::fs::write(at("wrong.yaml"), nest).unwrap();
        let error = format!("{:#}", config_file::load(&at("wrong.yaml")).unwrap_err());
        let known = error.lines().next().unwrap().split_once("expected one of ");
        let (_, known) = known.unwrap_or_else(|| panic!("{nest}: {error}"));
        for key in known.split(", ") {
            assert!(
                example.contains(&format!("{key}:")) || text.contains(&format!("`{key}:`")),
                "{nest}: {key}"
            );
        }
    }
}

#[test]
fn each_flag_of_the_services_is_documented_and_no_other() {
    let text = read("docs/PARAMETERS.md");
    let documented: BTreeSet<String> =
        first_cells(section(&text, "Flags")).flat_map(quoted).map(|flag| flag.replace("--", "")).collect();
    let mut flags = BTreeSet::new();
    for service in
        Cli::command().get_subcommands().filter(|one| matches!(one.get_name(), "controller" | "node"))
    {
        flags.extend(service.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
    }
    assert_eq!(documented, flags);
}
