//! Errors of files, texts, settings and trainings.

use std::path::PathBuf;

/// An error of this crate. Every message names its subject, what was given and what was expected, and a remedy where there
/// is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text file is not UTF-8.
    #[error(
        "{} is not UTF-8: byte 0x{byte:02x} at offset {offset} is invalid; convert the file first, for \
         example with iconv -f latin1 -t utf-8",
        path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first invalid byte, from 0.
        offset: usize,
        /// That byte.
        byte: u8,
    },

    /// A text is empty.
    #[error("{name} is empty; give a text with at least one symbol")]
    EmptyText {
        /// The file or text.
        name: String,
    },

    /// A text has fewer symbols than required.
    #[error(
        "the text is too short: {needs} {needed} symbols, given {given}; give a longer text or ask for less"
    )]
    TooShort {
        /// Number of symbols of the text.
        given: usize,
        /// Number of symbols required.
        needed: usize,
        /// What requires them, with its verb: `"4 streams of windows of 32 steps need"`.
        needs: String,
    },

    /// A text contains a symbol that the vocabulary lacks.
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
        /// Its index among the symbols of the text, counted from 1.
        position: usize,
    },

    /// A stored vocabulary is inconsistent.
    #[error("the vocabulary is damaged: {problem}; build it from the text again")]
    Vocabulary {
        /// The inconsistency.
        problem: String,
    },

    /// A file of a run cannot be used.
    #[error("{} cannot be used: {problem}", path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },

    /// A folder already contains a run.
    #[error("{} already contains a run; choose another --out, continue it with --resume, or replace it with --force", folder.display())]
    RunExists {
        /// The folder.
        folder: PathBuf,
    },

    /// A folder contains something else than a run.
    #[error("{} is not empty and holds no run, so that nothing is written into it; choose another --out", folder.display())]
    FolderTaken {
        /// The folder.
        folder: PathBuf,
    },

    /// Another process trains in the folder.
    #[error("{} is being written by {by}; wait for it, or choose another --out", folder.display())]
    RunBusy {
        /// The folder.
        folder: PathBuf,
        /// Which process.
        by: String,
    },

    /// The folder of a run is no longer the one in which its training began.
    #[error(
        "{} is not the folder any more in which the training began: it was removed, renamed or replaced, so that nothing is \
         written into it",
        folder.display()
    )]
    FolderLost {
        /// The folder.
        folder: PathBuf,
    },

    /// A folder holds a comparison where a run is expected.
    #[error(
        "{0} holds a comparison of remedies, not a run: bptt report {0} shows it, bptt verify {0} checks it, and the command that \
         made it continues it",
        folder.display()
    )]
    IsComparison {
        /// The folder.
        folder: PathBuf,
    },

    /// A training that is to be continued has ended.
    #[error("--resume: the training in {} has ended", folder.display())]
    RunEnded {
        /// The folder.
        folder: PathBuf,
    },

    /// A training was interrupted before its first checkpoint.
    #[error("{0} has no network yet: its training was interrupted before the first checkpoint; bptt train --resume {0} continues it", folder.display())]
    NoNetworkYet {
        /// The folder.
        folder: PathBuf,
    },

    /// A folder contains a comparison with other settings.
    #[error(
        "{} contains a comparison whose {setting} is {there}, not {given}; use the same settings to continue it, or choose \
         another --out",
        folder.display()
    )]
    ComparisonDiffers {
        /// The folder.
        folder: PathBuf,
        /// The first setting that differs.
        setting: String,
        /// Its value in the folder.
        there: String,
        /// The value given.
        given: String,
    },

    /// Threads cannot be started.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),

    /// A setting or an argument has a value outside its range.
    #[error("{setting}: {given} is not possible; expected {expected}")]
    Setting {
        /// The name of the setting.
        setting: String,
        /// The value.
        given: String,
        /// The possible values.
        expected: String,
    },

    /// A choice such as an optimizer, a task or a remedy has an unknown name or an impossible constant.
    #[error("{choice}: {given} is not possible; expected {expected}")]
    UnknownChoice {
        /// What is chosen: `"optimizer"`.
        choice: &'static str,
        /// The choice as it was given.
        given: String,
        /// The known choices.
        expected: String,
    },

    /// Two settings exclude each other.
    #[error("{settings}: both is not possible; expected one of the two")]
    Conflict {
        /// Their names: `"task with text"`.
        settings: &'static str,
    },

    /// A setting needs a property that the network does not have.
    #[error("{setting}: {given} is not possible; expected {expected}")]
    Unsupported {
        /// The name of the setting.
        setting: &'static str,
        /// Its value and the network: `"1 with cell gru"`.
        given: String,
        /// The property: `"a cell with forget gates: lstm"`.
        expected: String,
    },

    /// A matrix cannot be scaled, because its singular value or spectral radius is 0 or not finite, or because it has none.
    #[error("{setting}: {given} is not possible; expected {expected}")]
    Scale {
        /// `"sigma_max"` or `"spectral_radius"`.
        setting: &'static str,
        /// The target and the matrix.
        given: String,
        /// What is needed.
        expected: &'static str,
    },

    /// The run learned a task, and a run of a text is needed.
    #[error("this is a run of the task {task}; expected a run of a text")]
    NotAText {
        /// The task.
        task: String,
    },

    /// A bidirectional network cannot generate text.
    #[error(
        "a bidirectional network cannot generate text: its reverse cells read symbols that are not generated yet; train one \
         without --bidirectional"
    )]
    Bidirectional,

    /// A path cannot be written into a settings file.
    #[error("text: {} is not a UTF-8 path", path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },

    /// A file, or weights in it, cannot be used.
    #[error(transparent)]
    Io(bptt_io::Error),

    /// An error of the core library.
    #[error(transparent)]
    Model(#[from] bptt::Error),
}

impl From<bptt_io::Error> for Error {
    /// An error of `bptt` that arose while weights were read remains one of `bptt`.
    fn from(error: bptt_io::Error) -> Self {
        match error {
            bptt_io::Error::Model(error) => Self::Model(error),
            error => Self::Io(error),
        }
    }
}

impl Error {
    /// A setting outside its range.
    #[allow(clippy::needless_pass_by_value)] // numbers and strings that callers are done with
    pub(crate) fn setting(
        setting: impl Into<String>,
        given: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting { setting: setting.into(), given: given.to_string(), expected: expected.into() }
    }

    /// Whether the caller asked for something impossible, in contrast to a file, a number or the system at fault.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Setting { .. }
            | Self::UnknownChoice { .. }
            | Self::Conflict { .. }
            | Self::Unsupported { .. }
            | Self::Scale { .. }
            | Self::NotAText { .. }
            | Self::Bidirectional
            | Self::PathNotUtf8 { .. }
            | Self::RunEnded { .. }
            | Self::IsComparison { .. }
            | Self::Io(
                bptt_io::Error::Choice { .. }
                | bptt_io::Error::UnknownName { .. }
                | bptt_io::Error::UnknownEnding { .. },
            ) => true,
            Self::Model(error) => error.is_usage(),
            _ => false,
        }
    }
}
