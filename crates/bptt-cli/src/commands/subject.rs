//! What `bptt diagnose` and `bptt check` look at: a run, or a model of others' on arrays of theirs.

use std::ops::RangeInclusive;
use std::path::Path;

use bptt::{Inputs, Losses, Network, Objective, Reduction, ScanOptions, Targets, Trace};
use bptt_train::diagnose::{Evidence, NotFinite, Origin, Subject, Training, measure};
use bptt_train::material::held_out_batch;
use bptt_train::{Config, Error, Run, files, run as runs, task_by_name};
use serde_json::Value;

use super::trace::{held_out, sentence};
use super::trace_model::Arrays;
use crate::Failure;
use crate::args::SubjectArgs;

/// What was measured, and of what.
pub(super) struct Measured {
    /// The run or the model, as it was given.
    pub name: String,
    /// Whether it is a run.
    pub is_run: bool,
    /// Its settings; of a model what its file shows of them.
    pub config: Config,
    pub evidence: Evidence,
}

/// Reads and measures. What is not finite is a finding and no failure.
pub(super) fn measured(args: &SubjectArgs) -> Result<Measured, Failure> {
    let lag = args.lag.map(|lag| lag..=lag);
    if let Some(file) = &args.model.model {
        let mut config = Config::default();
        let evidence = found(&mut config, |config| of_model(args, file, config, lag))?;
        return Ok(Measured { name: file.display().to_string(), is_run: false, config, evidence });
    }
    let folder =
        args.run.as_deref().ok_or_else(|| Failure::Usage("give a run's folder or --model".into()))?;
    let mut config = runs::read_config(&folder.join(runs::CONFIG))?;
    let mut evidence = found(&mut config, |_| of_run(args, folder, lag))?;
    let training = training(folder)?;
    if let Some((training, not_finite)) = training {
        evidence.not_finite = evidence.not_finite.or(not_finite);
        evidence.training = Some(training);
    }
    Ok(Measured { name: folder.display().to_string(), is_run: true, config, evidence })
}

/// The evidence, also where weights or data that are not finite keep a network from being read.
fn found(
    config: &mut Config,
    read: impl FnOnce(&mut Config) -> Result<Evidence, Failure>,
) -> Result<Evidence, Failure> {
    let (what, origin, step, sequence) = match read(config) {
        Err(Failure::Train(Error::TensorNotFinite { tensor, place, .. })) => {
            (format!("{tensor} at {place}"), Origin::Weights, None, None)
        }
        Err(Failure::Train(Error::Model(bptt::Error::NotFinite { what, step, sequence }))) => {
            (what, Origin::Data, Some(step as u64), Some(sequence))
        }
        other => return other,
    };
    Ok(Evidence::of_not_finite(&config.cell, NotFinite { what, origin, step, sequence }))
}

fn of_model(
    args: &SubjectArgs,
    file: &Path,
    config: &mut Config,
    lag: Option<RangeInclusive<usize>>,
) -> Result<Evidence, Failure> {
    let arrays = Arrays::open(file, &args.model, args.detach_every.unwrap_or(0), args.burn_in)?;
    let Arrays { network, inputs, initial, bounds: options, aim, .. } = arrays;
    config.cell = network.cell().name().into();
    (config.hidden, config.layers) = (network.hidden(), network.depth());
    config.bidirectional = network.directions() == 2;
    measure(Subject { network, inputs, initial, options, lag }, |network, trace| aim.losses(network, trace))
}

fn of_run(
    args: &SubjectArgs,
    folder: &Path,
    lag: Option<RangeInclusive<usize>>,
) -> Result<Evidence, Failure> {
    let run = Run::open(folder)?;
    let of_task = run.config.task.as_deref().map(|name| of_task(args, &run, name)).transpose()?;
    let (inputs, objective, known) = match of_task {
        Some(read) => read,
        None => of_text(args, &run)?,
    };
    let (steps, sequences) = inputs.shape();
    let options = ScanOptions { detach: cuts(args, &run.config, steps), ..ScanOptions::default() };
    let network = run.network.cast::<f64>()?;
    let initial = network.zero_state(sequences);
    let subject = Subject {
        network,
        inputs,
        initial,
        options: ScanOptions { burn_in: args.burn_in, ..options },
        lag: lag.or(known),
    };
    let losses = |network: &Network<f64>, trace: &Trace<f64>| -> Result<Losses<f64>, Failure> {
        Ok(network.losses(trace, &objective)?)
    };
    measure(subject, losses)
}

/// Where training cuts gradients in `steps` steps: between the windows of a text, and within them or a task's sequence where
/// it is told to. What the command line says goes before.
fn cuts(args: &SubjectArgs, config: &Config, steps: usize) -> Vec<usize> {
    if let Some(every) = args.detach_every {
        return ScanOptions::<f64>::detach_every(every, steps);
    }
    let window = if config.task.is_none() { config.window } else { steps };
    let starts = (0..steps).step_by(window.max(1));
    let within = |start: usize| {
        let inside = ScanOptions::<f64>::detach_every(config.detach_every, window.min(steps - start));
        std::iter::once(start).chain(inside.into_iter().map(move |t| start + t))
    };
    starts.flat_map(within).filter(|&t| t > 0).collect()
}

/// What is read, what should come out, and the lag if it is known.
type Reading = (Inputs<f64>, Objective<f64>, Option<RangeInclusive<usize>>);

fn of_task(args: &SubjectArgs, run: &Run, name: &str) -> Result<Reading, Failure> {
    if let Some(option) = args.of_text_only() {
        return Err(Failure::Usage(format!("{option} is of texts, and this is a run of the task {name}")));
    }
    let task = task_by_name(name)?;
    let length = run.config.length.unwrap_or_else(|| task.usual_length());
    let drawn = held_out_batch(&*task, length, args.batch, run.config.seed)?;
    let (inputs, objective) = drawn.batch.objective(Reduction::Sum);
    Ok((inputs, objective, Some(task.lag(length))))
}

/// Of the held-out text so much that every place in a window has losses before and behind a cut.
fn of_text(args: &SubjectArgs, run: &Run) -> Result<Reading, Failure> {
    let window = run.config.window;
    let steps = args.steps.unwrap_or_else(|| window + args.lag.unwrap_or(window).max(window));
    let (inputs, targets) = match &args.text {
        Some(text) => sentence(run, text)?,
        None => held_out(run, Some(steps), args.batch)?,
    };
    let targets = Targets::CrossEntropy(targets);
    Ok((Inputs::Symbols(inputs), Objective { targets, mask: None, reduction: Reduction::Sum }, None))
}

/// How the run's training ended, from the last line of its metrics, and what was not finite then. `None` if it did not end.
fn training(folder: &Path) -> Result<Option<(Training, Option<NotFinite>)>, Failure> {
    let path = folder.join(runs::METRICS);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = files::read(&path)?;
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let Some(last) = last.filter(|line| line["event"] == "end") else { return Ok(None) };
    let ending = last["ending"].as_str().unwrap_or("ended").to_owned();
    let updates = last["steps"].as_u64().unwrap_or(0);
    let not_finite = ending.strip_prefix("not finite at update ").and_then(|rest| {
        let (update, what) = rest.split_once(": ")?;
        let step = update.parse().ok();
        Some(NotFinite { what: what.into(), origin: Origin::Training, step, sequence: None })
    });
    Ok(Some((Training { ending, updates, solved: last["solved"].as_f64() }, not_finite)))
}
