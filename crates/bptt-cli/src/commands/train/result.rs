//! The result of a training, as the last line of its metrics, as tables and as JSON.

use std::path::Path;

use bptt_train::diagnose::{Training, Verdict, of_training};
use bptt_train::{Config, Ending, Outcome, Task, Vocabulary};
use bptt_view::table::{Align, table};
use serde_json::{Value, json};

use super::super::report::{self, facts};
use super::super::tasks::lags;
use super::super::{print, print_json};
use super::Learned;
use crate::Failure;
use crate::progress::bits;

/// The schema of what `--json` prints.
const SCHEMA: &str = "bptt.train/1";

pub(super) fn ending(outcome: &Outcome) -> String {
    match &outcome.ending {
        Ending::Finished => "finished".into(),
        Ending::Stopped => "stopped".into(),
        Ending::Early => "stopped early".into(),
        Ending::NotFinite { step, what } => format!("not finite at update {step}: {what}"),
    }
}

/// The last line of the metrics of a text.
pub(super) fn end(Learned { outcome, baselines, seconds }: &Learned) -> Value {
    json!({
        "event": "end", "ending": ending(outcome), "steps": outcome.steps,
        "held_out_bits": outcome.held_out.map(|held_out| bits(held_out.loss)),
        "unigram_bits": baselines.map(|b| b.unigram_bits),
        "bigram_bits": baselines.map(|b| b.bigram_bits),
        "seconds": seconds,
    })
}

/// The last line of the metrics of a task.
pub(super) fn end_of_task(
    Learned { outcome, seconds, .. }: &Learned,
    config: &Config,
    task: &dyn Task,
) -> Value {
    let length = config.length_of(task);
    let lag = task.lag(length);
    json!({
        "event": "end", "ending": ending(outcome), "steps": outcome.steps, "task": task.name(), "length": length,
        "lag": [lag.start(), lag.end()], "baseline_loss": task.baseline_loss(length),
        "held_out_loss": outcome.held_out.map(|held_out| held_out.loss),
        "solved": outcome.held_out.and_then(|held_out| held_out.solved),
        "seconds": seconds,
    })
}

/// Prints the result as JSON.
fn print_result(mut value: Value, folder: &Path, written: Option<&Path>) -> Result<(), Failure> {
    let verdict = judged(folder)?;
    value["schema"] = json!(SCHEMA);
    value["run"] = json!(folder.to_string_lossy());
    value["report"] = json!(written.map(Path::to_string_lossy));
    value["verdict"] = json!(verdict.as_ref().map(|verdict| verdict.kind));
    value["sentence"] = json!(verdict.map(|verdict| verdict.sentence));
    print_json(&value)
}

/// What has gone wrong in the training of the run in `folder`, as far as its metrics tell.
fn judged(folder: &Path) -> Result<Option<Verdict>, Failure> {
    let read = Training::read(&report::metrics(folder)?);
    Ok(read.and_then(|(training, _)| of_training(&training)))
}

/// Says what has gone wrong in the training of the run in `folder`.
fn warn(folder: &Path) -> Result<(), Failure> {
    if let Some(verdict) = judged(folder)? {
        eprintln!(
            "warning: {}; bptt diagnose {} proposes changes",
            verdict.sentence,
            facts::quoted(&folder.to_string_lossy())
        );
    }
    Ok(())
}

pub(super) fn report_task(
    learned: &Learned,
    config: &Config,
    task: &dyn Task,
    folder: &Path,
    written: Option<&Path>,
    as_json: bool,
) -> Result<(), Failure> {
    if as_json {
        return print_result(end_of_task(learned, config, task), folder, written);
    }
    let (outcome, length) = (&learned.outcome, config.length_of(task));
    let sequences = outcome.steps * config.batch as u64;
    print(&format!("{} updates in {:.1} s, {sequences} sequences\n\n", outcome.steps, learned.seconds))?;
    if let Some(held_out) = outcome.held_out {
        let row = vec![
            task.name(),
            length.to_string(),
            lags(&task.lag(length)),
            format!("{:.4}", task.baseline_loss(length)),
            format!("{:.4}", held_out.loss),
            held_out.solved.map_or(String::new(), |solved| format!("{:.1} %", 100.0 * solved)),
        ];
        let columns = [
            ("task", Align::Left),
            ("L", Align::Right),
            ("lag", Align::Right),
            ("baseline", Align::Right),
            ("loss", Align::Right),
            ("solved", Align::Right),
        ];
        print(&table(&columns, &[row]))?;
    }
    let run = folder.display();
    print(&format!("\nwrote {run}\n  bptt trace {run}\n  bptt diagnose {run}\n"))?;
    report::name(written)?;
    warn(folder)
}

pub(super) fn report_text(
    learned: &Learned,
    vocabulary: &Vocabulary,
    folder: &Path,
    written: Option<&Path>,
    as_json: bool,
) -> Result<(), Failure> {
    let Learned { outcome, seconds, .. } = learned;
    if as_json {
        return print_result(end(learned), folder, written);
    }
    let symbols = vocabulary.len();
    print(&format!("{} updates in {seconds:.1} s, {symbols} symbols\n\n", outcome.steps))?;
    print(&losses(&[("network", learned)]))?;
    let run = folder.display();
    print(&format!("\nwrote {run}\n  bptt sample {run}\n  bptt trace {run}\n  bptt diagnose {run}\n"))?;
    report::name(written)?;
    warn(folder)
}

/// The held-out losses of networks of one text, with the baselines by counting.
pub(crate) fn losses(networks: &[(&str, &Learned)]) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, bits: f64| {
        // Zero is shown without a sign.
        rows.push(vec![name.to_owned(), format!("{:.3}", bits + 0.0), format!("{:.1}", bits.exp2())]);
    };
    if let Some(baselines) = networks.first().and_then(|(_, learned)| learned.baselines) {
        row("unigram", baselines.unigram_bits);
        row("bigram", baselines.bigram_bits);
    }
    for (name, learned) in networks {
        if let Some(held_out) = learned.outcome.held_out {
            row(name, bits(held_out.loss));
        }
    }
    if rows.is_empty() {
        return "no text is held out, so there is no held-out loss\n".into();
    }
    table(
        &[("held-out text", Align::Left), ("bits/symbol", Align::Right), ("perplexity", Align::Right)],
        &rows,
    )
}
