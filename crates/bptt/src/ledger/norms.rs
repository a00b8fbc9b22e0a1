//! The measuring of all rows of a step at once: a pass over each adjoint while it is in cache, and what the passes found,
//! entered into the records of the losses.

use super::loss_row::LossRow;
use super::measured::{GramFactor, Measured, MeasuredParam, SequenceColumn};
use super::one_sequence::{OneSequence, shift_of};
use super::operands::{Operands, summed_square, times_power};
use super::passes::{ElementwiseStats, Factor, RowStats};
use super::projections::{ProjectionWindow, UpdateProjections};
use super::record_layout::RecordLayout;
use super::step_products::StepProducts;
use crate::array::View;
use crate::kernel;
use crate::kernel::{Real, power_of_two};
use crate::model::{MAX_ADJOINTS, MAX_ON_ADJOINT};
use crate::reverse::Step;

/// Measures the rows of one cell, step after step, in the same memory.
pub(crate) struct ContributionNorms<'a, T> {
    measured: &'a Measured,
    layout: RecordLayout,
    batch: usize,
    /// What brings each row to its size.
    factors: Vec<Factor<T>>,
    /// The same as one number, 0 or infinite where that is out of range.
    full: Vec<f64>,
    /// The same relative to the largest exponent of the row's loss.
    relative: Vec<T>,
    /// That largest exponent.
    largest: Vec<i32>,
    sides: Vec<RowStats<T>>,
    elementwise: Vec<ElementwiseStats>,
    projected: ProjectionWindow<T>,
    /// Of a batch of one whose records are packed.
    packed: Option<&'a OneSequence>,
    /// For each parameter Σ ‖contribution of one sequence‖ over all losses, steps and sequences measured so far, in full.
    parts: Vec<f64>,
}

/// Where the parts of sequences cancel to this many times ε of their sum or less, so few digits are left that the norm counts
/// as [`EntryState::Cancelled`](super::EntryState::Cancelled).
const CANCELLED: f64 = 16384.0;

/// Σ over losses of the rows of one step, in full, (B, width) each.
pub(crate) struct StepSums<'a, T> {
    pub(crate) adjoints: [&'a mut [T]; MAX_ADJOINTS],
    /// Empty unless the inputs are measured.
    pub(crate) dx: &'a mut [T],
}

