//! Every `bptt …` line in a `sh` block of the README and of the book is a valid command.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use super::Cli;

/// The documents; none where the package stands alone, without its repository.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let chapters = fs::read_dir(root.join("book/src")).into_iter().flatten();
    let chapters = chapters.map(|entry| entry.unwrap().path());
    chapters.chain([root.join("README.md")]).filter(|path| path.is_file()).collect()
}

/// The lines of all `sh` blocks; a backslash at the end joins two.
fn shell_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut inside, mut joined) = (false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
            match lines.last_mut() {
                Some(last) if joined => last.push_str(part),
                _ => lines.push(part.to_owned()),
            }
            joined = more;
        }
    }
    lines
}

/// The words of a line without its comment; double quotes group.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (None::<String>, false);
    for letter in line.chars() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '#' if !quoted && word.is_none() => break,
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
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
