//! One file a command.

pub(crate) mod article;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod report;
pub(crate) mod sample;
pub(crate) mod trace;
mod trace_model;
pub(crate) mod train;

use std::io::Write;

use crate::Failure;

/// Writes to stdout; a reader that has gone away is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a JSON value and a newline to stdout.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}
