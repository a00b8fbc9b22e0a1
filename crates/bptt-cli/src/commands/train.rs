//! `bptt train`: trains on a text or a task, and writes a run.

mod result;

use std::path::{Path, PathBuf};

use bptt_train::data_source::held_out_batch;
use bptt_train::run::Existing;
use bptt_train::text::normalized;
use bptt_train::{
    Baselines, Batch, Config, Corpus, DataSource, Ending, Event, Flow, Observer, Outcome, Run, Streams, Task,
    Vocabulary, run as runs, task_by_name, train,
};
use bptt_view::report::{Report, Subject};

use super::report::{self, Reading, Source, facts};
use super::serve::Page;
use crate::Failure;
use crate::args::TrainArgs;
use crate::progress::{Unit, Watch, stop_on_ctrl_c};
use crate::tensorboard::TensorBoard;
use result::{end, end_of_task, ending, report_task, report_text};

pub(crate) use result::losses;

pub(crate) fn run(args: &TrainArgs, quiet: bool) -> Result<(), Failure> {
    let config = config(args)?;
    config.check()?;
    if !args.serve && (args.page.port.is_some() || args.page.host.is_some() || args.page.token.is_some()) {
        let words = "--port, --host and --token need --serve";
        return Err(Failure::Usage(words.into()));
    }
    let folder = args.out.clone().unwrap_or_else(free_folder);
    stop_on_ctrl_c()?;
    let mut board = match &args.tensorboard {
        Some(folder) => Some(TensorBoard::new(folder, Unit::of(&config)?)?),
        None => None,
    };
    let (learned, page) = if let Some(name) = &config.task {
        let task = task_by_name(name)?;
        let source = Source::Task(&*task);
        let (learned, page) = watched(args, &config, source, &folder, board.as_mut(), |also| {
            learn_task(&config, &*task, &folder, quiet, also)
        })?;
        let written = reported(args, &config, &folder, || {
            let length = config.length_of(&*task);
            let batch = held_out_batch(&*task, length, 1, config.seed)?.batch;
            let k = batch.last_loss();
            let reading = Reading { config: &config, source, batch, k };
            reading.subject(report::name_of(&folder), &folder, &learned.outcome.network)
        });
        report_task(&learned, &config, &*task, &folder, written.as_deref(), args.json)?;
        (learned, page)
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
        let source = Source::Text(&vocabulary);
        let (learned, page) = watched(args, &config, source, &folder, board.as_mut(), |also| {
            learn("", &config, &vocabulary, &corpus, &folder, Existing::Refuse, quiet, also)
        })?;
        let written = reported(args, &config, &folder, || {
            first_steps(&config, &vocabulary, &corpus, &folder, &learned)
        });
        report_text(&learned, &vocabulary, &folder, written.as_deref(), args.json)?;
        (learned, page)
    };
    if let Some(board) = board {
        let log = board.finish()?;
        eprintln!("wrote {}", log.display());
    }
    if let Some(page) = page {
        page.end(args.stay.stays());
    }
    match learned.outcome.ending {
        Ending::NotFinite { step, what } => Err(Failure::Other(format!(
            "training stopped at update {step}: {what}; the network after {} updates, the last with finite loss and gradient, \
             is kept in {}; try a lower --learning-rate or a smaller --clip-norm",
            learned.outcome.steps,
            folder.display(),
        ))),
        Ending::Finished | Ending::Stopped | Ending::Early => Ok(()),
    }
}

