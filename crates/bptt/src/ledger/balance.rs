//! The check that components add up to the ordinary gradient.
//!
//! It is a check of bookkeeping: that every component was counted, once, with its right size. It finds a step that was left out
//! or counted twice, and a sum that lost its digits. It cannot find a wrong derivative of a cell, because the ordinary gradient
//! is made with the same derivatives; finite differences and other implementations find those.

use std::sync::Arc;

use rayon::prelude::*;

use super::measured::Measured;
use super::operands::{OperandNorms, Operands};
use crate::Error;
use crate::gradient::Gradient;
use crate::kernel::{Real, distance, norm};
use crate::model::Weights;

/// How far the components' sum is from the ordinary gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// The parameter's name on disk (`weight_hh_l0`, `head.weight`, `input`, `initial_state_l0`, …).
    pub parameter: String,
    /// ‖Σ components − gradient‖ / Σ ‖component‖: rounding errors are as large as what was added, however much of it cancels.
    pub relative_error: f64,
    /// ‖gradient‖ / Σ ‖component‖, each sequence's component by itself: 1 where all pull the same way, near 0 where they
    /// cancel. Shares are then large numbers of both signs, and their errors are larger by the inverse. NaN if all are zero.
    pub conditioning: f64,
}

/// Below this [`Balance::conditioning`] shares are called ill-conditioned.
pub const ILL_CONDITIONED: f64 = 1e-5;

/// Σ ‖component‖ over losses, steps and sequences, in full.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    /// For each cell and parameter of [`Measured`].
    pub(crate) slots: Vec<Vec<f64>>,
    /// For each cell and state.
    pub(crate) initial: Vec<Vec<f64>>,
    /// Of the readout's weight and bias.
    pub(crate) readout: [f64; 2],
}

impl Parts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, other) in [(&mut self.slots, &other.slots), (&mut self.initial, &other.initial)] {
            sum.resize_with(other.len().max(sum.len()), Vec::new);
            for (sum, other) in sum.iter_mut().zip(other) {
                sum.resize(other.len().max(sum.len()), 0.0);
                sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
            }
        }
        self.readout.iter_mut().zip(other.readout).for_each(|(sum, other)| *sum += other);
    }

    /// In the order of [`named`]. `norms` are those of the operands that [`Measured`] has.
    pub(crate) fn of_gradient<T: Real>(
        &self,
        weights: &Weights<T>,
        measured: &[Measured],
        (operands, norms): (&[Operands<'_, T>], &[Arc<OperandNorms>]),
        losses: usize,
    ) -> Vec<PartSize> {
        let lost = |of_operands: f64| of_operands * losses as f64;
        let at =
            |of: &[Vec<f64>], i: usize, j: usize| of.get(i).and_then(|of| of.get(j)).copied().unwrap_or(0.0);
        let mut sizes = Vec::new();
        let (mut input, mut has_input) = (PartSize::default(), false);
        for (index, (params, measured)) in weights.cells.iter().zip(measured).enumerate() {
            let (steps, batch) = operands[index].shape();
            let rows = (steps * batch) as f64;
            for param in 0..params.spec().params.len() {
                let slot = measured.params.iter().position(|of| of.params.contains(&param));
                let operand = slot.and_then(|slot| measured.params[slot].operand);
                let of_operand: f64 = operand.map_or(rows, |operand| {
                    match measured.operands.iter().position(|&known| known == operand) {
                        Some(known) => norms[index].0[known].iter().sum(),
                        None => operands[index].norms(operand).iter().sum(),
                    }
                });
                let size = slot.map_or(0.0, |slot| at(&self.slots, index, slot));
                sizes.push(PartSize { size, lost: lost(of_operand) });
            }
            for (slot, _) in measured.params.iter().enumerate().filter(|(_, of)| of.params.is_empty()) {
                input.size += at(&self.slots, index, slot);
                input.lost += lost(rows * norm(params.input_weights().data()));
                has_input = true;
            }
        }
        if weights.readout.is_some() {
            sizes.extend(self.readout.map(|size| PartSize { size, lost: 1.0 }));
        }
        sizes.extend(has_input.then_some(input));
        let states = weights.cells.iter().map(|params| params.spec().states.len()).max().unwrap_or(0);
        for (state, index) in (0..states).flat_map(|s| (0..weights.cells.len()).map(move |index| (s, index)))
        {
            sizes.push(PartSize { size: at(&self.initial, index, state), lost: lost(1.0) });
        }
        sizes
    }
}

/// How large what was added is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartSize {
    /// Σ ‖component‖.
    pub(crate) size: f64,
    /// What is below the format's normal numbers is not added: an adjoint's entry may lack so many times the smallest normal
    /// number, Σ ‖operand‖ over losses, steps and sequences.
    pub(crate) lost: f64,
}

