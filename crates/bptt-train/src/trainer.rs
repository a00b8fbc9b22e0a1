//! The training loop: windows of parallel streams, one update a window.

use bptt::{
    Entry, Inputs, ItemizeOptions, Learner, Ledger, Matrix, Network, Parameter, Reduction, ScanOptions,
    State, Symbols,
};
use rayon::prelude::*;

use crate::clip::Clipping;
use crate::config::Config;
use crate::corpus::{Corpus, Streams, Window};
use crate::observer::{Event, Flow, Observer};
use crate::shards::{SHARD, Shards, columns, objective, reverse_from_zero};
use crate::{Error, Optimizer};

/// Symbols of the held-out text that an evaluation predicts at most.
pub const EVALUATED: usize = 200_000;

/// Streams an evaluation reads side by side at most; each begins without a state.
const EVALUATION_STREAMS: usize = 32;

/// Steps an evaluation keeps in memory at a time.
const EVALUATION_WINDOW: usize = 64;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All updates were made.
    Finished,
    /// The observer said stop.
    Stopped,
    /// A loss or a gradient was infinite or not a number.
    NotFinite {
        /// The update it would have been.
        step: u64,
        /// What it was, at which step of the window and in which sequence or loss.
        what: String,
    },
}

/// A finished run.
#[derive(Debug)]
pub struct Outcome {
    /// The network after the last update; after [`Ending::NotFinite`], the last one whose loss and gradient were finite.
    pub network: Network<f32>,
    /// How many updates that network has had.
    pub steps: u64,
    /// Its held-out loss, nats a symbol; `None` if nothing is held out.
    pub held_out: Option<f64>,
    /// Why the run ended.
    pub ending: Ending,
}

/// Trains a new network for `symbols` symbols on `corpus` and tells `observer`.
///
/// # Errors
/// If the settings are impossible or the text is too short for them.
pub fn train(
    config: &Config,
    corpus: &Corpus,
    symbols: usize,
    observer: &mut dyn Observer,
) -> Result<Outcome, Error> {
    config.check()?;
    let mut network = config.network(symbols)?;
    let mut good = network.clone();
    let mut streams = Streams::new(corpus.train.clone(), config.batch, config.window)?;
    let sizes: Vec<usize> = network.tensors_mut().iter().map(|tensor| tensor.data().len()).collect();
    let mut optimizer = Optimizer::new(config.optimizer, &sizes);
    let mut shards = Shards::new(&network, config.batch, config.dropout, config.seed);
    let mut steps = 0;
    let mut ending = Ending::Finished;
    let mut held_out = None;
    while steps < config.steps {
        let step = steps + 1;
        let window = streams.next_window();
        if window.fresh {
            shards.forget();
        }
        let traced = config.trace_every > 0 && step % config.trace_every == 0;
        let state = traced.then(|| shards.first_state());
        let (loss, gradient) = match shards.learn(&network, &window.inputs, &window.targets)? {
            Ok(learned) => learned,
            Err(what) => {
                network = good;
                steps = steps.saturating_sub(1);
                held_out = None;
                ending = Ending::NotFinite { step, what };
                break;
            }
        };
        for (good, tensor) in good.tensors_mut().into_iter().zip(network.tensors_mut()) {
            good.data_mut().copy_from_slice(tensor.data());
        }
        let mut flow = Flow::Continue;
        if let Some(state) = state {
            // A gradient that cannot be taken apart has no horizon; training goes on.
            let ledger = first_ledger(&network, &state, &window, config.batch).ok();
            let ledger = ledger.as_ref();
            let entry = ledger.and_then(|ledger| ledger.entry(0, Parameter::WeightHh));
            let horizon = entry.and_then(|entry| entry.horizon(0.99));
            let decay = entry.and_then(Entry::decay);
            flow = flow.and(observer.event(&Event::Trace { step, horizon, decay, ledger }));
        }
        let mut gradients: Vec<_> = gradient.tensors_mut().into_iter().map(Matrix::data_mut).collect();
        let clipping = Clipping { norm: config.clip_norm, value: config.clip_value };
        let clipped = clipping.apply(&mut gradients);
        let learning_rate = config.schedule.rate(config.learning_rate, steps, config.steps);
        let gradients: Vec<&[f32]> = gradients.iter().map(|g| &**g).collect();
        let mut tensors: Vec<_> = network.tensors_mut().into_iter().map(Matrix::data_mut).collect();
        optimizer.step(learning_rate, &mut tensors, &gradients);
        if tensors.iter().any(|tensor| tensor.iter().any(|w| !w.is_finite())) {
            network = good;
            ending = Ending::NotFinite { step, what: "a weight is not finite after the update".into() };
            held_out = None;
            break;
        }
        shards.carry_on(&network);
        steps = step;

        let symbols = step * (config.batch * config.window) as u64;
        let event = Event::Step { step, loss, learning_rate, gradient: clipped, symbols, network: &network };
        flow = flow.and(observer.event(&event));
        held_out = None;
        if config.evaluate_every > 0 && step % config.evaluate_every == 0 {
            held_out = evaluate(&network, &corpus.held_out)?;
            if let Some(loss) = held_out {
                flow = flow.and(observer.event(&Event::Evaluation { step, loss }));
            }
        }
        if flow == Flow::Stop {
            ending = Ending::Stopped;
            break;
        }
    }
    if held_out.is_none() {
        held_out = evaluate(&network, &corpus.held_out)?;
    }
    Ok(Outcome { network, steps, held_out, ending })
}

