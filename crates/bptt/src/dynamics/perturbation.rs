//! How long a perturbation of the input or the state changes the state: the forward counterpart of a ledger's distances.
//!
//! A tangent vector follows the exact derivative of every step, δs_t = ∂s_t/∂s_{t−1} δs_{t−1} + ∂s_t/∂x_t δx_t, in a stack
//! from the bottom layer up, so that what is measured is ∂h_t/∂h_s or ∂h_t/∂x_s and not a difference of two trajectories.

use rayon::prelude::*;

use super::jacobian::{Jacobians, bring_to_one, check_trajectory};
use crate::array::{Matrix, View};
use crate::forward::ForwardCache;
use crate::kernel::Products;
use crate::kernel::{Packed, Real, Start};
use crate::ledger::{LagQuantiles, horizon, median, profile};
use crate::model::{CellId, Direction, Network};
use crate::{Error, kernel};

/// What is perturbed at a step s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Perturbed {
    /// x_s, what the bottom layer reads: I numbers.
    Input,
    /// h_s of a layer after the step, which the next step and the layer above read: H numbers.
    State {
        /// The layer, from the input up.
        layer: usize,
    },
}

/// How much of a perturbation at step s is left in the top layer's h at step t, for every s ≤ t.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryProfile {
    /// log₁₀ of the norms: for each sequence and perturbed step s those at lag 0, 1, ….
    log10: Vec<Vec<Vec<f64>>>,
    /// Every how many steps one is perturbed.
    every: usize,
}

/// Sequences up to this long are perturbed at every step; in longer ones at [`PERTURBED`] steps, evenly spaced, so that time
/// and memory grow with T and not with T².
const LONG: usize = 1024;
const PERTURBED: usize = 256;

impl MemoryProfile {
    /// B, the number of sequences.
    pub fn sequences(&self) -> usize {
        self.log10.len()
    }

    /// log₁₀ of √(Σ_d ‖(∂h_t/∂·_s) d‖²) over the directions d in sequence `b`; −∞ where it is zero. `None` where t < s or one
    /// of them lies behind the sequence's end, and where step s was not perturbed (in sequences of more than 1,024 steps).
    pub fn log10_norm(&self, b: usize, s: usize, t: usize) -> Option<f64> {
        let place = if s.is_multiple_of(self.every) { s / self.every } else { return None };
        self.log10.get(b)?.get(place)?.get(t.checked_sub(s)?).copied()
    }

    /// The quantiles at each lag t − s over all sequences and steps s that reach that far.
    pub fn profile(&self) -> Vec<LagQuantiles> {
        profile::profile_of(self.lags(), |lag| (0..self.sequences()).flat_map(|b| self.at(b, lag)).collect())
    }

    /// The smallest lag within which a fraction q of Σ_τ m(τ) lies, with m the median at each lag, as a ledger's horizon is
    /// ([`crate::Entry::horizon`]). `None` if every median is zero.
    pub fn horizon(&self, q: f64) -> Option<usize> {
        horizon(self.profile().iter().map(|at| (at.lag, at.log10_median())), q)
    }

    /// The same of sequence `b` alone.
    pub fn horizon_of_sequence(&self, b: usize, q: f64) -> Option<usize> {
        let at = |lag: usize| median(self.at(b, lag).collect()).map(|median| (lag, median));
        let profile: Vec<(usize, f64)> = (0..self.lags()).filter_map(at).collect();
        horizon(profile.into_iter(), q)
    }

    fn lags(&self) -> usize {
        self.log10.iter().filter_map(|of| of.first()).map(Vec::len).max().unwrap_or(0)
    }

    fn at(&self, b: usize, lag: usize) -> impl Iterator<Item = f64> {
        self.log10[b].iter().filter_map(move |of| of.get(lag).copied())
    }
}

/// How much is left of perturbations, see [`Network::memory`].
pub(crate) fn memory<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    perturbed: Perturbed,
    directions: Option<&Matrix<f64>>,
) -> Result<MemoryProfile, Error> {
    if network.directions() == 2 {
        return Err(Error::Unsupported {
            what: "memory".into(),
            given: "a bidirectional network".into(),
            expected: "one that reads forward: in both directions every step reaches every other".into(),
        });
    }
    let (layer, width) = match perturbed {
        Perturbed::Input => (0, network.inputs()),
        Perturbed::State { layer } => (layer, network.output_width()),
    };
    check_trajectory(network, cache, CellId { layer, direction: Direction::Forward })?;
    let directions = match directions {
        Some(directions) if directions.cols() == width && directions.rows() > 0 => directions.clone(),
        Some(directions) => {
            return Err(Error::Shape {
                what: "directions of a perturbation".into(),
                expected: format!("(D, {width}), at least one"),
                given: format!("({}, {})", directions.rows(), directions.cols()),
            });
        }
        None => {
            let one = |i: usize| if i.is_multiple_of(width + 1) { 1.0 } else { 0.0 };
            Matrix::new(width, width, (0..width * width).map(one).collect())?
        }
    };
    let (steps, batch) = cache.inputs().shape();
    let every = if steps > LONG { steps.div_ceil(PERTURBED) } else { 1 };
    let of_sequence = |b: usize| Tangents::new(network, perturbed, &directions).follow(cache, b, every);
    Ok(MemoryProfile { log10: (0..batch).into_par_iter().map(of_sequence).collect(), every })
}

