//! No imports may form a circle, so that of two files it is always clear which one is above the other. There is one exception: the private
//! files of one folder, and the `mod.rs` of that folder, may import each other. They are one unit that is split into files only because of
//! its length.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Crate, Target, folder};

/// Each group of files that import each other, directly or through others, unless they are the private files of one folder.
fn circles(krate: &Crate) -> Vec<Vec<String>> {
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for edge in krate.edges() {
        if let (Target::File(to), false) = (edge.to, edge.is_passed_on) {
            needs.entry(edge.from).or_default().insert(to);
        }
    }
    let reach: BTreeMap<&String, BTreeSet<String>> =
        needs.keys().map(|file| (file, reachable(&needs, file))).collect();
    let mut groups = BTreeSet::new();
    for (file, below) in &reach {
        let group: Vec<String> = below
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(*file)))
            .cloned()
            .collect();
        if group.len() > 1 && !is_one_thing(krate, &group) {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

fn reachable(needs: &BTreeMap<String, BTreeSet<String>>, file: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![file];
    while let Some(file) = todo.pop() {
        for next in needs.get(file).into_iter().flatten() {
            if found.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    found
}

fn is_one_thing(krate: &Crate, group: &[String]) -> bool {
    let own = folder(&group[0]);
    let is_part = |file: &String| krate.is_private(file) || file.ends_with("/mod.rs");
    group.iter().all(|file| folder(file) == own && is_part(file))
}

/// The imports between these files, for the message.
fn explain(krate: &Crate, group: &[String]) -> String {
    let edges = krate.edges();
    let within = edges.iter().filter_map(|edge| match &edge.to {
        Target::File(to) if !edge.is_passed_on && group.contains(&edge.from) && group.contains(to) => {
            Some(format!("  {} needs {to} ({})", edge.from, edge.path.join("::")))
        }
        _ => None,
    });
    within.collect::<Vec<_>>().join("\n")
}

#[test]
fn no_file_needs_a_file_that_needs_it() {
    let krate = super::this_crate();
    let found: Vec<String> = circles(&krate).iter().map(|group| explain(&krate, group)).collect();
    assert!(found.is_empty(), "files import each other in a circle:\n{}", found.join("\n\n"));
}

#[test]
fn a_planted_circle_is_noticed() {
    let circle = super::planted(&[
        ("lib.rs", "pub mod a; pub mod b; pub mod c;"),
        ("a.rs", "use crate::b;"),
        ("b.rs", "fn f() { crate::c::g() }"),
        ("c.rs", "use super::a::{self};"),
    ]);
    assert_eq!(circles(&circle), [["a.rs", "b.rs", "c.rs"]]);
}

#[test]
fn private_parts_of_one_folder_may_need_each_other_and_no_others_may() {
    let parts = |one: &'static str, face: &'static str| {
        super::planted(&[
            ("lib.rs", "pub mod a; pub mod b;"),
            ("a/mod.rs", face),
            ("a/x.rs", one),
            ("a/y.rs", "use super::x;"),
            ("b.rs", "use crate::a::x::X;"),
        ])
    };
    assert!(circles(&parts("use super::y;", "mod x; mod y;")).is_empty());
    assert_eq!(circles(&parts("use super::y;", "pub mod x; mod y;")), [["a/x.rs", "a/y.rs"]]);
    assert_eq!(circles(&parts("use crate::b;", "mod x; mod y;")), [["a/x.rs", "b.rs"]]);
    // A `mod.rs` that only re-exports a file does not need it.
    assert!(circles(&parts("use super::Own;", "pub mod x; mod y; pub use x::X; pub struct Own;")).is_empty());
    assert_eq!(
        circles(&parts("use super::Own;", "pub mod x; mod y; pub use x::X; pub struct Own(X);")),
        [["a/mod.rs", "a/x.rs"]]
    );
}
