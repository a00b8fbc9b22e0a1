//! Every `bptt …` line in a `sh` block of the README and of the book is a valid command.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use super::Cli;
use super::shell_lines::{shell_lines, words};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The documents; none where the package stands alone, without its repository.
fn documents() -> Vec<PathBuf> {
    let root = root();
    let chapters = fs::read_dir(root.join("book/src")).into_iter().flatten();
    let chapters = chapters.map(|entry| entry.unwrap().path());
    chapters.chain([root.join("README.md")]).filter(|path| path.is_file()).collect()
}

#[test]
fn quotes_group_words_and_comments_end_a_line() {
    let line = r#"bptt trace run --text "a # b" --of x#y   # a comment"#;
    assert_eq!(words(line), ["bptt", "trace", "run", "--text", "a # b", "--of", "x#y"]);
    assert_eq!(shell_lines("```sh\na \\\nb\n```\nc\n```text\nd\n```"), ["a b"]);
}

#[test]
fn commands_in_readme_and_book_are_valid() {
    let documents = documents();
    let mut commands = 0;
    for document in &documents {
        for line in shell_lines(&fs::read_to_string(document).unwrap()) {
            let words = words(&line);
            if words.first().is_none_or(|first| first != "bptt") {
                continue;
            }
            commands += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{}: {line}\n{error}", document.display());
            }
            let old = super::old_names(&words);
            assert!(old.is_empty(), "{}: {line}: old names {old:?}", document.display());
        }
    }
    assert!(documents.is_empty() || commands > 40, "only {commands} commands were found");
}

#[test]
fn the_glossary_of_the_book_is_that_of_the_command() {
    let Ok(chapter) = fs::read_to_string(root().join("book/src/glossary.md")) else { return };
    let terms: String = bptt_view::glossary::WORDS
        .iter()
        .map(|(word, meaning)| format!("- **{word}**: {meaning}\n"))
        .collect();
    assert_eq!(chapter, format!("# Glossary\n\n`bptt words` prints these terms.\n\n{terms}"));
}
