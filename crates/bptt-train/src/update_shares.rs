//! The share of each lag in the update of an optimizer, after clipping and scaling.
//!
//! The update of an optimizer is u = s ∘ g + m + d: the clipped gradient g scaled entry by entry (by s, which depends on
//! all of g), the momentum m of earlier gradients, and the weight decay d. Clipping also scales the gradient entry by
//! entry. Given s, u is therefore linear in the parts of the gradient:
//!
//! ```text
//! u = Σ_j s ∘ (clipped / gradient) ∘ part_j + m + d           share of x in u = ⟨x, u⟩ / ⟨u, u⟩
//! ```
//!
//! The momentum is linear in the earlier gradients, each clipped, and so has parts by lag, too.

use std::ops::Range;

use bptt::in_f64;
use bptt::{LagParts, Matrix, Network, Real, Reduction, ScanOptions, Weights};

use crate::clip::Clipping;
use crate::data_source::DataSource;
use crate::optim::{Optimizer, apply_update};
use crate::shards::reverse_from_zero;
use crate::{Config, Error};

/// The next update of an optimizer, as parts that add up to it.
#[derive(Clone, Debug)]
pub struct UpdateParts {
    /// The lags of each part of the gradient.
    pub lags: Vec<Range<usize>>,
    /// The update of each part.
    pub by_lag: Vec<Weights<f64>>,
    /// The momentum of earlier gradients; zeros without momentum.
    pub carried: Weights<f64>,
    /// The momentum by lag, if the earlier gradients are known by lag; otherwise none.
    pub carried_by_lag: Vec<Weights<f64>>,
    /// The weight decay; zeros without it.
    pub decay: Weights<f64>,
    /// The shares of the parts in the gradient, before clipping.
    gradient_shares: Vec<f64>,
}

/// The shares of the parts of an update: signed numbers that add up to 1; NaN if the update is zero.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateShares {
    /// By lag, smallest first.
    pub by_lag: Vec<LagShare>,
    /// Of the momentum of earlier gradients.
    pub carried: f64,
    /// Of weight decay.
    pub decay: f64,
}

/// The share of a range of lags.
#[derive(Clone, Debug, PartialEq)]
pub struct LagShare {
    /// The lags.
    pub lags: Range<usize>,
    /// In the gradient, before clipping.
    pub gradient: f64,
    /// In the update, by way of this gradient.
    pub update: f64,
    /// In the update, by way of earlier gradients, if they are known by lag.
    pub earlier: Option<f64>,
}

impl UpdateParts {
    /// The next update of `optimizer` for `weights` with the gradient that `parts` add up to, clipped by `clipping`.
    /// Everything is computed in f64; the optimizer is not changed.
    ///
    /// # Panics
    /// If parts, weights and optimizer belong to different networks.
    pub fn new<P: Real, T: Real>(
        parts: &LagParts<P>,
        clipping: Clipping,
        optimizer: &Optimizer<T>,
        learning_rate: f64,
        weights: &Weights<T>,
    ) -> Self {
        Self::of(parts, clipping, optimizer, learning_rate, weights, &[])
    }

    /// The same with the optimizer's m by lag.
    fn of<P: Real, T: Real>(
        parts: &LagParts<P>,
        clipping: Clipping,
        optimizer: &Optimizer<T>,
        learning_rate: f64,
        weights: &Weights<T>,
        momentum: &[Weights<f64>],
    ) -> Self {
        let sizes: Vec<usize> = weights.tensors().iter().map(|(_, tensor)| tensor.data().len()).collect();
        assert_eq!(sizes, optimizer.sizes(), "the optimizer must have been made for these weights");
        let (mut by_lag, clipped) = clipped(parts, clipping);
        let (mut carried, mut decay) = (clipped.zeros_like(), clipped.zeros_like());
        let mut carried_by_lag = momentum.to_vec();
        let mut lag_tensors: Vec<_> = by_lag.iter_mut().map(Weights::tensors_mut).collect();
        let mut momentum_tensors: Vec<_> = carried_by_lag.iter_mut().map(Weights::tensors_mut).collect();
        let (mut carried_tensors, mut decay_tensors) = (carried.tensors_mut(), decay.tensors_mut());
        let (clipped, weights) = (clipped.tensors(), weights.tensors());
        for i in 0..clipped.len() {
            let next = optimizer.next_terms(learning_rate, i);
            for (n, &clipped) in clipped[i].1.data().iter().enumerate() {
                let terms = next(n, weights[i].1.data()[n].f64(), clipped);
                for part in &mut lag_tensors {
                    part[i].data_mut()[n] *= terms.scale;
                }
                for part in &mut momentum_tensors {
                    part[i].data_mut()[n] *= terms.momentum;
                }
                carried_tensors[i].data_mut()[n] = terms.carried;
                decay_tensors[i].data_mut()[n] = terms.decay;
            }
        }
        let lags = (0..parts.len()).map(|j| parts.lags(j)).collect();
        Self { lags, by_lag, carried, carried_by_lag, decay, gradient_shares: parts.shares() }
    }

