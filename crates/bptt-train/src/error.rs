//! What can go wrong around a network: texts, runs and options.

use std::path::PathBuf;

/// An error of this crate. Every message names the thing, what was expected, and the way out where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text file is not UTF-8.
    #[error(
        "{} is not UTF-8: byte 0x{byte:02x} at offset {offset} cannot stand there; convert the file first, for \
         example with iconv -f latin1 -t utf-8",
        path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where the first bad byte is, counted from 0.
        offset: usize,
        /// That byte.
        byte: u8,
    },

    /// A text holds nothing to learn from.
    #[error("{name} is empty; give a text with at least one symbol")]
    EmptyText {
        /// The file or text.
        name: String,
    },

    /// A text has fewer symbols than what is asked of it.
    #[error(
        "the text is too short: {needs} {needed} symbols, given {given}; give a longer text or ask for less"
    )]
    TooShort {
        /// Symbols there are.
        given: usize,
        /// Symbols it takes.
        needed: usize,
        /// What takes them, with its verb: `"4 streams of windows of 32 steps need"`.
        needs: String,
    },

    /// A text holds a symbol that the vocabulary does not.
    #[error(
        "line {line}, column {column}: {symbol:?} (symbol {position} of the text) is not in the vocabulary; a \
         network trained with --unk reads it as <unk>"
    )]
    UnknownSymbol {
        /// The symbol.
        symbol: String,
        /// Its line, counted from 1.
        line: usize,
        /// Its column in characters, counted from 1.
        column: usize,
        /// Its place among the symbols of the text, counted from 1.
        position: usize,
    },

    /// A stored vocabulary contradicts itself.
    #[error("the vocabulary is damaged: {problem}; build it from the text again")]
    Vocabulary {
        /// What contradicts what.
        problem: String,
    },

    /// A run's settings or vocabulary cannot be used.
    #[error("{} cannot be used: {problem}", path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A folder holds a run already.
    #[error("{} holds a run already; choose another --out or remove it", folder.display())]
    RunExists {
        /// The folder.
        folder: PathBuf,
    },

    /// A folder holds a comparison with other settings.
    #[error(
        "{} holds a comparison whose {setting} is {there}, not {given}; give the same settings to go on with it, or choose \
         another --out",
        folder.display()
    )]
    ComparisonDiffers {
        /// The folder.
        folder: PathBuf,
        /// The first setting that differs.
        setting: String,
        /// What it is there.
        there: String,
        /// What was asked for.
        given: String,
    },

    /// The system has no more threads.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),

    /// An option has a value it cannot have.
    #[error("{option}: {given} is not possible; expected {expected}")]
    Option {
        /// The option's name.
        option: String,
        /// The value.
        given: String,
        /// What it may be.
        expected: String,
    },

    /// A file, or weights in it, cannot be used.
    #[error(transparent)]
    Io(bptt_io::Error),

    /// An error of the library underneath.
    #[error(transparent)]
    Model(#[from] bptt::Error),
}

impl From<bptt_io::Error> for Error {
    /// What `bptt` refused while weights were read stays an error of `bptt`.
    fn from(error: bptt_io::Error) -> Self {
        match error {
            bptt_io::Error::Model(error) => Self::Model(error),
            error => Self::Io(error),
        }
    }
}
