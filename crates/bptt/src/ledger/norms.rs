//! The measuring of all rows of a step at once: a pass over each adjoint while it is in cache, and what the passes found,
//! entered into the records of the losses.

use std::ops::Range;

use super::measured::{GramFactor, Measured, MeasuredParam, SequenceColumn};
use super::passes::{ElementwiseStats, Factor, RowStats};
use super::projections::{StepProducts, UpdateProjections};
use super::records::RecordLayout;
use crate::array::View;
use crate::kernel;
use crate::kernel::{Real, power_of_two};
use crate::model::{MAX_ADJOINTS, MAX_ON_ADJOINT};
use crate::reverse::{Rows, Step};

/// Everything measured of one loss k in one cell, at the steps from which a path leads through the cell to the loss.
pub(crate) struct LossRow {
    /// These steps.
    pub(crate) span: Range<usize>,
    /// A record for each of them.
    pub(crate) records: Vec<f64>,
    /// dL_k/d of each initial state.
    pub(crate) initial: Vec<InitialMeasure>,
}

impl LossRow {
    pub(crate) fn new(span: Range<usize>, layout: RecordLayout) -> Self {
        let records = vec![0.0; span.len() * layout.width()];
        Self { span, records, initial: Vec::new() }
    }

    /// From step `t` back the loss is part of the remainder.
    pub(crate) fn merge_from(&mut self, t: usize) {
        let width = self.records.len() / self.span.len();
        self.records.drain(..(t + 1 - self.span.start) * width);
        self.records.shrink_to_fit();
        self.span.start = t + 1;
        self.initial.clear();
    }
}

/// A gradient with respect to an initial state.
pub(crate) struct InitialMeasure {
    pub(crate) norm: f64,
    pub(crate) log10_norm: f64,
    pub(crate) inner: f64,
}

/// Measures the rows of one cell, step after step, in the same memory.
pub(crate) struct ContributionNorms<'a, T> {
    measured: &'a Measured,
    layout: RecordLayout,
    batch: usize,
    /// What brings each row to its size.
    factors: Vec<Factor<T>>,
    /// The same relative to the largest exponent of the row's loss.
    relative: Vec<T>,
    /// That largest exponent.
    largest: Vec<i32>,
    sides: Vec<RowStats<T>>,
    elementwise: Vec<ElementwiseStats<T>>,
}

/// Σ over losses of the rows of one step, in full, (B, width) each.
pub(crate) struct StepSums<'a, T> {
    pub(crate) adjoints: [&'a mut [T]; MAX_ADJOINTS],
    /// Empty unless the inputs are measured.
    pub(crate) dx: &'a mut [T],
}

impl<'a, T: Real> ContributionNorms<'a, T> {
    /// For records of this layout and `batch` sequences.
    pub(crate) fn new(measured: &'a Measured, layout: RecordLayout, batch: usize) -> Self {
        Self {
            measured,
            layout,
            batch,
            factors: Vec::new(),
            relative: Vec::new(),
            largest: Vec::new(),
            sides: measured.sides.iter().map(|_| RowStats::new()).collect(),
            elementwise: measured.elementwise.iter().map(|_| ElementwiseStats::new()).collect(),
        }
    }

