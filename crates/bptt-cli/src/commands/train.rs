//! `bptt train`: trains on a text or a task, and writes a run.

#[cfg(all(test, unix))]
mod faults;
mod learn;
#[cfg(test)]
mod repeated;
mod result;
mod saving;

use std::path::{Path, PathBuf};

use bptt_train::data_source::held_out_batch;
use bptt_train::run::{Existing, checkpoints};
use bptt_train::text::normalized;
use bptt_train::{
    Batch, Config, Corpus, Ending, Error, Observer, Streams, Vocabulary, memory, run as runs, task_by_name,
};
use bptt_view::report::{Report, Subject};

use super::report::{self, Reading, Source, facts};
use super::serve::Page;
use crate::Failure;
use crate::args::TrainArgs;
use crate::memory::allow;
use crate::progress::{Unit, signal, stop_on_signals};
use crate::tensorboard::TensorBoard;
use learn::learn_task;
use result::{ending, report_task, report_text};

pub(crate) use learn::{Learned, Plan, Start, learn};
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
        Some(folder) => Some(TensorBoard::new(folder, Unit::of(&config)?, args.resume.is_some())?),
        None => None,
    };
    let (learned, page) = if let Some(name) = &config.task {
        let task = task_by_name(name)?;
        let source = Source::Task(&*task);
        let (learned, page) = watched(args, &config, source, &folder, board.as_mut(), |also| {
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
            learn("", &config, &vocabulary, &corpus, &plan, also)
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
    // Of the training: Ctrl-C also ends the page that stays.
    let signal = signal();
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
        Ending::Stopped if let Some(code) = signal => Err(Failure::Signalled(
            code,
            format!(
                "stopped after {} updates; everything is kept in {quoted}, and bptt train --resume {quoted} {}",
                learned.outcome.steps,
                if checkpoints::exist(&folder) { "goes on" } else { "begins again" },
                quoted = facts::quoted(&folder.to_string_lossy()),
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
    let config = runs::settings(folder);
    if !runs::exists(folder) && !matches!(config, Err(Error::IsComparison { .. })) {
        return Err(Failure::Usage(format!("--resume: {} holds no run", folder.display())));
    }
    let config = config?;
    if args.settings.over(config.clone()) != config {
        let words =
            "--resume continues a training with its own settings; leave the others out, or begin a new run";
        return Err(Failure::Usage(words.into()));
    }
    runs::not_ended(folder)?;
    Ok(config)
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
