//! `bptt check`: compares a network, or the log of a training watched in Python, with limits, for a CI.

use std::path::Path;

use bptt_train::diagnose::{Check, Limits, WatchLimits, check, check_watch_log, diagnose, read_watch_log};
use bptt_train::text::read_utf8;
use bptt_view::table::{Align, table};
use serde_json::{Value, json};

use super::subject::measured;
use super::{print, print_json};
use crate::Failure;
use crate::args::CheckArgs;

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let fractions = [
        ("max-decay", args.max_decay, "nats per step"),
        ("state-error", args.log.state_error, "as a fraction"),
        ("output-error", args.log.output_error, "as a fraction"),
    ];
    for (name, given, unit) in fractions {
        if let Some(given) = given.filter(|most| most.is_nan() || *most < 0.0) {
            return Err(Failure::Usage(format!(
                "--{name}: {given} is not possible; expected 0 or more {unit}"
            )));
        }
    }
    if let Some(log) = &args.watch {
        return of_log(args, log);
    }
    let limits = Limits { min_horizon: args.min_horizon, max_decay: args.max_decay, no_cuts: args.no_cuts };
    if limits == Limits::default() {
        let expected = "--min-horizon, --max-decay or --no-cuts";
        return Err(Failure::Usage(format!("no limit is given; expected {expected}")));
    }
    let measured = measured(&args.subject, None)?;
    let checks = check(&measured.evidence, &limits);
    let verdict = diagnose(&measured.evidence);
    measured.provenance.say();
    let mut object = json!({ "verdict": verdict.kind, "sentence": verdict.sentence });
    measured.provenance.put_into(&mut object);
    answer(&measured.name, &checks, args.json.then_some(object), &format!(" ({})", verdict.sentence))
}

/// Checks the updates of a log.
fn of_log(args: &CheckArgs, path: &Path) -> Result<(), Failure> {
    let of = &args.log;
    let limits = WatchLimits {
        min_horizon: args.min_horizon,
        max_decay: args.max_decay,
        max_nearest_lag: of.max_nearest_lag,
        min_farthest_lag: of.min_farthest_lag,
        no_crossing: of.no_crossing,
        state_error: of.state_error,
        output_error: of.output_error,
        no_padding: of.no_padding,
    };
    if limits == WatchLimits::default() {
        let expected = "--max-nearest-lag, --no-crossing, --state-error or another limit for --watch";
        return Err(Failure::Usage(format!("no limit is given; expected {expected}")));
    }
    let name = path.display().to_string();
    let updates =
        read_watch_log(&read_utf8(path)?).map_err(|problem| Failure::Other(format!("{name}: {problem}")))?;
    let checks = check_watch_log(&updates, &limits);
    answer(&name, &checks, args.json.then(|| json!({ "updates": updates.len() })), "")
}

/// Prints what was found and fails if a limit is not met. `also`: further keys of the JSON, which replaces the table.
fn answer(name: &str, checks: &[Check], also: Option<Value>, why: &str) -> Result<(), Failure> {
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed).collect();
    if let Some(Value::Object(also)) = also {
        let mut object = json!({
            "schema": "bptt.check/1",
            "subject": name,
            "passed": failed.is_empty(),
            "checks": checks,
        });
        object.as_object_mut().expect("it is one").extend(also);
        print_json(&object)?;
    } else {
        let row = |check: &Check| {
            let result = if check.passed { "ok" } else { "failed" };
            vec![check.name.to_owned(), result.to_owned(), check.found.clone()]
        };
        let header = [("limit", Align::Left), ("result", Align::Left), ("measurement", Align::Left)];
        print(&table(&header, &checks.iter().map(row).collect::<Vec<_>>()))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> =
        failed.iter().map(|check| format!("--{}: {}", check.name, check.found)).collect();
    Err(Failure::Other(format!("{name}: {}{why}", reasons.join("; "))))
}
