//! The documents name tests, files, parameters and flags. These tests fail when a document names one that does not exist, or
//! leaves one out.

#[path = "support/manual.rs"]
mod manual;

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

/// The texts between backticks. A pair of backticks does not span lines.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The part of a document from a heading to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
    rest.split("\n## ").next().unwrap()
}

/// The first cells of the rows of a table, without its heading.
fn first_cells(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with('|')).skip(2).map(|line| line.split('|').nth(1).unwrap())
}

/// The files that may have a module's tests. `csi::status::tests` can be a module within `src/csi/status.rs`, or a file of
/// its own.
fn sources_of(module: &str) -> Vec<String> {
    let path = module.replace("::", "/");
    let mut files = vec![
        format!("tests/{path}.rs"),
        format!("tests/{path}/mod.rs"),
        format!("src/{path}.rs"),
        format!("src/{path}/mod.rs"),
        // tests/grpc and tests/kernel include it.
        format!("tests/support/{}.rs", path.rsplit('/').next().unwrap()),
    ];
    if let Some(code) = path.strip_suffix("/tests") {
        files.extend([format!("src/{code}.rs"), format!("src/{code}/mod.rs")]);
    }
    files.retain(|file| root().join(file).exists());
    files
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

/// Says what is wrong with the name of a test. A module is not a proof: it does not say which of its tests fails.
fn check_test(name: &str) -> Result<(), String> {
    let (module, test) = name.rsplit_once("::").ok_or_else(|| format!("{name}: not the name of a test"))?;
    let files = sources_of(module);
    if files.iter().any(|file| tests_in(&read(file)).contains(&test)) {
        Ok(())
    } else if !sources_of(name).is_empty() {
        Err(format!("{name}: a module, not a test"))
    } else {
        Err(format!("{name}: no such test in {files:?}"))
    }
}

/// What is wrong with the last cell of a row, which names the tests that prove the row.
fn check_row(row: &str) -> Vec<String> {
    let proof = row.trim_end_matches('|').rsplit('|').next().unwrap();
    let tests: Vec<&str> = quoted(proof).collect();
    let between: String = proof.split('`').step_by(2).collect();
    if tests.is_empty() || !between.trim().chars().all(|letter| letter == ',' || letter == ' ') {
        return vec![format!("the last cell does not name tests only: {row}")];
    }
    tests.into_iter().filter_map(|name| check_test(name).err()).collect()
}

#[test]
fn each_row_of_the_semantics_names_tests_that_exist() {
    let text = read("docs/SEMANTICS.md");
    let rows: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| proved by |")).collect();
    let wrong: Vec<String> = rows.iter().flat_map(|row| check_row(row)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(rows.len() > 80, "only {} rows are found", rows.len());
    let tables = text.lines().filter(|line| line.starts_with("|---")).count();
    assert_eq!(text.matches("| proved by |\n").count(), tables, "each table says what proves it");
}

#[test]
fn a_row_without_an_existing_test_is_noticed() {
    let good = "grpc::node::a_publish_makes_the_target_and_an_unpublish_removes_it";
    let other = "volume::name::sub_dir::tests::ordinary_names_are_taken";
    for proof in [
        "same",
        "",
        "`grpc::node`",
        "`grpc::advisories`",
        "`kernel::exports`",
        "`csi::status::tests`",
        "`make fuzz`",
        "`grpc::node::no_such_test`",
        "`grpc::nothing::x`",
        "`kernel::volumes::policies::read`",
        "`csi::status::tests::no_such_test`",
        &format!("`{good}` and others"),
        &format!("`{good}`, `grpc::node`"),
    ] {
        let row = format!("| state | result | {proof} |");
        assert_eq!(check_row(&row).len(), 1, "{row}");
    }
    for proof in [format!("`{good}`"), format!("`{good}`, `{other}`")] {
        let row = format!("| state | a `quoted` result | {proof} |");
        assert_eq!(check_row(&row), Vec::<String>::new(), "{row}");
    }
}

#[test]
fn each_file_that_a_document_names_exists() {
    let mut checked = 0;
    for document in documents() {
        for name in quoted(&read(&document)) {
            let tops =
                ["src/", "tests/", "docs/", "examples/", "vm/", "e2e/", "deploy/", "proto/", "csi-sanity/"];
            if tops.iter().any(|top| name.starts_with(top)) && !name.contains([' ', '*', '<']) {
                // In docs/INSTALL.md, deploy/mine is the reader's copy of deploy/site.
                let name = name.replace("deploy/mine", "deploy/site");
                assert!(root().join(&name).exists(), "{}: there is no {name}", document.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 5, "only {checked} files are named");
}

#[test]
fn exactly_the_parameters_are_documented() {
    let text = read("docs/PARAMETERS.md");
    let table = section(&text, "StorageClass `parameters`");
    let documented: BTreeSet<&str> = first_cells(table).flat_map(quoted).collect();
    assert_eq!(documented, KEYS.into_iter().collect());
    let mutable = table.lines().find(|line| line.contains("VolumeAttributesClass")).unwrap();
    assert_eq!(quoted(mutable).collect::<Vec<_>>(), MUTABLE_KEYS);
}

/// The driver reads the example in the document and refuses every key that it does not know. The keys that it knows are in
/// its error message and must be in the document.
#[test]
fn exactly_the_keys_of_the_configuration_are_documented() {
    let text = read("docs/PARAMETERS.md");
    let example = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    std::fs::write(at("private"), "timeo=300\n").unwrap();
    let private = "/etc/nfs-subdir-csi/private/fast";
    assert!(example.contains(private));
    std::fs::write(at("example.yaml"), example.replace(private, at("private").to_str().unwrap())).unwrap();
    config_file::load(&at("example.yaml")).unwrap();

    for nest in ["x-x: 1", "exports: [{x-x: 1}]", "inline: {x-x: 1}", "limits: {x-x: 1}", "metrics: {x-x: 1}"]
    {
        std::fs::write(at("wrong.yaml"), nest).unwrap();
        let error = format!("{:#}", config_file::load(&at("wrong.yaml")).unwrap_err());
        // A section with one key says only `expected`.
        let known = error.lines().next().unwrap().split_once("expected ");
        let (_, known) = known.unwrap_or_else(|| panic!("{nest}: {error}"));
        for key in known.trim_start_matches("one of ").split(", ") {
            assert!(
                example.contains(&format!("{key}:")) || text.contains(&format!("`{key}:`")),
                "{nest}: {key}"
            );
        }
    }
}

#[test]
fn exactly_the_flags_of_the_services_are_documented() {
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

/// The names of metrics in a text. What Prometheus adds to the name of a histogram is left out.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_name(letter)).filter(|word| word.starts_with("nfs_subdir_csi_"));
    let plain = |word: &str| {
        let end = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        end.unwrap_or(word).to_owned()
    };
    words.map(plain).collect()
}

/// `grpc::metrics::exactly_the_metrics_are_documented` compares the document with what the services expose.
#[test]
fn alerts_their_tests_and_the_dashboard_use_metrics_that_exist() {
    let documented = metrics_in(&read("docs/METRICS.md"));
    for (file, least) in [("prometheusrule.yaml", 8), ("tests.yaml", 8), ("dashboard.json", 20)] {
        let used = metrics_in(&read(Path::new("deploy/monitoring").join(file)));
        let unknown: Vec<&String> = used.difference(&documented).collect();
        assert!(unknown.is_empty(), "{file} uses metrics that do not exist: {unknown:?}");
        assert!(used.len() >= least, "{file} uses only {used:?}");
    }
}

#[test]
fn each_alert_says_what_to_do_and_is_tried_with_and_without_its_cause() {
    let rules = read("deploy/monitoring/prometheusrule.yaml");
    let alerts: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let text = read("docs/METRICS.md");
    let documented: BTreeSet<&str> = first_cells(section(&text, "Alerts")).flat_map(quoted).collect();
    assert_eq!(documented, alerts);
    let tests = read("deploy/monitoring/tests.yaml");
    for alert in alerts {
        for outcome in ["fires", "does not fire"] {
            assert!(tests.contains(&format!("- name: {alert} {outcome}\n")), "{alert} {outcome}");
        }
    }
}
