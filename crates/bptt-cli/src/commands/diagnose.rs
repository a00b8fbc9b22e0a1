//! `bptt diagnose`: what was learned, how far back gradients reach, what limits them, and what to change.

mod precision;
mod update;

use bptt_train::Config;
use bptt_train::diagnose::{Remedy, diagnose, remedies};
use clap::{Args, FromArgMatches};
use serde_json::json;

use super::subject::{Measured, measured};
use super::{print, print_json};
use crate::Failure;
use crate::args::{DiagnoseArgs, TrainArgs};

pub(crate) fn run(args: &DiagnoseArgs) -> Result<(), Failure> {
    if args.update && args.subject.model.model.is_some() {
        return Err(Failure::Usage("--update applies to runs only: a model has no optimizer".into()));
    }
    if args.max_bias.is_nan() || args.max_bias <= 0.0 {
        let words = format!(
            "--max-bias: {} is not possible; expected a fraction above 0, such as 0.05",
            args.max_bias
        );
        return Err(Failure::Usage(words));
    }
    let measured = measured(&args.subject, Some(args.max_bias))?;
    let update = if args.update { Some(update::update(&measured)?) } else { None };
    let precision = if args.precision { Some(precision::precision(&measured)?) } else { None };
    let verdict = diagnose(&measured.evidence);
    measured.provenance.say();
    let mut proposed = remedies(&verdict, &measured.evidence, &measured.config);
    proposed.retain(|remedy| is_possible(&measured.config, remedy));
    if args.json {
        let remedy = |(rank, remedy): (usize, &Remedy)| {
            json!({
                "change": remedy.change, "why": remedy.why, "options": remedy.options,
                "pytorch": remedy.pytorch, "command": command(&measured, remedy, rank + 1),
            })
        };
        let mut all = json!({
            "schema": "bptt.diagnosis/1",
            "subject": measured.name,
            "verdict": verdict.kind,
            "sentence": verdict.sentence,
            "evidence": verdict.evidence,
            "remedies": proposed.iter().enumerate().map(remedy).collect::<Vec<_>>(),
            "measured": measured.evidence,
        });
        for (key, value) in [
            ("update", update.as_ref().map(update::update_json)),
            ("precision", precision.as_ref().map(precision::precision_json)),
        ] {
            if let Some(value) = value {
                all[key] = value;
            }
        }
        measured.provenance.put_into(&mut all);
        return print_json(&all);
    }
    let mut text = format!("{}\n", verdict.sentence);
    if !verdict.evidence.is_empty() {
        text += "\nevidence\n";
        text.extend(verdict.evidence.iter().map(|sentence| format!("  {sentence}\n")));
    }
    text.extend(update.as_ref().map(|shares| update::update_text(shares, &measured.config)));
    text.extend(precision.as_ref().map(precision::precision_text));
    if !proposed.is_empty() {
        text += "\nproposed changes, the most likely to help first\n";
    }
    for (i, remedy) in proposed.iter().enumerate() {
        text += &format!("  {}. {}: {}\n", i + 1, remedy.change, remedy.why);
        text.extend(command(&measured, remedy, i + 1).map(|command| format!("     {command}\n")));
        if !measured.is_run {
            text.extend(remedy.pytorch.iter().map(|line| format!("     {line}\n")));
        }
    }
    print(&text)
}

/// The verdict of the run in `folder` without options.
#[cfg(feature = "serve")]
pub(super) fn verdict_of_run(folder: &std::path::Path) -> Result<bptt_train::diagnose::Verdict, Failure> {
    super::report::only_its_own_text(&bptt_train::Run::open(folder)?)?;
    let command = DiagnoseArgs::augment_args(clap::Command::new("diagnose").no_binary_name(true));
    // After `--` everything is the name of a folder.
    let matches = command.try_get_matches_from(["--".as_ref(), folder.as_os_str()]);
    let args = matches.and_then(|matches| DiagnoseArgs::from_arg_matches(&matches));
    let args = args.map_err(|error| Failure::Other(error.to_string()))?;
    Ok(diagnose(&measured(&args.subject, Some(args.max_bias))?.evidence))
}

/// The command that repeats a run with a change; `None` for a model from another program, or if the training need not
/// change.
fn command(of: &Measured, remedy: &Remedy, rank: usize) -> Option<String> {
    if remedy.options.is_empty() || !of.is_run {
        return None;
    }
    let options = remedy.options.join(" ");
    let run = quoted(of.name.trim_end_matches('/'));
    Some(format!("bptt train --config {run}/config.toml {options} --out {run}-{rank}"))
}

/// Whether `bptt train` accepts the settings with the change.
fn is_possible(config: &Config, remedy: &Remedy) -> bool {
    let command = TrainArgs::augment_args(clap::Command::new("train").no_binary_name(true));
    let matches = command.try_get_matches_from(&remedy.options);
    let arguments = matches.and_then(|matches| TrainArgs::from_arg_matches(&matches));
    arguments.is_ok_and(|arguments| arguments.settings.over(config.clone()).check().is_ok())
}

/// Quoted for a shell if necessary.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%".contains(c);
    if path.chars().all(plain) { path.into() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
