//! What adjoints are multiplied with, in a range where squares and products neither under- nor overflow.

use nalgebra::DMatrix;

use crate::array::{Sequence, View};
use crate::forward::{ForwardCache, StepInput};
use crate::kernel::{self, Real, power_of_two};
use crate::model::{CellSpec, Operand};
use crate::reverse::floor_log2;

/// The operands of one cell at every step. Rows outside of 2^±NEAR are held times a power of two.
pub(crate) struct Operands<'a, T> {
    cache: &'a ForwardCache<T>,
    layer: usize,
    index: usize,
    /// Operands of one parameter have their powers of two in common.
    groups: Vec<Group<T>>,
}

struct Group<T> {
    operands: Vec<Operand>,
    /// For each row (t, b) the power of two that it is to be multiplied with; empty where all are within range.
    exponents: Vec<i32>,
    /// The operands' rows, (T, B, width), each divided by that power; empty where all are within range.
    scaled: Vec<Sequence<T>>,
}

/// The norm of each operand that [`Measured`](super::measured::Measured) has, at every step and sequence, time-major.
#[derive(Clone, Debug)]
pub(crate) struct OperandNorms(pub(crate) Vec<Vec<f64>>);

/// Numbers are left alone up to 2^±30 in f32, and 2^±300 in f64: their squares are then far from the ends of the format.
fn near<T: Real>() -> i32 {
    if size_of::<T>() == size_of::<f32>() { 30 } else { 300 }
}

/// The power of two of the largest of these numbers, or 0 if it is within range.
pub(super) fn exponent_of<T: Real>(numbers: &[T]) -> i32 {
    let size = kernel::largest(numbers).f64();
    if size == 0.0 || !size.is_finite() {
        return 0;
    }
    let exponent = floor_log2(size);
    if exponent.abs() <= near::<T>() { 0 } else { exponent }
}

/// number · 2^exponent in two steps, because one power may be out of range.
pub(super) fn times_power<T: Real>(number: T, exponent: i32) -> T {
    if exponent == 0 {
        return number;
    }
    number * power_of_two::<T>(exponent / 2) * power_of_two::<T>(exponent - exponent / 2)
}

/// The same for all of these numbers.
pub(super) fn scale<T: Real>(numbers: &mut [T], exponent: i32) {
    if exponent != 0 {
        for number in numbers {
            *number = times_power(*number, exponent);
        }
    }
}

