//! One update's losses and gradients, of a batch cut into shards that run side by side.

use std::ops::Range;

use bptt::{
    Inputs, Learner, Losses, Matrix, Network, Objective, Real, Reduction, ScanOptions, Sequence, State,
    Symbols, Targets, Trace, Weights, kernel,
};
use rayon::prelude::*;

use crate::{Error, Rng};

/// Sequences of one shard at least, if the batch has them. Shards run side by side and are added up in order, so their
/// size, not the number of threads, decides the result.
pub(crate) const SHARD: usize = 16;

/// Recurrent weights of more bytes than this do not stay in a core's second-level cache from step to step; shards are then
/// twice as large, so that each reading of them serves more sequences.
const NEAR: usize = 1 << 20;

/// How many sequences a shard has.
fn shard_size(network: &Network<f32>, batch: usize) -> usize {
    let weights = size_of_val(network.weights().layers[0].w_hh.data());
    if weights > NEAR && batch >= 4 * SHARD { 2 * SHARD } else { SHARD }
}

/// A batch cut into shards. Each has the memory that its scans need, and keeps it from update to update.
pub struct Shards {
    batch: usize,
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
    /// Where its dropout masks come from: a stream of its own, so that the number of threads does not matter.
    rng: Rng,
    learner: Learner<f32>,
}

/// The random streams of the dropout masks: this one for the shard of sequence 0, and so on.
const DROPOUT: u64 = u64::from_le_bytes(*b"dropout\0");

/// What was not finite: the step and the sequence it first appeared at, and what it was in words.
type NotFinite = (usize, usize, String);

impl Shards {
    /// For `batch` sequences that begin without a state. Outputs between layers drop out with probability `dropout`, drawn
    /// from streams of `seed`.
    pub fn new(network: &Network<f32>, batch: usize, dropout: f64, seed: u64) -> Self {
        let size = shard_size(network, batch);
        let shard = |first: usize| Shard {
            first,
            before: network.zero_state(size.min(batch - first)),
            rng: Rng::new(seed, DROPOUT + first as u64),
            learner: Learner::default(),
        };
        Self { batch, dropout, parts: (0..batch).step_by(size).map(shard).collect() }
    }

    /// Begins anew, without a state.
    pub fn forget(&mut self) {
        for state in
            self.parts.iter_mut().flat_map(|shard| shard.before.h.iter_mut().chain(&mut shard.before.c))
        {
            state.data_mut().fill(0.0);
        }
    }

    /// The mean cross-entropy of predicting `targets` from `inputs`, (T, B) ids each, nats a symbol, and its gradient; or
    /// what is not finite, and where.
    ///
    /// # Errors
    /// If the ids do not fit the network.
    pub fn learn(
        &mut self,
        network: &Network<f32>,
        inputs: &[u32],
        targets: &[u32],
    ) -> Result<Result<(f64, &mut Weights<f32>), String>, Error> {
        let (batch, dropout) = (self.batch, self.dropout);
        let mean = Reduction::Times(1.0 / targets.len() as f64);
        let learn = |shard: &mut Shard| -> Result<Result<f64, NotFinite>, Error> {
            let sequences = shard.first..shard.first + shard.before.h[0].rows();
            let inputs = columns(inputs, batch, sequences.clone())?;
            let objective = objective(columns(targets, batch, sequences)?, mean);
            shard.learn(network, inputs, &objective, dropout)
        };
        network.prepare();
        let learned: Vec<Result<_, Error>> = self.parts.par_iter_mut().map(learn).collect();
        let (mut loss, mut not_finite) = (0.0, Vec::new());
        for learned in learned {
            match learned? {
                Ok(part) => loss += part,
                Err(found) => not_finite.push(found),
            }
        }
        if let Some((_, _, what)) = not_finite.into_iter().min() {
            return Ok(Err(what));
        }
        let mut gradients = self.parts.iter_mut().filter_map(|shard| shard.learner.gradient());
        let sum = &mut gradients.next().expect("a batch has a sequence").weights;
        for other in gradients {
            for (sum, other) in sum.tensors_mut().into_iter().zip(other.weights.tensors_mut()) {
                kernel::add_scaled(sum.data_mut(), 1.0, other.data());
            }
        }
        Ok(Ok((loss, sum)))
    }

    /// Ends a window: its last state is the next one's first, that of reverse cells excepted.
    pub fn carry_on(&mut self, network: &Network<f32>) {
        for shard in &mut self.parts {
            shard.before = shard.learner.trace().final_state();
            reverse_from_zero(network, &mut shard.before);
        }
    }

    /// The state that sequence 0 began the window with.
    pub(crate) fn first_state(&self) -> State<f32> {
        self.parts[0].before.sequence(0)
    }
}