impl<'a, T: Real> ContributionNorms<'a, T> {
    /// For records of this layout and `batch` sequences.
    pub(crate) fn new(
        measured: &'a Measured,
        (layout, packed): (RecordLayout, Option<&'a OneSequence>),
        batch: usize,
    ) -> Self {
        Self {
            measured,
            layout,
            batch,
            factors: Vec::new(),
            full: Vec::new(),
            relative: Vec::new(),
            largest: Vec::new(),
            sides: measured.sides.iter().map(|_| RowStats::new()).collect(),
            elementwise: measured.elementwise.iter().map(|_| ElementwiseStats::default()).collect(),
            projected: ProjectionWindow::default(),
            packed,
            parts: vec![0.0; measured.params.len()],
        }
    }

    /// For each parameter the sum of the norms of all contributions measured so far, each sequence by itself, in full.
    pub(crate) fn parts(&self) -> &[f64] {
        &self.parts
    }

    /// Measures all rows that a step shows. `rows` are the losses in the order of these rows; `dx` are their gradients with
    /// respect to the inputs, if those are measured.
    pub(crate) fn measure(
        &mut self,
        step: &Step<'_, T>,
        dx: Option<View<'_, T>>,
        (operands, products): (&Operands<'_, T>, &StepProducts<T>),
        projections: &UpdateProjections<T>,
        sums: &mut StepSums<'_, T>,
        rows: &mut [LossRow],
    ) {
        let (t, batch, measured) = (step.t, self.batch, self.measured);
        self.factors.clear();
        self.factors.extend(step.exponents.iter().map(|&exponent| Factor::new(exponent)));
        let rows_of = |side: usize| match measured.sides[side].adjoint {
            Some(adjoint) => Some(step.adjoints[adjoint]),
            None => dx,
        };
        projections.prepare(operands, t, &mut self.projected);
        for (side, stats) in self.sides.iter_mut().enumerate() {
            let Some(rows) = rows_of(side) else { continue };
            let mut slots = [0; MAX_ON_ADJOINT];
            let of_side = measured.params.iter().enumerate().filter(|(_, param)| param.side == side);
            of_side.for_each(|(slot, param)| slots[param.n] = slot);
            let with = |n: usize| projections.at(slots[n], t, &self.projected);
            let sums: &mut [T] = match measured.sides[side].adjoint {
                Some(adjoint) => sums.adjoints[adjoint],
                None => sums.dx,
            };
            let factors = &self.factors;
            match measured.sides[side].params {
                1 => stats.pass::<1>(rows, batch, std::array::from_fn(with), factors, sums),
                2 => stats.pass::<2>(rows, batch, std::array::from_fn(with), factors, sums),
                3 => stats.pass::<3>(rows, batch, std::array::from_fn(with), factors, sums),
                4 => stats.pass::<4>(rows, batch, std::array::from_fn(with), factors, sums),
                5 => stats.pass::<5>(rows, batch, std::array::from_fn(with), factors, sums),
                _ => stats.pass::<MAX_ON_ADJOINT>(rows, batch, std::array::from_fn(with), factors, sums),
            }
        }
        self.find_exponents(step.exponents);
        if self.packed.is_none() {
            self.full.clear();
            self.full.extend(step.exponents.iter().map(|&exponent| power_of_two::<f64>(exponent)));
            for (side, stats) in measured.sides.iter().zip(&mut self.sides) {
                if let Some(adjoint) = side.adjoint {
                    stats.pairs(step.adjoints[adjoint], batch, side.blocks, &self.relative);
                }
            }
        }
        for (number, (&slot, stats)) in measured.elementwise.iter().zip(&mut self.elementwise).enumerate() {
            let side = measured.params[slot].side;
            if let Some(rows) = rows_of(side) {
                let at = (batch, measured.sides[side].blocks);
                stats.pass(rows, products.elementwise(number), at, &self.relative);
            }
        }
        let shift = shift_of(products, measured.params.len());
        let mut parts = std::mem::take(&mut self.parts);
        for (k, row) in rows.iter_mut().enumerate().take(step.da().rows() / batch) {
            if row.span.contains(&t) {
                let at = t - row.span.start;
                let exponent = self.largest[k] + shift;
                if let Some((packed, records)) = self.packed.zip(row.records.packed()) {
                    let record = record_of(records, at, packed.width());
                    if self.enter_packed(k, (t, step.exponents[k], exponent), packed, record, &mut parts) {
                        continue;
                    }
                }
                let records = row.unpack_after(t, self.packed, self.layout);
                let record = record_of(records, at, self.layout.width());
                record[RecordLayout::EXPONENT] = f64::from(exponent);
                match self.packed {
                    Some(packed) => self.enter_one(k, (t, step.exponents[k]), packed, record, &mut parts),
                    None => self.enter(k, (operands, products, step), shift, record, &mut parts),
                }
                self.enter_sequences(k, (step.exponents, exponent), products, record);
            }
        }
        self.parts = parts;
    }

    /// The largest exponent among the rows of each loss, and each row's power of two relative to it. A row of zeros (a
    /// masked sequence's) has an exponent that means nothing.
    fn find_exponents(&mut self, exponents: &[i32]) {
        let Self { measured, batch, sides, relative, largest, .. } = self;
        let of_adjoints = || sides.iter().zip(&measured.sides).filter(|(_, side)| side.adjoint.is_some());
        let zero = |r: usize| {
            !of_adjoints().any(|(stats, _)| stats.squares.get(r).is_some_and(|&square| square > 0.0))
        };
        largest.clear();
        relative.clear();
        if *batch == 1 {
            largest.extend(exponents.iter().enumerate().map(|(k, &e)| if zero(k) { 0 } else { e }));
            relative.resize(exponents.len(), T::one());
            return;
        }
        for (k, exponents) in exponents.chunks_exact(*batch).enumerate() {
            let counted =
                exponents.iter().enumerate().filter(|(b, _)| !zero(k * *batch + b)).map(|(_, &e)| e);
            let most = counted.max().unwrap_or(0);
            largest.push(most);
            let of_row = |&e: &i32| if e > most { T::zero() } else { power_of_two::<T>(e - most) };
            relative.extend(exponents.iter().map(of_row));
        }
    }

    /// Enters what was found of loss `k`'s only row into its packed record, whether it fits. The exponent is that of the row, and
    /// that of the record has the step's shift in it.
    #[inline]
    fn enter_packed(
        &self,
        k: usize,
        (t, of_row, exponent): (usize, i32, i32),
        packed: &OneSequence,
        record: &mut [u8],
        parts: &mut [f64],
    ) -> bool {
        let squares = self.sides.iter().map(|side| side.squares[k]);
        let mut fits = packed.enter(record, exponent, squares);
        let (full, shift) = (power_of_two::<f64>(of_row), exponent - self.largest[k]);
        for (slot, factor) in packed.factors(t).iter().enumerate() {
            let inner = self.only_inner(k, slot);
            let lift = factor.lift + shift;
            let inner = if lift == 0 { inner * full } else { times_power(inner, of_row + lift) };
            fits &= packed.enter_inner(record, slot, inner);
        }
        if fits {
            for ((slot, parts), factor) in parts.iter_mut().enumerate().zip(packed.factors(t)) {
                let (norm, lift) = (self.only_norm(k, slot, factor.times), factor.lift + shift);
                *parts += if lift == 0 { norm * full } else { times_power(norm, of_row + lift) };
            }
        }
        fits
    }

    /// The same into a record in full.
    fn enter_one(
        &self,
        k: usize,
        (t, exponent): (usize, i32),
        packed: &OneSequence,
        record: &mut [f64],
        parts: &mut [f64],
    ) {
        let shift = packed.shift(t);
        let numbers = record[1..].chunks_exact_mut(2).zip(packed.factors(t));
        for ((slot, parts), (numbers, factor)) in parts.iter_mut().enumerate().zip(numbers) {
            let (norm, exponent) = (self.only_norm(k, slot, factor.times), exponent + factor.lift + shift);
            numbers[0] = times_power(norm, factor.lift);
            numbers[1] = times_power(self.only_inner(k, slot), exponent);
            *parts += times_power(norm, exponent);
        }
    }

    /// The norm of the contribution of loss `k`'s only row relative to the powers of two of row and operand, whose squared norm
    /// is `times`.
    #[inline(always)]
    #[allow(clippy::inline_always)] // it is a tenth of the time of small ledgers
    fn only_norm(&self, k: usize, slot: usize, times: f64) -> f64 {
        (self.sides[self.measured.params[slot].side].squares[k] * times).sqrt()
    }

    /// Its inner product with the update, likewise relative.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn only_inner(&self, k: usize, slot: usize) -> f64 {
        let param = &self.measured.params[slot];
        self.sides[param.side].inner[k * self.measured.sides[param.side].params + param.n].f64()
    }

    /// The same of several sequences or blocks.
    fn enter(
        &self,
        k: usize,
        (operands, products, step): (&Operands<'_, T>, &StepProducts<T>, &Step<'_, T>),
        shift: i32,
        record: &mut [f64],
        parts: &mut [f64],
    ) {
        let rows = k * self.batch..(k + 1) * self.batch;
        let whole = power_of_two::<f64>(self.largest[k]);
        for (slot, param) in self.measured.params.iter().enumerate() {
            let (stats, side) = (&self.sides[param.side], &self.measured.sides[param.side]);
            let lift = products.lift(slot);
            let inner = rows.clone().enumerate().map(|(b, r)| {
                let inner = stats.inner[r * side.params + param.n].f64();
                match lift.of_sequence.get(b) {
                    None => inner * self.full[r],
                    Some(exponent) => times_power(inner, step.exponents[r] + exponent),
                }
            });
            record[RecordLayout::inner(slot)] = inner.sum();
            let (square, size) = self.batch_norm(k, param, (operands, products, step), |block, of_block| {
                if self.layout.gates > 0 && slot < self.layout.gated {
                    record[self.layout.gate(slot, block)] =
                        times_power(of_block.sqrt(), lift.largest - shift);
                }
            });
            let norm = times_power(square.sqrt(), lift.largest - shift);
            let cancelled = square.sqrt() < CANCELLED * T::epsilon().f64() * size;
            // The sign tells that it cancelled.
            record[RecordLayout::norm(slot)] = if cancelled { -norm } else { norm };
            parts[slot] += match lift.largest {
                0 => size * whole,
                largest => times_power(size, self.largest[k] + largest),
            };
        }
    }

    /// The squared norm of loss `k`'s contribution to a parameter, and the sum of its sequences' norms, relative to the powers
    /// of two of rows and operand. `of_block` receives the squared norm of every block.
    fn batch_norm(
        &self,
        k: usize,
        param: &MeasuredParam,
        (operands, products, step): (&Operands<'_, T>, &StepProducts<T>, &Step<'_, T>),
        mut of_block: impl FnMut(usize, f64),
    ) -> (f64, f64) {
        let blocks = self.measured.sides[param.side].blocks;
        let rows = k * self.batch..(k + 1) * self.batch;
        if param.factor == GramFactor::Sequences {
            let stats = &self.sides[param.side];
            let squares = || rows.clone().map(|r| stats.squares[r] * self.relative[r].f64().powi(2));
            return (squares().sum(), squares().map(f64::sqrt).sum());
        }
        let of_sequence = |b: usize| -> f64 {
            (0..blocks).map(|block| self.sequence_square(k, (param, block), b, products)).sum::<f64>()
        };
        let size: f64 = (0..self.batch).map(|b| of_sequence(b).sqrt()).sum();
        let mut square = 0.0;
        for block in 0..blocks {
            let of = self.block_square(k, param, block, products);
            of_block(block, of);
            square += of;
        }
        // Inner products lose all digits where a sum of its terms loses half of them.
        let few_digits = square < T::epsilon().f64().sqrt() * size * size;
        if let (true, GramFactor::Operands(of_blocks), Some(adjoint)) =
            (few_digits, &param.factor, self.measured.sides[param.side].adjoint)
        {
            square = 0.0;
            for (block, operand) in of_blocks.iter().enumerate() {
                let Some(operand) = *operand else { continue };
                let which = (operand, self.measured.operands[operand]);
                let d = step.adjoints[adjoint].rows_of(k, self.batch);
                let triangle = products.triangle(operands, which, step.t);
                let of = summed_square(d, (block, blocks), &self.relative[rows.clone()], triangle);
                of_block(block, of);
                square += of;
            }
        }
        (square, size)
    }

    /// The squared norm of what sequence `b` contributes to one block of a parameter, likewise relative.
    fn sequence_square(
        &self,
        k: usize,
        (param, block): (&MeasuredParam, usize),
        b: usize,
        products: &StepProducts<T>,
    ) -> f64 {
        let (stats, blocks) = (&self.sides[param.side], self.measured.sides[param.side].blocks);
        match &param.factor {
            GramFactor::Operands(operands) => operands[block].map_or(0.0, |operand| {
                stats.row_square(k, block, b, self.batch, blocks)
                    * products.operand(operand)[b * (self.batch + 1)]
            }),
            GramFactor::Sum(covered) if covered[block] => stats.row_square(k, block, b, self.batch, blocks),
            GramFactor::Elementwise(number) if block == 0 => {
                let r = k * self.batch + b;
                self.elementwise[*number].squares[r] * self.relative[r].f64().powi(2)
            }
            GramFactor::Elementwise(_) | GramFactor::Sum(_) | GramFactor::Sequences => 0.0,
        }
    }

    /// The squared norm of loss `k`'s contribution to one block of a parameter, relative to the loss's largest exponent.
    fn block_square(&self, k: usize, param: &MeasuredParam, block: usize, products: &StepProducts<T>) -> f64 {
        let (stats, blocks) = (&self.sides[param.side], self.measured.sides[param.side].blocks);
        match &param.factor {
            GramFactor::Operands(operands) => operands[block].map_or(0.0, |operand| {
                stats.square_with(k, block, self.batch, blocks, products.operand(operand))
            }),
            GramFactor::Sum(covered) if covered[block] => stats.summed[k * blocks + block],
            GramFactor::Elementwise(number) => self.elementwise[*number].summed[k * blocks + block],
            GramFactor::Sum(_) | GramFactor::Sequences => 0.0,
        }
    }

    /// Enters the numbers of every sequence, if they were asked for.
    fn enter_sequences(
        &self,
        k: usize,
        (exponents, of_record): (&[i32], i32),
        products: &StepProducts<T>,
        record: &mut [f64],
    ) {
        let Self { measured, layout, batch, .. } = *self;
        for (b, r) in (k * batch..(k + 1) * batch).enumerate().take(layout.batch) {
            let exponent = exponents[r] - of_record;
            let relative = power_of_two::<f64>(exponent);
            for (column, what) in measured.columns.iter().enumerate() {
                let size = match *what {
                    SequenceColumn::Rows(side) => {
                        self.sides[side].squares.get(r).map_or(0.0, |square| square.sqrt())
                    }
                    SequenceColumn::Elementwise(number) => {
                        let lift = products.lift(measured.elementwise[number]).largest;
                        times_power(self.elementwise[number].squares[r].sqrt(), lift)
                    }
                    SequenceColumn::Weighted { param } => self.weighted_size(param, (r, b), products),
                };
                // A power out of range by itself is taken in two steps.
                let in_range = relative > 0.0 && relative.is_finite();
                record[layout.sequence(column, b)] =
                    if in_range { size * relative } else { times_power(size, exponent) };
            }
        }
    }

    /// ‖row‖ with each block weighted by its operand's norm relative to the first one's.
    fn weighted_size(&self, param: usize, (r, b): (usize, usize), products: &StepProducts<T>) -> f64 {
        let param = &self.measured.params[param];
        let (GramFactor::Operands(operands), Some(base)) = (&param.factor, param.sequence.1) else {
            return 0.0;
        };
        let weight = |operand: &Option<usize>| match *operand {
            None => 0.0,
            Some(operand) if operand == base => 1.0,
            Some(operand) => products.ratio(operand, base, b, self.batch),
        };
        let weights: Vec<f64> = operands.iter().map(weight).collect();
        self.sides[param.side].weighted_size(r, b, self.batch, &weights)
    }
}

/// The record of the `at`-th step of a loss. Those of one loss are written backward, and those of many losses in turn, which
/// hardware does not prefetch.
#[inline(always)]
#[allow(clippy::inline_always)]
fn record_of<N>(records: &mut [N], at: usize, width: usize) -> &mut [N] {
    let place = at * width;
    kernel::prefetch(records, place.saturating_sub(3 * width)..place.saturating_sub(2 * width));
    &mut records[place..place + width]
}
