//! `bptt check`: compares a network with limits, for a CI.

use bptt_train::diagnose::{Check, Limits, check, diagnose};
use bptt_view::table::{Align, table};
use serde_json::json;

use super::subject::measured;
use super::{print, print_json};
use crate::Failure;
use crate::args::CheckArgs;

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let limits = Limits { min_horizon: args.min_horizon, max_decay: args.max_decay, no_cuts: args.no_cuts };
    if limits == Limits::default() {
        let expected = "--min-horizon, --max-decay or --no-cuts";
        return Err(Failure::Usage(format!("no limit is given; expected {expected}")));
    }
    if limits.max_decay.is_some_and(|most| most.is_nan() || most < 0.0) {
        let given = limits.max_decay.unwrap_or_default();
        return Err(Failure::Usage(format!(
            "--max-decay: {given} is not possible; expected 0 or more nats per step"
        )));
    }
    let measured = measured(&args.subject, None)?;
    let checks = check(&measured.evidence, &limits);
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed).collect();
    let verdict = diagnose(&measured.evidence);
    measured.provenance.say();
    if args.json {
        let mut object = json!({
            "schema": "bptt.check/1",
            "subject": measured.name,
            "passed": failed.is_empty(),
            "checks": checks,
            "verdict": verdict.kind,
            "sentence": verdict.sentence,
        });
        measured.provenance.put_into(&mut object);
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
    Err(Failure::Other(format!("{}: {} ({})", measured.name, reasons.join("; "), verdict.sentence)))
}
