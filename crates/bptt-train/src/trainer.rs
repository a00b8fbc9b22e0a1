//! The training loop: windows of parallel streams, one update a window.

use std::ops::Range;

use bptt::{
    Inputs, ItemizeOptions, Losses, Matrix, Network, Objective, Parameter, Real, Reduction, ScanOptions,
    Sequence, State, Symbols, Targets, Trace, Weights,
};
use rayon::prelude::*;

use crate::clip::{Clipped, clip_by_norm, clip_by_value, global_norm};
use crate::config::Config;
use crate::corpus::{Corpus, Streams, Window};
use crate::observer::{Event, Flow, Observer};
use crate::{Error, Optimizer, Rng};

/// Sequences of one shard. Shards run side by side and are added up in order, so their size, not the number of
/// threads, decides the result.
const SHARD: usize = 16;

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
    let mut shards = Shards::new(&network, config);
    let mut steps = 0;
    let mut ending = Ending::Finished;
    let mut held_out = None;
    while steps < config.steps {
        let step = steps + 1;
        let window = streams.next_window();
        shards.enter(&network, &window);
        let (loss, mut gradient) = match shards.learn(&network, &window)? {
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
        if config.trace_every > 0 && step % config.trace_every == 0 {
            // A gradient that cannot be taken apart has no horizon; training goes on.
            let (horizon, decay) = shards.first_horizon(&network, &window).unwrap_or_default();
            flow = flow.and(observer.event(&Event::Trace { step, horizon, decay }));
        }
        let mut gradients: Vec<_> = gradient.tensors_mut().into_iter().map(Matrix::data_mut).collect();
        let clipped = clip(config, &mut gradients);
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
        shards.leave(&network);
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

/// Clips as the settings say, by norm first; the norms are those before and after both.
fn clip(config: &Config, gradients: &mut [&mut [f32]]) -> Clipped {
    let by_norm = if config.clip_norm > 0.0 { config.clip_norm } else { f64::INFINITY };
    let mut clipped = clip_by_norm(gradients, by_norm);
    if config.clip_value > 0.0 {
        clipped.after = clip_by_value(gradients, config.clip_value).after;
    }
    clipped
}

/// The batch, cut into shards.
struct Shards {
    batch: usize,
    window: usize,
    /// The probability that an output between two layers drops out.
    dropout: f64,
    parts: Vec<Shard>,
}

/// Some sequences side by side, with what they carry from window to window.
struct Shard {
    /// The first sequence.
    first: usize,
    /// The state before the window.
    before: State<f32>,
    /// And after it.
    after: State<f32>,
    /// Where its dropout masks come from: a stream of its own, so that the number of threads does not matter.
    rng: Rng,
}

/// The random streams of the dropout masks: this one for the shard of sequence 0, and so on.
const DROPOUT: u64 = u64::from_le_bytes(*b"dropout\0");

impl Shard {
    /// Masks for a window of `steps` steps: 0 with probability `p`, otherwise 1/(1 − p).
    fn dropout(&mut self, network: &Network<f32>, steps: usize, p: f64) -> Vec<Sequence<f32>> {
        let layers = if p > 0.0 { network.depth() } else { 1 };
        let (batch, features) = (self.before.h[0].rows(), network.directions() * network.hidden());
        let kept = f32::of(1.0 / (1.0 - p));
        let mut mask = |_| {
            let mut mask = Sequence::zeros(steps, batch, features);
            for factor in mask.data_mut() {
                *factor = if self.rng.uniform() < p { 0.0 } else { kept };
            }
            mask
        };
        (1..layers).map(&mut mask).collect()
    }
}

/// A shard's summed loss and gradient over one window, and its state after it; or what was not finite, after the step
/// of the window and the sequence it first appeared at.
type Learned = Result<(f64, Weights<f32>, State<f32>), (usize, usize, String)>;

impl Shards {
    fn new(network: &Network<f32>, config: &Config) -> Self {
        let starts = (0..config.batch).step_by(SHARD);
        let shard = |first: usize| {
            let zero = network.zero_state(SHARD.min(config.batch - first));
            let rng = Rng::new(config.seed, DROPOUT + first as u64);
            Shard { first, before: zero.clone(), after: zero, rng }
        };
        let parts = starts.map(shard).collect();
        Self { batch: config.batch, window: config.window, dropout: config.dropout, parts }
    }

    /// Begins a window: with no state where the streams start again.
    fn enter(&mut self, network: &Network<f32>, window: &Window) {
        if window.fresh {
            for Shard { before, .. } in &mut self.parts {
                *before = network.zero_state(before.h[0].rows());
            }
        }
    }

    /// Ends a window: its last state is the next one's first, that of reverse cells excepted.
    fn leave(&mut self, network: &Network<f32>) {
        for Shard { before, after, .. } in &mut self.parts {
            reverse_from_zero(network, after);
            std::mem::swap(before, after);
        }
    }

    /// The mean loss and gradient of a window (nats a symbol).
    fn learn(
        &mut self,
        network: &Network<f32>,
        window: &Window,
    ) -> Result<Result<(f64, Weights<f32>), String>, Error> {
        let (batch, steps, p) = (self.batch, self.window, self.dropout);
        let learn = |shard: &mut Shard| {
            let options = ScanOptions { dropout: shard.dropout(network, steps, p), ..ScanOptions::default() };
            let Shard { first, before, after, .. } = shard;
            let sequences = *first..*first + before.h[0].rows();
            let inputs = columns(&window.inputs, batch, sequences.clone())?;
            let targets = columns(&window.targets, batch, sequences)?;
            let learned = learn_shard(network, Inputs::Symbols(inputs), targets, before, options, *first)?;
            Ok(learned.map(|(loss, gradient, state)| {
                *after = state;
                (loss, gradient)
            }))
        };
        let learned: Vec<Result<_, Error>> = self.parts.par_iter_mut().map(learn).collect();

        let (mut total, mut not_finite) = (0.0, Vec::new());
        let mut sum = network.weights().zeros_like();
        for learned in learned {
            match learned? {
                Err(found) => not_finite.push(found),
                Ok((loss, gradient)) => {
                    total += loss;
                    for (sum, (_, gradient)) in sum.tensors_mut().into_iter().zip(gradient.tensors()) {
                        bptt::kernel::add_scaled(sum.data_mut(), 1.0, gradient.data());
                    }
                }
            }
        }
        if let Some((_, _, what)) = not_finite.into_iter().min() {
            return Ok(Err(what));
        }
        let mean = 1.0 / (batch * steps) as f64;
        for tensor in sum.tensors_mut() {
            for gradient in tensor.data_mut() {
                *gradient *= f32::of(mean);
            }
        }
        Ok(Ok((total * mean, sum)))
    }

    /// Horizon and decay of W_hh in the first sequence of a window, taken apart in f64.
    fn first_horizon(
        &self,
        network: &Network<f32>,
        window: &Window,
    ) -> Result<(Option<usize>, Option<f64>), Error> {
        let network = network.cast::<f64>()?;
        let inputs = columns(&window.inputs, self.batch, 0..1)?;
        let trace = network.scan(Inputs::Symbols(inputs), &self.parts[0].before.sequence(0).cast())?;
        let losses = network.losses(&trace, &objective(columns(&window.targets, self.batch, 0..1)?))?;
        let options = ItemizeOptions { sequences: false, ..ItemizeOptions::default() };
        let ledger = network.itemize(&trace, &losses, &options)?;
        let entry = ledger.entry(0, Parameter::WeightHh).expect("every network has recurrent weights");
        Ok((entry.horizon(0.99), entry.decay()))
    }
}

/// Reverse cells begin at the end of every window, with nothing: what they ended with belongs to its beginning.
fn reverse_from_zero(network: &Network<f32>, state: &mut State<f32>) {
    if network.directions() == 2 {
        // Forward and reverse cells take turns.
        for matrix in state.h.iter_mut().chain(&mut state.c).skip(1).step_by(2) {
            matrix.data_mut().fill(0.0);
        }
    }
}

/// The columns `sequences` of time-major (T, B) ids.
fn columns(ids: &[u32], batch: usize, sequences: Range<usize>) -> Result<Symbols, bptt::Error> {
    let taken = ids.chunks_exact(batch).flat_map(|step| step[sequences.clone()].iter().copied()).collect();
    Symbols::new(ids.len() / batch, sequences.len(), taken)
}

/// Cross-entropy, summed.
fn objective<T>(targets: Symbols) -> Objective<T> {
    Objective { targets: Targets::CrossEntropy(targets), mask: None, reduction: Reduction::Sum }
}

fn learn_shard(
    network: &Network<f32>,
    inputs: Inputs<f32>,
    targets: Symbols,
    state: &State<f32>,
    options: ScanOptions<f32>,
    first: usize,
) -> Result<Learned, Error> {
    let trace = network.scan_with(inputs, state, options)?;
    let losses = network.losses(&trace, &objective(targets))?;
    if let Err(bptt::Error::NotFinite { what, step, sequence }) = losses.check_finite() {
        let sequence = first + sequence;
        return Ok(Err((
            step,
            sequence,
            format!("{what} is not finite at step {step}, sequence {sequence}"),
        )));
    }
    let gradient = network.gradient(&trace, &losses, false)?;
    let tensors = gradient.weights.tensors().into_iter().map(|(_, tensor)| tensor.data());
    if !global_norm(&tensors.collect::<Vec<_>>()).is_finite() {
        let (step, what) = first_bad_gradient(network, &trace, &losses)?;
        return Ok(Err((step, first, what)));
    }
    Ok(Ok((losses.total, gradient.weights, trace.final_state())))
}

/// Which loss has a gradient that is not finite, and for which parameter.
fn first_bad_gradient(
    network: &Network<f32>,
    trace: &Trace<f32>,
    losses: &Losses<f32>,
) -> Result<(usize, String), Error> {
    let steps = losses.present.len();
    for k in 0..steps {
        let only: Vec<_> = (0..steps).map(|t| (t == k).then_some(0)).collect();
        for gradient in network.group_gradients(trace, losses, &only, false)? {
            let bad = |tensor: &Matrix<f32>| tensor.data().iter().any(|g| !g.is_finite());
            if let Some((name, _)) = gradient.weights.tensors().into_iter().find(|(_, tensor)| bad(tensor)) {
                return Ok((k, format!("gradient of {name} is not finite for the loss at step {k}")));
            }
        }
    }
    Ok((steps, "the sum of the losses' gradients is not finite".into()))
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
        let mut loss = 0.0;
        for start in (0..length).step_by(EVALUATION_WINDOW) {
            let steps = EVALUATION_WINDOW.min(length - start);
            let at = |t: usize, b: usize| (first + b) * length + start + t;
            let places = || (0..steps).flat_map(move |t| (0..batch).map(move |b| (t, b)));
            let inputs = places().map(|(t, b)| ids[at(t, b)]).collect();
            let targets = places().map(|(t, b)| ids[at(t, b) + 1]).collect();
            let inputs = Inputs::Symbols(Symbols::new(steps, batch, inputs)?);
            let trace = network.scan(inputs, &state)?;
            loss += network.losses(&trace, &objective(Symbols::new(steps, batch, targets)?))?.total;
            state = trace.final_state();
            reverse_from_zero(network, &mut state);
        }
        Ok(loss)
    };
    let losses: Vec<_> = shards.par_iter().map(shard_loss).collect();
    let total = losses.into_iter().sum::<Result<f64, Error>>()?;
    Ok(Some(total / (streams * length) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_drops_what_it_should_and_keeps_the_mean() {
        let config = Config { hidden: 20, layers: 3, dropout: 0.3, batch: 40, ..Config::default() };
        let network = config.network(5).unwrap();
        let mut shards = Shards::new(&network, &config);
        let masks: Vec<_> =
            shards.parts.iter_mut().flat_map(|shard| shard.dropout(&network, 50, 0.3)).collect();
        assert_eq!(masks.len(), 6);
        let factors: Vec<f64> = masks.iter().flat_map(Sequence::data).map(|&v| f64::from(v)).collect();
        let dropped = factors.iter().filter(|&&v| v == 0.0).count() as f64 / factors.len() as f64;
        // Of 80,000 the standard deviation is 0.0016.
        assert!((dropped - 0.3).abs() < 0.006, "{dropped}");
        assert!(factors.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
        assert!(
            masks[0].data()[..500] != masks[1].data()[..500]
                && masks[0].data()[..500] != masks[2].data()[..500]
        );
        assert!(shards.parts[0].dropout(&network, 50, 0.0).is_empty());
    }

    #[test]
    fn reverse_cells_carry_nothing_from_window_to_window() {
        let config = Config {
            cell: "lstm".into(),
            hidden: 3,
            layers: 2,
            bidirectional: true,
            batch: 2,
            window: 4,
            ..Config::default()
        };
        let network = config.network(5).unwrap();
        let mut streams = Streams::new((0..40).map(|i| i % 5).collect(), 2, 4).unwrap();
        let mut shards = Shards::new(&network, &config);
        let window = streams.next_window();
        shards.enter(&network, &window);
        shards.learn(&network, &window).unwrap().unwrap();
        shards.leave(&network);
        let carried = &shards.parts[0].before;
        for cells in [&carried.h, &carried.c] {
            let zero: Vec<bool> = cells.iter().map(|m| m.data().iter().all(|&v| v == 0.0)).collect();
            assert_eq!(zero, [false, true, false, true]);
        }
    }
}
