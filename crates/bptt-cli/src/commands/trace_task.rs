//! `bptt trace` of a run that learned a task, on held-out sequences.

use std::ops::RangeInclusive;
use std::path::Path;

use bptt::in_f64;
use bptt::{Network, Reduction};
use bptt_train::{Config, Run, data_source::held_out_batch, task_by_name};

use super::provenance::Provenance;
use super::trace::{Traced, Wanted, array_files, loss_at, output, refuse_for_task, scan_options};
use crate::Failure;
use crate::args::{ReadingArgs, TraceArgs};

/// What is assumed of a run that learned a task.
pub(super) fn task_provenance(folder: &Path, config: &Config) -> Provenance {
    let mut provenance = Provenance::of_run(folder, config);
    provenance.set("reduction", "sum");
    provenance.assume("the sequences are drawn from the task with the run's seed; training did not use them");
    provenance.assume("the state before the first step is zero");
    provenance.assume("the losses are summed over the steps and the sequences");
    provenance
}

/// A run that learned a task, with its ledger of held-out sequences.
pub(super) struct TracedTask {
    pub network: Network<f64>,
    pub traced: Traced,
    /// The lag of the dependency.
    pub lag: RangeInclusive<usize>,
    pub provenance: Provenance,
    /// The last step with a loss.
    last: usize,
}

impl TracedTask {
    pub fn open(
        folder: &Path,
        run: &Run,
        task: &str,
        reading: &ReadingArgs,
        wanted: Wanted,
    ) -> Result<Self, Failure> {
        let only_of_text = [("--text", reading.text.is_some()), ("--steps", reading.steps.is_some())];
        refuse_for_task(&run.config, &only_of_text)?;
        let task = task_by_name(task)?;
        let length = run.config.length_of(&*task);
        let drawn = held_out_batch(&*task, length, reading.batch, run.config.seed)?;
        let last = drawn.batch.last_loss();
        let (inputs, objective) = drawn.batch.objective(Reduction::Sum);
        let network = run.network.cast::<f64>()?;
        let (steps, batch) = inputs.shape();
        let trace =
            in_f64::scan_with(&network, inputs, &network.zero_state(batch), scan_options(reading, steps))?;
        let losses = in_f64::losses(&network, &trace, &objective)?;
        let traced = Traced::new(&network, trace, losses, wanted)?;
        let provenance = task_provenance(folder, &run.config);
        Ok(Self { network, traced, lag: task.lag(length), provenance, last })
    }
}

pub(crate) fn run(
    (args, quiet): (&TraceArgs, bool),
    folder: &Path,
    run: &Run,
    task: &str,
) -> Result<(), Failure> {
    refuse_for_task(&run.config, &[("--predicting", args.predicting.is_some())])?;
    let TracedTask { network, traced, provenance, last, .. } =
        TracedTask::open(folder, run, task, &args.reading, Wanted::of_trace(args))?;
    let (steps, batch) = traced.trace.inputs().shape();
    let k = loss_at(args.loss_step, steps)?.unwrap_or(last);
    array_files::check(args, &network, &traced.losses.present, batch)?;
    let task = task_by_name(task)?;
    let length = run.config.length_of(&*task);
    let of: f64 = traced.losses.values[k * batch..(k + 1) * batch].iter().sum();
    let others = if batch == 1 { String::new() } else { format!(", {batch} sequences") };
    let headline = format!("loss {k} of {} with L = {length}{others}: {of:.4}", task.name());
    output((args, quiet), &network, &traced, &provenance, None, k, &headline)
}