    /// The update, the sum of all parts: what is added to the weights.
    pub fn update(&self) -> Weights<f64> {
        let mut update = self.carried.clone();
        update.add(&self.decay);
        for part in &self.by_lag {
            update.add(part);
        }
        update
    }

    /// The share of each part in the update, over all parameters.
    pub fn shares(&self) -> UpdateShares {
        let update = self.update();
        let inner = |part: &Weights<f64>| -> f64 {
            let products = |(a, b): (&Matrix<f64>, &Matrix<f64>)| -> f64 {
                a.data().iter().zip(b.data()).map(|(a, b)| a * b).sum()
            };
            let tensors = part.tensors().into_iter().zip(update.tensors());
            tensors.map(|((_, a), (_, b))| products((a, b))).sum()
        };
        let whole = inner(&update);
        let of_lag = |(j, part): (usize, &Weights<f64>)| LagShare {
            lags: self.lags[j].clone(),
            gradient: self.gradient_shares[j],
            update: inner(part) / whole,
            earlier: self.carried_by_lag.get(j).map(|part| inner(part) / whole),
        };
        UpdateShares {
            by_lag: self.by_lag.iter().enumerate().map(of_lag).collect(),
            carried: inner(&self.carried) / whole,
            decay: inner(&self.decay) / whole,
        }
    }
}

/// Number of batches that the optimizer sees before the update that [`UpdateShares::next`] analyzes.
pub const WARMUP_BATCHES: u64 = 20;

impl UpdateShares {
    /// The shares of the next update of `network`, with the optimizer and the clipping of `config`. The optimizer has seen
    /// the gradients of [`WARMUP_BATCHES`] batches at these weights, because a run stores no moments; the update is that of
    /// one more batch. Everything is computed in f64, without dropout, and each batch of a text goes on where the one before
    /// ended. Lags are 0, 1, 2–3, 4–7, and so on. Regularizers are not included.
    ///
    /// # Errors
    /// If data, settings and network do not fit each other, or a gradient is not finite.
    pub fn next(network: &Network<f32>, data: &DataSource<'_>, config: &Config) -> Result<Self, Error> {
        let mut batches = data.batches(config)?;
        let network = network.cast::<f64>()?;
        let mut moved = network.clone();
        let (mut optimizer, clipping) = (config.optimizer(&network), config.clipping());
        let mut state = network.zero_state(config.batch);
        let mut momentum: Vec<Weights<f64>> = Vec::new();
        for seen in 0.. {
            let (batch, fresh) = batches.next_batch()?;
            if fresh {
                state = network.zero_state(config.batch);
            }
            let mean = Reduction::Times(1.0 / batch.losses().max(1) as f64);
            let (inputs, objective) = batch.objective::<f64>(mean);
            let (steps, _) = inputs.shape();
            let detach = ScanOptions::<f64>::detach_every(config.detach_every, steps);
            let options = ScanOptions { detach, ..ScanOptions::default() };
            let trace = in_f64::scan_with(&network, inputs, &state, options)?;
            let losses = in_f64::losses(&network, &trace, &objective)?;
            let parts = in_f64::lag_parts(&network, &trace, &losses, &first_lags(steps))?;
            let (rate, weights) = (config.learning_rate, network.weights());
            if seen == WARMUP_BATCHES {
                return Ok(UpdateParts::of(&parts, clipping, &optimizer, rate, weights, &momentum).shares());
            }
            if let Some((kept, new)) = config.optimizer.momentum() {
                add_to(&mut momentum, kept, new, &clipped(&parts, clipping).0);
            }
            let mut gradient = sum(parts.parts());
            apply_update(clipping, &mut optimizer, rate, &mut moved, &mut gradient);
            state = trace.final_state();
            reverse_from_zero(&network, &mut state);
        }
        unreachable!("the loop returns")
    }
}

/// 0, 1, 2, 4, … below `steps`.
fn first_lags(steps: usize) -> Vec<usize> {
    let octaves = std::iter::successors(Some(1), |lag: &usize| lag.checked_mul(2));
    std::iter::once(0).chain(octaves.take_while(|&lag| lag < steps)).collect()
}

fn sum<T: Real>(parts: &[Weights<T>]) -> Weights<T> {
    let mut sum = parts[0].clone();
    parts[1..].iter().for_each(|part| sum.add(part));
    sum
}

