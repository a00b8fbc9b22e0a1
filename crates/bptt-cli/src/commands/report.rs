//! `bptt report`: a run as one HTML file, and the reports that other commands write.

pub(super) mod facts;
mod of_comparison;
mod of_model;

use std::fs;
use std::path::{Path, PathBuf};

use bptt::in_f64;
use bptt::{Inputs, Network, Reduction, ScanOptions, Symbols, Targets};
use bptt_io::files;
use bptt_train::data_source::held_out_batch;
use bptt_train::diagnose::{Before, Evidence, diagnose};
use bptt_train::{Batch, Config, Run, Task, Vocabulary, run as runs, task_by_name};
#[cfg(feature = "report")]
use bptt_view::report;
use bptt_view::report::{Block, LossUnit, Report, Stage, Subject};
use serde_json::Value;

use super::print;
use super::trace::{
    OF_REPORT, Traced, Wanted, chosen_loss, fitting, held_out, loss_at, refuse_for_task, sentence,
};
use crate::Failure;
use crate::args::{ReportArgs, ReportOptions};
use crate::progress::bits;

/// The ledgers of a report, at most: of the snapshots, and before and after the training.
const SNAPSHOTS: f64 = 8.0;

/// The file name of the report in the folder of a run.
pub(super) const FILE: &str = runs::REPORT;

/// The largest number of steps in a report that nobody has chosen the steps of, which limits its time.
pub(super) const STEPS: usize = 128;

pub(crate) fn run(args: &ReportArgs) -> Result<(), Failure> {
    if cfg!(not(feature = "report")) {
        return Err(Failure::built_without("report", "bptt report", ""));
    }
    if let Some(file) = &args.model.model {
        return of_model::run(args, file);
    }
    if let Some(done) = of_comparison::run(args)? {
        return Ok(done);
    }
    let folders: Vec<PathBuf> =
        args.runs.iter().map(|folder| runs_in(folder)).collect::<Result<Vec<_>, _>>()?.concat();
    let subjects = folders.iter().map(|folder| of_run(args, folder)).collect::<Result<Vec<_>, Failure>>()?;
    let path = args.out.clone().unwrap_or_else(|| args.runs[0].join(FILE));
    let title = format!("Ledger of {}", subjects_in_words(&subjects));
    let report = Report { title, program: facts::program(), reproduce: reproduce(args, &folders)?, subjects };
    finished(args, &path, &report)
}

/// Writes the report, says where, and opens it if that is wanted.
fn finished(args: &ReportArgs, path: &Path, report: &Report) -> Result<(), Failure> {
    place(args, path, &html(report)?)
}

/// The same for a page.
fn place(args: &ReportArgs, path: &Path, html: &str) -> Result<(), Failure> {
    write_page(path, html)?;
    print(&format!("wrote {}\n", path.display()))?;
    if args.open {
        open(path);
    }
    Ok(())
}

/// The folder itself if it is a run, otherwise the runs in it.
fn runs_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if runs::exists(folder) {
        return Ok(vec![folder.into()]);
    }
    let mut inside: Vec<PathBuf> =
        files::list(folder)?.into_iter().filter(|path| runs::exists(path)).collect();
    inside.sort();
    if inside.is_empty() {
        let folder = folder.display();
        return Err(Failure::Usage(format!(
            "{folder} is not a run and contains none; bptt train creates runs"
        )));
    }
    Ok(inside)
}

fn of_run(args: &ReportArgs, folder: &Path) -> Result<Subject, Failure> {
    let run = Run::open(folder)?;
    let task = task_of(&run.config)?;
    if task.is_some() {
        let only_of_text = [
            ("--text", args.text.is_some()),
            ("--steps", args.steps.is_some()),
            ("--predicting", args.predicting.is_some()),
        ];
        refuse_for_task(&run.config, &only_of_text)?;
    }
    let window = run.config.window;
    let (source, batch) = reading(&run, task.as_deref(), args.text.as_deref(), args.steps, window)?;
    let k = match &batch.targets {
        Targets::CrossEntropy(targets) if task.is_none() => {
            chosen_loss(args.loss_step, args.predicting.as_deref(), &run, targets)?
        }
        _ => loss_at(args.loss_step, batch.shape().0)?.unwrap_or_else(|| batch.last_loss()),
    };
    Reading { config: &run.config, source, batch, k }.subject(name_of(folder), folder, &run.network)
}

