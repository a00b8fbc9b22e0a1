//! Sources of training data, and the evaluation of a network on held-out data.

use bptt::{Inputs, Network, Reduction, ScanOptions, Symbols, TrainStep};
use rayon::prelude::*;

use crate::batch::Batch;
use crate::corpus::{Corpus, Streams};
use crate::shards::{SHARD, objective, reverse_from_zero};
use crate::tasks::{Task, TaskBatch, check_length};
use crate::{Config, Error, Rng};

/// The largest number of held-out symbols that an evaluation predicts.
pub const EVALUATION_SYMBOLS: usize = 200_000;

/// Number of sequences of a task in an evaluation.
pub const EVALUATION_SEQUENCES: usize = 1_024;

/// The largest number of parallel streams of an evaluation; each begins with a zero state.
const EVALUATION_STREAMS: usize = 32;

/// Number of steps that an evaluation keeps in memory.
const EVALUATION_WINDOW: usize = 64;

/// Random streams of the sequences of a task: for training and for evaluation.
const LEARNED: u64 = u64::from_le_bytes(*b"learning");
const HELD_OUT: u64 = u64::from_le_bytes(*b"held out");

/// A source of training data.
#[derive(Clone, Copy, Debug)]
pub enum DataSource<'a> {
    /// A text, in windows of parallel streams.
    Text {
        /// The ids.
        corpus: &'a Corpus,
        /// The number of symbols.
        symbols: usize,
    },
    /// A task, with new sequences in every batch.
    Task {
        /// Which.
        task: &'a dyn Task,
        /// L.
        length: usize,
    },
}

impl<'a> DataSource<'a> {
    /// A task at the length in the settings, or at its usual length.
    pub fn task(task: &'a dyn Task, config: &Config) -> Self {
        Self::Task { task, length: config.length_of(task) }
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

    /// The batches of training with these settings, from the first on.
    ///
    /// # Errors
    /// If the text is too short, or the length is impossible.
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

/// An endless sequence of batches.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // there is one per run
pub enum Batches<'a> {
    /// Windows of a text, and the number of streams.
    Text(Streams, usize),
    /// Sequences of a task.
    Task {
        /// Which.
        task: &'a dyn Task,
        /// L.
        length: usize,
        /// B.
        batch: usize,
        /// Their random numbers.
        rng: Rng,
    },
}

impl Batches<'_> {
    /// How far the batches are: the index of the next window, or the position in the random numbers.
    pub(crate) fn position(&self) -> u128 {
        match self {
            Self::Text(streams, _) => streams.position() as u128,
            Self::Task { rng, .. } => rng.position(),
        }
    }

    /// Continues from there; false if these data have no such position.
    pub(crate) fn set_position(&mut self, position: u128) -> bool {
        match self {
            Self::Text(streams, _) => usize::try_from(position).is_ok_and(|at| streams.set_position(at)),
            Self::Task { rng, .. } => {
                rng.set_position(position);
                true
            }
        }
    }

    /// The next batch, and whether its sequences start here, so that no state is carried in.
    ///
    /// # Errors
    /// None that [`DataSource::batches`] has not already returned.
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

/// The result of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss: nats per symbol of a text; nats or squared error of a task.
    pub loss: f64,
    /// For a task, the fraction of solved sequences.
    pub solved: Option<f64>,
}

/// Evaluates `network` on held-out data: at most [`EVALUATION_SYMBOLS`] symbols of a text, or [`EVALUATION_SEQUENCES`]
/// sequences of a task, the same for one seed. `None` if fewer than two symbols are held out.
///
/// # Errors
/// If the data do not fit the network.
pub fn evaluate(
    network: &Network<f32>,
    data: &DataSource<'_>,
    seed: u64,
) -> Result<Option<Evaluation>, Error> {
    match *data {
        DataSource::Text { corpus, .. } => {
            let loss = evaluate_text(network, &corpus.held_out)?;
            Ok(loss.map(|loss| Evaluation { loss, solved: None }))
        }
        DataSource::Task { task, length } => evaluate_task(network, task, length, seed).map(Some),
    }
}

/// Held-out sequences of a task: the first `batch` of an evaluation.
///
/// # Errors
/// Those of [`TaskBatch::draw`].
pub fn held_out_batch(task: &dyn Task, length: usize, batch: usize, seed: u64) -> Result<TaskBatch, Error> {
    TaskBatch::draw(task, length, batch, &mut Rng::new(seed, HELD_OUT))
}

fn evaluate_task(
    network: &Network<f32>,
    task: &dyn Task,
    length: usize,
    seed: u64,
) -> Result<Evaluation, Error> {
    let mut rng = Rng::new(seed, HELD_OUT);
    let batches = (0..EVALUATION_SEQUENCES / EVALUATION_STREAMS)
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
    Ok(Evaluation { loss: loss / count as f64, solved: Some(solved as f64 / EVALUATION_SEQUENCES as f64) })
}

/// Reads the text as parallel contiguous streams that carry their state from window to window.
fn evaluate_text(network: &Network<f32>, held_out: &[u32]) -> Result<Option<f64>, Error> {
    let ids = &held_out[..held_out.len().min(EVALUATION_SYMBOLS)];
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
