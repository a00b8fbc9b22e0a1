//! What the norms of a step are measured with: inner products of the operands of all pairs of sequences.

use std::cell::OnceCell;

use nalgebra::DMatrix;

use super::measured::Measured;
use super::operands::{Operands, scale, triangle};
use crate::array::View;
use crate::forward::StepInput;
use crate::kernel::{self, Real};
use crate::model::{CellParams, Operand};

/// v_b · v_b' of every operand for all pairs of sequences (b' ≤ b) at one step, and the operands of elementwise parameters.
#[derive(Default)]
pub(crate) struct StepProducts<T> {
    /// For each of [`Measured::operands`].
    operands: Vec<StepOperand>,
    /// For each elementwise parameter its operand in the columns of the adjoint, (B, width).
    elementwise: Vec<Vec<T>>,
    /// For each of [`Measured::params`].
    lifts: Vec<Lift>,
}

/// The powers of two of a parameter's operand at one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Lift {
    /// The largest of all sequences', which the operand's inner products are relative to.
    pub(super) largest: i32,
    /// Of each sequence; empty where all are 0.
    pub(super) of_sequence: Vec<i32>,
}

/// An operand at one step.
#[derive(Default)]
struct StepOperand {
    /// B·B inner products, relative to the largest power of two.
    gram: Vec<f64>,
    /// Each sequence's power of two relative to it.
    factors: Vec<f64>,
    /// Made when a norm first needs it, once for each step. A `StepProducts` is one thread's: the cell cannot be shared.
    triangle: OnceCell<DMatrix<f64>>,
}

impl<T: Real> StepProducts<T> {
    /// Finds those of step `t` of a cell.
    pub(crate) fn find(
        &mut self,
        operands: &Operands<'_, T>,
        params: &CellParams<T>,
        measured: &Measured,
        t: usize,
    ) {
        let (_, batch) = operands.shape();
        self.operands.resize_with(measured.operands.len(), StepOperand::default);
        for (&operand, at) in measured.operands.iter().zip(&mut self.operands) {
            at.triangle = OnceCell::new();
            at.gram.resize(batch * batch, 0.0);
            match operands.step(operand, t) {
                StepInput::Dense(v) => gram_of(v, &mut at.gram),
                StepInput::Symbols(ids) => {
                    for (a, &id) in ids.iter().enumerate() {
                        for (same, &other) in at.gram[a * batch..].iter_mut().zip(&ids[..=a]) {
                            *same = f64::from(id == other);
                        }
                    }
                }
            }
            let exponents = operands.exponents(operand, t);
            let largest = largest_exponent(exponents);
            at.factors.clear();
            at.factors.extend(exponents.iter().map(|&e| kernel::power_of_two::<f64>(e - largest)));
            for (a, row) in at.gram.chunks_exact_mut(batch).enumerate().take(at.factors.len()) {
                row[..=a].iter_mut().zip(&at.factors).for_each(|(product, f)| *product *= f * at.factors[a]);
            }
        }
        self.lifts.resize_with(measured.params.len(), Lift::default);
        let plain = operands.are_plain();
        for (param, lift) in measured.params.iter().zip(&mut self.lifts) {
            lift.of_sequence.clear();
            lift.largest = 0;
            if plain {
                continue;
            }
            if let Some(operand) = param.operand {
                lift.of_sequence.extend_from_slice(operands.exponents(operand, t));
            }
            lift.largest = largest_exponent(&lift.of_sequence);
        }
        self.elementwise.resize_with(measured.elementwise.len(), Vec::new);
        let (spec, sizes) = (params.spec(), params.sizes());
        for (&slot, image) in measured.elementwise.iter().zip(&mut self.elementwise) {
            let param = measured.params[slot].params[0];
            let width = sizes.of(spec.adjoints[spec.params[param].adjoint()].width);
            let lift = &self.lifts[slot];
            image.clear();
            image.resize(batch * width, T::zero());
            for group in spec.groups(param, sizes) {
                let StepInput::Dense(v) = operands.step(group.operand, t) else { continue };
                for (b, row) in image.chunks_exact_mut(width).enumerate() {
                    let row = &mut row[group.columns.clone()];
                    row.copy_from_slice(v.row(b));
                    if let Some(&exponent) = lift.of_sequence.get(b) {
                        scale(row, exponent - lift.largest);
                    }
                }
            }
        }
    }

    /// The powers of two of the operand of parameter `slot`.
    pub(super) fn lift(&self, slot: usize) -> &Lift {
        &self.lifts[slot]
    }

    /// See [`triangle`].
    pub(super) fn triangle(
        &self,
        operands: &Operands<'_, T>,
        which: (usize, Operand),
        t: usize,
    ) -> &DMatrix<f64> {
        let at = &self.operands[which.0];
        at.triangle.get_or_init(|| {
            let (_, batch) = operands.shape();
            let ones = vec![1.0; batch];
            triangle(&operands.step(which.1, t), if at.factors.is_empty() { &ones } else { &at.factors })
        })
    }

    /// The inner products of operand `operand`.
    pub(super) fn operand(&self, operand: usize) -> &[f64] {
        &self.operands[operand].gram
    }

    /// The operand of elementwise parameter `number`, (B, width).
    pub(super) fn elementwise(&self, number: usize) -> &[T] {
        &self.elementwise[number]
    }

    /// ‖v_b‖² of operand `operand` relative to that of operand `base`; 1 where that is zero.
    pub(super) fn ratio(&self, operand: usize, base: usize, b: usize, batch: usize) -> f64 {
        let place = b * (batch + 1);
        let (of, base) = (self.operands[operand].gram[place], self.operands[base].gram[place]);
        if base > 0.0 { of / base } else { 1.0 }
    }
}

/// The largest exponent of a step's sequences; 0 where all are.
fn largest_exponent(exponents: &[i32]) -> i32 {
    exponents.iter().copied().max().unwrap_or(0)
}

/// Inner products of all pairs of rows (b' ≤ b).
fn gram_of<T: Real>(rows: View<'_, T>, gram: &mut [f64]) {
    for a in 0..rows.rows() {
        for b in 0..=a {
            gram[a * rows.rows() + b] = kernel::dot(rows.row(a), rows.row(b)).f64();
        }
    }
}

/// sqrt(Σ_{a,b} inner(a, b)) for a symmetric `inner`: the norm of a sum from the inner products of its terms.
pub(crate) fn gram_norm(terms: usize, inner: impl Fn(usize, usize) -> f64) -> f64 {
    let mut sum = 0.0;
    for a in 0..terms {
        sum += inner(a, a) + 2.0 * (0..a).map(|b| inner(a, b)).sum::<f64>();
    }
    // Terms that cancel may leave a rounding error below zero.
    sum.max(0.0).sqrt()
}