    /// Measures all rows that a step shows. `rows` are the losses in the order of these rows; `dx` are their gradients with
    /// respect to the inputs, if those are measured.
    pub(crate) fn measure(
        &mut self,
        step: &Step<'_, T>,
        dx: Option<View<'_, T>>,
        products: &StepProducts<T>,
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
        for (side, stats) in self.sides.iter_mut().enumerate() {
            let Some(rows) = rows_of(side) else { continue };
            let mut slots = [0; MAX_ON_ADJOINT];
            let of_side = measured.params.iter().enumerate().filter(|(_, param)| param.side == side);
            of_side.for_each(|(slot, param)| slots[param.n] = slot);
            let with = |n: usize| projections.at(slots[n], t);
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
        let simple = measured.is_simple();
        if batch > 1 || !simple {
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
        for (k, row) in rows.iter_mut().enumerate().take(step.da().rows() / batch) {
            if row.span.contains(&t) {
                let width = self.layout.width();
                let place = (t - row.span.start) * width;
                // The records of one loss are written backward, those of many losses in turn: hardware does not prefetch that.
                kernel::prefetch(
                    &row.records,
                    place.saturating_sub(3 * width)..place.saturating_sub(2 * width),
                );
                let record = &mut row.records[place..place + width];
                record[RecordLayout::EXPONENT] = f64::from(self.largest[k]);
                if batch == 1 && simple {
                    self.enter_one(k, step.exponents[k], products, record);
                } else {
                    self.enter(k, step.exponents, products, record);
                }
                self.enter_sequences(k, step.exponents, products, record);
            }
        }
    }

    /// The largest exponent among the rows of each loss, and each row's power of two relative to it. A row of zeros (a
    /// masked sequence's) has an exponent that means nothing.
    fn find_exponents(&mut self, exponents: &[i32]) {
        let Self { measured, batch, sides, relative, largest, .. } = self;
        let of_adjoints = || sides.iter().zip(&measured.sides).filter(|(_, side)| side.adjoint.is_some());
        let zero = |r: usize| {
            !of_adjoints().any(|(stats, _)| stats.squares.get(r).is_some_and(|&square| square > T::zero()))
        };
        largest.clear();
        relative.clear();
        for (k, exponents) in exponents.chunks_exact(*batch).enumerate() {
            let counted =
                exponents.iter().enumerate().filter(|(b, _)| !zero(k * *batch + b)).map(|(_, &e)| e);
            let most = counted.max().unwrap_or(0);
            largest.push(most);
            let of_row = |&e: &i32| if e > most { T::zero() } else { power_of_two::<T>(e - most) };
            relative.extend(exponents.iter().map(of_row));
        }
    }

    /// Enters what was found of loss `k` into its record: the only sequence's row, and in one block.
    fn enter_one(&self, k: usize, exponent: i32, products: &StepProducts<T>, record: &mut [f64]) {
        let full = power_of_two::<f64>(exponent);
        for (param, numbers) in self.measured.params.iter().zip(record[1..].chunks_exact_mut(2)) {
            let times = match &param.factor {
                GramFactor::Operands(operands) => {
                    operands[0].map_or(0.0, |operand| products.operand(operand)[0])
                }
                GramFactor::Sequences => self.relative[k].f64().powi(2),
                GramFactor::Sum(_) | GramFactor::Elementwise(_) => 1.0,
            };
            let stats = &self.sides[param.side];
            let count = self.measured.sides[param.side].params;
            numbers[0] = (stats.squares[k].f64() * times).sqrt();
            numbers[1] = stats.inner[k * count + param.n].f64() * full;
        }
    }

    /// The same of several sequences or blocks.
    fn enter(&self, k: usize, exponents: &[i32], products: &StepProducts<T>, record: &mut [f64]) {
        let rows = k * self.batch..(k + 1) * self.batch;
        let full = |r: usize| power_of_two::<f64>(exponents[r]);
        for (slot, param) in self.measured.params.iter().enumerate() {
            let (stats, side) = (&self.sides[param.side], &self.measured.sides[param.side]);
            let inner = rows.clone().map(|r| stats.inner[r * side.params + param.n].f64() * full(r));
            record[RecordLayout::inner(slot)] = inner.sum();
            let mut square = 0.0;
            if param.factor == GramFactor::Sequences {
                square = rows.clone().map(|r| stats.squares[r].f64() * self.relative[r].f64().powi(2)).sum();
            } else {
                for block in 0..side.blocks {
                    let of_block = self.block_square(k, param, block, products);
                    if self.layout.gates > 0 && slot < self.layout.gated {
                        record[self.layout.gate(slot, block)] = of_block.sqrt();
                    }
                    square += of_block;
                }
            }
            record[RecordLayout::norm(slot)] = square.sqrt();
        }
    }

    /// The squared norm of loss `k`'s contribution to one block of a parameter, relative to the loss's largest exponent.
    fn block_square(&self, k: usize, param: &MeasuredParam, block: usize, products: &StepProducts<T>) -> f64 {
        let (stats, blocks) = (&self.sides[param.side], self.measured.sides[param.side].blocks);
        match &param.factor {
            GramFactor::Operands(operands) => operands[block].map_or(0.0, |operand| {
                stats.square_with(k, block, self.batch, blocks, products.operand(operand))
            }),
            GramFactor::Sum(covered) if covered[block] => stats.summed[k * blocks + block].f64(),
            GramFactor::Elementwise(number) => self.elementwise[*number].summed[k * blocks + block].f64(),
            GramFactor::Sum(_) | GramFactor::Sequences => 0.0,
        }
    }

    /// Enters the numbers of every sequence, if they were asked for.
    fn enter_sequences(&self, k: usize, exponents: &[i32], products: &StepProducts<T>, record: &mut [f64]) {
        let Self { measured, layout, batch, .. } = *self;
        for (b, r) in (k * batch..(k + 1) * batch).enumerate().take(layout.batch) {
            let full = power_of_two::<f64>(exponents[r]);
            for (column, what) in measured.columns.iter().enumerate() {
                let size = match *what {
                    SequenceColumn::Rows(side) => {
                        self.sides[side].squares.get(r).map_or(0.0, |square| square.f64().sqrt())
                    }
                    SequenceColumn::Elementwise(number) => self.elementwise[number].squares[r].f64().sqrt(),
                    SequenceColumn::Weighted { param } => self.weighted_size(param, (r, b), products),
                };
                record[layout.sequence(column, b)] = size * full;
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

/// Measures what every loss has left at a cell's initial states: row k of `rows` for the k-th loss.
pub(crate) fn measure_initial<T: Real>(
    rows: &Rows<T>,
    projections: &UpdateProjections<T>,
    losses: &mut [LossRow],
) {
    let batch = rows.batch();
    for (k, loss) in losses.iter_mut().enumerate() {
        let exponents = &rows.exponents[k * batch..(k + 1) * batch];
        for (state, with) in projections.initial().iter().enumerate() {
            let row = |b: usize| rows.row(state, k * batch + b);
            let squares: Vec<f64> = (0..batch).map(|b| kernel::dot(row(b), row(b)).f64()).collect();
            let counted = exponents.iter().zip(&squares).filter(|(_, square)| **square > 0.0);
            let largest = counted.map(|(&e, _)| e).max().unwrap_or(0);
            let (mut square, mut inner) = (0.0, 0.0);
            for (b, &exponent) in exponents.iter().enumerate() {
                if exponent <= largest {
                    square += squares[b] * power_of_two::<f64>(exponent - largest).powi(2);
                }
                inner += kernel::dot(row(b), with.row(b)).f64() * power_of_two::<f64>(exponent);
            }
            loss.initial.push(InitialMeasure {
                norm: square.sqrt() * power_of_two::<f64>(largest),
                log10_norm: square.sqrt().log10() + f64::from(largest) * std::f64::consts::LOG10_2,
                inner,
            });
        }
    }
}
