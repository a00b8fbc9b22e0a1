//! `bptt verify`: whether the files of a run are those that were written.

use bptt_train::run as runs;
use serde_json::json;

use super::{print, print_json};
use crate::Failure;
use crate::args::VerifyArgs;

/// The schema of what `--json` prints.
const SCHEMA: &str = "bptt.verify/1";

pub(crate) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let folder = &args.run;
    let found = runs::verify(folder)?;
    let (events, torn) = runs::metrics::read(folder)?;
    let notes: Vec<String> = found.notes.iter().cloned().chain(torn).collect();
    if args.json {
        let mut value = json!(found);
        value["schema"] = json!(SCHEMA);
        value["run"] = json!(folder.to_string_lossy());
        value["metrics"] = json!(events.len());
        value["notes"] = json!(notes);
        return print_json(&value);
    }
    for note in &notes {
        eprintln!("note: {note}");
    }
    let state = match (found.finished, found.checkpoint) {
        (true, None) => "the training has ended".to_owned(),
        (_, Some(step)) => format!("the training can be continued after {step} updates"),
        (false, None) => "the training has no checkpoint, so that --resume begins again".to_owned(),
    };
    print(&format!(
        "{}: everything is as it was written: {} files with a digest in run.json, {} events; {state}\n",
        folder.display(),
        found.files,
        events.len()
    ))
}
