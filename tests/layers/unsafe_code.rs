//! Unsafe code is in one file only.

use proc_macro2::{TokenStream, TokenTree};

use super::{files, read};

/// The file that may have unsafe code.
const ALLOWED: &str = "src/linux/quota/sys.rs";

/// Whether code, comments and texts left out, says `unsafe`, or allows it.
fn mentions_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions_unsafe(group.stream()),
        TokenTree::Ident(name) => name == "unsafe" || name == "unsafe_code",
        _ => false,
    })
}

#[test]
fn only_one_file_has_unsafe_code() {
    let code = files("src").into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let found: Vec<String> = code
        .filter(|path| mentions_unsafe(read(path).unwrap().parse().unwrap()))
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(found, [ALLOWED]);
}

#[test]
fn unsafe_code_and_its_permission_are_noticed() {
    for code in ["fn f() { unsafe { g() } }", "unsafe impl Send for S {}", "#![allow(unsafe_code)]"] {
        assert!(mentions_unsafe(code.parse().unwrap()), "{code}");
    }
    assert!(!mentions_unsafe("/// unsafe\nfn f() { \"unsafe\"; }".parse().unwrap()));
}
