//! Jacobians of a cell's steps along a trajectory, and singular values of their products.

use rayon::prelude::*;

use super::spectra::singular_values;
use crate::array::{Matrix, View};
use crate::forward::ForwardCache;
use crate::kernel::{Real, Start};
use crate::model::{CellId, Direction, MAX_ADJOINTS, MAX_SAVED, Network};
use crate::reverse::{Adjoints, CellContext, Rows, floor_log2};
use crate::{Error, kernel};

/// The Jacobians of one cell along a trajectory, one at a time: the backward step of the rows of an identity matrix.
pub(crate) struct Jacobians<'a, T: Real> {
    network: &'a Network<T>,
    cache: &'a ForwardCache<T>,
    index: usize,
    context: CellContext<'a, T>,
    rows: Rows<T>,
    /// (N, width) each.
    adjoints: Vec<Vec<T>>,
    saved: Vec<Vec<T>>,
    /// (N, N).
    state: Vec<f64>,
}

impl<'a, T: Real> Jacobians<'a, T> {
    /// Of cell `index` of `network`, along `cache`, which must be its own.
    pub fn new(network: &'a Network<T>, cache: &'a ForwardCache<T>, index: usize) -> Self {
        let (context, n) = (CellContext::new(network, index), network.state_width());
        Self {
            network,
            cache,
            index,
            rows: Rows::default(),
            adjoints: context.adjoint_widths().map(|width| vec![T::zero(); n * width]).collect(),
            saved: context.saved_widths().map(|width| vec![T::zero(); n * width]).collect(),
            context,
            state: vec![0.0; n * n],
        }
    }

    /// ∂s_t/∂s_{t−1} of step `t` of sequence `b`, (N, N): row i is the gradient of number i of the state after the step.
    pub fn of_state(&mut self, t: usize, b: usize) -> View<'_, f64> {
        let (spec, sizes) = (self.context.spec(), self.context.params.sizes());
        let n = self.network.state_width();
        let step = self.cache.cells()[self.index].step(t).of_sequence(b);
        self.rows.clear(n, 1, spec.states.iter().map(|state| sizes.of(state.width)));
        let mut first = 0;
        for state in &mut self.rows.states {
            let width = state.len() / n;
            let ones = state[first * width..].iter_mut().step_by(width + 1).take(width);
            ones.for_each(|one| *one = T::one());
            first += width;
        }
        let mut adjoints: [&mut [T]; MAX_ADJOINTS] = Default::default();
        self.adjoints.iter_mut().zip(&mut adjoints).for_each(|(numbers, to)| *to = numbers);
        let mut saved: [&mut [T]; MAX_SAVED] = Default::default();
        self.saved.iter_mut().zip(&mut saved).for_each(|(numbers, to)| *to = numbers);
        self.context.backward(&step, &mut self.rows, (0..n, 1), &[], None, (&mut adjoints, &mut saved));
        let adjoints: Adjoints<'_, T> = adjoints.map(|numbers| {
            let width = numbers.len() / n;
            View::new(if width > 0 { n } else { 0 }, width, numbers)
        });
        self.context.propagate(&mut self.rows, 0..n, &adjoints, &saved.map(|saved| &*saved));
        for (i, row) in self.state.chunks_exact_mut(n).enumerate() {
            let numbers = (0..self.rows.states.len()).flat_map(|state| self.rows.row(state, i));
            row.iter_mut().zip(numbers).for_each(|(to, from)| *to = from.f64());
        }
        View::new(n, n, &self.state)
    }

    /// ∂s_t/∂x_t of the step that [`Jacobians::of_state`] was asked for last, (N, I).
    pub fn of_input(&self) -> Matrix<f64> {
        let params = self.context.params;
        let (n, features) = (self.network.state_width(), params.inputs());
        let w_ih = self.network.packed().inputs_back(self.index, params);
        let d = &self.adjoints[params.spec().input_adjoint()];
        let mut dx = vec![T::zero(); n * features];
        T::multiply(&mut dx, features, Start::Zero, View::new(n, d.len() / n, d), w_ih);
        View::new(n, features, &dx).to_matrix().cast()
    }
}

