//! What the rows of a ledger are multiplied with, so that norms and shares are measured without forming a matrix.
//!
//! ```text
//! ‖Σ_b d_b v_bᵀ‖² = Σ_{b,b'} (d_b · d_b') (v_b · v_b')          ⟨d vᵀ, U⟩ = d · (U v)          ⟨d ∘ v, u⟩ = d · (v ∘ u)
//! ```

use rayon::prelude::*;

use super::measured::Measured;
use crate::array::{Matrix, Sequence, View};
use crate::forward::{ForwardCache, StepInput};
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
    /// ⟨gradient, U⟩ for each parameter.
    totals: Vec<f64>,
    /// ‖dL/d‖ of each initial state.
    initial_totals: Vec<f64>,
}

/// Rows (t, b) of U v that are made by one thread.
const PART: usize = 240;

impl<T: Real> UpdateProjections<T> {
    /// For cell `index`.
    pub(crate) fn new(
        cache: &ForwardCache<T>,
        gradient: &Gradient<T>,
        update: &Weights<T>,
        index: usize,
        measured: &Measured,
    ) -> Self {
        let (g, u) = (&gradient.weights.cells[index], &update.cells[index]);
        let layer = update.cell_id(index).layer;
        let of_params = measured.params.par_iter().filter(|param| !param.params.is_empty());
        let (params, mut totals): (Vec<_>, Vec<_>) =
            of_params.map(|param| project(cache, g, u, (index, layer), &param.params)).unzip();
        let mut x = gradient.inputs.clone().filter(|_| layer == 0);
        totals.extend(x.iter_mut().map(|x| to_unit_length(x.data_mut())));
        let mut initial = gradient.initial.cells[index].clone();
        let initial_totals = initial.iter_mut().map(|state| to_unit_length(state.data_mut())).collect();
        Self { params, x, initial, totals, initial_totals }
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

    /// ⟨gradient, U⟩ for each parameter.
    pub(crate) fn totals(&self) -> &[f64] {
        &self.totals
    }

    /// ‖dL/d‖ of each initial state.
    pub(crate) fn initial_totals(&self) -> &[f64] {
        &self.initial_totals
    }
}

/// The projection of one parameter's update (of several biases' together), and ⟨gradient, U⟩.
fn project<T: Real>(
    cache: &ForwardCache<T>,
    g: &CellParams<T>,
    u: &CellParams<T>,
    (index, layer): (usize, usize),
    params: &[usize],
) -> (Projection<T>, f64) {
    let (spec, sizes) = (u.spec(), u.sizes());
    let (steps, batch) = cache.inputs().shape();
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
        return (Projection::Row(row), total);
    }
    let mut projected = Sequence::zeros(steps, batch, width);
    for group in groups {
        let columns = group.columns.clone();
        if group.operand == Operand::X {
            cache.inputs_of(layer).all().times_transposed(projected.data_mut(), update);
            continue;
        }
        let v = cache.cells()[index].operand(group.operand, 0..steps);
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
    (Projection::Steps(projected), inner(g.data(), update.data()))
}

/// v_b · v_b' of every operand for all pairs of sequences (b' ≤ b) at one step, and the operands of elementwise parameters.
#[derive(Default)]
pub(crate) struct StepProducts<T> {
    /// For each of [`Measured::operands`] B·B numbers.
    operands: Vec<Vec<f64>>,
    /// For each elementwise parameter its operand in the columns of the adjoint, (B, width).
    elementwise: Vec<Vec<T>>,
}

impl<T: Real> StepProducts<T> {
    /// Finds those of step `t` of cell `index` in layer `layer`.
    pub(crate) fn find(
        &mut self,
        cache: &ForwardCache<T>,
        params: &CellParams<T>,
        measured: &Measured,
        (layer, index): (usize, usize),
        t: usize,
    ) {
        let (_, batch) = cache.inputs().shape();
        self.operands.resize_with(measured.operands.len(), Vec::new);
        for (&operand, gram) in measured.operands.iter().zip(&mut self.operands) {
            gram.resize(batch * batch, 0.0);
            if operand != Operand::X {
                gram_of(cache.cells()[index].operand(operand, t..t + 1), gram);
                continue;
            }
            match cache.inputs_of(layer).step(t) {
                StepInput::Dense(x) => gram_of(x, gram),
                StepInput::Symbols(ids) => {
                    for (a, &id) in ids.iter().enumerate() {
                        for (same, &other) in gram[a * batch..].iter_mut().zip(&ids[..=a]) {
                            *same = f64::from(id == other);
                        }
                    }
                }
            }
        }
        self.elementwise.resize_with(measured.elementwise.len(), Vec::new);
        let (spec, sizes) = (params.spec(), params.sizes());
        for (&slot, image) in measured.elementwise.iter().zip(&mut self.elementwise) {
            let param = measured.params[slot].params[0];
            let width = sizes.of(spec.adjoints[spec.params[param].adjoint()].width);
            image.clear();
            image.resize(batch * width, T::zero());
            for group in spec.groups(param, sizes) {
                let v = cache.cells()[index].operand(group.operand, t..t + 1);
                for (b, row) in image.chunks_exact_mut(width).enumerate() {
                    row[group.columns.clone()].copy_from_slice(v.row(b));
                }
            }
        }
    }

    /// The inner products of operand `operand`.
    pub(super) fn operand(&self, operand: usize) -> &[f64] {
        &self.operands[operand]
    }

    /// The operand of elementwise parameter `number`, (B, width).
    pub(super) fn elementwise(&self, number: usize) -> &[T] {
        &self.elementwise[number]
    }

    /// ‖v_b‖² of operand `operand` relative to that of operand `base`; 1 where that is zero.
    pub(super) fn ratio(&self, operand: usize, base: usize, b: usize, batch: usize) -> f64 {
        let place = b * (batch + 1);
        let (of, base) = (self.operands[operand][place], self.operands[base][place]);
        if base > 0.0 { of / base } else { 1.0 }
    }
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
