//! `bptt verify`: whether the files of a run or of a comparison are those that were written.

use std::path::Path;

use bptt_train::compare::{Folder, Plan};
use bptt_train::run as runs;
use serde_json::json;

use super::compare::existing;
use super::{print, print_json};
use crate::Failure;
use crate::args::VerifyArgs;

/// The schema of what `--json` prints.
const SCHEMA: &str = "bptt.verify/1";

pub(crate) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let folder = &args.run;
    if let Some((comparison, plan)) = existing(folder)? {
        return of_comparison(args, folder, &comparison, &plan);
    }
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

fn of_comparison(args: &VerifyArgs, folder: &Path, comparison: &Folder, plan: &Plan) -> Result<(), Failure> {
    let results = comparison.results(plan)?;
    let (all, there) = (results.len(), results.iter().flatten().count());
    if args.json {
        return print_json(&json!({
            "schema": SCHEMA, "comparison": folder.to_string_lossy(), "files": 1 + there, "trainings": all,
            "finished": there == all, "notes": [],
        }));
    }
    let state = if there == all { "" } else { "; the command that made it trains the others" };
    print(&format!(
        "{}: everything is as it was written: a comparison with {there} of {all} trainings{state}\n",
        folder.display()
    ))
}
