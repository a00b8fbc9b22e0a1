//! One update's losses and gradients, of a batch cut into shards that run side by side.

use bptt::{
    ForwardCache, Losses, Matrix, Network, Objective, Omega, Real, Reduction, ScanOptions, Sequence, State,
    Symbols, Targets, TrainStep, Weights, kernel,
};
use rayon::prelude::*;

use crate::{Batch, Config, Error, Rng};

/// Sequences of one shard at least, if the batch has them. Shards run side by side and are added up in order, so their
/// size, not the number of threads, decides the result.
pub(crate) const SHARD: usize = 16;

/// Recurrent weights of more bytes than this do not stay in a core's second-level cache from step to step; shards are then
/// twice as large, so that each reading of them serves more sequences.
const NEAR: usize = 1 << 20;

/// How many sequences a shard has.
fn shard_size(network: &Network<f32>, batch: usize) -> usize {
    let weights = size_of_val(network.weights().cells[0]["weight_hh"].data());
    if weights > NEAR && batch >= 4 * SHARD { 2 * SHARD } else { SHARD }
}

/// A batch cut into shards. Each has the memory that its scans need, and keeps it from update to update.
pub struct Shards {
    how: How,
    parts: Vec<Shard>,
}

/// What of the settings the shards need.
#[derive(Clone, Copy)]
struct How {
    /// The probability that an output between two layers drops out.
    dropout: f64,
    /// How many steps a gradient may go back before it is cut off; 0 for no limit.
    detach_every: usize,
    /// The weight of Pascanu's regularizer.
    omega: f64,
}

/// Some sequences side by side, with what they carry from window to window.
struct Shard {
    /// The first sequence.
    first: usize,
    /// The state before the window.
    before: State<f32>,
    /// Where its dropout masks come from: a stream of its own, so that the number of threads does not matter.
    rng: Rng,
    learner: TrainStep<f32>,
    /// Pascanu's regularizer of the last batch, if it is wanted.
    omega: Option<Omega<f32>>,
}

/// The random streams of the dropout masks: this one for the shard of sequence 0, and so on.
const DROPOUT: u64 = u64::from_le_bytes(*b"dropout\0");

/// What was not finite: the step and the sequence it first appeared at, and what it was in words.
type NotFinite = (usize, usize, String);

impl Shards {
    /// For the batches that `config` asks for, without a state to begin with. Outputs between layers drop out, drawn from
    /// streams of its seed.
    pub fn new(network: &Network<f32>, config: &Config) -> Self {
        let (size, batch) = (shard_size(network, config.batch), config.batch);
        let shard = |first: usize| Shard {
            first,
            before: network.zero_state(size.min(batch - first)),
            rng: Rng::new(config.seed, DROPOUT + first as u64),
            learner: TrainStep::default(),
            omega: None,
        };
        let Config { dropout, detach_every, omega, .. } = *config;
        let how = How { dropout, detach_every, omega };
        Self { how, parts: (0..batch).step_by(size).map(shard).collect() }
    }

    /// Begins anew, without a state.
    pub fn forget(&mut self) {
        for state in self.parts.iter_mut().flat_map(|shard| shard.before.matrices_mut()) {
            state.data_mut().fill(0.0);
        }
    }

    /// The mean loss of `batch` and its gradient, with that of the regularizer if one is asked for; or what is not finite,
    /// and where.
    ///
    /// # Errors
    /// If the batch does not fit the network or the shards.
    pub fn learn(
        &mut self,
        network: &Network<f32>,
        batch: &Batch,
    ) -> Result<Result<(f64, &mut Weights<f32>), String>, Error> {
        let how = self.how;
        let size: usize = self.parts.iter().map(Shard::size).sum();
        if batch.shape().1 != size {
            return Err(Error::Model(bptt::Error::Shape {
                what: "batch".into(),
                expected: format!("{size} sequences"),
                given: format!("{}", batch.shape().1),
            }));
        }
        let mean = Reduction::Times(1.0 / batch.losses().max(1) as f64);
        let learn = |shard: &mut Shard| -> Result<Result<f64, NotFinite>, Error> {
            shard.learn(network, batch.sequences(shard.first..shard.first + shard.size()), mean, how)
        };
        let learned: Vec<Result<_, Error>> = match &mut self.parts[..] {
            // Of one shard there is nothing to hand to another thread.
            [only] => vec![learn(only)],
            parts => rayon::scope(|_| {
                network.prepare();
                parts.par_iter_mut().map(learn).collect()
            }),
        };
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
        let omegas: Vec<Omega<f32>> = self.parts.iter_mut().filter_map(|shard| shard.omega.take()).collect();
        let mut gradients = self.parts.iter_mut().filter_map(|shard| shard.learner.gradient());
        let sum = &mut gradients.next().expect("a batch has a sequence").weights;
        for other in gradients {
            for (sum, other) in sum.tensors_mut().into_iter().zip(other.weights.tensors_mut()) {
                kernel::add_scaled(sum.data_mut(), 1.0, other.data());
            }
        }
        let count: usize = omegas.iter().map(|omega| omega.count).sum();
        let weight = f32::of(how.omega / count.max(1) as f64);
        for omega in &omegas {
            for (layer, w_hh) in sum.cells.iter_mut().zip(&omega.w_hh) {
                kernel::add_scaled(layer["weight_hh"].data_mut(), weight, w_hh.data());
            }
        }
        Ok(Ok((loss, sum)))
    }