/// The perturbations of one sequence under way: D rows for each step that has been perturbed.
struct Tangents<'a, T: Real> {
    network: &'a Network<T>,
    perturbed: Perturbed,
    directions: &'a Matrix<f64>,
    /// For each layer what has become of the perturbations, (s·D, N).
    states: Vec<Vec<f64>>,
    /// Of each perturbed step, the power of two that its rows are to be multiplied with.
    exponents: Vec<i32>,
}

impl<'a, T: Real> Tangents<'a, T> {
    fn new(network: &'a Network<T>, perturbed: Perturbed, directions: &'a Matrix<f64>) -> Self {
        let states = vec![Vec::new(); network.depth()];
        Self { network, perturbed, directions, states, exponents: Vec::new() }
    }

    /// log₁₀ of the norms, for each perturbed step s those at lag 0, 1, ….
    fn follow(mut self, cache: &ForwardCache<T>, b: usize, every: usize) -> Vec<Vec<f64>> {
        let (steps, _) = cache.inputs().shape();
        let mut jacobians: Vec<_> =
            (0..self.network.depth()).map(|layer| Jacobians::new(self.network, cache, layer)).collect();
        let mut log10: Vec<Vec<f64>> = Vec::new();
        for t in (0..steps).take_while(|&t| !cache.boundaries().is_padding(t, b)) {
            if t.is_multiple_of(every) {
                self.exponents.push(0);
                log10.push(Vec::new());
            }
            for (layer, jacobians) in jacobians.iter_mut().enumerate() {
                let mask = layer.checked_sub(1).and_then(|below| cache.dropout_at(below, t));
                self.step(layer, t, jacobians, mask.map(|mask| mask.row(b)), b);
            }
            self.measure(&mut log10);
            self.keep_in_range();
        }
        log10
    }

    /// Moves the perturbations of one layer through step `t`, those of this step included.
    fn step(
        &mut self,
        layer: usize,
        t: usize,
        jacobians: &mut Jacobians<'_, T>,
        mask: Option<&[T]>,
        b: usize,
    ) {
        let (n, hidden) = (self.network.state_width(), self.network.output_width());
        let (count, old) = (self.directions.rows(), self.states[layer].len() / n);
        let rows = self.exponents.len() * count;
        let mut next = vec![0.0; rows * n];
        let mut jacobian = Packed::shaped(n, n);
        jacobian.fill_transposed(jacobians.of_state(t, b));
        f64::multiply(&mut next, n, Start::Zero, View::new(old, n, &self.states[layer]), &jacobian);
        match (layer.checked_sub(1), self.perturbed) {
            (None, Perturbed::Input) if rows > old => {
                let of_input = Packed::transposed(jacobians.of_input().view());
                f64::multiply(&mut next[old * n..], n, Start::Out, self.directions.view(), &of_input);
            }
            (None, _) => {}
            (Some(below), _) => {
                let mut of_input = jacobians.of_input();
                if let Some(mask) = mask {
                    let mask: Vec<f64> = mask.iter().map(|number| number.f64()).collect();
                    (0..n).for_each(|i| kernel::multiply_by(of_input.row_mut(i), &mask));
                }
                let h = View::new(rows, n, &self.states[below]).columns(0..hidden);
                f64::multiply(&mut next, n, Start::Out, h, &Packed::transposed(of_input.view()));
            }
        }
        if self.perturbed == (Perturbed::State { layer }) {
            for (row, direction) in
                next[old * n..].chunks_exact_mut(n).zip(self.directions.data().chunks(hidden))
            {
                row[..hidden].copy_from_slice(direction);
            }
        }
        self.states[layer] = next;
    }

    /// Adds what is left in the top layer's h to the list of every perturbed step.
    fn measure(&self, log10: &mut [Vec<f64>]) {
        let (n, hidden) = (self.network.state_width(), self.network.output_width());
        let size = self.directions.rows() * n;
        let top = self.states[self.states.len() - 1].chunks_exact(size);
        for ((rows, &exponent), log10) in top.zip(&self.exponents).zip(log10) {
            let squares: f64 =
                rows.chunks_exact(n).map(|row| kernel::dot(&row[..hidden], &row[..hidden])).sum();
            log10.push(squares.sqrt().log10() + f64::from(exponent) * std::f64::consts::LOG10_2);
        }
    }

    /// Brings the rows of every perturbed step, in all layers together, back to about 1.
    fn keep_in_range(&mut self) {
        let size = self.directions.rows() * self.network.state_width();
        for (s, exponent) in self.exponents.iter_mut().enumerate() {
            let place = s * size..(s + 1) * size;
            let largest =
                self.states.iter().map(|of| kernel::largest(&of[place.clone()])).fold(0.0, f64::max);
            let by = bring_to_one(&mut [largest]);
            if by.abs() > RANGE {
                let factor: f64 = kernel::power_of_two(-by);
                for of in &mut self.states {
                    of[place.clone()].iter_mut().for_each(|number| *number *= factor);
                }
                *exponent += by;
            }
        }
    }
}

/// Rows whose largest entry is outside 2^±RANGE are brought back to about 1.
const RANGE: i32 = 300;
