//! `bptt plot`: figures of a run or a model.

mod metrics;

use std::path::Path;

use bptt::dynamics::LyapunovOptions;
use bptt::in_f64;
use bptt::{Entry, Network, Parameter, log_spaced_windows};
use bptt_io::files;
use bptt_train::compare;
use bptt_train::{Level, Run, cue_sentences};
use bptt_view::figure::{self, Figure, Panel, Profile, Remedied, Truncated};
use bptt_view::json::HORIZON;

use super::compare::existing;
use super::provenance::{self, Provenance};
use super::trace::{OF_FIGURE, Text, Traced, Wanted, cell_name, shown_entry};
use super::trace_model::TracedModel;
use super::trace_task::TracedTask;
use super::{cannot_make, ending, print, table_bytes};
use crate::Failure;
use crate::args::{Kind, PlotArgs};

/// The unit of the norms of a run.
const NATS: &str = "nats per unit";

/// The unit of the norms of a model from another program.
const LOSS: &str = "loss per unit";

/// What figures ask of a ledger.
const FIGURE: Wanted = Wanted { gates: false, tolerance: None, made: OF_FIGURE };

/// The file types of a figure and of its numbers.
const ENDINGS: [&str; 5] = ["svg", "pdf", "png", "csv", "parquet"];

pub(crate) fn run(args: &PlotArgs) -> Result<(), Failure> {
    args.out.as_deref().map(|path| ending("--out", path, &ENDINGS)).transpose()?;
    fitting(args)?;
    let figure = match args.kind {
        Kind::Curves => {
            let [run] = args.run.as_slice() else { return Err(one_run(args)) };
            let curves = metrics::read(run)?;
            figure::curves(&title(args, || format!("Training of {}", curves.name)), &curves)
        }
        Kind::Compare => match args.run.as_slice() {
            [folder] => of_comparison(args, folder)?,
            _ => of_runs(args)?,
        },
        Kind::Heatmap | Kind::Profile | Kind::Rainbow | Kind::Spectrum | Kind::Truncation => {
            let subject = Subject::open(args)?;
            subject.provenance.say();
            of_ledger(args, &subject)?
        }
    };
    if let Some(path) = &args.out {
        write(path, &figure)?;
        eprintln!("wrote {}", path.display());
    }
    if args.table { print(&figure.table.text()) } else { Ok(()) }
}

/// Refuses options that do not apply to this kind of figure.
fn fitting(args: &PlotArgs) -> Result<(), Failure> {
    let misplaced = |given: bool, option: &str, kind: Kind, name: &str| {
        (given && args.kind != kind)
            .then(|| Failure::Usage(format!("{option} applies to --kind {name} only")))
    };
    let problem = misplaced(args.all, "--all", Kind::Heatmap, "heatmap")
        .or_else(|| misplaced(args.lag.is_some(), "--lag", Kind::Profile, "profile"));
    problem.map_or(Ok(()), Err)
}

fn one_run(args: &PlotArgs) -> Failure {
    let given = args.run.len();
    Failure::Usage(format!("this kind of figure needs one run, given {given}; --kind compare takes several"))
}

fn title(args: &PlotArgs, otherwise: impl FnOnce() -> String) -> String {
    args.title.clone().unwrap_or_else(otherwise)
}

fn write(path: &Path, figure: &Figure) -> Result<(), Failure> {
    let bytes = match ending("--out", path, &ENDINGS)? {
        "svg" => figure.svg().map_err(|error| cannot_make(path, &error))?.into_bytes(),
        "pdf" => figure.pdf().map_err(|error| cannot_make(path, &error))?,
        "png" => figure.png().map_err(|error| cannot_make(path, &error))?,
        kind => table_bytes(path, kind, &figure.table)?,
    };
    Ok(files::write(path, &bytes)?)
}

/// A network with its ledger, and what is known of its inputs.
struct Subject {
    name: String,
    network: Network<f64>,
    traced: Traced,
    read: Option<Vec<String>>,
    predicted: Option<Vec<String>>,
    unit: &'static str,
    /// The lag of the dependency, if it is known.
    true_lag: Option<usize>,
    provenance: Provenance,
}

impl Subject {
    fn open(args: &PlotArgs) -> Result<Self, Failure> {
        match (&args.reading.model.model, args.run.as_slice()) {
            (Some(file), _) => {
                let TracedModel { module, network, traced, symbols, provenance, .. } =
                    TracedModel::open(file, &args.reading, FIGURE)?;
                let name = module.outline.title().to_owned();
                let (read, predicted, true_lag) = (symbols, None, None);
                Ok(Self { name, network, traced, read, predicted, unit: LOSS, true_lag, provenance })
            }
            (None, [folder]) => Self::of_run(folder, args),
            _ => Err(one_run(args)),
        }
    }

