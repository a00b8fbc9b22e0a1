//! What a network learns from, and how well it has learned it.

use bptt::{Inputs, Network, Reduction, ScanOptions, Symbols, TrainStep};
use rayon::prelude::*;

use crate::batch::Batch;
use crate::corpus::{Corpus, Streams};
use crate::shards::{SHARD, objective, reverse_from_zero};
use crate::tasks::{Task, TaskBatch, check_length};
use crate::{Config, Error, Rng};

/// Symbols of the held-out text that an evaluation predicts at most.
pub const EVALUATED: usize = 200_000;

/// Sequences of a task that an evaluation does.
pub const EVALUATED_SEQUENCES: usize = 1_024;

/// Streams an evaluation reads side by side at most; each begins without a state.
const EVALUATION_STREAMS: usize = 32;

/// Steps an evaluation keeps in memory at a time.
const EVALUATION_WINDOW: usize = 64;

/// The random streams that a task's sequences are drawn from: to learn from, and to evaluate on.
const LEARNED: u64 = u64::from_le_bytes(*b"learning");
const HELD_OUT: u64 = u64::from_le_bytes(*b"held out");

/// What a network learns from.
#[derive(Clone, Copy, Debug)]
pub enum Material<'a> {
    /// A text, in windows of parallel streams.
    Text {
        /// Its ids.
        corpus: &'a Corpus,
        /// How many symbols there are.
        symbols: usize,
    },
    /// A task, every sequence drawn anew.
    Task {
        /// Which.
        task: &'a dyn Task,
        /// L.
        length: usize,
    },
}

impl<'a> Material<'a> {
    /// A task at the length the settings say, or its usual one.
    pub fn task(task: &'a dyn Task, config: &Config) -> Self {
        Self::Task { task, length: config.length.unwrap_or_else(|| task.usual_length()) }
    }

    /// I, input features or symbols.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Text { symbols, .. } => *symbols,
            Self::Task { task, .. } => task.inputs(),
        }
    }

    /// V, output features, classes or symbols.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Text { symbols, .. } => *symbols,
            Self::Task { task, .. } => task.outputs(),
        }
    }

    /// The batches that settings want of it, from the first on.
    ///
    /// # Errors
    /// If there are none: the text is too short, or the length impossible.
    pub fn batches(&self, config: &Config) -> Result<Batches<'a>, Error> {
        match *self {
            Self::Text { corpus, .. } => {
                let streams = Streams::new(corpus.train.clone(), config.batch, config.window)?;
                Ok(Batches::Text(streams, config.batch))
            }
            Self::Task { task, length } => {
                check_length(task, length)?;
                Ok(Batches::Task { task, length, batch: config.batch, rng: Rng::new(config.seed, LEARNED) })
            }
        }
    }
}

/// One batch after another, without end.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // there is one in a run
pub enum Batches<'a> {
    /// Windows of a text, and how many streams.
    Text(Streams, usize),
    /// Sequences of a task.
    Task {
        /// Which.
        task: &'a dyn Task,
        /// L.
        length: usize,
        /// B.
        batch: usize,
        /// Where they come from.
        rng: Rng,
    },
}

impl Batches<'_> {
    /// The next batch, and whether its sequences begin here, so that no state may be carried in.
    ///
    /// # Errors
    /// None that [`Material::batches`] has not refused.
    pub fn next_batch(&mut self) -> Result<(Batch, bool), Error> {
        match self {
            Self::Text(streams, batch) => {
                let window = streams.next_window();
                let fresh = window.fresh;
                Ok((Batch::of_text(window, *batch)?, fresh))
            }
            Self::Task { task, length, batch, rng } => {
                Ok((TaskBatch::draw(*task, *length, *batch, rng)?.batch, true))
            }
        }
    }
}

/// What an evaluation found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluated {
    /// Mean loss: nats a symbol of a text; nats or squared error of a task.
    pub loss: f64,
    /// Of a task, the fraction of sequences that are solved.
    pub solved: Option<f64>,
}

