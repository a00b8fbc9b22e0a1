//! `bptt train`: trains on a text or a task, and writes a run.

mod result;
mod saving;

use std::path::{Path, PathBuf};

use bptt_train::data_source::held_out_batch;
use bptt_train::run::{Existing, Lock, checkpoints};
use bptt_train::text::normalized;
use bptt_train::{
    Baselines, Batch, Config, Corpus, DataSource, Ending, Event, Flow, Observer, Outcome, Run, Streams, Task,
    Training, Vocabulary, memory, run as runs, task_by_name,
};
use bptt_view::report::{Report, Subject};

use super::report::{self, Reading, Source, facts};
use super::serve::Page;
use crate::Failure;
use crate::args::TrainArgs;
use crate::memory::allow;
use crate::progress::{Unit, Watch, signal, stop_on_signals};
use crate::tensorboard::TensorBoard;
use result::{end, end_of_task, ending, report_task, report_text};

use saving::Saving;

pub(crate) use result::losses;

pub(crate) fn run(args: &TrainArgs, quiet: bool) -> Result<(), Failure> {
    let config = config(args)?;
    fits(&config)?;
    config.check()?;
    if !args.serve && (args.page.port.is_some() || args.page.host.is_some() || args.page.token.is_some()) {
        let words = "--port, --host and --token need --serve";
        return Err(Failure::Usage(words.into()));
    }
    let folder = args.resume.clone().or_else(|| args.out.clone()).unwrap_or_else(free_folder);
    let start = match (&args.resume, args.force) {
        (Some(_), _) => Start::Resume,
        (None, true) => Start::New(Existing::Replace),
        (None, false) => Start::New(Existing::Refuse),
    };
    let plan = Plan { folder: &folder, start, checkpoint_every: args.checkpoint_every, quiet };
    stop_on_signals()?;
    let mut board = match &args.tensorboard {
        Some(folder) => Some(TensorBoard::new(folder, Unit::of(&config)?)?),
        None => None,
    };
    let learned = if let Some(name) = &config.task {
        let task = task_by_name(name)?;
        let source = Source::Task(&*task);
        let learned = watched(args, &config, source, &folder, board.as_mut(), |also| {
            learn_task(&config, &*task, &plan, also)
        })?;
        let written = reported(args, &config, &folder, || {
            let length = config.length_of(&*task);
            let batch = held_out_batch(&*task, length, 1, config.seed)?.batch;
            let k = batch.last_loss();
            let reading = Reading { config: &config, source, batch, k };
            reading.subject(report::name_of(&folder), &folder, &learned.outcome.network)
        });
        report_task(&learned, &config, &*task, &folder, written.as_deref(), args.json)?;
        learned
    } else {
        let text = runs::load_text(&config)?;
        if let Some(path) = &config.text {
            normalized(path, config.level)?.iter().for_each(|sentence| eprintln!("assumed: {sentence}"));
        }
        let (vocabulary, corpus) = runs::prepare(&config, &text)?;
        if config.bidirectional {
            eprintln!(
                "warning: a bidirectional network reads the symbols that it predicts; its loss does not measure prediction, and it \
                 cannot generate text"
            );
        }
        let learned = watched(args, &config, Source::Text(&vocabulary), &folder, board.as_mut(), |also| {
            learn("", &config, &vocabulary, &corpus, &plan, also)
        })?;
        let written = reported(args, &config, &folder, || {
            first_steps(&config, &vocabulary, &corpus, &folder, &learned)
        });
        report_text(&learned, &vocabulary, &folder, written.as_deref(), args.json)?;
        learned
    };
    if let Some(board) = board {
        let log = board.finish()?;
        eprintln!("wrote {}", log.display());
    }
    match learned.outcome.ending {
        Ending::NotFinite { step, what } => Err(Failure::Other(format!(
            "training stopped at update {step}: {what}; the network after {} updates, the last with finite loss and gradient, \
             is kept in {}; try a lower --learning-rate or a smaller --clip-norm",
            learned.outcome.steps,
            folder.display(),
        ))),
        Ending::Stopped if let Some(code) = signal() => Err(Failure::Signalled(
            code,
            format!(
                "stopped after {} updates; everything is kept in {folder}, and bptt train --resume {folder} goes on",
                learned.outcome.steps,
                folder = facts::quoted(&folder.to_string_lossy()),
            ),
        )),
        Ending::Finished | Ending::Stopped | Ending::Early => Ok(()),
    }
}

/// Refuses a training that needs more memory than may be used.
pub(super) fn fits(config: &Config) -> Result<(), Failure> {
    // What cannot be read is said when it is read.
    let bytes = config.text.as_ref().map(|path| path.metadata().map_or(0, |file| file.len()));
    let needed = memory::of_training(config, &memory::Sizes::of(config, bytes)?)?;
    allow("this training", needed, |limit| {
        let fits = memory::what_fits(config, bytes, limit)?;
        Ok(fits.map(|(name, value)| format!("--{name} {value}")))
    })
}

/// How a training begins.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// From the first update, in a folder without a run or instead of the run there.
    New(Existing),
    /// From the newest checkpoint.
    Resume,
}