    fn of_run(folder: &Path, args: &PlotArgs) -> Result<Self, Failure> {
        let run = Run::open(folder)?;
        if let Some(name) = &run.config.task {
            let TracedTask { network, traced, provenance, lag, .. } =
                TracedTask::open(folder, &run, name, &args.reading, FIGURE)?;
            let (name, unit, true_lag) = (folder.display().to_string(), NATS, Some(*lag.end()));
            return Ok(Self {
                name,
                network,
                traced,
                read: None,
                predicted: None,
                unit,
                true_lag,
                provenance,
            });
        }
        let text = Text::of(folder, run, &args.reading)?;
        let (network, traced) = text.ledger(FIGURE)?;
        let true_lag = args.reading.text.as_ref().and_then(|_| known_lag(&text));
        let provenance = text.provenance.clone();
        let (read, predicted) =
            if text.alone() { (Some(text.symbols), Some(text.predicted)) } else { (None, None) };
        let name = folder.display().to_string();
        Ok(Self { name, network, traced, read, predicted, unit: NATS, true_lag, provenance })
    }

    fn entry(&self, args: &PlotArgs) -> Result<&Entry, Failure> {
        shown_entry(
            (args.parameter.as_deref(), args.layer, args.direction),
            &self.network,
            &self.traced.ledger,
        )
    }

    /// The name of the parameter and the cell.
    fn name_of(&self, entry: &Entry) -> String {
        symbol(entry.parameter).to_owned() + &cell_name(&self.network, entry.cell)
    }
}

/// The lag of the cue of a generated sentence, from the loss that predicts its effect.
fn known_lag(text: &Text) -> Option<usize> {
    let generated = text.run.config.text.is_none() && text.run.vocabulary().ok()?.level() == Level::Word;
    let symbols: Vec<&str> = text.symbols.iter().chain(text.predicted.last()).map(String::as_str).collect();
    let (cue, effect) = cue_sentences::find_dependency(&symbols).filter(|_| generated)?;
    // The effect is predicted one step before it is read.
    Some(effect - 1 - cue)
}

/// The symbol of a parameter.
fn symbol(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::WEIGHT_IH => "W_ih",
        Parameter::WEIGHT_HH => "W_hh",
        Parameter::BIAS => "b",
        Parameter::BIAS_IH => "b_ih",
        Parameter::BIAS_HH => "b_hh",
        Parameter::INPUT => "the input",
        other => other.as_str(),
    }
}

fn of_ledger(args: &PlotArgs, of: &Subject) -> Result<Figure, Failure> {
    let (read, predicted) = (of.read.as_deref(), of.predicted.as_deref());
    if args.kind == Kind::Heatmap {
        let entries: Vec<&Entry> =
            if args.all { of.traced.ledger.entries().iter().collect() } else { vec![of.entry(args)?] };
        let names: Vec<String> = entries.iter().map(|entry| of.name_of(entry)).collect();
        let panels: Vec<Panel<'_>> =
            entries.iter().zip(&names).map(|(entry, title)| Panel { title, entry }).collect();
        let columns = entries.iter().filter(|entry| entry.cell == entries[0].cell).count();
        let title = title(args, || format!("Contribution of step t to the gradient of loss k: {}", of.name));
        return Ok(figure::heatmap(&title, &panels, columns, read, predicted, of.unit));
    }
    let entry = of.entry(args)?;
    let name = of.name_of(entry);
    if args.kind == Kind::Rainbow {
        let title =
            title(args, || format!("Contributions of each step to later losses: {name}, {}", of.name));
        return Ok(figure::rainbow(&title, entry, read, of.unit));
    }
    if args.kind == Kind::Spectrum {
        return spectrum(args, of, entry);
    }
    if args.kind == Kind::Truncation {
        return truncation(args, of, entry);
    }
    let lags = entry.profile();
    let title = title(args, || format!("Contributions by lag: {name}, {}", of.name));
    let profile = Profile { true_lag: args.lag.or(of.true_lag), ..profile_of(entry, &lags) };
    Ok(figure::profile(&title, &profile, of.unit))
}

