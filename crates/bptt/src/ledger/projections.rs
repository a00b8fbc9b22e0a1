//! What the rows of a ledger are multiplied with, so that norms and shares are measured without forming a matrix.
//!
//! ```text
//! ‖Σ_b d_b v_bᵀ‖² = Σ_{b,b'} (d_b · d_b') (v_b · v_b')          ⟨d vᵀ, U⟩ = d · (U v)          ⟨d ∘ v, u⟩ = d · (v ∘ u)
//! ```

use std::ops::Range;

use rayon::prelude::*;

use super::measured::Measured;
use super::operands::{Operands, exponent_of, scale};
use crate::array::{Matrix, Sequence, View};
use crate::forward::StepInput;
use crate::gradient::Gradient;
use crate::kernel::{self, Packed, Real, Start, inner, to_unit_length};
use crate::model::{BlockGroup, CellParams, ParamKind, Weights};

/// What turns the rows of an adjoint into inner products with the update.
enum Projection<T> {
    /// U v or v ∘ u of every step and sequence, (T, B, width).
    Steps(Sequence<T>),
    /// The same, made as it is needed, of some steps at a time.
    Windows(ParamUpdate<T>),
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
    projecting: Projecting,
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

/// Parts of a [`ProjectionWindow`].
const PARTS_OF_A_WINDOW: usize = 8;

/// When U v is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Projecting {
    /// Once, for all steps: many rows are multiplied with it.
    AllSteps,
    /// Some steps at a time, in memory that does not grow with the number of steps: they are passed over once.
    Windows,
}

/// U v or v ∘ u of some steps, of each parameter that has it made as it is needed.
pub(crate) struct ProjectionWindow<T> {
    steps: Range<usize>,
    /// (len, B, width) each; empty for the others.
    params: Vec<Sequence<T>>,
}

impl<T> Default for ProjectionWindow<T> {
    fn default() -> Self {
        Self { steps: 0..0, params: Vec::new() }
    }
}

impl<T: Real> UpdateProjections<T> {
    /// For cell `index`.
    pub(crate) fn new(
        operands: &Operands<'_, T>,
        gradient: &Gradient<T>,
        update: &Weights<T>,
        index: usize,
        measured: &Measured,
        projecting: Projecting,
    ) -> Self {
        let (g, u) = (&gradient.weights.cells[index], &update.cells[index]);
        let layer = update.cell_id(index).layer;
        let of_params = measured.params.par_iter().filter(|param| !param.params.is_empty());
        let projected: Vec<_> =
            of_params.map(|param| project(operands, g, u, &param.params, projecting)).collect();
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
        Self { projecting, params, x, initial, totals, exponents, initial_totals }
    }

    /// Makes what is needed at step `t`.
    pub(super) fn prepare(&self, operands: &Operands<'_, T>, t: usize, window: &mut ProjectionWindow<T>) {
        if self.projecting == Projecting::AllSteps || window.steps.contains(&t) {
            return;
        }
        let (steps, batch) = operands.shape();
        let length = (PART * PARTS_OF_A_WINDOW / batch).max(1);
        let first = t / length * length;
        window.steps = first..steps.min(first + length);
        let rows = window.steps.start * batch..window.steps.end * batch;
        window.params.resize_with(self.params.len(), Sequence::default);
        for (param, window_rows) in self.params.iter().zip(&mut window.params) {
            if let Projection::Windows(update) = param {
                window_rows.reshape(window.steps.len(), batch, update.width);
                update.project(operands, rows.clone(), window_rows.data_mut());
            }
        }
    }

