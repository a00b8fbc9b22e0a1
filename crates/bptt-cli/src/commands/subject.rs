//! The subject of `bptt diagnose` and `bptt check`: a run, or a model with arrays.

use std::ops::RangeInclusive;
use std::path::Path;

use bptt::in_f64;
use bptt::{ForwardCache, Inputs, Losses, Network, Objective, Reduction, ScanOptions, Targets};
use bptt_train::data_source::held_out_batch;
use bptt_train::diagnose::{Evidence, NotFinite, Origin, Subject, measure};
use bptt_train::{Config, Error, Run, run as runs, task_by_name};

use super::loss_source::LossSource;
use super::provenance::Provenance;
use super::report::metrics;
use super::trace::{fitting, held_out, refuse_for_task, sentence, text_provenance};
use super::trace_model::Arrays;
use super::trace_task::task_provenance;
use crate::Failure;
use crate::args::SubjectArgs;

/// The measurements and their subject.
pub(super) struct Measured {
    /// The path of the run or the model.
    pub name: String,
    /// Whether it is a run.
    pub is_run: bool,
    /// Its settings; for a model as far as its file determines them.
    pub config: Config,
    pub evidence: Evidence,
    /// The network and its inputs, for further measurements; `None` if it is not finite.
    pub subject: Option<Subject>,
    /// The objective; `None` if the gradients of the losses were given.
    pub objective: Option<Objective<f64>>,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Reads and measures; with a `bias` also the smallest window within it, and the network before training. A number that is
/// not finite is a finding and not a failure.
pub(super) fn measured(args: &SubjectArgs, bias: Option<f64>) -> Result<Measured, Failure> {
    let lag = args.lag.map(|lag| lag..=lag);
    if let Some(file) = &args.model.model {
        let name = file.display().to_string();
        return found(name, false, Config::default(), |measured| of_model(args, file, measured, lag, bias));
    }
    let folder = args
        .run
        .as_deref()
        .ok_or_else(|| Failure::Usage("expected the folder of a run, or --model".into()))?;
    let config = runs::settings(folder)?;
    let name = folder.display().to_string();
    let mut measured = found(name, true, config, |measured| of_run(args, folder, measured, lag, bias))?;
    measured.evidence.add_training(&metrics(folder)?);
    Ok(measured)
}

/// The measurements, also if weights or data that are not finite prevent reading the network.
fn found(
    name: String,
    is_run: bool,
    config: Config,
    read: impl FnOnce(&mut Measured) -> Result<(), Failure>,
) -> Result<Measured, Failure> {
    let evidence = Evidence::default();
    let provenance = Provenance::default();
    let mut measured =
        Measured { name, is_run, config, evidence, subject: None, objective: None, provenance };
    let (what, origin, step, sequence) = match read(&mut measured) {
        Err(Failure::Train(Error::Io(bptt_io::Error::TensorNotFinite { tensor, place, .. }))) => {
            (format!("{tensor} at {place}"), Origin::Weights, None, None)
        }
        Err(Failure::Train(Error::Model(bptt::Error::NotFinite { what, step, sequence }))) => {
            (what, Origin::Data, Some(step as u64), Some(sequence))
        }
        Err(other) => return Err(other),
        Ok(()) => return Ok(measured),
    };
    let cell = &measured.config.cell;
    measured.evidence = Evidence::of_not_finite(cell, NotFinite { what, origin, step, sequence });
    Ok(measured)
}

fn of_model(
    args: &SubjectArgs,
    file: &Path,
    measured: &mut Measured,
    lag: Option<RangeInclusive<usize>>,
    bias: Option<f64>,
) -> Result<(), Failure> {
    let arrays = Arrays::open(file, &args.model, args.detach_every.unwrap_or(0), args.burn_in)?;
    let Arrays { network, inputs, initial, bounds: options, losses, provenance, .. } = arrays;
    check_lag(args.lag, inputs.shape().0)?;
    measured.provenance = provenance;
    measured.provenance.set_network(&network);
    let config = &mut measured.config;
    config.cell = network.spec().name.as_str().into();
    (config.hidden, config.layers) = (network.hidden(), network.depth());
    config.bidirectional = network.directions() == 2;
    let subject = Subject { network, inputs, initial, options, lag, untrained: None, bias };
    measured.evidence = measure(subject.clone(), |network, trace| losses.clone().of(network, trace))?;
    measured.subject = Some(subject);
    if let LossSource::Objective(objective) = losses {
        measured.objective = Some(objective);
    }
    Ok(())
}

fn of_run(
    args: &SubjectArgs,
    folder: &Path,
    measured: &mut Measured,
    lag: Option<RangeInclusive<usize>>,
    bias: Option<f64>,
) -> Result<(), Failure> {
    let run = Run::open(folder)?;
    let of_task = run.config.task.as_deref().map(|name| of_task(args, &run, name)).transpose()?;
    let (inputs, objective, known) = match of_task {
        Some(read) => read,
        None => of_text(args, &run)?,
    };
    let (steps, sequences) = inputs.shape();
    check_lag(args.lag, steps)?;
    measured.provenance = match &run.config.task {
        Some(_) => task_provenance(folder, &run.config),
        None => text_provenance(folder, &run, args.text.is_some(), (steps, sequences)),
    };
    let options = ScanOptions { detach: cuts(args, &run.config, steps), ..ScanOptions::default() };
    let network = run.network.cast::<f64>()?;
    measured.provenance.set_network(&network);
    if args.detach_every.is_none() && !options.detach.is_empty() {
        measured
            .provenance
            .assume("gradients are cut at the steps at which training cut them (--detach-every)");
    }
    let initial = network.zero_state(sequences);
    let subject = Subject {
        network,
        inputs,
        initial,
        options: ScanOptions { burn_in: args.burn_in, ..options },
        lag: lag.or(known),
        untrained: if bias.is_some() { Some(run.untrained()?.cast()?) } else { None },
        bias,
    };
    let losses = |network: &Network<f64>, trace: &ForwardCache<f64>| -> Result<Losses<f64>, Failure> {
        Ok(in_f64::losses(network, trace, &objective)?)
    };
    measured.evidence = measure(subject.clone(), losses)?;
    (measured.subject, measured.objective) = (Some(subject), Some(objective));
    Ok(())
}

/// The steps at which training cuts gradients: between the windows of a text, and every `detach_every` steps within a
/// window or a sequence of a task. The command line takes precedence.
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

/// Refuses a lag that no loss and step have.
fn check_lag(lag: Option<usize>, steps: usize) -> Result<(), Failure> {
    match lag {
        Some(lag) if lag >= steps => Err(Failure::Usage(format!(
            "--lag: {lag} is not possible; expected at most {}, the farthest in the {steps} steps that are read",
            steps.saturating_sub(1)
        ))),
        _ => Ok(()),
    }
}

/// Inputs, objective, and the lag of the dependency if it is known.
type Reading = (Inputs<f64>, Objective<f64>, Option<RangeInclusive<usize>>);

fn of_task(args: &SubjectArgs, run: &Run, name: &str) -> Result<Reading, Failure> {
    refuse_for_task(&run.config, &[("--text", args.text.is_some()), ("--steps", args.steps.is_some())])?;
    let task = task_by_name(name)?;
    let length = run.config.length_of(&*task);
    let drawn = held_out_batch(&*task, length, args.batch.unwrap_or(BATCH), run.config.seed)?;
    let (inputs, objective) = drawn.batch.objective(Reduction::Sum);
    Ok((inputs, objective, Some(task.lag(length))))
}

/// The usual number of sequences.
const BATCH: usize = 8;

/// The usual number of steps of the held-out text: enough that every position in a window has losses before and after a cut.
fn steps_of_text(args: &SubjectArgs, config: &Config) -> usize {
    let window = config.window;
    window.saturating_add(args.lag.unwrap_or(window).max(window))
}

fn of_text(args: &SubjectArgs, run: &Run) -> Result<Reading, Failure> {
    let steps = steps_of_text(args, &run.config);
    let (inputs, targets) = match &args.text {
        Some(text) => sentence(run, text)?,
        None => held_out(run, fitting(args.steps, steps, args.batch, BATCH))?,
    };
    let targets = Targets::CrossEntropy(targets);
    Ok((Inputs::Symbols(inputs), Objective { targets, mask: None, reduction: Reduction::Sum }, None))
}