/// A run in `folder` on a text, or on a number of steps of its held-out data; stopped when the client is gone.
#[cfg(feature = "serve")]
pub(super) fn explored(
    folder: &Path,
    text: Option<&str>,
    steps: Option<usize>,
    gone: &dyn Fn() -> bool,
) -> Result<Subject, Failure> {
    let run = Run::open(folder)?;
    let task = task_of(&run.config)?;
    refuse_for_task(&run.config, &[("a text", text.is_some())])?;
    if text.is_none() {
        only_its_own_text(&run)?;
    }
    let usual = run.config.window.min(STEPS);
    let (source, batch) = reading(&run, task.as_deref(), text, steps, usual)?;
    let k = batch.last_loss();
    let reading = Reading { config: &run.config, source, batch, k };
    reading.subject_unless(gone, name_of(folder), folder, &run.network)
}

/// Refuses to read what the settings of a stranger's run may name: anything but a regular file of which the run knows what is in
/// it.
#[cfg(feature = "serve")]
pub(super) fn only_its_own_text(run: &Run) -> Result<(), Failure> {
    let Some(path) = &run.config.text else { return Ok(()) };
    let regular = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    if regular && run.knows_its_text() {
        return Ok(());
    }
    let why = if regular { "the run has no checksum of it" } else { "it is no regular file" };
    Err(Failure::Usage(format!("{} is not read: {why}; bptt report reads it", path.display())))
}

/// The task in the settings, if there is one.
fn task_of(config: &Config) -> Result<Option<Box<dyn Task>>, Failure> {
    Ok(config.task.as_deref().map(task_by_name).transpose()?)
}

/// One sequence for a run: of its task, of this text, or of its held-out text, which is read for `steps` or at most
/// `usual_steps`.
fn reading<'a>(
    run: &'a Run,
    task: Option<&'a dyn Task>,
    text: Option<&str>,
    steps: Option<usize>,
    usual_steps: usize,
) -> Result<(Source<'a>, Batch), Failure> {
    if let Some(task) = task {
        let length = run.config.length_of(task);
        return Ok((Source::Task(task), held_out_batch(task, length, 1, run.config.seed)?.batch));
    }
    let (inputs, targets) = match text {
        Some(text) => sentence(run, text)?,
        None => held_out(run, fitting(steps, usual_steps, Some(1), 1))?,
    };
    Ok((Source::Text(run.vocabulary()?), of_symbols(inputs, targets)))
}

/// A batch in which the target of each symbol is the next one.
pub(super) fn of_symbols(inputs: Symbols, targets: Symbols) -> Batch {
    Batch { inputs: Inputs::Symbols(inputs), targets: Targets::CrossEntropy(targets), mask: None }
}

/// The name of a folder.
pub(super) fn name_of(folder: &Path) -> String {
    folder.file_name().map_or_else(|| "network".into(), |name| name.to_string_lossy().into_owned())
}

/// What a run learned.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// A text with this vocabulary.
    Text(&'a Vocabulary),
    /// A task.
    Task(&'a dyn Task),
}

impl Source<'_> {
    /// The numbers of inputs and outputs of a network for it.
    fn sizes(self) -> (usize, usize) {
        match self {
            Self::Text(vocabulary) => (vocabulary.len(), vocabulary.len()),
            Self::Task(task) => (task.inputs(), task.outputs()),
        }
    }

    fn show(self, id: u32) -> String {
        match self {
            Self::Text(vocabulary) => vocabulary.show(id).into_owned(),
            Self::Task(_) => id.to_string(),
        }
    }
}

/// One sequence that a network of these settings reads.
pub(super) struct Reading<'a> {
    pub config: &'a Config,
    pub source: Source<'a>,
    /// One sequence.
    pub batch: Batch,
    /// The loss that is shown first.
    pub k: usize,
}

