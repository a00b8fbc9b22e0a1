//! Vocabularies: the symbols of a text with their ids.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::text::{self, Level};

/// The symbol for all unknown symbols. No text contains it as one symbol.
pub const UNK: &str = "<unk>";

/// How later texts with unknown symbols are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They are errors.
    Refuse,
    /// They are read as `<unk>`.
    Map,
}

/// The vocabulary of a network: symbols with ids from 0, the most frequent first.
///
/// Stored as `{level, symbols, unk}`; a symbol that appears twice is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Vocabulary {
    level: Level,
    symbols: Vec<String>,
    index: HashMap<String, u32>,
    unk: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    level: Level,
    symbols: Vec<String>,
    unk: Option<u32>,
}

impl Vocabulary {
    /// The symbols of `text` that occur at least `min_count` times, by decreasing frequency, ties in code point order. With
    /// [`Unknown::Map`], `<unk>` follows as the last id and represents every other symbol.
    ///
    /// # Errors
    /// If no symbol is left, or if `min_count` drops symbols without an `<unk>`.
    pub fn build(text: &str, level: Level, unknown: Unknown, min_count: usize) -> Result<Self, Error> {
        if min_count > 1 && unknown == Unknown::Refuse {
            let expected = "1, or --unk so that rarer symbols become <unk>";
            return Err(Error::setting("min_count", min_count, expected));
        }
        let mut counts = HashMap::<&str, usize>::new();
        for (_, symbol) in text::symbols(text, level) {
            *counts.entry(symbol).or_default() += 1;
        }
        if counts.is_empty() {
            return Err(Error::EmptyText { name: "the text".into() });
        }
        counts.retain(|_, count| *count >= min_count);
        let mut ranked: Vec<_> = counts.into_iter().collect();
        ranked.sort_unstable_by_key(|&(symbol, count)| (Reverse(count), symbol));
        let mut symbols: Vec<String> = ranked.into_iter().map(|(symbol, _)| symbol.to_owned()).collect();
        let unk = (unknown == Unknown::Map).then_some(symbols.len());
        if unk.is_some() {
            symbols.push(UNK.to_owned());
        }
        Self::new(level, symbols, unk.map(id_of))
    }

    fn new(level: Level, symbols: Vec<String>, unk: Option<u32>) -> Result<Self, Error> {
        let mut index = HashMap::with_capacity(symbols.len());
        for (id, symbol) in symbols.iter().enumerate() {
            if index.insert(symbol.clone(), id_of(id)).is_some() {
                return Err(Error::Vocabulary { problem: format!("{symbol:?} appears twice") });
            }
        }
        if let Some(id) = unk.filter(|&id| id as usize >= symbols.len()) {
            let problem = format!("{UNK} has id {id}, there are {} symbols", symbols.len());
            return Err(Error::Vocabulary { problem });
        }
        Ok(Self { level, symbols, index, unk })
    }

    /// V, the number of symbols, `<unk>` included.
    #[allow(clippy::len_without_is_empty)] // a vocabulary is never empty
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// The unit of a symbol.
    pub fn level(&self) -> Level {
        self.level
    }

    /// All symbols in the order of their ids.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// The id of `<unk>`, if it exists.
    pub fn unk(&self) -> Option<u32> {
        self.unk
    }

    /// The symbol with this id.
    ///
    /// # Panics
    /// If the id is not below [`len`](Self::len).
    pub fn symbol(&self, id: u32) -> &str {
        &self.symbols[id as usize]
    }

    /// The id of this symbol, if it exists.
    pub fn id(&self, symbol: &str) -> Option<u32> {
        self.index.get(symbol).copied()
    }

    /// The ids of a text's symbols.
    ///
    /// # Errors
    /// At the first unknown symbol, with its line and column, unless there is an `<unk>`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let symbols = text::symbols(text, self.level);
        let ids = symbols.into_iter().enumerate().map(|(position, (at, symbol))| {
            self.id(symbol).or(self.unk).ok_or_else(|| unknown(text, at, symbol, position))
        });
        ids.collect()
    }

    /// The text of these ids, see [`text::join`].
    ///
    /// # Panics
    /// If an id is not below [`len`](Self::len).
    pub fn decode(&self, ids: &[u32]) -> String {
        let symbols: Vec<&str> = ids.iter().map(|&id| self.symbol(id)).collect();
        text::join(&symbols, self.level)
    }

    /// The symbol with this id as it is shown in tables: ⏎, ␣ and ⇥ for newline, space and tab, escapes for other invisible
    /// characters.
    ///
    /// # Panics
    /// If the id is not below [`len`](Self::len).
    pub fn show(&self, id: u32) -> Cow<'_, str> {
        match self.symbol(id) {
            "\n" => "⏎".into(),
            " " => "␣".into(),
            "\t" => "⇥".into(),
            symbol if symbol.chars().any(is_invisible) => symbol.escape_default().to_string().into(),
            symbol => symbol.into(),
        }
    }
}