/// Where a training goes, and how it begins.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub folder: &'a Path,
    pub start: Start,
    /// Updates between checkpoints; by time if it is not given.
    pub checkpoint_every: Option<u64>,
    pub quiet: bool,
}

/// Trains, with the page and TensorBoard as further observers.
fn watched(
    args: &TrainArgs,
    config: &Config,
    source: Source<'_>,
    folder: &Path,
    board: Option<&mut TensorBoard>,
    learn: impl FnOnce(&mut [&mut dyn Observer]) -> Result<Learned, Failure>,
) -> Result<Learned, Failure> {
    let mut page = if args.serve { Some(Page::start(&args.page, config, source, folder)?) } else { None };
    let mut also: Vec<&mut dyn Observer> = Vec::new();
    also.extend(board.map(|board| board as &mut dyn Observer));
    also.extend(page.as_mut().map(|page| page as &mut dyn Observer));
    let learned = learn(&mut also);
    if let Some(page) = page {
        page.end(match &learned {
            Ok(learned) => ending(&learned.outcome),
            Err(failure) => failure.to_string(),
        });
    }
    learned
}

/// Writes the report of the run in `folder`; its path, if there is one.
fn reported(
    args: &TrainArgs,
    config: &Config,
    folder: &Path,
    subject: impl FnOnce() -> Result<Subject, Failure>,
) -> Option<PathBuf> {
    report::finish(args.report, folder.join(report::FILE), || {
        let reproduce = vec![facts::train_command(config, folder)];
        let title = format!("Ledger of the network in {}", folder.display());
        Ok(Report { title, program: facts::program(), reproduce, subjects: vec![subject()?] })
    })
}

/// The settings of the arguments.
fn config(args: &TrainArgs) -> Result<Config, Failure> {
    if let Some(folder) = &args.resume {
        return resumed(args, folder);
    }
    let mut config = match &args.config {
        Some(path) => runs::read_config(path)?,
        None => Config::default(),
    };
    if args.text.is_some() || args.generate.is_some() {
        config.text.clone_from(&args.text);
        (config.task, config.length) = (None, None);
    }
    if args.task.is_some() {
        config.task.clone_from(&args.task);
        config.text = None;
    }
    let given =
        args.text.is_some() || args.generate.is_some() || args.task.is_some() || args.config.is_some();
    if !given {
        let choice = "--text FILE, --generate cue_sentences or --task NAME";
        return Err(Failure::Usage(format!("nothing to learn; expected {choice}")));
    }
    if let (Some(task), Some(option)) = (&config.task, args.settings.of_text_only()) {
        return Err(Failure::Usage(format!("{option} applies to texts only, not to the task {task}")));
    }
    Ok(args.settings.over(config))
}

/// The settings of a run that is continued.
fn resumed(args: &TrainArgs, folder: &Path) -> Result<Config, Failure> {
    if !runs::exists(folder) {
        return Err(Failure::Usage(format!("--resume: {} holds no run", folder.display())));
    }
    let config = runs::read_config(&folder.join(runs::CONFIG))?;
    if args.settings.over(config.clone()) != config {
        let words =
            "--resume continues a training with its own settings; leave the others out, or begin a new run";
        return Err(Failure::Usage(words.into()));
    }
    if runs::finished(folder) && !checkpoints::exist(folder) {
        return Err(Failure::Usage(format!("--resume: the training in {} has ended", folder.display())));
    }
    Ok(config)
}

/// The largest number of steps in the report after a training, which limits its time.
const REPORTED: usize = 128;

/// The run on the beginning of its held-out text, or of the whole text if none is held out.
fn first_steps(
    config: &Config,
    vocabulary: &Vocabulary,
    corpus: &Corpus,
    folder: &Path,
    learned: &Learned,
) -> Result<Subject, Failure> {
    let ids = corpus.shown();
    let steps = config.window.min(REPORTED).min(ids.len() - 1);
    let window = Streams::new(ids.to_vec(), 1, steps)?.next_window();
    let batch = Batch::of_text(window, 1)?;
    let reading = Reading { config, source: Source::Text(vocabulary), batch, k: steps - 1 };
    reading.subject(report::name_of(folder), folder, &learned.outcome.network)
}

/// The first of runs/train, runs/train-2, … that does not exist.
fn free_folder() -> PathBuf {
    let names = std::iter::once("runs/train".to_owned()).chain((2..).map(|n| format!("runs/train-{n}")));
    names.map(PathBuf::from).find(|path| !path.exists()).expect("some number is free")
}

/// The result of a training.
pub(crate) struct Learned {
    pub outcome: Outcome,
    pub baselines: Option<Baselines>,
    pub seconds: f64,
}

