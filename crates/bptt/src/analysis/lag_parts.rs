//! The gradient as a sum of parts by lag: how much of it came from how far away.

use rayon::prelude::*;
use std::ops::Range;

use crate::array::View;
use crate::forward::{ForwardCache, Losses};
use crate::gradient::{GradientOptions, Threads, add_cell_gradient, check_losses, gradient};
use crate::kernel::Real;
use crate::ledger::operands::Operands;
use crate::ledger::{PartSize, balance};
use crate::model::cell::ParamSpec;
use crate::model::{Network, Operand, Weights};
use crate::reverse::{
    Adjoints, Plan, RowOptions, SIDE_BY_SIDE, Source, Step, losses_of_a_block, reverse_layers,
};
use crate::{Error, kernel};

/// The gradient of all losses together in parts: of every component (k, t), see [`crate::Component`], the part of its lag
/// τ = |k − t| has it in full. The parts add up to the gradient. The readout's gradient is of lag 0.
#[derive(Clone, Debug)]
pub struct LagParts<T> {
    /// Where each part's lags begin, ascending from 0.
    first: Vec<usize>,
    /// T, which no lag reaches.
    steps: usize,
    parts: Vec<Weights<T>>,
}

impl<T: Real> LagParts<T> {
    /// How many parts there are.
    #[allow(clippy::len_without_is_empty)] // there is always one
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// The lags of part `j`; those of the last one end at T.
    pub fn lags(&self, j: usize) -> Range<usize> {
        self.first[j]..self.first.get(j + 1).copied().unwrap_or(self.steps)
    }

    /// The parts, nearest lags first.
    pub fn parts(&self) -> &[Weights<T>] {
        &self.parts
    }

    /// Part `j`'s share of the gradient, ⟨part, gradient⟩ / ‖gradient‖² over all parameters. Shares are signed and add up to
    /// 1; NaN where the gradient is zero.
    pub fn shares(&self) -> Vec<f64> {
        let numbers = |weights: &Weights<T>| -> Vec<f64> {
            weights.tensors().iter().flat_map(|(_, m)| m.data().iter().map(|v| v.f64())).collect()
        };
        let mut sum = numbers(&self.parts[0]);
        for part in &self.parts[1..] {
            kernel::add_scaled(&mut sum, 1.0, &numbers(part));
        }
        let square = kernel::dot(&sum, &sum);
        self.parts.iter().map(|part| kernel::dot(&numbers(part), &sum) / square).collect()
    }
}

