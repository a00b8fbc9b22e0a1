//! What the rows of a ledger are multiplied with, so that norms and shares are measured without forming a matrix.
//!
//! ```text
//! ‖Σ_b d_b v_bᵀ‖² = Σ_{b,b'} (d_b · d_b') (v_b · v_b')          ⟨d vᵀ, U⟩ = d · (U v)          ⟨d ∘ v, u⟩ = d · (v ∘ u)
//! ```

use std::cell::OnceCell;

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::measured::Measured;
use super::operands::{Operands, exponent_of, scale, triangle};
use crate::array::{Matrix, Sequence, View};
use crate::forward::StepInput;
use crate::gradient::Gradient;
use crate::kernel::{self, Packed, Real, Start, inner, to_unit_length};
use crate::model::{CellParams, Operand, ParamKind, Weights};

/// What turns the rows of an adjoint into inner products with the update.
enum Projection<T> {
    /// U v or v ∘ u of every step and sequence, (T, B, width).
    Steps(Sequence<T>),
    /// The same row for all of them, the update of a bias.
    Row(Vec<T>),
}

/// What rows are multiplied with at one step.
#[derive(Clone, Copy)]
pub(super) enum StepProjection<'a, T> {
    /// The same row for all of them.
    Row(&'a [T]),
    /// Each sequence's own row, (B, width).
    Sequences(View<'a, T>),
}

/// The update that shares are measured of, projected on the operands of every step, so that a share is an inner product of
/// vectors.
pub(crate) struct UpdateProjections<T> {
    /// For each parameter of [`Measured`], without the input.
    params: Vec<Projection<T>>,
    /// The direction of dL/dx (of unit length, so that no square can underflow), (T, B, I), in the bottom layer.
    x: Option<Sequence<T>>,
    /// The direction of dL/d of each initial state, (B, width).
    initial: Vec<Matrix<T>>,
    /// ⟨gradient, U⟩ for each parameter, with U divided by its power of two.
    totals: Vec<f64>,
    /// The power of two of U, for each parameter.
    exponents: Vec<i32>,
    /// ‖dL/d‖ of each initial state.
    initial_totals: Vec<f64>,
}

/// Rows (t, b) of U v that are made by one thread.
const PART: usize = 240;

impl<T: Real> UpdateProjections<T> {
    /// For cell `index`.
    pub(crate) fn new(
        operands: &Operands<'_, T>,
        gradient: &Gradient<T>,
        update: &Weights<T>,
        index: usize,
        measured: &Measured,
    ) -> Self {
        let (g, u) = (&gradient.weights.cells[index], &update.cells[index]);
        let layer = update.cell_id(index).layer;
        let of_params = measured.params.par_iter().filter(|param| !param.params.is_empty());
        let projected: Vec<_> = of_params.map(|param| project(operands, g, u, &param.params)).collect();
        let (mut params, mut totals, mut exponents) = (Vec::new(), Vec::new(), Vec::new());
        for (of_param, total, exponent) in projected {
            params.push(of_param);
            totals.push(total);
            exponents.push(exponent);
        }
        let mut x = gradient.inputs.clone().filter(|_| layer == 0);
        totals.extend(x.iter_mut().map(|x| to_unit_length(x.data_mut())));
        exponents.resize(totals.len(), 0);
        let mut initial = gradient.initial.cells[index].clone();
        let initial_totals = initial.iter_mut().map(|state| to_unit_length(state.data_mut())).collect();
        Self { params, x, initial, totals, exponents, initial_totals }
    }

    /// What the rows of parameter `slot` are multiplied with at step `t`.
    pub(super) fn at(&self, slot: usize, t: usize) -> StepProjection<'_, T> {
        match self.params.get(slot) {
            Some(Projection::Steps(rows)) => StepProjection::Sequences(rows.step(t)),
            Some(Projection::Row(row)) => StepProjection::Row(row),
            None => match &self.x {
                Some(x) => StepProjection::Sequences(x.step(t)),
                None => StepProjection::Row(&[]),
            },
        }
    }

    /// The direction of dL/d of each initial state, (B, width).
    pub(crate) fn initial(&self) -> &[Matrix<T>] {
        &self.initial
    }

    /// ⟨gradient, U⟩ for each parameter, with U divided by its power of two.
    pub(crate) fn totals(&self) -> &[f64] {
        &self.totals
    }

    /// The power of two of U, for each parameter: inner products are to be multiplied with it.
    pub(crate) fn exponents(&self) -> &[i32] {
        &self.exponents
    }

    /// ‖dL/d‖ of each initial state.
    pub(crate) fn initial_totals(&self) -> &[f64] {
        &self.initial_totals
    }
}

/// The projection of one parameter's update (of several biases' together) divided by a power of two, ⟨gradient, U⟩ divided by
/// it, and its exponent.
fn project<T: Real>(
    operands: &Operands<'_, T>,
    g: &CellParams<T>,
    u: &CellParams<T>,
    params: &[usize],
) -> (Projection<T>, f64, i32) {
    let (spec, sizes) = (u.spec(), u.sizes());
    let (steps, batch) = operands.shape();
    let of_param = |&param: &usize| exponent_of(u.tensors()[param].data());
    let exponent = params.iter().map(of_param).max_by_key(|exponent| exponent.abs()).unwrap_or(0);
    let scaled;
    let u = if exponent == 0 {
        u
    } else {
        let mut copy = u.clone();
        for &param in params {
            scale(copy.tensors_mut()[param].data_mut(), -exponent);
        }
        scaled = copy;
        &scaled
    };
    let (first, of) = (params[0], &spec.params[params[0]]);
    let width = sizes.of(spec.adjoints[of.adjoint()].width);
    let (g, update) = (&g.tensors()[first], &u.tensors()[first]);
    let groups = spec.groups(first, sizes);
    if of.kind == ParamKind::Bias {
        let mut row = vec![T::zero(); width];
        for group in groups {
            let mut numbers = update.data()[group.rows.clone()].to_vec();
            for &other in &params[1..] {
                kernel::add_scaled(&mut numbers, T::one(), &u.tensors()[other].data()[group.rows.clone()]);
            }
            row[group.columns].copy_from_slice(&numbers);
        }
        let total = if params.len() > 1 { inner(g.data(), &row) } else { inner(g.data(), update.data()) };
        return (Projection::Row(row), total, exponent);
    }
    let mut projected = Sequence::zeros(steps, batch, width);
    for group in groups {
        let columns = group.columns.clone();
        let v = match operands.all(group.operand) {
            StepInput::Dense(v) if group.operand != Operand::X => v,
            x => {
                x.times_transposed(projected.data_mut(), update);
                continue;
            }
        };
        let parts = projected.data_mut().par_chunks_mut(PART * width).enumerate();
        if of.kind == ParamKind::Matrix {
            let packed = Packed::transposed(update.view().some_rows(group.rows));
            parts.for_each(|(i, part)| {
                let v = v.some_rows(i * PART..v.rows().min((i + 1) * PART));
                T::multiply(&mut part[columns.start..], width, Start::Zero, v, &packed);
            });
        } else {
            let u = &update.data()[group.rows];
            parts.for_each(|(i, part)| {
                for (r, row) in part.chunks_exact_mut(width).enumerate() {
                    row[columns.clone()].copy_from_slice(u);
                    kernel::multiply_by(&mut row[columns.clone()], v.row(i * PART + r));
                }
            });
        }
    }
    (Projection::Steps(projected), inner(g.data(), update.data()), exponent)
}

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
