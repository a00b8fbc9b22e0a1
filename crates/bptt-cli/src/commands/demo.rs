//! `bptt demo`: from nothing to "which word taught it dinner", by a tanh RNN and by an LSTM.

mod report;

use std::path::{Path, PathBuf};

use bptt::{Network, ScanOptions, Symbols};
use bptt_io::files;
use bptt_train::{
    Config, Corpus, Ending, Error, Event, Flow, Lesson, Level, Schedule, Vocabulary, pantry, run as runs,
};
use bptt_view::json::{self, Context};
use serde_json::Value;

use super::provenance::Provenance;
use super::report as html;
use super::trace::{Traced, itemize_options};
use super::train::{Learned, learn};
use super::{print, print_json};
use crate::Failure;
use crate::args::DemoArgs;
use crate::progress::stop_on_ctrl_c;
use report::{Pupil, Report};

/// The two cells, and what the demo calls them.
const CELLS: [(&str, &str); 2] = [("rnn", "tanh RNN"), ("lstm", "LSTM")];

/// Held-out sentences read before the article's where the account is kept: enough that the state is not that of an
/// empty start, which training has seen a few times only.
const LESSON_BEFORE: usize = 1;

/// Held-out sentences read before the article's where the reach is measured: enough that no horizon ends for want of
/// text.
const REACH_BEFORE: usize = 8;

const LEDGER: &str = "ledger.json";

/// The settings of the demo's runs, but for seed and number of updates: both begin as PyTorch's modules do, but for the
/// forget gates, which everybody opens first.
fn settings(cell: &str) -> Config {
    Config {
        cell: cell.into(),
        forget_bias: (cell == "lstm").then_some(1.0),
        level: Level::Word,
        hidden: 64,
        window: 32,
        learning_rate: 3e-3,
        schedule: Schedule::Cosine { warmup: 0, floor: 0.0 },
        evaluate_every: 1_000,
        ..Config::default()
    }
}

pub(crate) fn run(args: &DemoArgs, quiet: bool) -> Result<(), Failure> {
    let config = |cell: &str| Config { steps: args.steps, seed: args.seed, ..settings(cell) };
    let text = runs::load_text(&config(CELLS[0].0))?;
    let (vocabulary, corpus) = runs::prepare(&config(CELLS[0].0), &text)?;
    let lesson = Reading::after(&vocabulary, &corpus, LESSON_BEFORE)?;
    let reach = Reading::after(&vocabulary, &corpus, REACH_BEFORE)?;

    clear(&args.out)?;
    stop_on_ctrl_c()?;
    let mut pupils = Vec::new();
    for (cell, name) in CELLS {
        let task = Task {
            name,
            config: config(cell),
            folder: args.out.join(cell),
            vocabulary: &vocabulary,
            corpus: &corpus,
            lesson: &lesson,
            reach: &reach,
        };
        pupils.push(task.teach(quiet)?);
    }
    let pupils = pupils.try_into().unwrap_or_else(|_| unreachable!("one for each of two cells"));
    let report = Report { config: config(CELLS[0].0), vocabulary, lesson, reach, pupils };
    let written = html::finish(args.report, args.out.join(html::FILE), || report.to_look_into(args));
    if args.json {
        let mut json = report.json();
        json["report"] = serde_json::json!(written.as_deref().map(Path::to_string_lossy));
        return print_json(&json);
    }
    print(&report.text(&args.out)?)?;
    html::name(written.as_deref())
}

/// The article's sentence after some held-out ones.
struct Reading {
    ids: Vec<u32>,
    /// What each step reads.
    words: Vec<String>,
    /// Where the article's sentence begins, with the line break before it.
    start: usize,
    /// The step that reads the cue.
    cue: usize,
    /// The loss of predicting the effect.
    k: usize,
}

impl Reading {
    fn after(vocabulary: &Vocabulary, corpus: &Corpus, sentences: usize) -> Result<Self, Failure> {
        let end = vocabulary.id("\n").expect("every sentence of the text ends its line");
        let ends = corpus.held_out.iter().enumerate().filter(|(_, id)| **id == end).map(|(at, _)| at);
        let ends: Vec<usize> = ends.take(sentences + 1).collect();
        let mut ids = corpus.held_out[ends[0]..ends[sentences]].to_vec();
        let start = ids.len();
        let sentence = pantry::article_sentence();
        ids.push(end);
        ids.extend(vocabulary.encode(&sentence.text)?);
        let words = ids.iter().map(|&id| vocabulary.show(id).into_owned()).collect();
        // The line break comes first, so the loss of predicting symbol i of the sentence is i steps after it.
        Ok(Self { ids, words, start, cue: start + sentence.cue + 1, k: start + sentence.effect })
    }

    /// How many symbols lie between cue and effect.
    fn distance(&self) -> usize {
        self.k + 1 - self.cue
    }