    /// Ends a window: its last state is the next one's first, that of reverse cells excepted.
    pub fn carry_on(&mut self, network: &Network<f32>) {
        for shard in &mut self.parts {
            shard.before = shard.learner.cache().final_state();
            reverse_from_zero(network, &mut shard.before);
        }
    }

    /// The state that sequence 0 began the window with.
    pub(crate) fn first_state(&self) -> State<f32> {
        self.parts[0].before.sequence(0)
    }
}

impl Shard {
    /// How many sequences it has.
    fn size(&self) -> usize {
        self.before.h(0).rows()
    }

    /// Its part of the loss and of the gradient, which stays in its memory.
    fn learn(
        &mut self,
        network: &Network<f32>,
        batch: Batch,
        mean: Reduction,
        how: How,
    ) -> Result<Result<f64, NotFinite>, Error> {
        let ((steps, _), first) = (batch.shape(), self.first);
        let (inputs, objective) = batch.objective(mean);
        let options = ScanOptions {
            dropout: self.dropout(network, steps, how.dropout),
            detach: ScanOptions::<f32>::detach_every(how.detach_every, steps),
            ..ScanOptions::default()
        };
        let losses = self.learner.forward(network, inputs, &self.before, options, &objective)?;
        if let Err(bptt::Error::NotFinite { what, step, sequence }) = losses.check_finite() {
            let sequence = first + sequence;
            let what = format!("{what} is not finite at step {step}, sequence {sequence}");
            return Ok(Err((step, sequence, what)));
        }
        let loss = losses.total;
        self.omega = if how.omega > 0.0 {
            Some(self.learner.backward_with_omega(network)?)
        } else {
            self.learner.backward(network)?;
            None
        };
        let tensors = self.learner.gradient().map_or(Vec::new(), |gradient| gradient.weights.tensors_mut());
        // What has an entry that is not finite has no finite sum of sizes.
        if !tensors.iter().all(|tensor| kernel::sum_of_sizes(tensor.data()).is_finite()) {
            let (step, what) = first_bad_gradient(network, self.learner.cache(), self.learner.losses())?;
            return Ok(Err((step, first, what)));
        }
        Ok(Ok(loss))
    }

    /// Masks for a window of `steps` steps: 0 with probability `p`, otherwise 1/(1 − p).
    fn dropout(&mut self, network: &Network<f32>, steps: usize, p: f64) -> Vec<Sequence<f32>> {
        let layers = if p > 0.0 { network.depth() } else { 1 };
        let (batch, features) = (self.before.h(0).rows(), network.directions() * network.hidden());
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
        for matrix in state.cells.iter_mut().skip(1).step_by(2).flatten() {
            matrix.data_mut().fill(0.0);
        }
    }
}

/// Cross-entropy of `targets`.
pub(crate) fn objective<T>(targets: Symbols, reduction: Reduction) -> Objective<T> {
    Objective { targets: Targets::CrossEntropy(targets), mask: None, reduction }
}

/// Which loss has a gradient that is not finite, and for which parameter.
fn first_bad_gradient(
    network: &Network<f32>,
    trace: &ForwardCache<f32>,
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
    use crate::{Config, Streams, Window};

    #[test]
    fn dropout_drops_what_it_should_and_keeps_the_mean() {
        let config = Config { hidden: 20, layers: 3, dropout: 0.3, batch: 40, ..Config::default() };
        let network = config.network(5, 5).unwrap();
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
        let network = config.network(5, 5).unwrap();
        let mut streams = Streams::new((0..40).map(|i| i % 5).collect(), 2, 4).unwrap();
        let mut shards = Shards::new(&network, &config);
        let batch = Batch::of_text(streams.next_window(), 2).unwrap();
        shards.learn(&network, &batch).unwrap().unwrap();
        shards.carry_on(&network);
        let carried = &shards.parts[0].before;
        for state in 0..2 {
            let is_zero = |cell: usize| carried.cells[cell][state].data().iter().all(|&v| v == 0.0);
            assert_eq!([0, 1, 2, 3].map(is_zero), [false, true, false, true]);
        }
    }

    #[test]
    fn what_is_learned_depends_neither_on_the_threads_nor_on_the_memory() {
        let ids = |seed: u32, steps: u32| (0..steps * 70).map(|i| (i * 7 + i * i * seed) % 9).collect();
        let batch = |seed, steps| {
            let window = Window { inputs: ids(seed, steps), targets: ids(seed + 1, steps), fresh: true };
            Batch::of_text(window, 70).unwrap()
        };
        for cell in ["rnn", "lstm", "gru"] {
            let config = Config { cell: cell.into(), hidden: 21, batch: 70, layers: 2, ..Config::default() };
            let network = config.network(9, 9).unwrap();
            let on = |threads: usize, dropout: f64, earlier: &[u32]| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut shards = Shards::new(&network, &Config { dropout, ..config.clone() });
                pool.install(|| {
                    for &steps in earlier {
                        shards.learn(&network, &batch(1, steps)).unwrap().unwrap();
                    }
                    let (loss, gradient) = shards.learn(&network, &batch(3, 12)).unwrap().unwrap();
                    (loss.to_bits(), format!("{:?}", gradient.tensors()))
                })
            };
            let one = on(1, 0.2, &[]);
            assert!(one == on(2, 0.2, &[]) && one == on(4, 0.2, &[]), "{cell} on other threads");
            assert!(on(2, 0.0, &[]) == on(2, 0.0, &[20, 5]), "{cell} after other batches");
        }
    }
}