/// Trains, with the page and TensorBoard as further observers. The page, if there is one, shows how the training ended.
fn watched(
    args: &TrainArgs,
    config: &Config,
    source: Source<'_>,
    folder: &Path,
    board: Option<&mut TensorBoard>,
    learn: impl FnOnce(&mut [&mut dyn Observer]) -> Result<Learned, Failure>,
) -> Result<(Learned, Option<Page>), Failure> {
    let mut page = if args.serve { Some(Page::start(&args.page, config, source, folder)?) } else { None };
    let mut also: Vec<&mut dyn Observer> = Vec::new();
    also.extend(board.map(|board| board as &mut dyn Observer));
    also.extend(page.as_mut().map(|page| page as &mut dyn Observer));
    let learned = learn(&mut also);
    if let Some(page) = &mut page {
        page.show_end(match &learned {
            Ok(learned) => ending(&learned.outcome),
            Err(failure) => failure.to_string(),
        });
    }
    match learned {
        Ok(learned) => Ok((learned, page)),
        Err(failure) => {
            if let Some(page) = page {
                page.end(false);
            }
            Err(failure)
        }
    }
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

/// The run on the beginning of its held-out text, or of the whole text if none is held out.
fn first_steps(
    config: &Config,
    vocabulary: &Vocabulary,
    corpus: &Corpus,
    folder: &Path,
    learned: &Learned,
) -> Result<Subject, Failure> {
    let ids = corpus.shown();
    let steps = config.window.min(report::STEPS).min(ids.len() - 1);
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

/// Trains on a text into `folder`, with `name` before the progress; `also` are further observers.
#[allow(clippy::too_many_arguments)] // they have nothing in common
pub(crate) fn learn(
    name: &str,
    config: &Config,
    vocabulary: &Vocabulary,
    corpus: &Corpus,
    folder: &Path,
    existing: Existing,
    quiet: bool,
    also: &mut [&mut dyn Observer],
) -> Result<Learned, Failure> {
    let data = DataSource::Text { corpus, symbols: vocabulary.len() };
    let held_out = &corpus.held_out[..corpus.held_out.len().min(bptt_train::data_source::EVALUATION_SYMBOLS)];
    let baselines = Baselines::measure(&corpus.train, held_out, vocabulary.len()).ok();
    // Impossible settings are refused before anything is written.
    config.check()?;
    data.batches(config)?;
    let metrics = runs::begin(folder, config, Some(vocabulary), existing)?;
    let mut watch = Watch::new(name, &metrics, config.steps, Unit::Bits, quiet)?;
    let mut learned = run_through(config, &data, folder, &mut watch, also)?;
    learned.baselines = baselines;
    watch.write(&end(&learned));
    watch.finish()?;
    Ok(learned)
}

/// Trains on a task into `folder`.
fn learn_task(
    config: &Config,
    task: &dyn Task,
    folder: &Path,
    quiet: bool,
    also: &mut [&mut dyn Observer],
) -> Result<Learned, Failure> {
    let data = DataSource::task(task, config);
    data.batches(config)?;
    let metrics = runs::begin(folder, config, None, Existing::Refuse)?;
    let mut watch = Watch::new("", &metrics, config.steps, Unit::of(config)?, quiet)?;
    let learned = run_through(config, &data, folder, &mut watch, also)?;
    watch.write(&end_of_task(&learned, config, task));
    watch.finish()?;
    Ok(learned)
}

/// Trains, and writes the network and its snapshots.
fn run_through(
    config: &Config,
    data: &DataSource<'_>,
    folder: &Path,
    watch: &mut Watch,
    also: &mut [&mut dyn Observer],
) -> Result<Learned, Failure> {
    let kept = snapshot_times(config);
    let mut failed = None;
    let outcome = train(config, data, &mut |event: &Event<'_>| {
        let mut flow = watch.event(event);
        if let Event::Step { step, network, .. } = event
            && kept.contains(step)
            && let Err(error) = Run::save_snapshot(folder, *step, network)
        {
            failed = Some(error);
            flow = Flow::Stop;
        }
        also.iter_mut().fold(flow, |flow, also| flow.and(also.event(event)))
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let seconds = watch.seconds();
    Run::save_model(folder, &outcome.network)?;
    Ok(Learned { outcome, baselines: None, seconds })
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