/// Evaluates `network` on what nothing is learned from: at most [`EVALUATED`] held-out symbols, or
/// [`EVALUATED_SEQUENCES`] sequences, the same for one seed. `None` if fewer than two symbols are held out.
///
/// # Errors
/// If the material does not fit the network.
pub fn evaluate(
    network: &Network<f32>,
    material: &Material<'_>,
    seed: u64,
) -> Result<Option<Evaluated>, Error> {
    match *material {
        Material::Text { corpus, .. } => {
            let loss = evaluate_text(network, &corpus.held_out)?;
            Ok(loss.map(|loss| Evaluated { loss, solved: None }))
        }
        Material::Task { task, length } => evaluate_task(network, task, length, seed).map(Some),
    }
}

/// Sequences of a task that nothing is learned from: the first `batch` of those that evaluations do.
///
/// # Errors
/// As of [`TaskBatch::draw`].
pub fn held_out_batch(task: &dyn Task, length: usize, batch: usize, seed: u64) -> Result<TaskBatch, Error> {
    TaskBatch::draw(task, length, batch, &mut Rng::new(seed, HELD_OUT))
}

fn evaluate_task(
    network: &Network<f32>,
    task: &dyn Task,
    length: usize,
    seed: u64,
) -> Result<Evaluated, Error> {
    let mut rng = Rng::new(seed, HELD_OUT);
    let batches = (0..EVALUATED_SEQUENCES / EVALUATION_STREAMS)
        .map(|_| TaskBatch::draw(task, length, EVALUATION_STREAMS, &mut rng))
        .collect::<Result<Vec<_>, _>>()?;
    network.prepare();
    let evaluate = |drawn: &TaskBatch| -> Result<(f64, usize, usize), Error> {
        let (inputs, objective) = drawn.batch.clone().objective(Reduction::Sum);
        let trace = network.scan(inputs, &network.zero_state(EVALUATION_STREAMS))?;
        let losses = network.losses(&trace, &objective)?;
        Ok((losses.total, drawn.batch.losses(), drawn.solved(task, &network.outputs(&trace)?)))
    };
    let found: Vec<_> = batches.par_iter().map(evaluate).collect();
    let (mut loss, mut count, mut solved) = (0.0, 0, 0);
    for found in found {
        let found = found?;
        loss += found.0;
        count += found.1;
        solved += found.2;
    }
    Ok(Evaluated { loss: loss / count as f64, solved: Some(solved as f64 / EVALUATED_SEQUENCES as f64) })
}

/// The text is read as parallel contiguous streams that carry their state from window to window.
fn evaluate_text(network: &Network<f32>, held_out: &[u32]) -> Result<Option<f64>, Error> {
    let ids = &held_out[..held_out.len().min(EVALUATED)];
    if ids.len() < 2 {
        return Ok(None);
    }
    let streams = ((ids.len() - 1) / EVALUATION_WINDOW).clamp(1, EVALUATION_STREAMS);
    let length = (ids.len() - 1) / streams;
    let shards: Vec<usize> = (0..streams).step_by(SHARD).collect();
    let shard_loss = |&first: &usize| -> Result<f64, Error> {
        let batch = SHARD.min(streams - first);
        let mut state = network.zero_state(batch);
        let (mut learner, mut loss) = (TrainStep::default(), 0.0);
        for start in (0..length).step_by(EVALUATION_WINDOW) {
            let steps = EVALUATION_WINDOW.min(length - start);
            let at = |t: usize, b: usize| (first + b) * length + start + t;
            let places = || (0..steps).flat_map(move |t| (0..batch).map(move |b| (t, b)));
            let inputs = places().map(|(t, b)| ids[at(t, b)]).collect();
            let targets = places().map(|(t, b)| ids[at(t, b) + 1]).collect();
            let inputs = Inputs::Symbols(Symbols::new(steps, batch, inputs)?);
            let objective = objective(Symbols::new(steps, batch, targets)?, Reduction::Sum);
            loss += learner.forward(network, inputs, &state, ScanOptions::default(), &objective)?.total;
            state = learner.cache().final_state();
            reverse_from_zero(network, &mut state);
        }
        Ok(loss)
    };
    let losses: Vec<_> = shards.par_iter().map(shard_loss).collect();
    let total = losses.into_iter().sum::<Result<f64, Error>>()?;
    Ok(Some(total / (streams * length) as f64))
}