/// The parts of a gradient after clipping, and their sum.
fn clipped<P: Real>(parts: &LagParts<P>, clipping: Clipping) -> (Vec<Weights<f64>>, Weights<f64>) {
    let mut by_lag: Vec<Weights<f64>> = parts.parts().iter().map(Weights::cast).collect();
    let gradient = sum(&by_lag);
    let mut clipped = gradient.clone();
    let by_norm = clipping.norm / clipping.apply(&mut slices(&mut clipped)).before;
    // The factor of an entry whose parts cancel to zero: that of clipping by norm.
    let scale = if clipping.norm > 0.0 && by_norm < 1.0 { by_norm } else { 1.0 };
    for part in &mut by_lag {
        let entries = part.tensors_mut().into_iter().zip(gradient.tensors()).zip(clipped.tensors());
        for ((part, (_, raw)), (_, clipped)) in entries {
            for ((entry, &raw), &clipped) in part.data_mut().iter_mut().zip(raw.data()).zip(clipped.data()) {
                *entry *= if raw == 0.0 { scale } else { clipped / raw };
            }
        }
    }
    (by_lag, clipped)
}

/// m ← kept · m + new · g, by lag. Sequences have one length, so the parts are the same lags each time.
fn add_to(momentum: &mut Vec<Weights<f64>>, kept: f64, new: f64, parts: &[Weights<f64>]) {
    momentum.resize_with(parts.len(), || parts[0].zeros_like());
    for (m, part) in momentum.iter_mut().zip(parts) {
        for (m, (_, part)) in m.tensors_mut().into_iter().zip(part.tensors()) {
            for (m, g) in m.data_mut().iter_mut().zip(part.data()) {
                *m = kept * *m + new * g;
            }
        }
    }
}

fn slices<T: Real>(weights: &mut Weights<T>) -> Vec<&mut [T]> {
    weights.tensors_mut().into_iter().map(Matrix::data_mut).collect()
}

#[cfg(test)]
mod tests {
    use bptt::{Inputs, Network, Objective, Reduction, Symbols, Targets};

    use super::*;
    use crate::OptimizerKind;

    /// A network in f64, and the parts of its gradient on some symbols.
    fn problem(seed: u64) -> (Network<f64>, LagParts<f64>) {
        let config = Config { cell: "lstm".into(), hidden: 6, seed, ..Config::default() };
        let network = config.network(5, 5).unwrap().cast::<f64>().unwrap();
        let ids = |from: u32| (0..24).map(|i| (i * i + from) % 5).collect();
        let inputs = Inputs::Symbols(Symbols::new(12, 2, ids(1)).unwrap());
        let trace = network.scan(inputs, &network.zero_state(2)).unwrap();
        let targets = Targets::CrossEntropy(Symbols::new(12, 2, ids(3)).unwrap());
        let objective = Objective { targets, mask: None, reduction: Reduction::MeanTokens };
        let losses = network.losses(&trace, &objective).unwrap();
        let parts = network.lag_parts(&trace, &losses, &[0, 1, 2, 4, 8]).unwrap();
        (network, parts)
    }

    /// One more gradient after those that the optimizer has seen, on a task whose sequences all begin without a state.
    #[test]
    fn the_next_update_is_what_the_optimizer_would_make() {
        let task = crate::task_by_name("adding").unwrap();
        for optimizer in ["sgd", "sgd:momentum=0.9", "adam", "adamw:weight_decay=0.1"] {
            let optimizer: OptimizerKind = optimizer.parse().unwrap();
            let config = Config {
                hidden: 5,
                batch: 3,
                length: Some(12),
                clip_norm: 0.01,
                optimizer,
                ..Config::default()
            };
            let network = config.network(task.inputs(), task.outputs()).unwrap();
            let shares = UpdateShares::next(&network, &DataSource::task(&*task, &config), &config).unwrap();
            let lags: Vec<_> = shares.by_lag.iter().map(|share| share.lags.clone()).collect();
            assert_eq!(lags, [0..1, 1..2, 2..4, 4..8, 8..12]);
            let of_lags: f64 = shares.by_lag.iter().map(|share| share.update).sum();
            assert!((of_lags + shares.carried + shares.decay - 1.0).abs() < 1e-10);
            assert!((shares.by_lag.iter().map(|share| share.gradient).sum::<f64>() - 1.0).abs() < 1e-10);
            let carries = optimizer != OptimizerKind::Sgd { momentum: 0.0 };
            assert_eq!(shares.carried != 0.0, carries, "{optimizer}");
            // The momentum is the sum of its parts by lag.
            let earlier: Option<f64> = shares.by_lag.iter().map(|share| share.earlier).sum();
            let differs = earlier.map(|earlier| (earlier - shares.carried).abs() > 1e-10);
            assert_eq!(differs, carries.then_some(false), "{optimizer}");
            assert_eq!(shares.decay != 0.0, optimizer.to_string().starts_with("adamw"));
        }
    }

