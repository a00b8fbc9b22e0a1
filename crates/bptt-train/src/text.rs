//! Conversion between texts and symbols, which are characters or words.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use bptt_io::files;

use crate::Error;

/// The unit of a symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Unicode scalar values.
    #[default]
    Char,
    /// Words and punctuation marks (Unicode Standard Annex 29). Ends of lines (LF, CR LF, CR, NEL, U+2028, U+2029) are the only
    /// white space that is a symbol, a newline.
    Word,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Char => "char",
            Self::Word => "word",
        })
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        match given {
            "char" => Ok(Self::Char),
            "word" => Ok(Self::Word),
            _ => Err(Error::UnknownChoice {
                choice: "level",
                given: given.into(),
                expected: "char or word".into(),
            }),
        }
    }
}

/// A byte-order mark at the beginning of a UTF-8 file says only that it is one.
const MARK: char = '\u{feff}';

/// Reads a UTF-8 text file, without its byte-order mark if it has one.
///
/// # Errors
/// If the file cannot be read, is empty, or is not UTF-8 (the message has the offset of the first invalid byte).
pub fn read_text(path: &Path) -> Result<String, Error> {
    let mut text = read_utf8(path)?;
    if text.starts_with(MARK) {
        text.drain(..MARK.len_utf8());
    }
    if text.is_empty() {
        return Err(Error::EmptyText { name: path.display().to_string() });
    }
    Ok(text)
}

/// Reads a UTF-8 file, empty or not.
///
/// # Errors
/// If the file cannot be read or is not UTF-8 (the message has the offset of the first invalid byte).
pub fn read_utf8(path: &Path) -> Result<String, Error> {
    String::from_utf8(files::read(path)?).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Error::NotUtf8 { path: path.into(), offset, byte: error.as_bytes()[offset] }
    })
}

/// What [`read_text`] and [`symbols`] read otherwise than it stands in a file, a sentence each.
///
/// # Errors
/// If the file cannot be read or is not UTF-8.
pub fn normalized(path: &Path, level: Level) -> Result<Vec<String>, Error> {
    let (text, name) = (read_utf8(path)?, path.display());
    let mut said = Vec::new();
    if text.starts_with(MARK) {
        said.push(format!("the byte-order mark at the beginning of {name} is not a symbol"));
    }
    if level == Level::Word && text.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        said.push(format!(
            "every end of a line in {name} (LF, CR LF, CR, NEL, U+2028, U+2029) is the same symbol, a newline"
        ));
    }
    Ok(said)
}

/// The symbols of a text, each with its byte offset.
pub fn symbols(text: &str, level: Level) -> Vec<(usize, &str)> {
    match level {
        Level::Char => text.char_indices().map(|(at, c)| (at, &text[at..at + c.len_utf8()])).collect(),
        Level::Word => text.split_word_bound_indices().filter_map(word_symbol).collect(),
    }
}

/// Whatever ends a line becomes a newline; other white space is dropped.
fn word_symbol((at, word): (usize, &str)) -> Option<(usize, &str)> {
    match word {
        "\n" | "\r\n" | "\r" | "\u{85}" | "\u{2028}" | "\u{2029}" => Some((at, "\n")),
        _ if word.chars().all(char::is_whitespace) => None,
        _ => Some((at, word)),
    }
}

/// The text of some symbols.
///
/// Characters give exactly the text they came from. Words are joined by single spaces, which are left out where English
/// punctuation has none, so that the original spacing is not always restored.
pub fn join(symbols: &[&str], level: Level) -> String {
    if level == Level::Char {
        return symbols.concat();
    }
    let mut text = String::new();
    let mut space = false;
    for symbol in symbols {
        if space && !stands_after_no_space(symbol) {
            text.push(' ');
        }
        text.push_str(symbol);
        space = !stands_before_no_space(symbol);
    }
    text
}

fn stands_after_no_space(symbol: &str) -> bool {
    matches!(
        symbol,
        "," | "." | ";" | ":" | "!" | "?" | ")" | "]" | "}" | "’" | "”" | "»" | "…" | "%" | "-" | "/" | "\n"
    )
}

fn stands_before_no_space(symbol: &str) -> bool {
    matches!(symbol, "(" | "[" | "{" | "‘" | "“" | "«" | "-" | "/" | "\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn cut(text: &str, level: Level) -> Vec<&str> {
        symbols(text, level).into_iter().map(|(_, symbol)| symbol).collect()
    }

    #[test]
    fn words_keep_punctuation_and_newlines_and_drop_other_white_space() {
        let text = "Don't go,\tJohn!\r\n\n  (é 3.5)";
        let words = cut(text, Level::Word);
        assert_eq!(words, ["Don't", "go", ",", "John", "!", "\n", "\n", "(", "é", "3.5", ")"]);
        assert_eq!(symbols(text, Level::Word)[8], (21, "é"));
    }

    #[test]
    fn every_end_of_a_line_is_the_same_symbol() {
        let lines = "a\nb\r\nc\rd\u{85}e\u{2028}f\u{2029}g \u{b}h";
        assert_eq!(cut(lines, Level::Word).concat(), "a\nb\nc\nd\ne\nf\ngh");
    }

    #[test]
    fn characters_are_unicode_scalar_values_and_come_back_exactly() {
        let text = "aé\r\n 日";
        assert_eq!(symbols(text, Level::Char)[1..3], [(1, "é"), (3, "\r")]);
        assert_eq!(join(&cut(text, Level::Char), Level::Char), text);
    }

    #[test]
    fn joined_words_read_as_english() {
        for text in ["No food (today), “John”: none.\nWell-known; so what?", "a b"] {
            assert_eq!(join(&cut(text, Level::Word), Level::Word), text);
        }
    }

    #[test]
    fn levels_are_read_as_they_are_shown() {
        for level in [Level::Char, Level::Word] {
            assert_eq!(level.to_string().parse::<Level>().unwrap(), level);
        }
        assert_eq!(
            "byte".parse::<Level>().unwrap_err().to_string(),
            "level: byte is not possible; expected char or word"
        );
    }

    #[test]
    fn files_that_hold_no_text_are_refused_by_name() {
        let directory = std::env::temp_dir();
        let path = directory.join(format!("bptt-text-{}", std::process::id()));
        let refusal = |path: &Path| read_text(path).unwrap_err().to_string();
        assert_eq!(refusal(&path), format!("cannot read {}", path.display()));

        fs::write(&path, "").unwrap();
        assert_eq!(
            refusal(&path),
            format!("{} is empty; give a text with at least one symbol", path.display())
        );

        fs::write(&path, b"caf\xe9 au lait").unwrap();
        assert!(refusal(&path).contains("not UTF-8: byte 0xe9 at offset 3 "), "{}", refusal(&path));

        fs::write(&path, "café").unwrap();
        assert_eq!(read_text(&path).unwrap(), "café");
        fs::write(&path, "\u{feff}a\u{feff}\r\n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "a\u{feff}\r\n");
        let said = |level| normalized(&path, level).unwrap().len();
        assert_eq!((said(Level::Char), said(Level::Word)), (1, 2));
        fs::write(&path, "\u{feff}").unwrap();
        assert!(refusal(&path).contains("empty"), "{}", refusal(&path));
        fs::remove_file(&path).unwrap();
    }
}
