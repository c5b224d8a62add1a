//! Finds out to which file of the crate, or to which other crate, a path leads.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{Code, Import, Segments};

/// The name by which the binary and the tests know the library.
const LIBRARY: &str = "nfs_subdir_csi";
/// The module that stands for `main.rs`, which is a crate of its own.
const MAIN: &str = "main.rs";

/// A reference from a file to another file or to another crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: String,
    pub(crate) to: Target,
    /// The path as it is written.
    pub(crate) path: Segments,
    /// Whether the file only re-exports the name: a `pub use` of something in its own folder that it does not use itself.
    pub(crate) is_passed_on: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    File(String),
    Crate(String),
}

/// All files of a crate that are compiled into the driver, by their paths below `src`.
pub(crate) struct Crate {
    files: BTreeMap<String, Code>,
    modules: BTreeMap<Segments, String>,
}

impl Crate {
    pub(crate) fn new(sources: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut files: BTreeMap<String, Code> =
            sources.into_iter().map(|(path, text)| (path, Code::parse(&text))).collect();
        let for_tests: BTreeSet<Segments> = files
            .iter()
            .flat_map(|(path, code)| {
                code.test_modules.iter().map(|name| [module_of(path), vec![name.clone()]].concat())
            })
            .collect();
        files.retain(|path, _| {
            let module = module_of(path);
            !(1..=module.len()).any(|length| for_tests.contains(&module[..length]))
        });
        let modules = files.keys().map(|path| (module_of(path), path.clone())).collect();
        Self { files, modules }
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether only the folder of this file can see it.
    pub(crate) fn is_private(&self, path: &str) -> bool {
        let module = module_of(path);
        let Some((name, parent)) = module.split_last() else { return false };
        self.modules.get(parent).is_some_and(|parent| self.files[parent].private_modules.contains(name))
    }

    /// All references of all files. For each file, a target is included once.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let mut edges: BTreeMap<(String, Target), Edge> = BTreeMap::new();
        for (path, code) in &self.files {
            let imports = code.imports.iter().map(|import| (&import.path, &import.within, Some(import)));
            let mentions = code.mentions.iter().map(|mention| (&mention.path, &mention.within, None));
            for (segments, within, import) in imports.chain(mentions) {
                let Some(to) = self.target(path, within, segments) else { continue };
                if to == Target::File(path.clone()) {
                    continue;
                }
                let is_passed_on = import.is_some_and(|import| passes_on(path, code, import, &to));
                let edge = Edge { from: path.clone(), to: to.clone(), path: segments.clone(), is_passed_on };
                let known = edges.entry((path.clone(), to)).or_insert(edge);
                known.is_passed_on &= is_passed_on;
            }
        }
        edges.into_values().collect()
    }

    /// The file or crate to which a path in a file leads. A path that begins with a type leads nowhere.
    fn target(&self, file: &str, within: &[String], path: &[String]) -> Option<Target> {
        let here = [module_of(file), within.to_vec()].concat();
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" if here.first().is_some_and(|module| module == MAIN) => self.find(&[], rest),
            "crate" | LIBRARY => self.find(&[], rest),
            "self" => self.find(&here, rest),
            "super" => self.find_from_parent(&here[..here.len().checked_sub(1)?], rest),
            name => {
                let code = &self.files[file];
                // `use anyhow::anyhow` is not a new name for the crate.
                let import = code
                    .imports
                    .iter()
                    .find(|import| import.name == name && import.within == within && import.path[0] != name);
                if let Some(import) = import {
                    return self.target(file, within, &[&import.path[..], rest].concat());
                }
                let child = [&here[..], &[name.to_owned()]].concat();
                if self.modules.contains_key(&child) {
                    return self.find(&child, rest);
                }
                // Another crate, or a module of the standard library. A type is neither (`Vec::new`).
                match (name, rest.first()) {
                    ("std", Some(module)) => Some(Target::Crate(format!("std::{module}"))),
                    _ => name.starts_with(char::is_lowercase).then(|| Target::Crate(name.to_owned())),
                }
            }
        }
    }

    fn find_from_parent(&self, parent: &[String], rest: &[String]) -> Option<Target> {
        match rest.split_first() {
            Some((first, more)) if first == "super" => {
                self.find_from_parent(&parent[..parent.len().checked_sub(1)?], more)
            }
            _ => self.find(parent, rest),
        }
    }

    /// The file or crate to which a path leads from a module. It is followed down as far as there are files, and then through the imports
    /// of the last file.
    fn find(&self, module: &[String], rest: &[String]) -> Option<Target> {
        let full = [module, rest].concat();
        let length = (0..=full.len()).rev().find(|&length| self.modules.contains_key(&full[..length]))?;
        let path = &self.modules[&full[..length]];
        if let Some(name) = full.get(length) {
            let import = self.files[path]
                .imports
                .iter()
                .find(|import| import.name == *name && import.within.is_empty());
            if let Some(import) = import {
                let onward = [&import.path[..], &full[length + 1..]].concat();
                return self.target(path, &[], &onward);
            }
        }
        Some(Target::File(path.clone()))
    }
}