impl Reading<'_> {
    /// The contents of the report for the run in `folder`, whose final network is `network`.
    pub(super) fn subject(
        self,
        name: String,
        folder: &Path,
        network: &Network<f32>,
    ) -> Result<Subject, Failure> {
        self.subject_unless(&|| false, name, folder, network)
    }

    /// The same, stopped once it is `not_wanted`.
    fn subject_unless(
        self,
        not_wanted: &dyn Fn() -> bool,
        name: String,
        folder: &Path,
        network: &Network<f32>,
    ) -> Result<Subject, Failure> {
        let metrics = metrics(folder)?;
        let updates =
            metrics.iter().find(|line| line["event"] == "end").and_then(|end| end["steps"].as_u64());
        let updates = updates.unwrap_or(self.config.steps);
        let (inputs, outputs) = self.source.sizes();
        let untrained = (0, self.config.network(inputs, outputs)?);
        let earlier = std::iter::once(untrained)
            .chain(runs::snapshots::read(folder)?)
            .filter(|(step, _)| *step < updates);
        let mut stages = Vec::new();
        for (step, network) in earlier {
            if not_wanted() {
                return Err(Failure::Other("the client is gone".into()));
            }
            let ledger = self.ledger(&network.cast()?, false)?.ledger;
            stages.push(Stage { step: Some(step), ledger });
        }
        let network = network.cast::<f64>()?;
        let traced = self.ledger(&network, true)?;
        let (blocks, saturation) = (Block::all(&network), in_f64::saturation(&network, &traced.trace));
        let first = stages.first().and_then(|stage: &Stage| Before::of(&stage.ledger, stage.step?));
        let verdict = self.verdict(&network, &traced, &metrics, first);
        stages.push(Stage { step: Some(updates), ledger: traced.ledger });
        let (unit, scale) = match (&self.batch.targets, self.source) {
            (Targets::SquaredError(_), _) => (LossUnit::SquaredError, 1.0),
            (_, Source::Task(_)) => (LossUnit::Nats, 1.0),
            (_, Source::Text(_)) => (LossUnit::Bits, bits(1.0)),
        };
        Ok(Subject {
            name,
            cell: network.spec().name.as_str().into(),
            facts: facts::of_run(self.config, self.source, Some(network.weights()), &metrics),
            verdict,
            symbols: self.symbols(),
            targets: match (&self.batch.targets, self.source) {
                (Targets::CrossEntropy(ids), Source::Text(_)) => Some(self.shown(ids)),
                _ => None,
            },
            losses: Some(traced.losses.values.iter().map(|&loss| scale * loss).collect()),
            unit,
            k: self.k,
            blocks,
            saturation,
            metrics,
            stages,
        })
    }

    /// What the judge says of the network, its ledger and its training.
    fn verdict(
        &self,
        network: &Network<f64>,
        traced: &Traced,
        metrics: &[Value],
        before: Option<Before>,
    ) -> Vec<String> {
        let lag = match self.source {
            Source::Task(task) => Some(task.lag(self.config.length_of(task))),
            Source::Text(_) => None,
        };
        let mut evidence =
            Evidence::of_ledger(network, &traced.trace, &traced.ledger, &ScanOptions::default(), lag);
        evidence.before = before;
        evidence.add_training(metrics);
        let mut said = diagnose(&evidence).in_sentences();
        said.push(
            "All this is of the sequence shown, without cuts; bptt diagnose reads several sequences and cuts gradients where training \
             did."
                .into(),
        );
        said
    }

    /// The input of each step as text.
    fn symbols(&self) -> Vec<String> {
        match &self.batch.inputs {
            Inputs::Symbols(ids) => self.shown(ids),
            Inputs::Dense(numbers) => (0..numbers.steps()).map(|t| in_short(numbers.at(t, 0))).collect(),
        }
    }

    fn shown(&self, ids: &Symbols) -> Vec<String> {
        (0..ids.shape().0).map(|t| self.source.show(ids.step(t)[0])).collect()
    }

    fn ledger(&self, network: &Network<f64>, gates: bool) -> Result<Traced, Failure> {
        let (inputs, objective) = self.batch.clone().objective(Reduction::Sum);
        let trace = in_f64::scan(network, inputs, &network.zero_state(1))?;
        let losses = in_f64::losses(network, &trace, &objective)?;
        // As many ledgers as there are snapshots stay in memory.
        Traced::new(network, trace, losses, Wanted { gates, made: SNAPSHOTS * OF_REPORT, tolerance: None })
    }
}

