//! The measuring of all rows of a step at once: two or three passes over them while they are near, and what the passes
//! found, entered into the records of the losses.

use std::ops::Range;

use super::passes::{Factor, Side, With};
use super::projections::{Against, StepProducts};
use super::records::Form;
use crate::array::View;
use crate::kernel;
use crate::kernel::{Real, power_of_two};
use crate::reverse::{Rows, Step};

/// Everything measured of one loss k in one cell, at the steps from which a path leads through the cell to the loss.
pub(crate) struct LossRow {
    /// These steps.
    pub(crate) span: Range<usize>,
    /// A record for each of them, the parameters in the order of [`super::projections::measured`].
    pub(crate) records: Vec<f64>,
    /// dL_k/dh0 and, if there is a c, dL_k/dc0.
    pub(crate) initial: Vec<InitialMeasure>,
}

impl LossRow {
    pub(crate) fn new(span: Range<usize>, form: Form) -> Self {
        let records = vec![0.0; span.len() * form.width()];
        Self { span, records, initial: Vec::new() }
    }

    /// From step `t` back the loss is part of the remainder.
    pub(crate) fn fall(&mut self, t: usize) {
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
pub(crate) struct Meter<T> {
    form: Form,
    batch: usize,
    /// Blocks of columns (gates) that are measured apart.
    blocks: usize,
    /// What brings each row to its size.
    factors: Vec<Factor<T>>,
    /// The same relative to the largest exponent of the row's loss.
    relative: Vec<T>,
    /// That largest exponent.
    largest: Vec<i32>,
    input: Side<T>,
    recurrent: Side<T>,
    dx: Side<T>,
}

/// Σ over losses of the rows of one step, in full, (B, ·) each.
pub(crate) struct StepSums<'a, T> {
    pub(crate) da: &'a mut [T],
    /// Empty unless the cell splits.
    pub(crate) da_hh: &'a mut [T],
    /// Empty unless the inputs are measured.
    pub(crate) dx: &'a mut [T],
}

impl<T: Real> Meter<T> {
    /// For records of this form, `batch` sequences and `blocks` blocks of columns.
    pub(crate) fn new(form: Form, batch: usize, blocks: usize) -> Self {
        Self {
            form,
            batch,
            blocks,
            factors: Vec::new(),
            relative: Vec::new(),
            largest: Vec::new(),
            input: Side::new(),
            recurrent: Side::new(),
            dx: Side::new(),
        }
    }

    /// Measures all rows that a step shows. `rows` are the losses in the order of these rows; `dx` are their gradients with
    /// respect to the inputs, if those are measured.
    pub(crate) fn measure(
        &mut self,
        step: &Step<'_, T>,
        dx: Option<View<'_, T>>,
        products: &StepProducts,
        against: &Against<T>,
        sums: &mut StepSums<'_, T>,
        rows: &mut [LossRow],
    ) {
        let (t, batch) = (step.t, self.batch);
        let splits = !sums.da_hh.is_empty();
        self.factors.clear();
        self.factors.extend(step.exponents.iter().map(|&exponent| Factor::new(exponent)));
        let (ih, hh) = (With::Sequences(against.ih(t)), With::Sequences(against.hh(t)));
        if splits {
            let with = [ih, With::Row(against.bias(0))];
            self.input.pass(step.da, batch, with, &self.factors, sums.da);
            let with = [hh, With::Row(against.bias(1))];
            self.recurrent.pass(step.da_hh, batch, with, &self.factors, sums.da_hh);
        } else {
            let with = [ih, hh, With::Row(against.bias(0))];
            self.input.pass(step.da, batch, with, &self.factors, sums.da);
        }
        let x = against.x(t).filter(|_| dx.is_some());
        if let (Some(dx), Some(x)) = (dx, x) {
            self.dx.pass(dx, batch, [With::Sequences(x)], &self.factors, sums.dx);
        }
        self.find_exponents(step.exponents);
        if batch > 1 || self.blocks > 1 {
            self.input.pairs(step.da, batch, self.blocks, &self.relative);
            if splits {
                self.recurrent.pairs(step.da_hh, batch, self.blocks, &self.relative);
            }
        }
        let slots = self.slots(products, splits);
        let slots = &slots[..self.form.slots];
        for (k, row) in rows.iter_mut().enumerate().take(step.da.rows() / batch) {
            if row.span.contains(&t) {
                let width = self.form.width();
                let place = (t - row.span.start) * width;
                // The records of one loss are written backward, those of many losses in turn: no processor foresees that.
                kernel::prefetch(
                    &row.records,
                    place.saturating_sub(3 * width)..place.saturating_sub(2 * width),
                );
                let record = &mut row.records[place..place + width];
                record[Form::EXPONENT] = f64::from(self.largest[k]);
                if batch == 1 && self.blocks == 1 {
                    self.enter_one(k, step.exponents[k], slots, record);
                } else {
                    self.enter(k, step.exponents, slots, record);
                }
                self.enter_sequences(k, step.exponents, products, splits, record);
            }
        }
    }

