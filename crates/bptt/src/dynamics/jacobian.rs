//! Jacobians of a cell's steps along a trajectory, and singular values of their products.

use rayon::prelude::*;

use super::spectra::singular_values;
use crate::array::{Matrix, View};
use crate::forward::Trace;
use crate::kernel::{Packed, Real, Start};
use crate::model::{Backward, Direction, Network, Place};
use crate::reverse::{floor_log2, through_kept, through_recurrent};
use crate::{Error, kernel};

/// The Jacobians of one cell along a trace, one at a time: the step back of the rows of an identity matrix.
pub(crate) struct Jacobians<'a, T: Real> {
    network: &'a Network<T>,
    trace: &'a Trace<T>,
    index: usize,
    recurrent: &'a [Packed<T>],
    dh: Vec<T>,
    dc: Vec<T>,
    da: Vec<T>,
    da_hh: Vec<T>,
    dkept: Vec<T>,
    /// (N, N).
    state: Vec<f64>,
}

impl<'a, T: Real> Jacobians<'a, T> {
    /// Of cell `index` of `network`, along `trace`, which must be its own.
    pub fn new(network: &'a Network<T>, trace: &'a Trace<T>, index: usize) -> Self {
        let (cell, hidden) = (network.cell(), network.hidden());
        let params = &network.weights().layers[index];
        let n = state_size(network);
        let numbers = |count: usize, there_are: bool| vec![T::zero(); if there_are { count } else { 0 }];
        Self {
            network,
            trace,
            index,
            recurrent: network.layouts().recurrent_back(index, params, cell),
            dh: numbers(n * hidden, true),
            dc: numbers(n * hidden, cell.has_memory()),
            da: numbers(n * params.w_hh.rows(), true),
            da_hh: numbers(n * params.w_hh.rows(), cell.splits()),
            dkept: numbers(n * hidden, cell.reads_kept()),
            state: vec![0.0; n * n],
        }
    }

    /// ∂s_t/∂s_{t−1} of step `t` of sequence `b`, (N, N): row i is the gradient of number i of the state after the step.
    pub fn of_state(&mut self, t: usize, b: usize) -> View<'_, f64> {
        let (cell, hidden) = (self.network.cell(), self.network.hidden());
        let n = self.dh.len() / hidden;
        let cache = self.trace.layers()[self.index].cache(t).of_sequence(b);
        self.dh.fill(T::zero());
        self.dc.fill(T::zero());
        self.dh[..hidden * hidden].iter_mut().step_by(hidden + 1).for_each(|one| *one = T::one());
        if n > hidden {
            self.dc[hidden * hidden..].iter_mut().step_by(hidden + 1).for_each(|one| *one = T::one());
        }
        let Self { dh, dc, da, da_hh, dkept, .. } = self;
        cell.step_vjp(&cache, Backward { dh, dc, da, da_hh });
        through_kept(cell, self.recurrent, &cache, da, dkept);
        let da_hh = if cell.splits() { &*da_hh } else { &*da };
        through_recurrent(cell, self.recurrent, View::new(n, da_hh.len() / n, da_hh), dkept, dh);
        for (i, row) in self.state.chunks_exact_mut(n).enumerate() {
            let numbers =
                dh[i * hidden..(i + 1) * hidden].iter().chain(dc.iter().skip(i * hidden).take(n - hidden));
            row.iter_mut().zip(numbers).for_each(|(to, from)| *to = from.f64());
        }
        View::new(n, n, &self.state)
    }

    /// ∂s_t/∂x_t of the step that [`Jacobians::of_state`] was asked for last, (N, I).
    pub fn of_input(&self) -> Matrix<f64> {
        let params = &self.network.weights().layers[self.index];
        let (n, features) = (self.dh.len() / self.network.hidden(), params.inputs());
        let w_ih = self.network.layouts().inputs_back(self.index, params);
        let mut dx = vec![T::zero(); n * features];
        T::multiply(&mut dx, features, Start::Zero, View::new(n, params.w_ih.rows(), &self.da), w_ih);
        View::new(n, features, &dx).to_matrix().cast()
    }
}

/// N, the size of a cell's state: h, or h and c.
pub(crate) fn state_size<T: Real>(network: &Network<T>) -> usize {
    if network.cell().has_memory() { 2 * network.hidden() } else { network.hidden() }
}

/// The steps of sequence `b` in the order in which the cell reads them.
pub(crate) fn steps_of<T: Real>(trace: &Trace<T>, direction: Direction, b: usize) -> Vec<usize> {
    let (steps, _) = trace.inputs().shape();
    let read = (0..steps).filter(|&t| !trace.bounds().is_padding(t, b));
    match direction {
        Direction::Forward => read.collect(),
        Direction::Reverse => read.rev().collect(),
    }
}

/// Refuses a trace that is not of `network`, is not finite, or in which episodes begin. Returns for the cell at `place` its
/// number.
pub(crate) fn check_trajectory<T: Real>(
    network: &Network<T>,
    trace: &Trace<T>,
    place: Place,
) -> Result<usize, Error> {
    let (cells, directions) = (network.weights().layers.len(), network.directions());
    let reverse = usize::from(place.direction == Direction::Reverse);
    let index = place.layer * directions + reverse;
    if index >= cells || reverse >= directions {
        let places: Vec<_> = (0..cells).map(|index| network.weights().place(index).suffix()).collect();
        return Err(Error::Option {
            option: "place".into(),
            given: place.suffix(),
            expected: places.join(", "),
        });
    }
    let hidden: Vec<_> = trace.layers().iter().map(|layer| layer.h().features()).collect();
    if hidden != vec![network.hidden(); cells] {
        return Err(Error::Shape {
            what: "trace".into(),
            expected: format!("one of this network, {cells} cells of {} units", network.hidden()),
            given: format!("cells of {hidden:?} units"),
        });
    }
    trace.check_finite()?;
    let (steps, _) = trace.inputs().shape();
    if let Some(t) = (0..steps).find(|&t| trace.bounds().resets_at(place.direction, t).next().is_some()) {
        return Err(Error::Option {
            option: "resets".into(),
            given: format!("an episode that begins next to step {t}"),
            expected: "none: a state that is forgotten has no Jacobian; scan the episodes as sequences"
                .into(),
        });
    }
    Ok(index)
}

