//! `bptt demo`: trains a tanh RNN and an LSTM and shows which word they learned "dinner" from.

mod report;

use std::path::{Path, PathBuf};

use bptt::{Network, ScanOptions, Symbols};
use bptt_io::files;
use bptt_train::run::Existing;
use bptt_train::{
    Config, Corpus, Ending, Error, Event, Flow, Level, LossChangeAllocation, Schedule, Vocabulary,
    cue_sentences, run as runs,
};
use bptt_view::json::{self, Context};
use serde_json::Value;

use super::provenance::Provenance;
use super::report as html;
use super::trace::{Traced, Wanted};
use super::train::{Learned, Plan, Start, learn};
use super::{print, print_json};
use crate::Failure;
use crate::args::DemoArgs;
use crate::progress::stop_on_signals;
use report::{Report, Trained};

/// The two cells with their names in the text.
const CELLS: [(&str, &str); 2] = [("rnn", "tanh RNN"), ("lstm", "LSTM")];

/// Number of held-out sentences before the sentence of the article for the allocation: enough that the state is not that of
/// an empty start, which is rare in training.
const ALLOCATION_BEFORE: usize = 1;

/// Number of held-out sentences before it for the horizons: enough that no horizon is limited by the text.
const HORIZON_BEFORE: usize = 8;

/// Updates are allocated in groups of so many, which saves time.
const ALLOCATED: u64 = 5;

const LEDGER: &str = "ledger.json";

/// The settings of the runs of the demo, except seed and number of updates. Both networks are initialized as in PyTorch,
/// except for the forget gates, whose initial bias is 1 as usual.
fn settings(cell: &str) -> Config {
    Config {
        cell: cell.into(),
        forget_bias: has_forget_gate(cell).then_some(1.0),
        level: Level::Word,
        hidden: 64,
        window: 32,
        learning_rate: 3e-3,
        schedule: Schedule::Cosine { warmup: 0, floor: 0.0 },
        evaluate_every: 1_000,
        ..Config::default()
    }
}

fn has_forget_gate(cell: &str) -> bool {
    bptt::cell_by_name(cell).is_ok_and(|cell| cell.spec().gate("f").is_some())
}

pub(crate) fn run(args: &DemoArgs, quiet: bool) -> Result<(), Failure> {
    let config = |cell: &str| Config { steps: args.steps, seed: args.seed, ..settings(cell) };
    let text = runs::load_text(&config(CELLS[0].0))?;
    let (vocabulary, corpus) = runs::prepare(&config(CELLS[0].0), &text)?;
    let allocation = Reading::after(&vocabulary, &corpus, ALLOCATION_BEFORE)?;
    let horizon = Reading::after(&vocabulary, &corpus, HORIZON_BEFORE)?;

    clear(&args.out)?;
    stop_on_signals()?;
    let mut networks = Vec::new();
    for (cell, name) in CELLS {
        let job = Job {
            name,
            config: config(cell),
            folder: args.out.join(cell),
            vocabulary: &vocabulary,
            corpus: &corpus,
            allocation: &allocation,
            horizon: &horizon,
        };
        networks.push(job.train(quiet)?);
    }
    let networks = networks.try_into().unwrap_or_else(|_| unreachable!("one for each of two cells"));
    let report = Report { config: config(CELLS[0].0), vocabulary, allocation, horizon, networks };
    let written = html::finish(args.report, args.out.join(html::FILE), || report.html(args));
    if args.json {
        let mut json = report.json();
        json["report"] = serde_json::json!(written.as_deref().map(Path::to_string_lossy));
        return print_json(&json);
    }
    print(&report.text(&args.out)?)?;
    html::name(written.as_deref())
}

/// The sentence of the article after some held-out sentences.
struct Reading {
    ids: Vec<u32>,
    /// The word of each step.
    words: Vec<String>,
    /// The index of the beginning of the sentence, with the line break before it.
    start: usize,
    /// The step that reads the cue.
    cue: usize,
    /// The loss of predicting the effect.
    k: usize,
    /// The sixteen words that the effect is told from, itself included, and the cues that determine them.
    endings: Vec<u32>,
    cues: Vec<u32>,
}

impl Reading {
    fn after(vocabulary: &Vocabulary, corpus: &Corpus, sentences: usize) -> Result<Self, Failure> {
        let end = vocabulary.id("\n").expect("every sentence of the text ends its line");
        let ends = corpus.held_out.iter().enumerate().filter(|(_, id)| **id == end).map(|(at, _)| at);
        let ends: Vec<usize> = ends.take(sentences + 1).collect();
        let mut ids = corpus.held_out[ends[0]..ends[sentences]].to_vec();
        let start = ids.len();
        let sentence = cue_sentences::article_sentence();
        ids.push(end);
        ids.extend(vocabulary.encode(&sentence.text)?);
        let words = ids.iter().map(|&id| vocabulary.show(id).into_owned()).collect();
        // The line break comes first, so that the loss of predicting symbol i of the sentence is i steps after it.
        let ids_of = |of: fn(&(&str, &str)) -> String| -> Vec<u32> {
            cue_sentences::PAIRS.iter().filter_map(|pair| vocabulary.id(&of(pair))).collect()
        };
        let (cues, endings) = (ids_of(|pair| pair.0.to_owned()), ids_of(|pair| pair.1.to_owned()));
        let (cue, k) = (start + sentence.cue + 1, start + sentence.effect);
        Ok(Self { ids, words, start, cue, k, endings, cues })
    }