    fn effect(&self) -> &str {
        &self.words[self.k + 1]
    }

    /// What is read, and what follows each.
    fn symbols(&self) -> Result<(Symbols, Symbols), Failure> {
        let steps = self.ids.len() - 1;
        let symbols = |ids: &[u32]| Symbols::new(steps, 1, ids.to_vec());
        Ok((symbols(&self.ids[..steps])?, symbols(&self.ids[1..])?))
    }

    /// The ledger of `network` on it.
    fn take_apart(&self, network: &Network<f32>) -> Result<Traced, Failure> {
        let (inputs, targets) = self.symbols()?;
        Traced::text(
            &network.cast::<f64>()?,
            inputs,
            targets,
            ScanOptions::default(),
            &itemize_options(false, None),
        )
    }
}

/// One network to train.
struct Task<'a> {
    name: &'static str,
    config: Config,
    folder: PathBuf,
    vocabulary: &'a Vocabulary,
    corpus: &'a Corpus,
    lesson: &'a Reading,
    reach: &'a Reading,
}

impl Task<'_> {
    /// Trains the network, keeps the account, measures its reach before and after, and leaves run and ledger behind.
    fn teach(self, quiet: bool) -> Result<Pupil, Failure> {
        let untrained = self.config.network(self.vocabulary.len(), self.vocabulary.len())?;
        let before = self.reach.take_apart(&untrained)?;
        let mut lesson = Lesson::new(&untrained, &self.lesson.ids, self.lesson.k)?;
        let mut failed = None;
        let mut account = |event: &Event<'_>| match event {
            Event::Step { network, .. } => match lesson.enter(network) {
                Ok(()) => Flow::Continue,
                Err(error) => {
                    failed = Some(error);
                    Flow::Stop
                }
            },
            Event::Flossing { .. } | Event::Trace { .. } | Event::Evaluation { .. } => Flow::Continue,
        };
        let Self { name, config, folder, vocabulary, corpus, .. } = &self;
        let learned = learn(name, config, vocabulary, corpus, folder, true, quiet, &mut [&mut account])?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let traced = self.reach.take_apart(&learned.outcome.network)?;
        let read = &self.reach.words[..self.reach.words.len() - 1];
        let mut provenance = Provenance::of_run(folder, config);
        provenance.assume("the state before the first step is zero");
        provenance.assume("the loss is the cross-entropy of every next word, summed over the steps");
        let context = Context {
            symbols: Some(read),
            losses: Some(&traced.losses),
            provenance: provenance.values().clone(),
            assumptions: provenance.assumptions(),
        };
        let ledger = Value::Object(json::ledger(&traced.ledger, &context));
        files::write(&folder.join(LEDGER), ledger.to_string().as_bytes())?;
        self.check_finished(&learned)?;
        Ok(Pupil { name, folder: self.folder, cell: self.config.cell, learned, lesson, before, traced })
    }

    fn check_finished(&self, learned: &Learned) -> Result<(), Failure> {
        let (name, folder, steps) = (self.name, self.folder.display(), learned.outcome.steps);
        match &learned.outcome.ending {
            Ending::Finished => Ok(()),
            Ending::Stopped => Err(Failure::Other(format!(
                "stopped after {steps} updates of the {name}; its run is kept in {folder}, and nothing is compared. Try \
                 bptt trace {folder}, or run the demo again"
            ))),
            Ending::NotFinite { step, what } => Err(Failure::Other(format!(
                "training of the {name} stopped at update {step}: {what}; its last good network is kept in {folder}. Try \
                 another --seed"
            ))),
        }
    }
}

/// Makes place in `out`: an older demo may be replaced, but no run of another kind.
fn clear(out: &Path) -> Result<(), Failure> {
    // Demos used to be a run in the folder itself.
    let folders = [out.to_owned(), out.join(CELLS[0].0), out.join(CELLS[1].0)];
    let taken = folders.iter().filter(|folder| runs::exists(folder));
    let taken: Vec<_> = taken.map(|folder| (folder, is_a_demos(folder))).collect();
    if let Some((folder, _)) = taken.iter().find(|(_, replaceable)| !replaceable) {
        return Err(Error::RunExists { folder: (*folder).clone() }.into());
    }
    for (folder, _) in taken {
        runs::remove(folder)?;
        files::remove(&folder.join(LEDGER))?;
    }
    Ok(files::remove(&out.join(html::FILE))?)
}

/// Whether the run in `folder` is a demo's: it has a ledger and the demo's settings, for whatever cell, seed and number of
/// updates.
fn is_a_demos(folder: &Path) -> bool {
    let Ok(config) = runs::read_config(&folder.join(runs::CONFIG)) else { return false };
    let (seed, steps) = (config.seed, config.steps);
    folder.join(LEDGER).exists() && config == Config { seed, steps, ..settings(&config.cell) }
}
