//! The metrics of a training: a JSON object in each line, with a checksum of its own.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bptt_io::files::{self, Output};
use serde_json::Value;

use super::sealed::CHANGED;
use super::{METRICS, ended, sealed};
use crate::Error;

/// Before the checksum, which comes last in its line.
const CHECK: &str = ",\"check\":\"";

/// Digits of a checksum.
const DIGITS: usize = 16;

/// The line of an event, which is an object: the event, and the beginning of its BLAKE3 digest as `check`.
///
/// # Panics
/// If it is no object.
pub fn line(event: &Value) -> String {
    let text = event.to_string();
    let body = text.strip_suffix('}').expect("an event is an object");
    format!("{body}{CHECK}{}\"}}", check_of(body))
}

fn check_of(body: &str) -> String {
    sealed::digest(body.as_bytes())[..DIGITS].to_owned()
}

/// The metrics of a training that goes on.
#[derive(Debug)]
pub struct Log {
    file: Output,
    path: PathBuf,
    /// Whole lines that are not in the file yet.
    waiting: Vec<u8>,
    /// Of all lines.
    digest: blake3::Hasher,
    bytes: u64,
    /// Why the file could not be written: nothing is added to it after that, so that only its last line may be cut off.
    failed: Option<io::Error>,
}

/// The lines that were written so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Their number of bytes.
    pub bytes: u64,
    /// Their digest.
    pub(super) digest: String,
}

/// How many bytes of lines wait at most.
const WAITING: usize = 8 << 10;

impl Log {
    /// The metrics in `path` after the first `kept` bytes, which stay, and the last event in these.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path, kept: u64) -> Result<(Self, Option<Value>), Error> {
        let open = || {
            let mut file = Output::open(path)?;
            if file.file().metadata()?.len() < kept {
                return Err(io::Error::other("it is shorter than when the checkpoint was written"));
            }
            file.set_len(kept)?;
            let mut text = Vec::new();
            file.file().read_to_end(&mut text)?;
            file.seek(SeekFrom::End(0))?;
            Ok((file, text))
        };
        let (file, text) = open().map_err(|source| cannot_write(path, source))?;
        let last = text.trim_ascii_end().rsplit(|&byte| byte == b'\n').next();
        let last = last.and_then(|line| serde_json::from_slice(line).ok());
        let mut digest = blake3::Hasher::new();
        digest.update(&text);
        let path = path.to_owned();
        Ok((Self { file, path, waiting: Vec::new(), digest, bytes: kept, failed: None }, last))
    }

    /// Adds a line. If it cannot be written, [`written`](Self::written) says so.
    pub fn add(&mut self, event: &Value) {
        let line = line(event) + "\n";
        self.digest.update(line.as_bytes());
        self.bytes += line.len() as u64;
        self.waiting.extend(line.as_bytes());
        if self.waiting.len() >= WAITING {
            self.write_waiting();
        }
    }

    /// Whether a line could not be written.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Writes all lines to the disk.
    ///
    /// # Errors
    /// If one cannot be written, now or before.
    pub fn written(&mut self) -> Result<Written, Error> {
        self.write_waiting();
        if self.failed.is_none() {
            self.failed = self.file.sync().err();
        }
        match &self.failed {
            Some(error) => Err(cannot_write(&self.path, same(error))),
            None => Ok(Written { bytes: self.bytes, digest: self.digest.finalize().to_hex().to_string() }),
        }
    }

    fn write_waiting(&mut self) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(&self.waiting).err();
        }
        self.waiting.clear();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.write_waiting();
    }
}

fn cannot_write(path: &Path, source: io::Error) -> Error {
    bptt_io::Error::File { action: "write", path: path.into(), source }.into()
}

/// The same error once more.
fn same(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// The digest of the first `bytes` bytes of the metrics of a run; `None` if there are fewer.
pub(super) fn digest_of_first(folder: &Path, bytes: u64) -> Result<Option<String>, Error> {
    let path = folder.join(METRICS);
    let there = if path.exists() { files::read(&path)? } else { Vec::new() };
    Ok(usize::try_from(bytes).ok().and_then(|bytes| there.get(..bytes)).map(sealed::digest))
}

/// The events of the run in `folder`, none if it has no metrics. The last line of an unfinished run may be cut off: it is left
/// out, and the sentence says so.
///
/// # Errors
/// If a line is damaged.
pub fn read(folder: &Path) -> Result<(Vec<Value>, Option<String>), Error> {
    let path = folder.join(METRICS);
    if !path.exists() {
        return Ok((Vec::new(), None));
    }
    let bytes = files::read(&path)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut note = None;
    if whole < bytes.len() {
        let what = format!("the last line of {} is cut off", path.display());
        if ended(folder)? {
            return Err(Error::RunFile { path, problem: "its last line is cut off".into() });
        }
        note = Some(format!("{what} and left out"));
    }
    let problem = |i: usize, problem: String| Error::RunFile {
        path: path.clone(),
        problem: format!("line {}: {problem}", i + 1),
    };
    let text = str::from_utf8(&bytes[..whole]).map_err(|error| problem(0, error.to_string()))?;
    let mut events = Vec::new();
    // Those of the first version have none.
    let checked = text.lines().next().is_some_and(|line| line.contains(CHECK));
    for (i, line) in text.lines().enumerate() {
        if checked && !is_intact(line) {
            return Err(problem(i, CHANGED.into()));
        }
        events.push(serde_json::from_str(line).map_err(|error| problem(i, error.to_string()))?);
    }
    Ok((events, note))
}

/// Whether a line is as [`line`] made it.
pub(crate) fn is_intact(line: &str) -> bool {
    let parts = line.rsplit_once(CHECK).and_then(|(body, rest)| Some((body, rest.strip_suffix("\"}")?)));
    parts.is_some_and(|(body, check)| check == check_of(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_changed_line_is_found_and_a_torn_one_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let events = [json!({ "event": "step", "loss": 1.25 }), json!({ "event": "step", "loss": null })];
        let whole: String = events.iter().map(|event| line(event) + "\n").collect();
        std::fs::write(&path, &whole).unwrap();
        let (found, note) = read(folder.path()).unwrap();
        assert_eq!((found.len(), &found[0]["loss"], note), (2, &json!(1.25), None));

        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let (found, note) = read(folder.path()).unwrap();
        assert!(found.len() == 1 && note.unwrap().contains("is cut off and left out"));

        let changed = whole.replace("1.25", "1.35");
        std::fs::write(&path, changed).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("line 1: it was changed"));
        // Without checksums, as the first version wrote them.
        std::fs::write(&path, "{\"event\":\"step\",\"loss\":2.0}\n").unwrap();
        assert_eq!(read(folder.path()).unwrap().0[0]["loss"], 2.0);
    }
}