/// Trains on a text, with `name` before the progress; `also` are further observers.
pub(crate) fn learn(
    name: &str,
    config: &Config,
    vocabulary: &Vocabulary,
    corpus: &Corpus,
    plan: &Plan<'_>,
    also: &mut [&mut dyn Observer],
) -> Result<Learned, Failure> {
    let data = DataSource::Text { corpus, symbols: vocabulary.len() };
    let held_out = &corpus.held_out[..corpus.held_out.len().min(bptt_train::data_source::EVALUATION_SYMBOLS)];
    let baselines = Baselines::measure(&corpus.train, held_out, vocabulary.len()).ok();
    // Impossible settings are refused before anything is written.
    config.check()?;
    data.batches(config)?;
    let mut begun = Begun::new(name, config, Some(vocabulary), &data, plan, Unit::Bits)?;
    let mut learned = begun.run_through(also)?;
    learned.baselines = baselines;
    begun.finish(&end(&learned), &learned)?;
    Ok(learned)
}

/// Trains on a task.
fn learn_task(
    config: &Config,
    task: &dyn Task,
    plan: &Plan<'_>,
    also: &mut [&mut dyn Observer],
) -> Result<Learned, Failure> {
    let data = DataSource::task(task, config);
    data.batches(config)?;
    let mut begun = Begun::new("", config, None, &data, plan, Unit::of(config)?)?;
    let learned = begun.run_through(also)?;
    begun.finish(&end_of_task(&learned, config, task), &learned)?;
    Ok(learned)
}

/// A training with the folder of its run.
struct Begun<'a, 'd> {
    config: &'a Config,
    folder: &'a Path,
    training: Option<Training<'a, 'd>>,
    watch: Watch,
    saving: Saving,
    /// Held until the end.
    _lock: Lock,
}

impl<'a, 'd> Begun<'a, 'd> {
    /// Begins a run, or continues one.
    fn new(
        name: &str,
        config: &'a Config,
        vocabulary: Option<&Vocabulary>,
        data: &'a DataSource<'d>,
        plan: &Plan<'a>,
        unit: Unit,
    ) -> Result<Self, Failure> {
        let Plan { folder, start, checkpoint_every, quiet } = *plan;
        let mut training = Training::new(config, data)?;
        let mut kept = 0;
        let (metrics, lock) = match start {
            Start::New(existing) => runs::begin(folder, config, vocabulary, existing)?,
            Start::Resume => {
                let lock = runs::lock(folder)?;
                runs::check_vocabulary(folder, vocabulary)?;
                let (found, problems) = checkpoints::newest(folder)?;
                problems.iter().for_each(|problem| eprintln!("warning: {problem}"));
                let from = found.as_ref().map_or(0, checkpoints::Checkpoint::step);
                eprintln!("continues {} after {from} of {} updates", folder.display(), config.steps);
                if let Some(found) = found {
                    found.restore(&mut training)?;
                    kept = found.metrics();
                }
                runs::reopen(folder)?;
                (folder.join(runs::METRICS), lock)
            }
        };
        let watch = Watch::new(name, &metrics, kept, config.steps, unit, quiet)?;
        let saving = Saving::new(checkpoint_every);
        Ok(Self { config, folder, training: Some(training), watch, saving, _lock: lock })
    }

    /// Trains, and writes checkpoints, snapshots and the network.
    fn run_through(&mut self, also: &mut [&mut dyn Observer]) -> Result<Learned, Failure> {
        let Self { folder, watch, saving, .. } = self;
        let kept = snapshot_times(self.config);
        let mut failed: Option<Failure> = None;
        let mut observer = |event: &Event<'_>| {
            let mut flow = watch.event(event);
            let done = match event {
                Event::Step { step, network, .. } if kept.contains(step) => {
                    Run::save_snapshot(folder, *step, network).map_err(Failure::from)
                }
                Event::Updated { training, ends } => saving.save(folder, training, *ends, watch),
                _ => Ok(()),
            };
            if let Err(error) = done {
                failed.get_or_insert(error);
                flow = Flow::Stop;
            }
            also.iter_mut().fold(flow, |flow, also| flow.and(also.event(event)))
        };
        let mut training = self.training.take().expect("a training runs once");
        let begun = if training.steps() == 0 { training.begin(&mut observer)? } else { None };
        let outcome = match begun {
            Some(outcome) => outcome,
            None => training.go_on(&mut observer)?,
        };
        let seconds = self.watch.seconds();
        let saved = Run::save_model(self.folder, &outcome.network);
        if let Some(error) = failed {
            return Err(error);
        }
        saved?;
        Ok(Learned { outcome, baselines: None, seconds })
    }

    /// Writes the last line of the metrics, and the digests of all files.
    fn finish(mut self, end: &serde_json::Value, learned: &Learned) -> Result<(), Failure> {
        self.watch.write(end);
        self.watch.finish()?;
        runs::finish(self.folder)?;
        if learned.outcome.ending != Ending::Stopped {
            checkpoints::remove(self.folder)?;
        }
        Ok(())
    }
}

/// Number of halvings of the updates at which snapshots are kept: most changes are early.
const HALVINGS: u32 = 6;

/// The updates after which a snapshot is kept, besides the last: half of all, a quarter, and so on. None if no ledgers are
/// made during the training.
fn snapshot_times(config: &Config) -> Vec<u64> {
    if config.trace_every == 0 {
        return Vec::new();
    }
    (1..=HALVINGS).map(|halving| config.steps >> halving).filter(|&step| step > 0).collect()
}
