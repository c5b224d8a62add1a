//! What a source file says about other files: its imports, the paths in its code, and its modules. Code that is compiled only
//! for tests is not included.

use std::collections::BTreeSet;
use std::iter::Peekable;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A path such as `crate::linux::Dir`, as it is written.
pub(crate) type Segments = Vec<String>;

/// One name that a `use` brings into the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) path: Segments,
    /// The name that it has in the file. `*` stands for everything.
    pub(crate) name: String,
    /// Whether it is visible outside of the file.
    pub(crate) is_public: bool,
    /// The module in the file that has the `use`; empty for the file's own module.
    pub(crate) within: Segments,
}

/// A path in the code that has at least two segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) path: Segments,
    pub(crate) within: Segments,
}

#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) imports: Vec<Import>,
    pub(crate) mentions: Vec<Mention>,
    /// Names that stand alone in the code, outside of `use`.
    pub(crate) names: BTreeSet<String>,
    /// Modules in files of their own (`mod name;`) that only this folder can see.
    pub(crate) private_modules: BTreeSet<String>,
    /// Modules in files of their own that are compiled for tests only.
    pub(crate) test_modules: BTreeSet<String>,
}

type Tokens = Peekable<std::vec::IntoIter<TokenTree>>;

impl Code {
    pub(crate) fn parse(text: &str) -> Self {
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{error}"));
        let mut code = Self::default();
        code.read(tokens, &Segments::new());
        code
    }

    fn read(&mut self, tokens: TokenStream, within: &[String]) {
        let mut tokens: Tokens = tokens.into_iter().collect::<Vec<_>>().into_iter().peekable();
        let mut is_public = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    if is_for_tests(tokens.peek()) {
                        self.skip_item(&mut tokens);
                    }
                }
                TokenTree::Ident(word) if word == "pub" => {
                    is_public = true;
                    // `pub(crate)`, `pub(in path)`
                    tokens.next_if(|next| is_group(next, Delimiter::Parenthesis));
                    continue;
                }
                TokenTree::Ident(word) if word == "use" && !is_punct(tokens.peek(), '<') => {
                    let mut statement = tokens.by_ref().take_while(|token| !is_punct(Some(token), ';'));
                    let tree = statement.by_ref().collect::<Vec<_>>();
                    for (path, name) in use_tree(&tree) {
                        self.imports.push(Import { path, name, is_public, within: within.to_vec() });
                    }
                }
                TokenTree::Ident(word) if word == "mod" => {
                    let Some(TokenTree::Ident(name)) = tokens.next() else { continue };
                    match tokens.next() {
                        Some(TokenTree::Group(body)) => {
                            self.read(body.stream(), &[within, &[name.to_string()]].concat());
                        }
                        _ if is_public => {}
                        _ => drop(self.private_modules.insert(name.to_string())),
                    }
                }
                TokenTree::Ident(first) => {
                    let path = rest_of_path(first.to_string(), &mut tokens);
                    if path.len() > 1 {
                        self.mentions.push(Mention { path, within: within.to_vec() });
                    } else {
                        self.names.extend(path);
                    }
                }
                TokenTree::Group(group) => self.read(group.stream(), within),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            is_public = false;
        }
    }

    /// Skips an item and the attributes before it.
    fn skip_item(&mut self, tokens: &mut Tokens) {
        let mut before: Vec<String> = Vec::new();
        for token in tokens.by_ref() {
            if is_punct(Some(&token), ';') || is_group(&token, Delimiter::Brace) {
                if let [.., word, name] = &before[..]
                    && word == "mod"
                    && is_punct(Some(&token), ';')
                {
                    self.test_modules.insert(name.clone());
                }
                return;
            }
            before.push(token.to_string());
        }
    }
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

/// Whether the brackets of an attribute contain `cfg(test)`.
fn is_for_tests(attribute: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(brackets)) = attribute else { return false };
    let text: String = brackets.stream().to_string().split_whitespace().collect();
    text == "cfg(test)"
}

/// Reads the rest of a path after its first segment.
fn rest_of_path(first: String, tokens: &mut Tokens) -> Segments {
    let mut path = vec![first];
    loop {
        let is_colons = matches!(tokens.peek(), Some(TokenTree::Punct(punct))
            if punct.as_char() == ':' && punct.spacing() == Spacing::Joint);
        if !is_colons {
            return path;
        }
        tokens.next();
        tokens.next();
        match tokens.peek() {
            Some(TokenTree::Ident(word)) => path.push(word.to_string()),
            // `Vec::<u8>`, or a macro's `$crate::$name`
            _ => return path,
        }
        tokens.next();
    }
}

/// The paths of `a::{b, c::d as e, self, *}`, each with the name that it has in the file.
fn use_tree(tokens: &[TokenTree]) -> Vec<(Segments, String)> {
    let mut path = Segments::new();
    let mut rest = tokens.iter();
    while let Some(token) = rest.next() {
        match token {
            TokenTree::Ident(word) if word == "as" => {
                let name = rest.next().unwrap().to_string();
                return vec![(without_self(path), name)];
            }
            TokenTree::Ident(word) => path.push(word.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == '*' => return vec![(path, "*".to_owned())],
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let trees = inner.split(|token| is_punct(Some(token), ',')).filter(|tree| !tree.is_empty());
                return trees
                    .flat_map(use_tree)
                    .map(|(more, name)| {
                        // `self` in braces stands for the path before the braces.
                        let name = if name == "self" { path.last().unwrap().clone() } else { name };
                        (without_self([&path[..], &more].concat()), name)
                    })
                    .collect();
            }
            _ => {}
        }
    }
    let name = path.last().cloned().unwrap_or_default();
    vec![(path, name)]
}

fn without_self(mut path: Segments) -> Segments {
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(text: &str) -> Vec<(String, String)> {
        Code::parse(text).imports.into_iter().map(|import| (import.path.join("::"), import.name)).collect()
    }

    #[test]
    fn nested_braces_aliases_and_self_are_expanded() {
        let pairs =
            |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect::<Vec<_>>();
        assert_eq!(
            imported("use crate::a::{b::{self, C as D}, e::*, f}; use ::nix::errno as e;"),
            pairs(&[
                ("crate::a::b", "b"),
                ("crate::a::b::C", "D"),
                ("crate::a::e", "*"),
                ("crate::a::f", "f"),
                ("nix::errno", "e"),
            ])
        );
    }

    #[test]
    fn code_for_tests_comments_and_texts_are_left_out() {
        let code = Code::parse(
            "//! [`crate::a::B`]\n#[cfg(test)]\nmod tests;\n/* crate::c::d */\nconst E: &str = \"crate::f::g\";
            #[cfg(test)]\n#[allow(x)]\nmod more { use crate::h::i; }\nfn j() { crate::k::l(); }",
        );
        assert_eq!(code.test_modules, BTreeSet::from(["tests".to_owned()]));
        assert!(code.imports.is_empty());
        let paths: Vec<String> = code.mentions.iter().map(|mention| mention.path.join("::")).collect();
        assert_eq!(paths, ["crate::k::l"]);
    }

    #[test]
    fn paths_in_macros_types_and_attributes_are_found() {
        let code = Code::parse(
            "#[derive(a::B)] struct C(Vec<d::E>); fn f() -> impl Fn() + use<> { assert!(g::h::<u8>(i.j)); }",
        );
        let paths: Vec<String> = code.mentions.iter().map(|mention| mention.path.join("::")).collect();
        assert_eq!(paths, ["a::B", "d::E", "g::h"]);
    }
}