/// The spectrum of the cell of `entry`.
fn spectrum(args: &PlotArgs, of: &Subject, entry: &Entry) -> Result<Figure, Failure> {
    let place = entry.cell;
    let spectra = in_f64::recurrent_spectra(&of.network)?;
    let blocks: Vec<(&str, &[f64])> = spectra
        .iter()
        .filter(|block| block.cell == place)
        .map(|block| (block.gate, block.singular_values.as_slice()))
        .collect();
    let warm_up = LyapunovOptions::usual_warm_up(of.traced.trace.inputs().shape().0);
    let options = LyapunovOptions { warm_up, ..LyapunovOptions::default() };
    let lyapunov = in_f64::lyapunov(&of.network, &of.traced.trace, place, &options)?;
    let title = title(args, || {
        format!("Singular values and Lyapunov exponents{}: {}", cell_name(&of.network, place), of.name)
    });
    Ok(figure::spectrum(&title, &blocks, &lyapunov, entry.decay()))
}

/// The bias that the figure of truncation marks.
const SMALL_BIAS: f64 = 0.01;

/// The truncation curve of all parameters, and of the weights of the cell of `entry`.
fn truncation(args: &PlotArgs, of: &Subject, entry: &Entry) -> Result<Figure, Failure> {
    let Traced { trace, losses, ledger } = &of.traced;
    let windows = log_spaced_windows(ledger.steps());
    let curve = in_f64::truncation_curve(&of.network, trace, losses, &windows)?;
    let smallest = in_f64::smallest_window(&of.network, trace, losses, SMALL_BIAS)?;
    let suffix = format!("_{}", entry.cell.suffix());
    let weights =
        curve.parameters.iter().filter(|(name, _)| name.starts_with("weight") && name.ends_with(&suffix));
    let weights = weights.map(|(name, truncated)| (name.as_str(), truncated));
    let gradients: Vec<Truncated<'_>> = std::iter::once(("all parameters", &curve.all))
        .chain(weights)
        .map(|(name, truncated)| Truncated { name, bias: &truncated.bias, cosine: &truncated.cosine })
        .collect();
    let title = title(args, || format!("Bias of truncated backpropagation: {}", of.name));
    Ok(figure::truncation(&title, &windows, &gradients, Some((SMALL_BIAS, smallest.window))))
}

fn profile_of<'a>(entry: &Entry, lags: &'a [bptt::LagQuantiles]) -> Profile<'a> {
    let horizon = entry.horizon(HORIZON).map(|lag| (HORIZON, lag));
    Profile { lags, fit: entry.fit(), horizon, true_lag: None }
}

/// The remedies of the comparison in a folder.
fn of_comparison(args: &PlotArgs, folder: &Path) -> Result<Figure, Failure> {
    let Some((kept, plan)) = existing(folder)? else {
        let words = "--kind compare needs the folders of at least two runs, or one of bptt compare";
        return Err(Failure::Usage(words.into()));
    };
    let report = compare::Report::new(&plan, &kept.results(&plan)?)?;
    let title = title(args, || format!("{}, L = {}: {}", report.task, report.length, folder.display()));
    Ok(remedies(&title, &report))
}

/// The figure of a comparison of remedies.
pub(super) fn remedies(title: &str, report: &compare::Report) -> Figure {
    let remedied = report.remedies.iter().map(|row| Remedied {
        name: &row.name,
        solved: (row.solved, row.trained),
        interval: row.solved_interval,
        horizons: row.trainings.iter().map(|one| (one.before.horizon, one.after.horizon)).collect(),
        losses: row.trainings.iter().map(|one| one.loss).collect(),
    });
    figure::remedies(title, &remedied.collect::<Vec<_>>(), report.lag, report.baseline_loss)
}

/// The curves of every run, and its lag profile on the first steps of its held-out text, or on the given text.
fn of_runs(args: &PlotArgs) -> Result<Figure, Failure> {
    let subjects: Vec<Subject> =
        args.run.iter().map(|folder| Subject::of_run(folder, args)).collect::<Result<_, _>>()?;
    provenance::say(subjects.iter().map(|of| &of.provenance));
    let entries: Vec<&Entry> = subjects.iter().map(|of| of.entry(args)).collect::<Result<_, _>>()?;
    let lags: Vec<_> = entries.iter().map(|entry| entry.profile()).collect();
    let mut runs = Vec::new();
    for ((folder, entry), lags) in args.run.iter().zip(&entries).zip(&lags) {
        runs.push((metrics::read(folder)?, profile_of(entry, lags)));
    }
    if runs.iter().any(|(run, _)| run.of_text != runs[0].0.of_text) {
        let words = "--kind compare: the losses of a text and of a task have different units; compare runs of one kind";
        return Err(Failure::Usage(words.into()));
    }
    let title =
        title(args, || format!("Losses, and contributions to {} by lag", subjects[0].name_of(entries[0])));
    Ok(figure::compare(&title, &runs, NATS))
}