/// The steps of sequence `b` in the order in which the cell reads them.
pub(crate) fn steps_of<T: Real>(cache: &ForwardCache<T>, direction: Direction, b: usize) -> Vec<usize> {
    let (steps, _) = cache.inputs().shape();
    let read = (0..steps).filter(|&t| !cache.boundaries().is_padding(t, b));
    match direction {
        Direction::Forward => read.collect(),
        Direction::Reverse => read.rev().collect(),
    }
}

/// Refuses a cache that is not of `network`, is not finite, or in which episodes begin. Returns for the cell at `place` its
/// number.
pub(crate) fn check_trajectory<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    place: CellId,
) -> Result<usize, Error> {
    let (cells, directions) = (network.weights().cells.len(), network.directions());
    let reverse = usize::from(place.direction == Direction::Reverse);
    let index = place.layer * directions + reverse;
    if index >= cells || reverse >= directions {
        let places: Vec<_> = (0..cells).map(|index| network.weights().cell_id(index).suffix()).collect();
        return Err(Error::Value {
            option: "place".into(),
            given: place.suffix(),
            expected: places.join(", "),
        });
    }
    let widths: Vec<_> = cache.cells().iter().map(|cell| cell.h().features()).collect();
    if widths != vec![network.output_width(); cells] {
        return Err(Error::Shape {
            what: "cache".into(),
            expected: format!("one of this network, {cells} cells of {} units", network.output_width()),
            given: format!("cells of {widths:?} units"),
        });
    }
    cache.check_finite()?;
    let (steps, _) = cache.inputs().shape();
    if let Some(t) = (0..steps).find(|&t| cache.boundaries().resets_at(place.direction, t).next().is_some()) {
        return Err(Error::Unsupported {
            what: "resets".into(),
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

/// The Jacobian of one step, see [`Network::jacobian`].
pub(crate) fn jacobian<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    place: CellId,
    t: usize,
    b: usize,
) -> Result<Matrix<f64>, Error> {
    let index = check_trajectory(network, cache, place)?;
    let (steps, batch) = cache.inputs().shape();
    if t >= steps || b >= batch || cache.boundaries().is_padding(t, b) {
        return Err(Error::Value {
            option: "jacobian".into(),
            given: format!("step {t} of sequence {b}"),
            expected: format!("a step that was read, of (T, B) = ({steps}, {batch})"),
        });
    }
    Ok(Jacobians::new(network, cache, index).of_state(t, b).to_matrix())
}

/// The singular values of products of Jacobians, see [`Network::jacobian_products`].
pub(crate) fn jacobian_products<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    place: CellId,
    from: usize,
    lags: &[usize],
) -> Result<Vec<Vec<JacobianProduct>>, Error> {
    let index = check_trajectory(network, cache, place)?;
    let (_, batch) = cache.inputs().shape();
    let mut lags = lags.to_vec();
    lags.sort_unstable();
    lags.dedup();
    let after = |b: usize| -> Vec<usize> {
        let steps = steps_of(cache, place.direction, b);
        steps.into_iter().skip_while(|&t| t != from).skip(1).collect()
    };
    let most = (0..batch).map(|b| after(b).len()).max().unwrap_or(0);
    if lags.first().is_none_or(|&lag| lag == 0 || lag > most) {
        return Err(Error::Value {
            option: "lags".into(),
            given: format!("{lags:?} from step {from}"),
            expected: format!("lags from 1 to {most}"),
        });
    }
    let products = |b: usize| {
        let mut jacobians = Jacobians::new(network, cache, index);
        let n = network.state_width();
        let mut product: Vec<f64> = (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
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