impl Shard {
    /// Its part of the loss and of the gradient, which stays in its memory.
    fn learn(
        &mut self,
        network: &Network<f32>,
        inputs: Symbols,
        objective: &Objective<f32>,
        dropout: f64,
    ) -> Result<Result<f64, NotFinite>, Error> {
        let (steps, first) = (inputs.shape().0, self.first);
        let options =
            ScanOptions { dropout: self.dropout(network, steps, dropout), ..ScanOptions::default() };
        let losses =
            self.learner.forward(network, Inputs::Symbols(inputs), &self.before, options, objective)?;
        if let Err(bptt::Error::NotFinite { what, step, sequence }) = losses.check_finite() {
            let sequence = first + sequence;
            let what = format!("{what} is not finite at step {step}, sequence {sequence}");
            return Ok(Err((step, sequence, what)));
        }
        let loss = losses.total;
        let gradient = self.learner.backward(network)?;
        let tensors = gradient.weights.tensors_mut();
        // What has an entry that is not finite has no finite sum of sizes.
        if !tensors.iter().all(|tensor| kernel::sum_of_sizes(tensor.data()).is_finite()) {
            let (step, what) = first_bad_gradient(network, self.learner.trace(), self.learner.losses())?;
            return Ok(Err((step, first, what)));
        }
        Ok(Ok(loss))
    }

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

/// Reverse cells begin at the end of every window, with nothing: what they ended with belongs to its beginning.
pub(crate) fn reverse_from_zero(network: &Network<f32>, state: &mut State<f32>) {
    if network.directions() == 2 {
        // Forward and reverse cells take turns.
        for matrix in state.h.iter_mut().chain(&mut state.c).skip(1).step_by(2) {
            matrix.data_mut().fill(0.0);
        }
    }
}

/// The columns `sequences` of time-major (T, B) ids.
pub(crate) fn columns(ids: &[u32], batch: usize, sequences: Range<usize>) -> Result<Symbols, bptt::Error> {
    let taken = ids.chunks_exact(batch).flat_map(|step| step[sequences.clone()].iter().copied()).collect();
    Symbols::new(ids.len() / batch, sequences.len(), taken)
}

/// Cross-entropy of `targets`.
pub(crate) fn objective<T>(targets: Symbols, reduction: Reduction) -> Objective<T> {
    Objective { targets: Targets::CrossEntropy(targets), mask: None, reduction }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Streams};

    #[test]
    fn dropout_drops_what_it_should_and_keeps_the_mean() {
        let config = Config { hidden: 20, layers: 3, dropout: 0.3, batch: 40, ..Config::default() };
        let network = config.network(5).unwrap();
        let mut shards = Shards::new(&network, config.batch, config.dropout, config.seed);
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
        let mut shards = Shards::new(&network, config.batch, config.dropout, config.seed);
        let window = streams.next_window();
        shards.learn(&network, &window.inputs, &window.targets).unwrap().unwrap();
        shards.carry_on(&network);
        let carried = &shards.parts[0].before;
        for cells in [&carried.h, &carried.c] {
            let zero: Vec<bool> = cells.iter().map(|m| m.data().iter().all(|&v| v == 0.0)).collect();
            assert_eq!(zero, [false, true, false, true]);
        }
    }

    #[test]
    fn what_is_learned_depends_neither_on_the_threads_nor_on_the_memory() {
        let ids = |seed: u32, steps: u32| (0..steps * 70).map(|i| (i * 7 + i * i * seed) % 9).collect();
        let batch = |seed, steps| -> (Vec<u32>, Vec<u32>) { (ids(seed, steps), ids(seed + 1, steps)) };
        for cell in ["rnn", "lstm", "gru"] {
            let config = Config { cell: cell.into(), hidden: 21, batch: 70, layers: 2, ..Config::default() };
            let network = config.network(9).unwrap();
            let on = |threads: usize, dropout: f64, earlier: &[u32]| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut shards = Shards::new(&network, config.batch, dropout, config.seed);
                pool.install(|| {
                    for &steps in earlier {
                        let (inputs, targets) = batch(1, steps);
                        shards.learn(&network, &inputs, &targets).unwrap().unwrap();
                    }
                    let (inputs, targets) = batch(3, 12);
                    let (loss, gradient) = shards.learn(&network, &inputs, &targets).unwrap().unwrap();
                    (loss.to_bits(), format!("{:?}", gradient.tensors()))
                })
            };
            let one = on(1, 0.2, &[]);
            assert!(one == on(2, 0.2, &[]) && one == on(4, 0.2, &[]), "{cell} on other threads");
            assert!(on(2, 0.0, &[]) == on(2, 0.0, &[20, 5]), "{cell} after other batches");
        }
    }
}