/// Numbers separated by spaces, with two decimals if they are not whole.
fn in_short(numbers: &[f32]) -> String {
    let number = |&x: &f32| if x.fract() == 0.0 { format!("{x}") } else { format!("{x:.2}") };
    numbers.iter().map(number).collect::<Vec<_>>().join(" ").replace('-', "−")
}

/// The events in the metrics of a run; none if it has no such file.
pub(super) fn metrics(folder: &Path) -> Result<Vec<Value>, Failure> {
    let (events, note) = runs::metrics::read(folder)?;
    if let Some(note) = note {
        eprintln!("warning: {note}");
    }
    Ok(events)
}

/// Writes the report atomically, and creates its folder.
pub(super) fn write(path: &Path, report: &Report) -> Result<(), Failure> {
    write_page(path, &html(report)?)
}

fn write_page(path: &Path, html: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        files::create_folder(folder)?;
    }
    Ok(files::write(path, html.as_bytes())?)
}

#[cfg(feature = "report")]
fn html(report: &Report) -> Result<String, Failure> {
    report::html(report).map_err(|error| Failure::Other(error.to_string()))
}

#[cfg(not(feature = "report"))]
fn html(_: &Report) -> Result<String, Failure> {
    Err(Failure::built_without("report", "the report", "leave it out with --no-report, or "))
}

/// Writes the report of a command and opens it, as the options say; returns its path if there is one. A failure is printed
/// and does not fail the command.
pub(super) fn finish(
    options: ReportOptions,
    path: PathBuf,
    report: impl FnOnce() -> Result<Report, Failure>,
) -> Option<PathBuf> {
    if options.no_report {
        return None;
    }
    if let Err(problem) = report().and_then(|report| write(&path, &report)) {
        eprintln!("warning: the report cannot be written: {problem}");
        return None;
    }
    if options.open {
        open(&path);
    }
    Some(path)
}

/// Prints the path of the report, if there is one.
pub(super) fn name(written: Option<&Path>) -> Result<(), Failure> {
    match written {
        Some(path) => print(&format!("report: {}\n", path.display())),
        None => Ok(()),
    }
}

/// Opens a file in the browser; a failure is printed.
fn open(path: &Path) {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    if let Err(error) = open::that_detached(&whole) {
        eprintln!("cannot open {} in a browser: {error}", path.display());
    }
}

/// Opens an address in the browser.
#[cfg(feature = "serve")]
pub(super) fn open_address(address: &str) {
    if let Err(error) = open::that_detached(address) {
        eprintln!("cannot open a browser: {error}");
    }
}

fn subjects_in_words(subjects: &[Subject]) -> String {
    match subjects {
        [one] => format!("the network of {}", one.name),
        several => several.iter().map(|of| of.name.as_str()).collect::<Vec<_>>().join(" and "),
    }
}

/// The commands that reproduce the runs and this report.
fn reproduce(args: &ReportArgs, folders: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for folder in folders {
        lines.push(facts::train_command(&runs::settings(folder)?, folder));
    }
    let mut report = "bptt report".to_owned();
    for run in &args.runs {
        report += &format!(" {}", facts::quoted(&run.to_string_lossy()));
    }
    let numbers = [("steps", args.steps), ("loss-step", args.loss_step)];
    for (option, value) in numbers.iter().filter_map(|(option, value)| Some((option, (*value)?))) {
        report += &format!(" --{option} {value}");
    }
    for (option, value) in [("text", &args.text), ("predicting", &args.predicting)] {
        if let Some(value) = value {
            report += &format!(" --{option} {}", facts::quoted(value));
        }
    }
    lines.push(report);
    Ok(lines)
}
