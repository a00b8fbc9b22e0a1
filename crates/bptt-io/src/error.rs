//! What can go wrong with the weights and arrays of others.

use std::io;
use std::path::PathBuf;

/// The way out where no registered cell computes what a layer does.
pub(crate) const ANY_STEP: &str =
    "in Python, bptt.torch.cell_ledger and bptt.jax.cell_ledger itemize any step that is given as a function";

/// An error of this crate. Every message names the thing, what was expected, and the way out where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written; the operating system's reason is the source.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb: `"read"`, `"write"`, `"remove"`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A model file cannot be used.
    #[error("{} is not a usable model: {problem}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A model file has a weight that is infinite or not a number.
    #[error("{} is not a usable model: tensor {tensor} is not finite at {place}", path.display())]
    TensorNotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The first such entry's index: `"(3, 0)"`.
        place: String,
    },

    /// No part of a file has this name.
    #[error("{option}: {given} is not possible; expected {expected}")]
    UnknownName {
        /// The option that names it: `"module"`.
        option: &'static str,
        /// The name, and where it was looked for.
        given: String,
        /// The names there are.
        expected: String,
    },

    /// A file's ending names no format that can be written.
    #[error("file: the ending of {} is not possible; expected {expected}", path.display())]
    UnknownEnding {
        /// The file.
        path: PathBuf,
        /// The endings there are.
        expected: &'static str,
    },

    /// A file of several things, none of which was chosen.
    #[error("{} holds {what}; choose one with --{option}:\n  {}", path.display(), choices.join("\n  "))]
    Choice {
        /// The file.
        path: PathBuf,
        /// How many of what: `"2 recurrent modules"`.
        what: String,
        /// The option that chooses.
        option: &'static str,
        /// What there is, a line each, its name first.
        choices: Vec<String>,
    },

    /// A file with an array cannot be used.
    #[error("{} is not a usable array: {problem}", path.display())]
    ArrayFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// An error of `bptt`: an option, a shape or a number that cannot be.
    #[error(transparent)]
    Model(#[from] bptt::Error),
}