/// The gradient in parts by lag, see [`Network::lag_parts`].
pub(crate) fn lag_parts<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    first_lags: &[usize],
) -> Result<LagParts<T>, Error> {
    if first_lags.first() != Some(&0) || !first_lags.is_sorted_by(|a, b| a < b) {
        return Err(Error::Value {
            option: "first lags".into(),
            given: format!("{first_lags:?}"),
            expected: "lags that ascend from 0".into(),
        });
    }
    check_losses(network, cache, losses)?;
    cache.check_finite()?;
    losses.check_finite()?;
    let gradient = gradient(network, cache, losses, GradientOptions::default())?;
    gradient.check_finite()?;

    let (steps, batch) = cache.inputs().shape();
    let present = losses.active(cache);
    let ks: Vec<usize> = (0..steps).filter(|&k| present[k]).collect();
    let blocks: Vec<&[usize]> = ks.chunks(losses_of_a_block(ks.len(), batch)).collect();
    let mut parts = vec![network.weights().zeros_like(); first_lags.len()];
    let norms: Vec<Vec<Vec<f64>>> =
        (0..network.weights().cells.len()).map(|index| operand_norms(network, cache, index)).collect();
    let mut sizes: Vec<f64> = Vec::new();
    // Blocks run side by side, then parts: each part is written by one task, in the order of the blocks.
    for side_by_side in blocks.chunks(SIDE_BY_SIDE) {
        let of_block = |ks: &&[usize]| sums_by_lag(network, cache, losses, first_lags, ks, &norms);
        let (sums, sizes_of): (Vec<_>, Vec<_>) = side_by_side.par_iter().map(of_block).unzip();
        for of_block in sizes_of {
            sizes.resize(of_block.len(), 0.0);
            sizes.iter_mut().zip(of_block).for_each(|(sum, size)| *sum += size);
        }
        parts.par_iter_mut().enumerate().for_each(|(j, part)| {
            for (index, of_cell) in sums.iter().flat_map(|cells| cells.iter().enumerate()) {
                of_cell[j].add_to(part, cache, index);
            }
        });
    }
    parts[0].readout.clone_from(&gradient.weights.readout);

    // The states' gradients are not divided; the check is of the weights'.
    let mut summed = gradient.clone();
    summed.weights = parts[0].clone();
    for part in &parts[1..] {
        summed.weights.add(part);
    }
    // The readout's part is the gradient itself, and so are the states'.
    sizes.resize(network.weights().cells.iter().map(|cell| cell.tensors().len()).sum(), 0.0);
    let states = network.spec().states.len() * network.weights().cells.len();
    let others = if network.weights().readout.is_some() { 2 } else { 0 } + states;
    sizes.extend(std::iter::repeat_n(0.0, others));
    let of_operands = norms.iter().flatten().flatten().sum::<f64>().max((steps * batch) as f64);
    let lost = ks.len() as f64 * of_operands;
    let sizes: Vec<PartSize> = sizes.into_iter().map(|size| PartSize { size, lost }).collect();
    balance(&summed, &gradient, &sizes)?;
    Ok(LagParts { first: first_lags.to_vec(), steps, parts })
}

/// For each parameter of cell `index` the norm of what it multiplies, at every step and sequence; nothing for a bias.
fn operand_norms<T: Real>(network: &Network<T>, cache: &ForwardCache<T>, index: usize) -> Vec<Vec<f64>> {
    let (spec, layer) = (network.spec(), network.weights().cell_id(index).layer);
    let operands = Operands::new(cache, spec, layer, index);
    let of_param = |param: &ParamSpec| {
        let mut largest: Vec<f64> = Vec::new();
        for block in param.blocks.iter().filter(|block| block.operand != Operand::One) {
            let norms = operands.norms(block.operand);
            largest.resize(norms.len(), 0.0);
            largest.iter_mut().zip(norms).for_each(|(largest, norm)| *largest = largest.max(norm));
        }
        largest
    };
    spec.params.iter().map(of_param).collect()
}

/// For each cell and part the sums over the losses `ks` (ascending), and for each parameter of each cell how large their
/// components are: Σ ‖d‖ ‖v‖ of every loss, step and sequence. `norms` are those of the operands.
fn sums_by_lag<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    first_lags: &[usize],
    ks: &[usize],
    norms: &[Vec<Vec<f64>>],
) -> (Vec<Vec<LagSums<T>>>, Vec<f64>) {
    let (_, batch) = cache.inputs().shape();
    let plan = Plan::apart(losses.present.len(), ks);
    let cells = 0..network.weights().cells.len();
    let spans: Vec<Vec<Range<usize>>> = cells
        .map(|index| {
            let span = |&k: &usize| network.span(index, k, losses.span(cache, k).end);
            plan.groups().iter().map(span).collect()
        })
        .collect();
    let sizes = *network.weights().cells[0].sizes();
    let adjoints = network.spec().adjoints.iter();
    let widths: Vec<usize> = adjoints.map(|adjoint| batch * sizes.of(adjoint.width)).collect();
    let lags = |j: usize| first_lags[j]..first_lags.get(j + 1).copied().unwrap_or(usize::MAX);
    let mut sums: Vec<Vec<LagSums<T>>> = spans
        .iter()
        .map(|spans| {
            let part = |j| LagSums::zeros(steps_at(plan.groups(), spans, &lags(j)), &widths);
            (0..first_lags.len()).map(part).collect()
        })
        .collect();
    let (source, options) = (Source::Losses(losses), RowOptions::scaled());
    let params = network.spec().params.len();
    let mut component_sizes = vec![0.0; params * spans.len()];
    reverse_layers(network, cache, source, &plan, options, &mut Vec::new(), |index, step| {
        for (row, &k) in plan.groups().iter().enumerate().take(step.da().rows() / batch) {
            if spans[index][row].contains(&step.t) {
                let part = first_lags.partition_point(|&first| first <= k.abs_diff(step.t)) - 1;
                sums[index][part].add(step, row, batch);
                for (b, r) in (row * batch..(row + 1) * batch).enumerate() {
                    let full = kernel::power_of_two::<f64>(step.exponents[r]);
                    let of_adjoint = step.adjoints.map(|d| {
                        if d.cols() == 0 { 0.0 } else { kernel::dot(d.row(r), d.row(r)).f64().sqrt() * full }
                    });
                    for (i, param) in network.spec().params.iter().enumerate() {
                        let of_operand = norms[index][i].get(step.t * batch + b).copied().unwrap_or(1.0);
                        component_sizes[index * params + i] += of_adjoint[param.adjoint()] * of_operand;
                    }
                }
            }
        }
    });
    (sums, component_sizes)
}