    /// What the rows of parameter `slot` are multiplied with at step `t`, for which `window` was prepared.
    pub(super) fn at<'a>(
        &'a self,
        slot: usize,
        t: usize,
        window: &'a ProjectionWindow<T>,
    ) -> StepProjection<'a, T> {
        match self.params.get(slot) {
            Some(Projection::Steps(rows)) => StepProjection::Sequences(rows.step(t)),
            Some(Projection::Windows(_)) => {
                StepProjection::Sequences(window.params[slot].step(t - window.steps.start))
            }
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

/// The update of one parameter, ready to be projected on operands.
struct ParamUpdate<T> {
    /// Of its adjoint.
    width: usize,
    groups: Vec<(BlockGroup, GroupUpdate<T>)>,
}

enum GroupUpdate<T> {
    /// Uᵀ of a matrix with dense operands.
    Matrix(Packed<T>),
    /// Uᵀ of one with one-hot operands, (I, width).
    BySymbol(Matrix<T>),
    /// u of an elementwise parameter.
    Elementwise(Vec<T>),
}

impl<T: Real> ParamUpdate<T> {
    fn new(
        operands: &Operands<'_, T>,
        update: &Matrix<T>,
        kind: ParamKind,
        groups: Vec<BlockGroup>,
        width: usize,
    ) -> Self {
        let of = |group: BlockGroup| {
            let rows = group.rows.clone();
            let update = match (kind, operands.all(group.operand)) {
                (ParamKind::Matrix, StepInput::Symbols(_)) => {
                    // A column's numbers lie far apart; those of a transpose's row do not.
                    let mut columns = Matrix::zeros(update.cols(), rows.len());
                    kernel::transpose(columns.data_mut(), rows.len(), update.view().some_rows(rows));
                    GroupUpdate::BySymbol(columns)
                }
                (ParamKind::Matrix, StepInput::Dense(_)) => {
                    GroupUpdate::Matrix(Packed::transposed(update.view().some_rows(rows)))
                }
                (ParamKind::Elementwise | ParamKind::Bias, _) => {
                    GroupUpdate::Elementwise(update.data()[rows].to_vec())
                }
            };
            (group, update)
        };
        Self { width, groups: groups.into_iter().map(of).collect() }
    }

    /// U v or v ∘ u of the operands' rows (t, b), (len, width).
    fn project(&self, operands: &Operands<'_, T>, rows: Range<usize>, out: &mut [T]) {
        let width = self.width;
        out.par_chunks_mut(PART * width).enumerate().for_each(|(i, part)| {
            let first = rows.start + i * PART;
            let rows = first..first + part.len() / width;
            for (group, update) in &self.groups {
                let columns = group.columns.clone();
                match (update, operands.all(group.operand)) {
                    (GroupUpdate::Matrix(update), StepInput::Dense(v)) => {
                        let out = &mut part[columns.start..];
                        T::multiply(out, width, Start::Zero, v.some_rows(rows.clone()), update);
                    }
                    (GroupUpdate::BySymbol(update), StepInput::Symbols(ids)) => {
                        for (row, &id) in part.chunks_exact_mut(width).zip(&ids[rows.clone()]) {
                            row[columns.clone()].copy_from_slice(update.row(id as usize));
                        }
                    }
                    (GroupUpdate::Elementwise(u), StepInput::Dense(v)) => {
                        for (row, r) in part.chunks_exact_mut(width).zip(rows.clone()) {
                            row[columns.clone()].copy_from_slice(u);
                            kernel::multiply_by(&mut row[columns.clone()], v.row(r));
                        }
                    }
                    (_, StepInput::Dense(_) | StepInput::Symbols(_)) => {
                        unreachable!("an update was prepared for operands of another kind")
                    }
                }
            }
        });
    }
}

/// The projection of one parameter's update (of several biases' together) divided by a power of two, ⟨gradient, U⟩ divided by
/// it, and its exponent.
fn project<T: Real>(
    operands: &Operands<'_, T>,
    g: &CellParams<T>,
    u: &CellParams<T>,
    params: &[usize],
    projecting: Projecting,
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
    let total = inner(g.data(), update.data());
    let update = ParamUpdate::new(operands, update, of.kind, groups, width);
    let projection = match projecting {
        Projecting::Windows => Projection::Windows(update),
        Projecting::AllSteps => {
            let mut projected = Sequence::zeros(steps, batch, width);
            update.project(operands, 0..steps * batch, projected.data_mut());
            Projection::Steps(projected)
        }
    };
    (projection, total, exponent)
}