/// ‖sum − gradient‖ relative to `sizes`, for every parameter in the order of [`named`].
pub(crate) fn balance<T: Real>(
    itemized: &Gradient<T>,
    gradient: &Gradient<T>,
    sizes: &[PartSize],
) -> Result<Vec<Balance>, Error> {
    let (of_sum, of_whole) = (named(itemized), named(gradient));
    assert!(of_sum.len() == of_whole.len() && of_sum.len() == sizes.len(), "a size for every parameter");
    let both = of_sum.into_iter().zip(of_whole).zip(sizes);
    let pairs: Vec<_> =
        both.map(|(((parameter, sum), (_, whole)), &size)| (parameter, sum, whole, size)).collect();
    let of_pair = |(parameter, sum, whole, PartSize { size, lost }): (String, &[T], &[T], PartSize)| {
        let (difference, total) = (distance(sum, whole), norm(whole));
        let size = size.max(total);
        // Below the format's normal numbers the ordinary gradient itself has no relative precision left.
        let lost = lost.max(1.0) * T::min_positive_value().f64() * (whole.len() as f64).sqrt();
        let floor = lost / T::BALANCE_TOLERANCE;
        let relative_error = if difference == 0.0 { 0.0 } else { difference / size.max(floor) };
        // Not "greater than": a NaN must not pass.
        if !matches!(relative_error.partial_cmp(&T::BALANCE_TOLERANCE), Some(std::cmp::Ordering::Less)) {
            return Err(unbalanced::<T>(parameter, relative_error));
        }
        Ok(Balance { parameter, relative_error, conditioning: total / size })
    };
    // The error is that of the first parameter in order, whichever thread finds one first.
    let balance: Vec<_> = pairs.into_par_iter().map(of_pair).collect();
    balance.into_iter().collect()
}

/// That a sum of parts is too far from its whole.
pub(crate) fn unbalanced<T: Real>(parameter: String, relative_error: f64) -> Error {
    let way_out = if size_of::<T>() == size_of::<f32>() { "; try f64" } else { "" };
    Error::Balance { parameter, relative_error, tolerance: T::BALANCE_TOLERANCE, way_out }
}

/// All parts of a gradient by name.
fn named<T: Real>(gradient: &Gradient<T>) -> Vec<(String, &[T])> {
    let weights = &gradient.weights;
    let mut parts: Vec<_> = weights.tensors().into_iter().map(|(name, m)| (name, m.data())).collect();
    parts.extend(gradient.inputs.iter().map(|x| ("input".to_owned(), x.data())));
    let states = weights.cells.iter().map(|params| params.spec().states.len()).max().unwrap_or(0);
    for state in 0..states {
        for (index, of_cell) in gradient.initial.cells.iter().enumerate() {
            let name = weights.cells[index].spec().states[state].initial.as_str();
            let suffix = weights.cell_id(index).suffix();
            parts.push((format!("{name}_{suffix}"), of_cell[state].data()));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Sequence;
    use crate::forward::{Inputs, Losses};
    use crate::gradient::GradientOptions;
    use crate::ledger::ItemizeOptions;
    use crate::model::{CellParams, Network, cell_by_name};

    /// A step's contribution that is left out, one that is counted twice, and an error of 1e-8 are found; a wrong derivative is
    /// not, because both sides have it.
    #[test]
    fn wrong_sums_are_found_and_wrong_derivatives_are_not() {
        let cell = cell_by_name("rnn").unwrap();
        let mut params = CellParams::<f64>::zeros(cell.spec(), 2, 3);
        for tensor in params.tensors_mut() {
            tensor.data_mut().iter_mut().enumerate().for_each(|(i, w)| *w = 0.4 - 0.13 * i as f64);
        }
        let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
        let network = Network::new(cell, weights).unwrap();
        let numbers = |count: usize| (0..count).map(|i| (1.3 * i as f64).sin()).collect::<Vec<_>>();
        let x = Sequence::new(6, 1, 2, &numbers(12)).unwrap();
        let cache = network.scan(Inputs::Dense(x.clone()), &network.zero_state(1)).unwrap();
        let losses = Losses::from_seeds(Sequence::new(6, 1, 3, &numbers(18)).unwrap());
        let options = GradientOptions { inputs: true };
        let gradient = network.gradient(&cache, &losses, options).unwrap();
        let ledger = network.itemize(&cache, &losses, &ItemizeOptions::default()).unwrap();
        let size_of = |((_, g), b): (&(String, &[f64]), &Balance)| PartSize {
            size: norm(g) / b.conditioning,
            lost: 1.0,
        };
        let sizes: Vec<PartSize> = named(&gradient).iter().zip(ledger.balance()).map(size_of).collect();
        assert!(balance(&gradient, &gradient, &sizes).is_ok());
        // What one step, t = 2, contributes to W_ih: da_2 x_2ᵀ, from the components.
        let of_step: Vec<f64> = {
            let all = network.components(&cache, &losses, crate::Select::All).unwrap();
            let mut sum = vec![0.0; 6];
            for component in all.iter().filter(|component| component.t == 2) {
                sum.iter_mut().zip(component.params["weight_ih"].data()).for_each(|(sum, c)| *sum += c);
            }
            sum
        };
        let size = norm(gradient.weights.cells[0]["weight_ih"].data());
        for factor in [-1.0, 1.0, 1e-8 * size / norm(&of_step)] {
            let mut wrong = gradient.clone();
            let w_ih = wrong.weights.cells[0]["weight_ih"].data_mut();
            w_ih.iter_mut().zip(&of_step).for_each(|(g, c)| *g += factor * c);
            let error = balance(&wrong, &gradient, &sizes).unwrap_err();
            assert!(
                matches!(&error, Error::Balance { parameter, .. } if parameter == "weight_ih_l0"),
                "{error}"
            );
            assert!(!error.to_string().contains("try f64"), "this is f64");
        }
        // Both sides twice as large, as a wrong derivative would make them: bookkeeping is right.
        let mut wrong = gradient.clone();
        wrong.weights.add(&gradient.weights);
        assert!(balance(&wrong, &wrong, &sizes).is_ok());
    }
}
