//! The loss and gradient of one update, computed on shards of the batch in parallel.

use bptt::{
    ForwardCache, GradientOptions, Losses, Matrix, Network, Number, Objective, Omega, Real, Reduction,
    ScanOptions, Sequence, State, Symbols, Targets, TrainStep, Weights, kernel,
};
use rayon::prelude::*;

use crate::{Batch, Config, Error, Rng};

/// The smallest number of sequences of a shard, if the batch has as many. Shards are summed in order, so that their size,
/// and not the number of threads, determines the result.
pub(crate) const SHARD: usize = 16;

/// Recurrent weights of more bytes than this do not stay in the second-level cache of a core; shards are then twice as
/// large, so that each pass over the weights serves more sequences.
const CACHED_WEIGHTS: usize = 1 << 20;

/// Number of sequences per shard.
fn shard_size(network: &Network<f32>, batch: usize) -> usize {
    let cell = &network.weights().cells[0];
    let weights =
        cell.spec().recurrent_weights().map_or(0, |index| size_of_val(cell.tensors()[index].data()));
    if weights > CACHED_WEIGHTS && batch >= 4 * SHARD { 2 * SHARD } else { SHARD }
}

/// The shards of a batch. Each has the memory of its scans and keeps it from update to update.
pub struct Shards {
    options: ShardOptions,
    parts: Vec<Shard>,
}

/// The settings that shards depend on.
#[derive(Clone, Copy)]
struct ShardOptions {
    /// Dropout probability of the outputs between layers.
    dropout: f64,
    /// The state is detached every this many steps; 0 for never.
    detach_every: usize,
    /// The weight of the regularizer of Pascanu et al.
    omega: f64,
}

/// Some sequences of the batch, with the state they carry from window to window.
struct Shard {
    /// The index of the first sequence.
    first: usize,
    /// The state before the window.
    before: State<f32>,
    /// The random numbers of its dropout masks: a stream per shard, so that results do not depend on the number of threads.
    rng: Rng,
    learner: TrainStep<f32>,
    /// The regularizer of the last batch, if it is used.
    omega: Option<Omega<f32>>,
}

/// The first random stream of the dropout masks: that of the shard of sequence 0.
const DROPOUT: u64 = u64::from_le_bytes(*b"dropout\0");

/// The first number that is not finite: its step, its sequence, and a description.
type NotFinite = (usize, usize, String);

impl Shards {
    /// Shards for batches of `config`, with zero states. Dropout uses streams of its seed.
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
        let options = ShardOptions { dropout, detach_every, omega };
        Self { options, parts: (0..batch).step_by(size).map(shard).collect() }
    }

    /// Resets the state to zero.
    pub fn reset_state(&mut self) {
        for state in self.parts.iter_mut().flat_map(|shard| shard.before.matrices_mut()) {
            state.data_mut().fill(0.0);
        }
    }

    /// The mean loss of `batch` and its gradient, including that of the regularizer; or what is not finite, and where.
    ///
    /// # Errors
    /// If the batch does not fit the network or the shards.
    pub fn learn(
        &mut self,
        network: &Network<f32>,
        batch: &Batch,
    ) -> Result<Result<(f64, &mut Weights<f32>), String>, Error> {
        let options = self.options;
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
            shard.learn(network, batch.sequences(shard.first..shard.first + shard.size()), mean, options)
        };
        let learned: Vec<Result<_, Error>> = match &mut self.parts[..] {
            // A single shard needs no other thread.
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
        let weight = f32::of(options.omega / count.max(1) as f64);
        for omega in &omegas {
            for (layer, w_hh) in sum.cells.iter_mut().zip(&omega.w_hh) {
                kernel::add_scaled(layer["weight_hh"].data_mut(), weight, w_hh.data());
            }
        }
        Ok(Ok((loss, sum)))
    }

    /// Ends a window: its last state is the first state of the next, except in reverse cells.
    pub fn carry_state(&mut self, network: &Network<f32>) {
        for shard in &mut self.parts {
            shard.before = shard.learner.cache().final_state();
            reverse_from_zero(network, &mut shard.before);
        }
    }

    /// Of each shard, the state before the next window and the position in its random numbers.
    pub(crate) fn saved(&self) -> impl Iterator<Item = (&State<f32>, u128)> {
        self.parts.iter().map(|shard| (&shard.before, shard.rng.position()))
    }

    /// The same, to be filled in.
    pub(crate) fn restored(&mut self) -> impl Iterator<Item = (&mut State<f32>, &mut Rng)> {
        self.parts.iter_mut().map(|shard| (&mut shard.before, &mut shard.rng))
    }

    /// The state of sequence 0 at the beginning of the window.
    pub(crate) fn first_state(&self) -> State<f32> {
        self.parts[0].before.sequence(0)
    }
}