fn is_invisible(c: char) -> bool {
    c.is_control() || c.is_whitespace()
}

fn id_of(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2³² symbols")
}

fn unknown(text: &str, at: usize, symbol: &str, position: usize) -> Error {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Error::UnknownSymbol {
        symbol: symbol.into(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        position: position + 1,
    }
}

impl TryFrom<Stored> for Vocabulary {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self, Error> {
        Self::new(stored.level, stored.symbols, stored.unk)
    }
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Self {
        Self { level: vocabulary.level, symbols: vocabulary.symbols, unk: vocabulary.unk }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_symbol_comes_first_and_code_points_break_ties() {
        let vocabulary = Vocabulary::build("banana\tb", Level::Char, Unknown::Refuse, 1).unwrap();
        assert_eq!(vocabulary.symbols(), ["a", "b", "n", "\t"]);
        assert_eq!(vocabulary.encode("ban").unwrap(), [1, 0, 2]);
        assert_eq!(vocabulary.decode(&[1, 0, 2, 0, 2, 0, 3, 1]), "banana\tb");
        assert_eq!(vocabulary.id("x"), None);
    }

    #[test]
    fn an_unknown_symbol_is_named_with_its_place() {
        let vocabulary = Vocabulary::build("no food .\n", Level::Word, Unknown::Refuse, 1).unwrap();
        assert_eq!(
            vocabulary.encode("no food.\nno petrol.").unwrap_err().to_string(),
            "line 2, column 4: \"petrol\" (symbol 6 of the text) is not in the vocabulary; a network trained \
             with --unk reads it as <unk>"
        );
    }

    #[test]
    fn rare_words_become_unk() {
        let text = "no food no water no food";
        let vocabulary = Vocabulary::build(text, Level::Word, Unknown::Map, 2).unwrap();
        assert_eq!(vocabulary.symbols(), ["no", "food", UNK]);
        assert_eq!((vocabulary.len(), vocabulary.unk()), (3, Some(2)));
        let ids = vocabulary.encode("no water").unwrap();
        assert_eq!(ids, [0, 2]);
        assert_eq!(vocabulary.decode(&ids), "no <unk>");
        assert!(matches!(
            Vocabulary::build(text, Level::Word, Unknown::Refuse, 2),
            Err(Error::Setting { .. })
        ));
        assert!(matches!(Vocabulary::build(" ", Level::Word, Unknown::Map, 1), Err(Error::EmptyText { .. })));
    }

    #[test]
    fn invisible_symbols_are_shown() {
        let vocabulary = Vocabulary::build("\n \t\u{7}\u{a0}é", Level::Char, Unknown::Refuse, 1).unwrap();
        let shown: Vec<_> = (0..6).map(|id| vocabulary.show(id)).collect();
        assert_eq!(shown, ["\\u{7}", "⇥", "⏎", "␣", "\\u{a0}", "é"]);
    }

    #[test]
    fn a_stored_vocabulary_comes_back_whole_or_not_at_all() {
        let vocabulary = Vocabulary::build("abba c", Level::Char, Unknown::Map, 1).unwrap();
        let json = serde_json::to_string(&vocabulary).unwrap();
        assert_eq!(json, r#"{"level":"char","symbols":["a","b"," ","c","<unk>"],"unk":4}"#);
        assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocabulary);

        let refusal = |json| serde_json::from_str::<Vocabulary>(json).unwrap_err().to_string();
        let twice = refusal(r#"{"level":"char","symbols":["a","b","a"],"unk":null}"#);
        assert!(twice.contains("\"a\" appears twice"), "{twice}");
        let outside = refusal(r#"{"level":"char","symbols":["a"],"unk":1}"#);
        assert!(outside.contains("<unk> has id 1, there are 1 symbols"), "{outside}");
    }
}