    /// For every optimizer and clipping, after some steps: the parts add up to what a step does to the weights, and their
    /// shares to 1.
    #[test]
    fn the_parts_are_the_update_that_the_optimizer_makes() {
        let kinds = ["sgd", "sgd:momentum=0.9", "adagrad", "rmsprop", "adam", "adamw:weight_decay=0.1"];
        let clippings = [(0.0, 0.0), (0.05, 0.0), (0.0, 0.002), (0.1, 0.003), (1e9, 0.0)];
        for (kind, (norm, value)) in kinds.iter().flat_map(|kind| clippings.map(|clipping| (kind, clipping)))
        {
            let clipping = Clipping { norm, value };
            let (mut network, _) = problem(1);
            let sizes: Vec<usize> = network.tensors_mut().iter().map(|tensor| tensor.data().len()).collect();
            let mut optimizer = Optimizer::new(kind.parse().unwrap(), &sizes);
            for step in 0..3 {
                let (_, parts) = problem(step);
                let split = UpdateParts::new(&parts, clipping, &optimizer, 0.01, network.weights());
                let before = network.weights().clone();
                let mut gradient = sum(parts.parts());
                clipping.apply(&mut slices(&mut gradient));
                let gradients = gradient.tensors();
                let gradients: Vec<&[f64]> = gradients.iter().map(|(_, m)| m.data()).collect();
                let mut tensors: Vec<_> = network.tensors_mut().into_iter().map(Matrix::data_mut).collect();
                optimizer.step(0.01, &mut tensors, &gradients);

                let update = split.update();
                let size = |numbers: &[f64]| numbers.iter().map(|v| v * v).sum::<f64>().sqrt();
                for (((name, u), (_, before)), (_, after)) in
                    update.tensors().into_iter().zip(before.tensors()).zip(network.weights().tensors())
                {
                    let difference = |((u, before), after): ((&f64, &f64), &f64)| after - before - u;
                    let moved = u.data().iter().zip(before.data()).zip(after.data());
                    let error = size(&moved.map(difference).collect::<Vec<_>>());
                    // A weight keeps its digits, not the update's.
                    let rounding = 1e-16 * size(before.data());
                    assert!(
                        error <= 1e-12 * size(u.data()) + rounding,
                        "{kind} {clipping:?} {name}: {error}"
                    );
                }
                let shares = split.shares();
                let by_lag: f64 = shares.by_lag.iter().map(|share| share.update).sum();
                let total = by_lag + shares.carried + shares.decay;
                assert!((total - 1.0).abs() < 1e-12, "{kind} {clipping:?}: {total}");
                assert_eq!(
                    shares.carried == 0.0,
                    step == 0 || !kind.contains("adam") && !kind.contains("mom")
                );
                assert_eq!(shares.decay != 0.0, kind.contains("adamw"));
                let of_gradient: f64 = shares.by_lag.iter().map(|share| share.gradient).sum();
                assert!((of_gradient - 1.0).abs() < 1e-12);
                if *kind == "sgd" && value == 0.0 {
                    // Scaled as a whole, the gradient keeps its shares.
                    for share in &shares.by_lag {
                        assert!((share.gradient - share.update).abs() < 1e-12);
                    }
                }
            }
        }
    }

    /// Adam's first step is −lr · sign(g), whatever the size of g.
    #[test]
    fn adams_first_step_shares_by_sign() {
        let (network, parts) = problem(7);
        let sizes: Vec<usize> =
            network.weights().tensors().iter().map(|(_, tensor)| tensor.data().len()).collect();
        let optimizer = Optimizer::<f64>::new("adam:eps=1e-30".parse().unwrap(), &sizes);
        let split =
            UpdateParts::new(&parts, Clipping { norm: 0.0, value: 0.0 }, &optimizer, 0.01, network.weights());
        // u_i = −lr · sign(g_i), so a part's share is the mean of part_i / g_i over the entries with a gradient.
        let gradient = sum(parts.parts());
        let numbers = |w: &Weights<f64>| -> Vec<f64> {
            w.tensors().iter().flat_map(|(_, m)| m.data().to_vec()).collect()
        };
        let whole = numbers(&gradient);
        for (j, share) in split.shares().by_lag.iter().enumerate() {
            let ratios: Vec<f64> = numbers(&parts.parts()[j])
                .iter()
                .zip(&whole)
                .filter(|(_, g)| **g != 0.0)
                .map(|(part, g)| part / g)
                .collect();
            let expected = ratios.iter().sum::<f64>() / ratios.len() as f64;
            assert!((share.update - expected).abs() < 1e-9, "{j}: {} {expected}", share.update);
        }
    }
}