/// The singular values of ∂s_t/∂s_s over one lag t − s.
#[derive(Clone, Debug, PartialEq)]
pub struct JacobianProduct {
    /// t − s, counted in the direction in which the cell reads.
    pub lag: usize,
    /// ln of the singular values, the largest first: the gain in nats of the direction that grows most, and so on. Without
    /// those that are [`JacobianProduct::lost`].
    pub ln_singular_values: Vec<f64>,
    /// How many of the N singular values are not above the rounding of the largest one (N·ε times it), or 0.
    pub lost: usize,
}

impl JacobianProduct {
    /// ln σ_max per step: what the trajectory made of the gradient that fared best.
    pub fn rate(&self) -> Option<f64> {
        Some(self.ln_singular_values.first()? / self.lag as f64)
    }
}

impl<T: Real> Network<T> {
    /// J_t = ∂s_t/∂s_{t−1} of step `t` of sequence `b` in the cell at `place`, (N, N): row i is the gradient of number i of
    /// the state after the step, h and then c. N is H, or 2·H for a cell with c.
    ///
    /// # Errors
    /// If there is no such cell, step or sequence, the step is padding, or the trace is not this network's, is not finite or
    /// has episodes.
    pub fn jacobian(&self, trace: &Trace<T>, place: Place, t: usize, b: usize) -> Result<Matrix<f64>, Error> {
        let index = check_trajectory(self, trace, place)?;
        let (steps, batch) = trace.inputs().shape();
        if t >= steps || b >= batch || trace.bounds().is_padding(t, b) {
            return Err(Error::Option {
                option: "jacobian".into(),
                given: format!("step {t} of sequence {b}"),
                expected: format!("a step that was read, of (T, B) = ({steps}, {batch})"),
            });
        }
        Ok(Jacobians::new(self, trace, index).of_state(t, b).to_matrix())
    }

    /// The singular values of ∂s_t/∂s_s = J_t ⋯ J_{s+1} for these lags t − s, along what each sequence read; s is the step
    /// `from` (in a cell that reads in reverse, t lies before it). For each sequence the lags that it is long enough for,
    /// ascending.
    ///
    /// # Errors
    /// As of [`Network::jacobian`], and if a lag is 0 or no sequence is long enough for the smallest.
    pub fn jacobian_products(
        &self,
        trace: &Trace<T>,
        place: Place,
        from: usize,
        lags: &[usize],
    ) -> Result<Vec<Vec<JacobianProduct>>, Error> {
        let index = check_trajectory(self, trace, place)?;
        let (_, batch) = trace.inputs().shape();
        let mut lags = lags.to_vec();
        lags.sort_unstable();
        lags.dedup();
        let after = |b: usize| -> Vec<usize> {
            let steps = steps_of(trace, place.direction, b);
            steps.into_iter().skip_while(|&t| t != from).skip(1).collect()
        };
        let most = (0..batch).map(|b| after(b).len()).max().unwrap_or(0);
        if lags.first().is_none_or(|&lag| lag == 0 || lag > most) {
            return Err(Error::Option {
                option: "lags".into(),
                given: format!("{lags:?} from step {from}"),
                expected: format!("lags from 1 to {most}"),
            });
        }
        let products = |b: usize| {
            let mut jacobians = Jacobians::new(self, trace, index);
            let n = state_size(self);
            let mut product: Vec<f64> =
                (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
            let (mut next, mut exponent) = (vec![0.0; n * n], 0);
            let mut found = Vec::new();
            for (i, &t) in after(b).iter().enumerate().take(lags[lags.len() - 1]) {
                kernel::product(&mut next, false, jacobians.of_state(t, b), View::new(n, n, &product));
                std::mem::swap(&mut product, &mut next);
                exponent += bring_to_one(&mut product);
                if lags.binary_search(&(i + 1)).is_ok() {
                    found.push(measure(View::new(n, n, &product), exponent, i + 1));
                }
            }
            found
        };
        Ok((0..batch).into_par_iter().map(products).collect())
    }
}

/// Divides by the power of two that brings the largest number to between 1 and 2, and returns its exponent.
pub(crate) fn bring_to_one(numbers: &mut [f64]) -> i32 {
    let size = kernel::largest(numbers);
    if size == 0.0 || !size.is_finite() {
        return 0;
    }
    let exponent = floor_log2(size).clamp(-1_000, 1_000);
    let factor: f64 = kernel::power_of_two(-exponent);
    for number in numbers {
        *number *= factor;
    }
    exponent
}

fn measure(product: View<'_, f64>, exponent: i32, lag: usize) -> JacobianProduct {
    let values = singular_values(product);
    let least = values[0] * f64::EPSILON * values.len() as f64;
    let ln = |value: &f64| value.ln() + f64::from(exponent) * std::f64::consts::LN_2;
    let ln_singular_values: Vec<f64> = values.iter().take_while(|&&value| value > least).map(ln).collect();
    JacobianProduct { lag, lost: values.len() - ln_singular_values.len(), ln_singular_values }
}