/// `volume/name/handle.rs` is `volume::name::handle`, `linux/mod.rs` is `linux`, `lib.rs` is the crate.
fn module_of(path: &str) -> Segments {
    if path == MAIN {
        return vec![MAIN.to_owned()];
    }
    let mut module: Segments = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || path == "lib.rs" {
        module.pop();
    }
    module
}

/// The folder of a file. It is empty for a file at the top.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn passes_on(path: &str, code: &Code, import: &Import, to: &Target) -> bool {
    let in_own_folder = matches!(to, Target::File(to) if to.starts_with(folder(path)));
    let is_face = path == "lib.rs" || path.ends_with("/mod.rs");
    is_face && import.is_public && in_own_folder && !code.names.contains(&import.name)
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    fn edges(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let show = |to: &Target| match to {
            Target::File(path) => path.clone(),
            Target::Crate(name) => format!("<{name}>"),
        };
        planted(files).edges().iter().map(|edge| (edge.from.clone(), show(&edge.to))).collect()
    }

    fn of(file: &str, files: &[(&str, &str)]) -> Vec<String> {
        edges(files).into_iter().filter(|(from, _)| from == file).map(|(_, to)| to).collect()
    }

    #[test]
    fn crate_super_self_and_children_lead_to_files() {
        let files = [
            ("lib.rs", "pub mod a; pub mod b;"),
            ("a/mod.rs", "pub mod x; mod y; use y::Y; fn f() { self::x::X::new(); }"),
            ("a/x.rs", "use super::y::Y; use super::super::b; fn f() { b::g(); crate::b::g() }"),
            ("a/y.rs", ""),
            ("b.rs", ""),
        ];
        assert_eq!(of("a/mod.rs", &files), ["a/x.rs", "a/y.rs"]);
        assert_eq!(of("a/x.rs", &files), ["a/y.rs", "b.rs"]);
    }

    #[test]
    fn a_name_that_a_folder_passes_on_leads_to_the_file_that_has_it() {
        let files = [
            ("lib.rs", "pub mod a; pub mod b;"),
            ("a/mod.rs", "mod x; pub use x::X; pub struct Own;"),
            ("a/x.rs", ""),
            ("b.rs", "use crate::a::{X, Own}; use crate::a; fn f(x: a::X) {}"),
            ("main.rs", "use nfs_subdir_csi::a::X;"),
        ];
        assert_eq!(of("b.rs", &files), ["a/mod.rs", "a/x.rs"]);
        assert_eq!(of("main.rs", &files), ["a/x.rs"]);
        let passed_on: Vec<bool> = planted(&files).edges().iter().map(|edge| edge.is_passed_on).collect();
        assert_eq!(passed_on, [true, false, false, false]);
    }

    #[test]
    fn other_crates_are_named_also_when_they_have_another_name_in_the_file() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a.rs", "use rustix::fs as sys; fn f() { sys::open(); std::fs::read(); Vec::new(); }"),
        ];
        assert_eq!(of("a.rs", &files), ["<rustix>", "<std::fs>"]);
    }

    #[test]
    fn a_module_within_a_file_belongs_to_the_file() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub mod inner { use super::T; use super::super::b::U; } struct T;"),
            ("b.rs", "use crate::a::inner::V;"),
        ];
        assert_eq!(
            edges(&files),
            [("a.rs".to_owned(), "b.rs".to_owned()), ("b.rs".to_owned(), "a.rs".to_owned())]
        );
    }

    #[test]
    fn files_for_tests_are_left_out() {
        let files =
            [("lib.rs", "#[cfg(test)] mod tests; mod a;"), ("tests.rs", "use crate::a;"), ("a.rs", "")];
        assert_eq!(planted(&files).files().collect::<Vec<_>>(), ["a.rs", "lib.rs"]);
    }
}
