//! The paths in a source file: what it imports, what it re-exports, and which modules exist in tests alone.
//!
//! Files are read as tokens, so comments and strings do not count and the bodies of macros do.

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// A path of a file, as written, with `crate`, `self` and `super` in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Path {
    /// The inline modules around it, outermost first.
    pub within: Vec<String>,
    pub segments: Vec<String>,
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// One name of a `use`; it binds this name. `reexport`: it has a visibility.
    Use { name: String, reexport: bool },
    /// In an expression or type.
    Inline,
}

/// What is in a file besides its tests.
#[derive(Debug, Default)]
pub struct Source {
    pub paths: Vec<Path>,
    /// Modules of the file that are compiled for tests only: `#[cfg(test)] mod tests;`.
    pub test_modules: Vec<String>,
}

impl Source {
    /// # Errors
    /// If the text is not Rust.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens: TokenStream = text.parse().map_err(|error| format!("{error}"))?;
        let mut source = Self::default();
        source.read(tokens, &mut Vec::new());
        Ok(source)
    }

    fn read(&mut self, tokens: TokenStream, within: &mut Vec<String>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += match (&rest[0], rest.get(1)) {
                (TokenTree::Punct(hash), Some(TokenTree::Group(attribute)))
                    if hash.as_char() == '#' && is_for_tests(attribute) =>
                {
                    self.skip_item(rest)
                }
                (TokenTree::Ident(word), _) if word == "use" => self.read_use(&tokens, at, within),
                (TokenTree::Ident(word), Some(TokenTree::Group(scope)))
                    if word == "pub" && scope.delimiter() == Delimiter::Parenthesis =>
                {
                    2
                }
                (TokenTree::Ident(word), Some(TokenTree::Ident(name)))
                    if word == "mod" && is_brace(rest.get(2)) =>
                {
                    let Some(TokenTree::Group(body)) = rest.get(2) else { unreachable!("it is a brace") };
                    within.push(name.to_string());
                    self.read(body.stream(), within);
                    within.pop();
                    3
                }
                (TokenTree::Ident(_), _) => self.read_path(&tokens, at, within),
                (TokenTree::Group(group), _) => {
                    self.read(group.stream(), within);
                    1
                }
                _ => 1,
            };
        }
    }

    /// The number of tokens of an item that begins with a test attribute.
    fn skip_item(&mut self, tokens: &[TokenTree]) -> usize {
        let mut at = 0;
        while matches!(&tokens.get(at), Some(TokenTree::Punct(hash)) if hash.as_char() == '#') {
            at += 2;
        }
        let begin = at;
        let is_use = tokens[begin..].iter().take(3).any(|token| is_word(token, "use"));
        for token in &tokens[begin.min(tokens.len())..] {
            at += 1;
            match token {
                TokenTree::Punct(end) if end.as_char() == ';' => break,
                TokenTree::Group(body) if body.delimiter() == Delimiter::Brace && !is_use => return at,
                _ => {}
            }
        }
        if let [.., TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(_)] = &tokens[..at]
            && word == "mod"
        {
            self.test_modules.push(name.to_string());
        }
        at
    }

    /// The number of tokens of the `use` at `at`.
    fn read_use(&mut self, tokens: &[TokenTree], at: usize, within: &[String]) -> usize {
        let tree = &tokens[at + 1..];
        let end = tree.iter().position(|token| is_punct(token, ';')).unwrap_or(tree.len());
        let reexport = match &tokens[..at] {
            [.., TokenTree::Ident(word)] | [.., TokenTree::Ident(word), TokenTree::Group(_)] => word == "pub",
            _ => false,
        };
        self.read_tree(&tree[..end], &[], within, reexport);
        end + 2
    }

    /// The names of a use tree behind `prefix`.
    fn read_tree(&mut self, tree: &[TokenTree], prefix: &[String], within: &[String], reexport: bool) {
        for branch in tree.split(|token| is_punct(token, ',')) {
            let mut segments = prefix.to_vec();
            let mut alias = None;
            let mut line = 0;
            let mut tokens = branch.iter();
            while let Some(token) = tokens.next() {
                line = if line == 0 { token.span().start().line } else { line };
                match token {
                    TokenTree::Group(group) => {
                        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                        self.read_tree(&inner, &segments, within, reexport);
                        segments.clear();
                    }
                    TokenTree::Ident(word) if word == "as" => alias = tokens.next().map(ToString::to_string),
                    TokenTree::Ident(word) => segments.push(word.to_string()),
                    TokenTree::Punct(star) if star.as_char() == '*' => segments.push("*".into()),
                    _ => {}
                }
            }
            if segments.len() > prefix.len().max(1) && segments.last().is_some_and(|last| last == "self") {
                segments.pop();
            }
            let Some(last) = segments.last() else { continue };
            let name = alias.unwrap_or_else(|| last.clone());
            let kind = Kind::Use { name, reexport };
            self.paths.push(Path { within: within.to_vec(), segments, line, kind });
        }
    }

    /// The number of tokens of the identifier or path at `at`; a path of two segments or more is kept.
    fn read_path(&mut self, tokens: &[TokenTree], at: usize, within: &[String]) -> usize {
        let mut segments = vec![tokens[at].to_string()];
        let mut end = at + 1;
        while let [TokenTree::Punct(first), TokenTree::Punct(second), TokenTree::Ident(next), ..] =
            &tokens[end..]
            && (first.as_char(), second.as_char()) == (':', ':')
            && first.spacing() == Spacing::Joint
        {
            segments.push(next.to_string());
            end += 3;
        }
        // The end of a path that began with `<T as Trait>`, or a path from `::name`, another crate's.
        let continues = matches!(&tokens[..at], [.., a, b] if is_punct(a, ':') && is_punct(b, ':'));
        if segments.len() > 1 && !continues {
            let line = tokens[at].span().start().line;
            self.paths.push(Path { within: within.to_vec(), segments, line, kind: Kind::Inline });
        }
        end - at
    }
}

