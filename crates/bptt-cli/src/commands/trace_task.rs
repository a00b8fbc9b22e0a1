//! `bptt trace` of a run that learned a task, on held-out sequences.

use std::path::Path;

use bptt::Reduction;
use bptt::in_f64;
use bptt_train::{Config, Run, data_source::held_out_batch, task_by_name};

use super::provenance::Provenance;
use super::trace::{Traced, array_files, itemize_options, loss_at, output, refuse_for_task, scan_options};
use crate::Failure;
use crate::args::TraceArgs;

/// What is assumed of a run that learned a task.
pub(super) fn task_provenance(folder: &Path, config: &Config) -> Provenance {
    let mut provenance = Provenance::of_run(folder, config);
    provenance.set("reduction", "sum");
    provenance.assume("the sequences are drawn from the task with the run's seed; training did not use them");
    provenance.assume("the state before the first step is zero");
    provenance.assume("the losses are summed over the steps and the sequences");
    provenance
}

pub(crate) fn run(
    (args, quiet): (&TraceArgs, bool),
    folder: &Path,
    run: &Run,
    task: &str,
) -> Result<(), Failure> {
    let reading = &args.reading;
    let only_of_text = [
        ("--text", reading.text.is_some()),
        ("--steps", reading.steps.is_some()),
        ("--predicting", args.predicting.is_some()),
    ];
    refuse_for_task(&run.config, &only_of_text)?;
    let task = task_by_name(task)?;
    let length = run.config.length.unwrap_or_else(|| task.usual_length());
    let drawn = held_out_batch(&*task, length, reading.batch, run.config.seed)?;
    let last = drawn.batch.last_loss();
    let (inputs, objective) = drawn.batch.objective(Reduction::Sum);
    let network = run.network.cast::<f64>()?;
    let (steps, batch) = inputs.shape();
    let trace =
        in_f64::scan_with(&network, inputs, &network.zero_state(batch), scan_options(reading, steps))?;
    let losses = in_f64::losses(&network, &trace, &objective)?;
    let k = loss_at(args.loss_step, steps)?.unwrap_or(last);
    array_files::check(args, &network, &losses.present, batch)?;
    let traced = Traced::new(&network, trace, losses, &itemize_options(args.gates, args.tolerance))?;

    let of: f64 = traced.losses.values[k * batch..(k + 1) * batch].iter().sum();
    let others = if batch == 1 { String::new() } else { format!(", {batch} sequences") };
    let headline = format!("loss {k} of {} with L = {length}{others}: {of:.4}", task.name());
    output((args, quiet), &network, &traced, &task_provenance(folder, &run.config), None, k, &headline)
}
