//! The commands, one file each.

pub(crate) mod article;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod demo;
pub(crate) mod diagnose;
pub(crate) mod export;
pub(crate) mod inspect;
mod loss_source;
pub(crate) mod manual;
mod objective;
pub(crate) mod plot;
mod provenance;
pub(crate) mod report;
pub(crate) mod sample;
#[cfg_attr(not(feature = "serve"), path = "serve/absent.rs")]
pub(crate) mod serve;
mod subject;
mod targets;
pub(crate) mod tasks;
pub(crate) mod trace;
mod trace_model;
mod trace_task;
pub(crate) mod train;
pub(crate) mod verify;

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::Path;

use bptt_view::columns::Table;

use crate::Failure;

/// Text without control characters but for tabs and ends of lines: what comes from files may not steer a terminal.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(steers) { Cow::Owned(text.replace(steers, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Writes to stdout, harmlessly if that is a terminal; a closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let text = if std::io::stdout().is_terminal() { harmless(text) } else { Cow::Borrowed(text) };
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

/// The extension of the file of `option`, one of `known`, in capitals or not.
pub(crate) fn ending<'a>(option: &str, path: &Path, known: &[&'a str]) -> Result<&'a str, Failure> {
    let given = path.extension().and_then(|ending| ending.to_str());
    let ending =
        given.and_then(|given| known.iter().find(|known| known.eq_ignore_ascii_case(given)).copied());
    #[cfg(not(feature = "parquet"))]
    if ending == Some("parquet") {
        let asked = format!("{option} {}", path.display());
        return Err(Failure::built_without("parquet", &asked, "write .csv, or "));
    }
    ending.ok_or_else(|| {
        let (last, others) = known.split_last().expect("there is a known ending");
        let expected = format!(".{} or .{last}", others.join(", ."));
        Failure::Usage(format!("{option}: {} has an unknown extension; expected {expected}", path.display()))
    })
}

/// The bytes of a table as a file of `kind`, csv or parquet.
// Only Parquet can fail.
#[cfg_attr(not(feature = "parquet"), allow(clippy::unnecessary_wraps))]
pub(crate) fn table_bytes(path: &Path, kind: &str, table: &Table) -> Result<Vec<u8>, Failure> {
    match kind {
        #[cfg(feature = "parquet")]
        "parquet" => table.parquet().map_err(|error| cannot_make(path, &error)),
        "csv" => Ok(table.csv().into_bytes()),
        _ => unreachable!("{} is no table", path.display()),
    }
}

/// The failure of a file that cannot be encoded.
pub(crate) fn cannot_make(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Other(format!("cannot encode {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(harmless("a\tb\nc ‖ ü"), "a\tb\nc ‖ ü");
        assert_eq!(harmless("\u{1b}]0;title\u{7}x\r\u{9b}2J"), "\u{fffd}]0;title\u{fffd}x\u{fffd}\u{fffd}2J");
    }
}