impl Shard {
    /// Number of sequences.
    fn size(&self) -> usize {
        self.before.h(0).rows()
    }

    /// Its part of the loss; its part of the gradient stays in its memory.
    fn learn(
        &mut self,
        network: &Network<f32>,
        batch: Batch,
        mean: Reduction,
        options: ShardOptions,
    ) -> Result<Result<f64, NotFinite>, Error> {
        let ((steps, _), first) = (batch.shape(), self.first);
        let (inputs, objective) = batch.objective(mean);
        let scan = ScanOptions {
            dropout: self.dropout(network, steps, options.dropout),
            detach: ScanOptions::<f32>::detach_every(options.detach_every, steps),
            ..ScanOptions::default()
        };
        let losses = self.learner.forward(network, inputs, &self.before, scan, &objective)?;
        if let Err(bptt::Error::NotFinite { what, step, sequence }) = losses.check_finite() {
            let sequence = first + sequence;
            let what = format!("{what} is not finite at step {step}, sequence {sequence}");
            return Ok(Err((step, sequence, what)));
        }
        let loss = losses.total;
        self.omega = if options.omega > 0.0 {
            Some(self.learner.backward_with_omega(network)?)
        } else {
            self.learner.backward(network)?;
            None
        };
        let tensors = self.learner.gradient().map_or(Vec::new(), |gradient| gradient.weights.tensors_mut());
        // A tensor with an entry that is not finite has no finite sum of absolute values.
        if !tensors.iter().all(|tensor| kernel::sum_of_sizes(tensor.data()).is_finite()) {
            let (step, what) = first_bad_gradient(network, self.learner.cache(), self.learner.losses())?;
            return Ok(Err((step, first, what)));
        }
        Ok(Ok(loss))
    }

    /// Dropout masks for a window of `steps` steps: 0 with probability `p`, otherwise 1/(1 − p).
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

/// Sets the states of reverse cells to zero: they begin at the end of every window.
pub(crate) fn reverse_from_zero<T: Real>(network: &Network<T>, state: &mut State<T>) {
    if network.directions() == 2 {
        // Forward and reverse cells alternate.
        for matrix in state.cells.iter_mut().skip(1).step_by(2).flatten() {
            matrix.data_mut().fill(T::zero());
        }
    }
}

/// Cross-entropy of `targets`.
pub(crate) fn objective<T>(targets: Symbols, reduction: Reduction) -> Objective<T> {
    Objective { targets: Targets::CrossEntropy(targets), mask: None, reduction }
}

/// The first loss with a gradient that is not finite, and the parameter.
fn first_bad_gradient(
    network: &Network<f32>,
    trace: &ForwardCache<f32>,
    losses: &Losses<f32>,
) -> Result<(usize, String), Error> {
    let steps = losses.present.len();
    for k in 0..steps {
        let only: Vec<_> = (0..steps).map(|t| (t == k).then_some(0)).collect();
        for gradient in network.group_gradients(trace, losses, &only, GradientOptions::default())? {
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
        shards.carry_state(&network);
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