    /// Where each parameter's numbers are found, in the order of the parameters; `form.slots` of them count.
    fn slots<'a>(&'a self, products: &'a StepProducts, splits: bool) -> [Slot<'a, T>; 5] {
        let slot = |side, n, count, met| Slot { side, n, count, met };
        let (input, recurrent) = (&self.input, &self.recurrent);
        let (x, h) = (Met::X(products.x()), Met::H(products));
        let dx = slot(&self.dx, 0, 1, Met::Own);
        if splits {
            let (b_ih, b_hh) = (slot(input, 1, 2, Met::One), slot(recurrent, 1, 2, Met::One));
            [slot(input, 0, 2, x), slot(recurrent, 0, 2, h), b_ih, b_hh, dx]
        } else {
            [slot(input, 0, 3, x), slot(input, 1, 3, h), slot(input, 2, 3, Met::One), dx, dx]
        }
    }

    /// The largest exponent among the rows of each loss, and each row's power of two relative to it. A row of zeros (a
    /// masked sequence's) has an exponent that means nothing.
    fn find_exponents(&mut self, exponents: &[i32]) {
        let Self { batch, input, recurrent, relative, largest, .. } = self;
        let zero = |r: usize| {
            let any = |side: &Side<T>| side.squares.get(r).is_some_and(|&square| square > T::zero());
            !any(input) && !any(recurrent)
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
    fn enter_one(&self, k: usize, exponent: i32, slots: &[Slot<'_, T>], record: &mut [f64]) {
        let full = power_of_two::<f64>(exponent);
        for (slot, numbers) in slots.iter().zip(record[1..].chunks_exact_mut(2)) {
            let times = match slot.met {
                Met::X(x) => x[0],
                Met::H(products) => products.recurrent(0, 1)[0],
                Met::One => 1.0,
                Met::Own => self.relative[k].f64().powi(2),
            };
            numbers[0] = (slot.side.squares[k].f64() * times).sqrt();
            numbers[1] = slot.side.inner[k * slot.count + slot.n].f64() * full;
        }
    }

    /// The same of several sequences or blocks.
    fn enter(&self, k: usize, exponents: &[i32], slots: &[Slot<'_, T>], record: &mut [f64]) {
        let Self { form, batch, blocks, .. } = *self;
        let rows = k * batch..(k + 1) * batch;
        let full = |r: usize| power_of_two::<f64>(exponents[r]);
        for (slot, &Slot { side, n, count, met }) in slots.iter().enumerate() {
            let inner = rows.clone().map(|r| side.inner[r * count + n].f64() * full(r));
            record[Form::inner(slot)] = inner.sum();
            let mut square = 0.0;
            if let Met::Own = met {
                square = rows.clone().map(|r| side.squares[r].f64() * self.relative[r].f64().powi(2)).sum();
            } else {
                for block in 0..blocks {
                    let of_block = match met {
                        Met::X(x) => side.square_with(k, block, batch, blocks, x),
                        Met::H(products) => {
                            side.square_with(k, block, batch, blocks, products.recurrent(block, blocks))
                        }
                        _ => side.summed[k * blocks + block].f64(),
                    };
                    if form.gates > 0 {
                        record[form.gate(slot, block)] = of_block.sqrt();
                    }
                    square += of_block;
                }
            }
            record[Form::norm(slot)] = square.sqrt();
        }
    }

    /// Enters the norms of every sequence, if they were asked for.
    fn enter_sequences(
        &self,
        k: usize,
        exponents: &[i32],
        products: &StepProducts,
        splits: bool,
        record: &mut [f64],
    ) {
        let Self { form, batch, blocks, .. } = *self;
        let (input, recurrent) = (&self.input, if splits { &self.recurrent } else { &self.input });
        for (b, r) in (k * batch..(k + 1) * batch).enumerate().take(form.batch) {
            let full = power_of_two::<f64>(exponents[r]);
            record[form.sequence(0, b)] = input.size(r, b, blocks, batch, 1.0) * full;
            record[form.sequence(1, b)] = recurrent.size(r, b, blocks, batch, products.kept_over_h(b)) * full;
            let dx = self.dx.squares.get(r).map_or(0.0, |square| square.f64().sqrt());
            record[form.sequence(2, b)] = dx * full;
        }
    }
}

/// Where the numbers of one parameter are found.
#[derive(Clone, Copy)]
struct Slot<'a, T> {
    side: &'a Side<T>,
    /// Which of the side's inner products is the parameter's.
    n: usize,
    /// How many the side has of each row.
    count: usize,
    met: Met<'a>,
}

/// What rows meet on their way into a parameter's gradient.
#[derive(Clone, Copy)]
enum Met<'a> {
    /// x, of which these are the inner products.
    X(&'a [f64]),
    /// What the rows of W_hh multiply.
    H(&'a StepProducts),
    /// Nothing: they are added up, as in a bias.
    One,
    /// Nothing, and each sequence stays by itself, as in the inputs.
    Own,
}

/// Measures what every loss has left at a cell's initial state: row k of `rows` for the k-th loss.
pub(crate) fn measure_initial<T: Real>(rows: &Rows<T>, against: &Against<T>, losses: &mut [LossRow]) {
    let batch = rows.batch();
    for (k, loss) in losses.iter_mut().enumerate() {
        let exponents = &rows.exponents[k * batch..(k + 1) * batch];
        for (state, with) in against.initial().iter().enumerate() {
            let row = |b: usize| if state == 0 { rows.dh(k * batch + b) } else { rows.dc(k * batch + b) };
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