/// Whether an attribute keeps an item out of what users compile: `[test]`, `[cfg(test)]`, `[cfg(all(test, …))]`.
fn is_for_tests(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_brace(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String)> {
        let source = Source::parse(text).unwrap();
        source.paths.iter().map(|path| (path.line, path.segments.join("::"))).collect()
    }

    #[test]
    fn every_name_of_a_use_is_a_path() {
        let text =
            "use crate::{Error, kernel::{self, norm as size}};\npub(crate) use\n  super::super::Cell;\n";
        let expected = [(1, "crate::Error"), (1, "crate::kernel"), (1, "crate::kernel::norm")];
        let expected = expected.into_iter().chain([(3, "super::super::Cell")]);
        assert_eq!(found(text), expected.map(|(line, path)| (line, path.into())).collect::<Vec<_>>());
        let source = Source::parse(text).unwrap();
        let names = source.paths.iter().map(|path| match &path.kind {
            Kind::Use { name, reexport } => (name.as_str(), *reexport),
            Kind::Inline => unreachable!("all are imports"),
        });
        assert!(names.eq([("Error", false), ("kernel", false), ("size", false), ("Cell", true)]));
    }

    #[test]
    fn paths_in_code_and_macros_count_and_those_in_text_do_not() {
        let text = r#"
            //! [`crate::Doc`]
            /// [`crate::Doc`]
            pub(in crate::model) fn f(x: crate::model::State) -> T {
                let text = "crate::text"; // crate::comment
                x.field::<crate::model::Width>();
                $crate::kernel::dot(super::super::ledger::Entry::new(a::b::c), x.y, <T as Real>::of(1))
            }
            macro_rules! m { () => { use $crate::model::Cell; } }
        "#;
        let expected = [
            (4, "crate::model::State"),
            (6, "crate::model::Width"),
            (7, "crate::kernel::dot"),
            (7, "super::super::ledger::Entry::new"),
            (7, "a::b::c"),
            (9, "crate::model::Cell"),
        ];
        assert_eq!(found(text), expected.map(|(line, path)| (line, path.to_string())));
    }

    #[test]
    fn tests_are_exempt() {
        let text = "
            #[cfg(test)] use crate::a::{b, c};
            #[cfg(test)] mod separate;
            #[cfg(test)]
            #[allow(unused)]
            mod tests { use crate::d; }
            #[test] fn t() { crate::e::f() }
            #[cfg(not(test))] use crate::g;
            mod inline { use super::h; }
        ";
        let source = Source::parse(text).unwrap();
        let paths: Vec<_> =
            source.paths.iter().map(|path| (path.segments.join("::"), path.within.clone())).collect();
        let inline = vec!["inline".to_string()];
        assert_eq!(paths, [("crate::g".into(), Vec::new()), ("super::h".into(), inline)]);
        assert_eq!(source.test_modules, ["separate"]);
    }
}