    /// The text with each of the sixteen cues and its effect.
    fn versions(&self) -> Vec<Vec<u32>> {
        let version = |(cue, ending): (&u32, &u32)| {
            let mut ids = self.ids.clone();
            (ids[self.cue], ids[self.k + 1]) = (*cue, *ending);
            ids
        };
        self.cues.iter().zip(&self.endings).map(version).collect()
    }

    /// Number of steps from the one that reads the cue to that of the loss.
    fn lag(&self) -> usize {
        self.k - self.cue
    }

    fn effect(&self) -> &str {
        &self.words[self.k + 1]
    }

    /// The inputs, and the targets.
    fn symbols(&self) -> Result<(Symbols, Symbols), Failure> {
        let steps = self.ids.len() - 1;
        let symbols = |ids: &[u32]| Symbols::new(steps, 1, ids.to_vec());
        Ok((symbols(&self.ids[..steps])?, symbols(&self.ids[1..])?))
    }

    /// The ledger of `network`.
    fn ledger(&self, network: &Network<f32>) -> Result<Traced, Failure> {
        let (inputs, targets) = self.symbols()?;
        Traced::text(&network.cast::<f64>()?, inputs, targets, ScanOptions::default(), Wanted::default())
    }
}

/// A network to train.
struct Job<'a> {
    name: &'static str,
    config: Config,
    folder: PathBuf,
    vocabulary: &'a Vocabulary,
    corpus: &'a Corpus,
    allocation: &'a Reading,
    horizon: &'a Reading,
}

impl Job<'_> {
    /// Trains the network, updates the allocation, measures the horizons before and after, and writes the run and its
    /// ledger.
    fn train(self, quiet: bool) -> Result<Trained, Failure> {
        let untrained = self.config.network(self.vocabulary.len(), self.vocabulary.len())?;
        let before = self.horizon.ledger(&untrained)?;
        let reading = self.allocation;
        let (texts, endings) = (reading.versions(), Some(&reading.endings[..]));
        let mut allocation = LossChangeAllocation::new(&untrained, &texts, reading.k, endings)?;
        let (mut failed, last) = (None, self.config.steps);
        let mut update = |event: &Event<'_>| match event {
            Event::Step { step, network, .. } if step % ALLOCATED == 0 || *step == last => {
                match allocation.add_update(network) {
                    Ok(()) => Flow::Continue,
                    Err(error) => {
                        failed = Some(error);
                        Flow::Stop
                    }
                }
            }
            _ => Flow::Continue,
        };
        let Self { name, config, folder, vocabulary, corpus, .. } = &self;
        let plan = Plan { folder, start: Start::New(Existing::Replace), checkpoint_every: None, quiet };
        let learned = learn(name, config, vocabulary, corpus, &plan, &mut [&mut update])?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let traced = self.horizon.ledger(&learned.outcome.network)?;
        let read = &self.horizon.words[..self.horizon.words.len() - 1];
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
        Ok(Trained { name, folder: self.folder, cell: self.config.cell, learned, allocation, before, traced })
    }

    fn check_finished(&self, learned: &Learned) -> Result<(), Failure> {
        let (name, folder, steps) = (self.name, self.folder.display(), learned.outcome.steps);
        match &learned.outcome.ending {
            Ending::Finished | Ending::Early => Ok(()),
            Ending::Stopped => Err(Failure::Other(format!(
                "stopped after {steps} updates of the {name}; its run is kept in {folder}, and nothing is compared; try bptt \
                 trace {folder}, or run the demo again"
            ))),
            Ending::NotFinite { step, what } => Err(Failure::Other(format!(
                "training of the {name} stopped at update {step}: {what}; its last finite network is kept in {folder}; try \
                 another --seed"
            ))),
        }
    }
}

/// Clears `out`: an older demo is removed, any other run is an error.
fn clear(out: &Path) -> Result<(), Failure> {
    // An older version wrote one run into the folder itself.
    let folders = [out.to_owned(), out.join(CELLS[0].0), out.join(CELLS[1].0)];
    let taken = folders.iter().filter(|folder| runs::exists(folder));
    let taken: Vec<_> = taken.map(|folder| (folder, is_of_demo(folder))).collect();
    if let Some((folder, _)) = taken.iter().find(|(_, replaceable)| !replaceable) {
        return Err(Error::RunExists { folder: (*folder).clone() }.into());
    }
    for (folder, _) in taken {
        files::remove(&folder.join(LEDGER))?;
        if folder == out {
            runs::remove(folder)?;
        }
    }
    Ok(files::remove(&out.join(html::FILE))?)
}

/// Whether the run in `folder` belongs to a demo: it has the settings of the demo, for any cell, seed and
/// number of updates.
fn is_of_demo(folder: &Path) -> bool {
    let Ok(config) = runs::read_config(&folder.join(runs::CONFIG)) else { return false };
    let (seed, steps) = (config.seed, config.steps);
    // An interrupted demo has no ledger yet.
    (folder.join(LEDGER).exists() || !runs::finished(folder))
        && config == Config { seed, steps, ..settings(&config.cell) }
}
