//! The metrics of a training: a JSON object in each line, with a checksum of its own.

use std::path::Path;

use bptt_io::files;
use serde_json::Value;

use super::{METRICS, finished, sealed};
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
        if finished(folder) {
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
            return Err(problem(i, "it was changed: its checksum is another".into()));
        }
        events.push(serde_json::from_str(line).map_err(|error| problem(i, error.to_string()))?);
    }
    Ok((events, note))
}

fn is_intact(line: &str) -> bool {
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