impl<'a, T: Real> Operands<'a, T> {
    /// Those of cell `index` in layer `layer`.
    pub(crate) fn new(cache: &'a ForwardCache<T>, spec: &CellSpec, layer: usize, index: usize) -> Self {
        let mut groups: Vec<Vec<Operand>> = Vec::new();
        for param in &spec.params {
            let of_param = || param.blocks.iter().map(|block| block.operand).filter(|&of| of != Operand::One);
            let (with, apart): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|group| of_param().any(|operand| group.contains(&operand)));
            groups = apart;
            let mut joined: Vec<Operand> = Vec::new();
            for operand in of_param().chain(with.into_iter().flatten()) {
                if !joined.contains(&operand) {
                    joined.push(operand);
                }
            }
            if !joined.is_empty() {
                groups.push(joined);
            }
        }
        let mut operands = Self { cache, layer, index, groups: Vec::new() };
        operands.groups = groups.into_iter().map(|of| operands.group(of)).collect();
        operands
    }

    fn group(&self, operands: Vec<Operand>) -> Group<T> {
        let (steps, batch) = self.cache.inputs().shape();
        let dense = |operand| match self.all_as_saved(operand) {
            StepInput::Dense(rows) => Some(rows),
            StepInput::Symbols(_) => None,
        };
        let views: Option<Vec<View<'_, T>>> = operands.iter().map(|&operand| dense(operand)).collect();
        let none = Group { operands: operands.clone(), exponents: Vec::new(), scaled: Vec::new() };
        let Some(views) = views else { return none };
        let of_row = |r: usize| {
            let size = |view: &View<'_, T>| exponent_of(view.row(r));
            views.iter().map(size).max_by_key(|exponent: &i32| exponent.abs()).unwrap_or(0)
        };
        let exponents: Vec<i32> = (0..steps * batch).map(of_row).collect();
        if exponents.iter().all(|&exponent| exponent == 0) {
            return none;
        }
        let in_range = |view: &View<'_, T>| {
            let mut rows = Sequence::zeros(steps, batch, view.cols());
            for (r, row) in rows.data_mut().chunks_exact_mut(view.cols().max(1)).enumerate() {
                row.copy_from_slice(view.row(r));
                scale(row, -exponents[r]);
            }
            rows
        };
        let scaled = views.iter().map(in_range).collect();
        Group { operands, exponents, scaled }
    }

    /// (T, B).
    pub(super) fn shape(&self) -> (usize, usize) {
        self.cache.inputs().shape()
    }

    fn all_as_saved(&self, operand: Operand) -> StepInput<'a, T> {
        let (steps, _) = self.cache.inputs().shape();
        match operand {
            Operand::X => self.cache.inputs_of(self.layer).all(),
            operand => StepInput::Dense(self.cache.cells()[self.index].operand(operand, 0..steps)),
        }
    }

    fn find(&self, operand: Operand) -> (&Group<T>, usize) {
        let has = |group: &&Group<T>| group.operands.contains(&operand);
        let group = self.groups.iter().find(has).expect("every operand is in a group");
        (group, group.operands.iter().position(|&of| of == operand).unwrap_or(0))
    }

    /// Its rows of all steps, (T·B, width).
    pub(super) fn all(&self, operand: Operand) -> StepInput<'_, T> {
        let (group, number) = self.find(operand);
        match group.scaled.get(number) {
            Some(scaled) => StepInput::Dense(scaled.rows(0..scaled.steps())),
            None => self.all_as_saved(operand),
        }
    }

    /// Whether all rows are within range, so that none has a power of two.
    pub(super) fn are_plain(&self) -> bool {
        self.groups.iter().all(|group| group.exponents.is_empty())
    }

    /// Its rows of one step, (B, width).
    pub(super) fn step(&self, operand: Operand, t: usize) -> StepInput<'_, T> {
        if !self.are_plain() {
            let (group, number) = self.find(operand);
            if let Some(scaled) = group.scaled.get(number) {
                return StepInput::Dense(scaled.step(t));
            }
        }
        match operand {
            Operand::X => self.cache.inputs_of(self.layer).step(t),
            operand => StepInput::Dense(self.cache.cells()[self.index].operand(operand, t..t + 1)),
        }
    }

    /// The powers of two of the rows of one step, one for each sequence; empty where all are 1.
    pub(super) fn exponents(&self, operand: Operand, t: usize) -> &[i32] {
        if self.are_plain() {
            return &[];
        }
        let (_, batch) = self.cache.inputs().shape();
        self.find(operand).0.exponents.get(t * batch..(t + 1) * batch).unwrap_or(&[])
    }

    /// ‖row‖ of every step and sequence, in full.
    pub(crate) fn norms(&self, operand: Operand) -> Vec<f64> {
        let rows = self.all(operand);
        let exponents = &self.find(operand).0.exponents;
        let (steps, batch) = self.cache.inputs().shape();
        let norm = |r: usize| {
            let size = rows.dot(r, r).f64().sqrt();
            exponents.get(r).map_or(size, |&exponent| times_power(size, exponent))
        };
        (0..steps * batch).map(norm).collect()
    }
}

/// R of the decomposition Vᵀ = Q R of some rows V, (B, width): ‖Σ_b d_b v_bᵀ‖ = ‖R D‖, whose sums over b lose no digit more
/// than the sum itself does, while inner products lose twice as many.
pub(super) fn triangle<T: Real>(rows: &StepInput<'_, T>, factors: &[f64]) -> DMatrix<f64> {
    match rows {
        StepInput::Dense(v) => {
            DMatrix::from_fn(v.cols(), v.rows(), |i, b| v.row(b)[i].f64() * factors[b]).qr().r()
        }
        // One-hot rows are orthonormal: a row of R for each symbol.
        StepInput::Symbols(ids) => {
            let mut distinct = ids.to_vec();
            distinct.sort_unstable();
            distinct.dedup();
            DMatrix::from_fn(
                distinct.len(),
                ids.len(),
                |i, b| if ids[b] == distinct[i] { factors[b] } else { 0.0 },
            )
        }
    }
}

/// ‖R D‖² of one block of columns of the rows D, each times its factor, with R from [`triangle`].
pub(super) fn summed_square<T: Real>(
    d: View<'_, T>,
    (block, blocks): (usize, usize),
    factors: &[T],
    triangle: &DMatrix<f64>,
) -> f64 {
    let width = d.cols() / blocks;
    let columns = block * width..(block + 1) * width;
    let mut sum = vec![0.0; width];
    let mut square = 0.0;
    for a in 0..triangle.nrows() {
        sum.fill(0.0);
        for (b, factor) in factors.iter().enumerate() {
            let factor = triangle[(a, b)] * factor.f64();
            let row = &d.row(b)[columns.clone()];
            sum.iter_mut().zip(row).for_each(|(sum, d)| *sum += factor * d.f64());
        }
        square += sum.iter().map(|v| v * v).sum::<f64>();
    }
    square
}