/// From the first to the last step at which one of the losses `ks`, within its span, has one of `lags`.
fn steps_at(ks: &[usize], spans: &[Range<usize>], lags: &Range<usize>) -> Range<usize> {
    let mut hull: Option<Range<usize>> = None;
    for (&k, span) in ks.iter().zip(spans) {
        let before = (k + 1).saturating_sub(lags.end)..(k + 1).saturating_sub(lags.start);
        let after = k.saturating_add(lags.start)..k.saturating_add(lags.end);
        for side in [before, after] {
            let steps = side.start.max(span.start)..side.end.min(span.end);
            if !steps.is_empty() {
                let hull = hull.get_or_insert_with(|| steps.clone());
                *hull = hull.start.min(steps.start)..hull.end.max(steps.end);
            }
        }
    }
    hull.unwrap_or(0..0)
}

/// The sum of each adjoint over losses at the lags of one part, of one cell.
struct LagSums<T> {
    steps: Range<usize>,
    /// For each of these steps (B, width).
    adjoints: Vec<Vec<T>>,
}

impl<T: Real> LagSums<T> {
    /// `widths`: numbers of each adjoint in a step.
    fn zeros(steps: Range<usize>, widths: &[usize]) -> Self {
        let adjoints = widths.iter().map(|width| vec![T::zero(); steps.len() * width]).collect();
        Self { steps, adjoints }
    }

    /// Adds the rows of one loss at one step, in full.
    fn add(&mut self, step: &Step<'_, T>, row: usize, batch: usize) {
        for (sums, d) in self.adjoints.iter_mut().zip(&step.adjoints) {
            let width = d.cols();
            let sums = &mut sums[(step.t - self.steps.start) * batch * width..][..batch * width];
            for (b, sum) in sums.chunks_exact_mut(width).enumerate() {
                let r = row * batch + b;
                let factor = kernel::power_of_two::<T>(step.exponents[r]);
                if factor > T::zero() {
                    kernel::add_scaled(sum, factor, d.row(r));
                }
            }
        }
    }

    fn add_to(&self, gradient: &mut Weights<T>, cache: &ForwardCache<T>, index: usize) {
        if self.steps.is_empty() {
            return;
        }
        let (_, batch) = cache.inputs().shape();
        let rows = self.steps.len() * batch;
        let adjoints: Adjoints<'_, T> = std::array::from_fn(|i| match self.adjoints.get(i) {
            Some(sums) => View::new(rows, sums.len() / rows, sums),
            None => View::new(0, 0, &[]),
        });
        let inputs = cache.inputs_of(gradient.cell_id(index).layer).steps(self.steps.clone());
        let (gradient, steps) = (&mut gradient.cells[index], self.steps.clone());
        add_cell_gradient(gradient, cache, index, steps, &adjoints, Some(inputs), Threads::This);
    }
}
