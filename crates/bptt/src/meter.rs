//! The measuring of all rows of a step at once: two or three passes over them while they are near.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use std::ops::Range;

use crate::bptt::Step;
use crate::kernel::lanes::{Sum, Vector, parts};
use crate::kernel::{self, on_registers};
use crate::measure::{Against, StepProducts};
use crate::records::Form;
use crate::rows::{Rows, floor_log2};
use crate::sequence::View;
use crate::{Real, kernel::power_of_two};

/// Everything measured of one loss k in one cell, at the steps from which a path leads through the cell to the loss.
pub(crate) struct LossRow {
    /// These steps.
    pub(crate) span: Range<usize>,
    /// A record for each of them, the parameters in the order of [`crate::measure::measured`].
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

/// What a row is multiplied with to get its true size, 2^exponent, in two steps, because one may be out of range. What would
/// be smaller than the smallest normal number is dropped: processors take a hundred times as long for what lies below, and
/// it could not be added with any precision.
#[derive(Clone, Copy)]
struct Factor<T> {
    /// Numbers of the row that are not larger are dropped.
    smallest: T,
    first: T,
    second: T,
}

impl<T: Real> Factor<T> {
    fn new(exponent: i32) -> Self {
        let lowest = floor_log2(T::min_positive_value().f64());
        let second = exponent.clamp(lowest, -lowest);
        Self {
            smallest: power_of_two((lowest - exponent).max(lowest)),
            first: if exponent - second < lowest { T::zero() } else { power_of_two(exponent - second) },
            second: power_of_two(second),
        }
    }
}

/// What passes over the rows of one side have found.
#[derive(Default)]
struct Side<T> {
    /// ‖row‖².
    squares: Vec<T>,
    /// Inner products with what shares are measured against, those of one row side by side.
    inner: Vec<T>,
    /// Inner products of the rows of each loss with each other, B·B for each block of columns.
    gram: Vec<T>,
    /// The squared norm of the sum of a loss's rows, for each block.
    summed: Vec<T>,
}

/// What rows are multiplied with.
#[derive(Clone, Copy)]
pub(crate) enum With<'a, T> {
    /// The same row for all of them.
    Row(&'a [T]),
    /// Each sequence's own row, (B, ·).
    Sequences(View<'a, T>),
}

impl<'a, T: Real> With<'a, T> {
    #[inline(always)]
    fn of(&self, b: usize) -> &'a [T] {
        match self {
            Self::Row(row) => row,
            Self::Sequences(rows) => rows.row(b),
        }
    }
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
        let side = || Side { squares: Vec::new(), inner: Vec::new(), gram: Vec::new(), summed: Vec::new() };
        Self {
            form,
            batch,
            blocks,
            factors: Vec::new(),
            relative: Vec::new(),
            largest: Vec::new(),
            input: side(),
            recurrent: side(),
            dx: side(),
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
                    self.enter_one(k, step.exponents[k], &slots, record);
                } else {
                    self.enter(k, step.exponents, &slots, record);
                }
                self.enter_sequences(k, step.exponents, products, splits, record);
            }
        }
    }

    /// Where each parameter's numbers are found, in the order of the parameters.
    fn slots<'a>(&'a self, products: &'a StepProducts, splits: bool) -> Vec<Slot<'a, T>> {
        let slot = |side, n, count, met| Slot { side, n, count, met };
        let (input, recurrent) = (&self.input, &self.recurrent);
        let (x, h) = (Met::X(products.x()), Met::H(products));
        let mut slots = if splits {
            vec![
                slot(input, 0, 2, x),
                slot(recurrent, 0, 2, h),
                slot(input, 1, 2, Met::One),
                slot(recurrent, 1, 2, Met::One),
            ]
        } else {
            vec![slot(input, 0, 3, x), slot(input, 1, 3, h), slot(input, 2, 3, Met::One)]
        };
        slots.push(slot(&self.dx, 0, 1, Met::Own));
        slots.truncate(self.form.slots);
        slots
    }

    /// The largest exponent among the rows of each loss, and each row's power of two relative to it. A row of zeros (a
    /// masked sequence's) has an exponent that means nothing.
    fn find_exponents(&mut self, exponents: &[i32]) {
        let squares = self.input.squares.iter();
        let recurrent = self.recurrent.squares.iter().copied().chain(std::iter::repeat(T::zero()));
        let rows: Vec<bool> =
            squares.zip(recurrent).map(|(&square, other)| square > T::zero() || other > T::zero()).collect();
        self.largest.clear();
        self.relative.clear();
        for (exponents, counts) in exponents.chunks_exact(self.batch).zip(rows.chunks_exact(self.batch)) {
            let counted = exponents.iter().zip(counts).filter(|(_, counts)| **counts).map(|(&e, _)| e);
            let largest = counted.max().unwrap_or(0);
            self.largest.push(largest);
            let relative = |&e: &i32| if e > largest { T::zero() } else { power_of_two::<T>(e - largest) };
            self.relative.extend(exponents.iter().map(relative));
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

impl<T: Real> Side<T> {
    /// One pass over the rows: squares, inner products, and their sum in full.
    fn pass<const N: usize>(
        &mut self,
        rows: View<'_, T>,
        batch: usize,
        with: [With<'_, T>; N],
        factors: &[Factor<T>],
        sums: &mut [T],
    ) {
        self.squares.resize(rows.rows(), T::zero());
        self.inner.resize(rows.rows() * N, T::zero());
        pass(rows, batch, with, factors, sums, &mut self.squares, &mut self.inner);
    }

    /// Inner products of the rows of each loss with each other, and the size of their sum, by blocks of columns.
    fn pairs(&mut self, rows: View<'_, T>, batch: usize, blocks: usize, relative: &[T]) {
        let losses = rows.rows() / batch;
        self.gram.resize(losses * blocks * batch * batch, T::zero());
        self.summed.resize(losses * blocks, T::zero());
        gram(rows, batch, blocks, relative, &mut self.gram);
        summed(rows, batch, blocks, relative, &mut self.summed);
    }

    /// ‖Σ_b da_b v_bᵀ‖² of one block, from the inner products of the v.
    fn square_with(&self, k: usize, block: usize, batch: usize, blocks: usize, v: &[f64]) -> f64 {
        let gram = &self.gram[(k * blocks + block) * batch * batch..][..batch * batch];
        let mut sum = 0.0;
        for a in 0..batch {
            let (gram, v) = (&gram[a * batch..][..=a], &v[a * batch..][..=a]);
            let others: f64 = gram[..a].iter().zip(v).map(|(gram, v)| gram.f64() * v).sum();
            sum += gram[a].f64() * v[a] + 2.0 * others;
        }
        // Terms that cancel may leave a rounding error below zero.
        sum.max(0.0)
    }

    /// ‖da‖ of row `r`, the square of the last block's part taken times `last`.
    fn size(&self, r: usize, b: usize, blocks: usize, batch: usize, last: f64) -> f64 {
        if last == 1.0 {
            return self.squares[r].f64().sqrt();
        }
        let place = |block: usize| ((r / batch) * blocks + block) * batch * batch + b * (batch + 1);
        let square = |block: usize| -> f64 { self.gram[place(block)].f64() };
        let whole: f64 = (0..blocks).map(square).sum();
        let rest = whole - square(blocks - 1);
        // The inner products are relative to the loss's largest exponent; only their ratio counts here.
        let ratio = if whole > 0.0 { (rest + square(blocks - 1) * last) / whole } else { 1.0 };
        (self.squares[r].f64() * ratio).sqrt()
    }
}

on_registers! {
    /// Of every row ‖row‖² and ⟨row, with⟩; and sums_b ← sums_b + Σ factor · row over the rows of sequence b, without what is
    /// below the format's normal numbers.
    fn pass<'a, T, const N: usize>(
        simd,
        rows: View<'a, T>,
        batch: usize,
        with: [With<'a, T>; N],
        factors: &'a [Factor<T>],
        sums: &'a mut [T],
        squares: &'a mut [T],
        inner: &'a mut [T],
    ) -> () {
        let width = rows.cols();
        for r in 0..rows.rows() {
            let (row, b) = (rows.row(r), r % batch);
            let with = with.map(#[inline(always)] |with| with.of(b));
            let sums = &mut sums[b * width..(b + 1) * width];
            let zero = Vector::splat(simd, T::zero());
            let Factor { smallest, first, second } = factors[r];
            let (smallest, first) = (Vector::splat(simd, smallest), Vector::splat(simd, first));
            let second = Vector::splat(simd, second);
            let (mut square, mut products) = (Sum::new(simd), [Sum::new(simd); N]);
            parts::<T, S>(width, #[inline(always)] |at, part| {
                let row = Vector::load(simd, row, at);
                square.add_product(part, row, row);
                for n in 0..N {
                    products[n].add_product(part, row, Vector::load(simd, with[n], at));
                }
                let kept = row.abs().if_greater(smallest, row, zero) * first;
                kept.mul_add(second, Vector::load(simd, sums, at)).store(sums, at);
            });
            squares[r] = square.total();
            for n in 0..N {
                inner[r * N + n] = products[n].total();
            }
        }
    }

    /// Inner products of the rows of each loss with each other (b ≤ a), each row times its factor, for each block of columns.
    fn gram<'a, T>(
        simd,
        rows: View<'a, T>,
        batch: usize,
        blocks: usize,
        relative: &'a [T],
        gram: &'a mut [T],
    ) -> () {
        let width = rows.cols() / blocks;
        for (i, gram) in gram.chunks_exact_mut(batch * batch).enumerate().take(rows.rows() / batch * blocks) {
            let (first, columns) = (i / blocks * batch, i % blocks * width..(i % blocks + 1) * width);
            for a in 0..batch {
                let row = &rows.row(first + a)[columns.clone()];
                // Four at a time: each is a chain of additions that the others need not wait for.
                for others in (0..=a).step_by(4) {
                    let with: [&[T]; 4] =
                        std::array::from_fn(#[inline(always)] |n| &rows.row(first + (others + n).min(a))[columns.clone()]);
                    let mut products = [Sum::new(simd); 4];
                    parts::<T, S>(width, #[inline(always)] |at, part| {
                        let row = Vector::load(simd, row, at);
                        for n in 0..4 {
                            products[n].add_product(part, row, Vector::load(simd, with[n], at));
                        }
                    });
                    // Written out: sums that are looked up by a number would lie in memory, not in registers.
                    let [p, q, r, s] = products;
                    let totals = [p.total(), q.total(), r.total(), s.total()];
                    for (b, total) in (others..=a).zip(totals) {
                        gram[a * batch + b] = total * (relative[first + a] * relative[first + b]);
                    }
                }
            }
        }
    }

    /// ‖Σ_b relative_b row_b‖² of each loss, for each block of columns.
    fn summed<'a, T>(
        simd,
        rows: View<'a, T>,
        batch: usize,
        blocks: usize,
        relative: &'a [T],
        squares: &'a mut [T],
    ) -> () {
        let width = rows.cols() / blocks;
        for (i, square) in squares.iter_mut().enumerate().take(rows.rows() / batch * blocks) {
            let (first, block) = (i / blocks * batch, i % blocks * width);
            let mut total = Sum::new(simd);
            parts::<T, S>(width, #[inline(always)] |at, part| {
                let mut sum = Vector::splat(simd, T::zero());
                for b in 0..batch {
                    let row = &rows.row(first + b)[block..block + width];
                    sum = Vector::load(simd, row, at).mul_add(sum.and(relative[first + b]), sum);
                }
                total.add_product(part, sum, sum);
            });
            *square = total.total();
        }
    }
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