/// The first sequence of a window, taken apart in f64.
fn first_ledger(
    network: &Network<f32>,
    state: &State<f32>,
    window: &Window,
    batch: usize,
) -> Result<Ledger, Error> {
    let network = network.cast::<f64>()?;
    let inputs = columns(&window.inputs, batch, 0..1)?;
    let trace = network.scan(Inputs::Symbols(inputs), &state.cast())?;
    let targets = columns(&window.targets, batch, 0..1)?;
    let losses = network.losses(&trace, &objective(targets, Reduction::Sum))?;
    let options = ItemizeOptions { sequences: false, inputs: false, ..ItemizeOptions::default() };
    Ok(network.itemize(&trace, &losses, &options)?)
}

/// The mean loss of at most [`EVALUATED`] held-out symbols, nats a symbol; `None` if there are fewer than two.
///
/// The text is read as parallel contiguous streams that carry their state from window to window.
///
/// # Errors
/// If a symbol is outside the network's alphabet.
pub fn evaluate(network: &Network<f32>, held_out: &[u32]) -> Result<Option<f64>, Error> {
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
        let (mut learner, mut loss) = (Learner::default(), 0.0);
        for start in (0..length).step_by(EVALUATION_WINDOW) {
            let steps = EVALUATION_WINDOW.min(length - start);
            let at = |t: usize, b: usize| (first + b) * length + start + t;
            let places = || (0..steps).flat_map(move |t| (0..batch).map(move |b| (t, b)));
            let inputs = places().map(|(t, b)| ids[at(t, b)]).collect();
            let targets = places().map(|(t, b)| ids[at(t, b) + 1]).collect();
            let inputs = Inputs::Symbols(Symbols::new(steps, batch, inputs)?);
            let objective = objective(Symbols::new(steps, batch, targets)?, Reduction::Sum);
            loss += learner.forward(network, inputs, &state, ScanOptions::default(), &objective)?.total;
            state = learner.trace().final_state();
            reverse_from_zero(network, &mut state);
        }
        Ok(loss)
    };
    let losses: Vec<_> = shards.par_iter().map(shard_loss).collect();
    let total = losses.into_iter().sum::<Result<f64, Error>>()?;
    Ok(Some(total / (streams * length) as f64))
}
