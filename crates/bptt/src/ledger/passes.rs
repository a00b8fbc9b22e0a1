//! Passes over all rows of a step, and what they have found.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::Simd;

use super::projections::StepProjection;
use crate::array::View;
use crate::kernel::columns::{Sum, parts};
use crate::kernel::lanes::Vector;
use crate::kernel::{self, Real, on_registers, power_of_two};
use crate::reverse::floor_log2;

/// What a row is multiplied with to get its true size, 2^exponent, in two steps, because one may be out of range. What would
/// be smaller than the smallest normal number is dropped: processors take a hundred times as long for what lies below, and
/// it could not be added with any precision.
#[derive(Clone, Copy)]
pub(super) struct Factor<T> {
    /// Numbers of the row that are not larger are dropped.
    smallest: T,
    first: T,
    second: T,
}

impl<T: Real> Factor<T> {
    pub(super) fn new(exponent: i32) -> Self {
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
pub(super) struct RowStats<T> {
    /// ‖row‖².
    pub(super) squares: Vec<f64>,
    /// Inner products with the update's projections, those of one row side by side.
    pub(super) inner: Vec<T>,
    /// Inner products of the rows of each loss with each other, B·B for each block of columns.
    gram: Vec<f64>,
    /// The squared norm of the sum of a loss's rows, for each block.
    pub(super) summed: Vec<f64>,
}

/// What a pass over the rows of one side found with the operand of an elementwise parameter.
#[derive(Default)]
pub(super) struct ElementwiseStats {
    /// ‖row ∘ v‖².
    pub(super) squares: Vec<f64>,
    /// The squared norm of the sum of a loss's row ∘ v, for each block.
    pub(super) summed: Vec<f64>,
}

impl ElementwiseStats {
    /// For rows and `v`, (B, width).
    pub(super) fn pass<T: Real>(
        &mut self,
        rows: View<'_, T>,
        v: &[T],
        (batch, blocks): (usize, usize),
        relative: &[T],
    ) {
        let width = rows.cols();
        self.squares.clear();
        self.summed.clear();
        let mut products = vec![T::zero(); rows.rows() * width];
        for (r, product) in products.chunks_exact_mut(width).enumerate() {
            let (row, v) = (rows.row(r), &v[r % batch * width..][..width]);
            product.copy_from_slice(row);
            kernel::multiply_by(product, v);
            let square = kernel::dot(product, product);
            let in_double = || row.iter().zip(v).map(|(row, v)| (row.f64() * v.f64()).powi(2)).sum();
            self.squares.push(if is_dropped(square) { in_double() } else { square.f64() });
        }
        self.summed.resize(rows.rows() / batch * blocks, 0.0);
        summed(View::new(rows.rows(), width, &products), batch, blocks, relative, &mut self.summed);
        for (i, square) in
            self.summed.iter_mut().enumerate().filter(|(_, square)| is_dropped(T::of(**square)))
        {
            let (first, width) = (i / blocks * batch, width / blocks);
            let of_column = |column: usize| -> f64 {
                let of = |b: usize| {
                    let v = v[b * rows.cols() + column].f64();
                    relative[first + b].f64() * rows.row(first + b)[column].f64() * v
                };
                (0..batch).map(of).sum::<f64>().powi(2)
            };
            *square = (i % blocks * width..(i % blocks + 1) * width).map(of_column).sum();
        }
    }
}

/// Whether a sum of products of two numbers each is so small that some of the products may be below the format's normal numbers.
/// Rows are kept near 1 by their states: where a gate is shut, its adjoint is far smaller, and the square of that would be
/// zero in single precision. Double precision has the range for it.
#[inline(always)]
fn is_dropped<T: Real>(sum: T) -> bool {
    // A thousand products may be added without a relative error above 1e-7.
    let smallest = T::min_positive_value().f64() / T::epsilon().f64() * 1024.0;
    smallest > 1e-100 && sum.f64().abs() < smallest
}

/// An inner product of two rows, in double precision if it may be dropped in their own.
#[inline(always)]
fn in_range<T: Real>(product: T, a: &[T], b: &[T]) -> f64 {
    if is_dropped(product) { in_double(a, b) } else { product.f64() }
}

#[cold]
#[inline(never)]
fn in_double<T: Real>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum()
}

/// ‖Σ_b relative_b row_b‖² over some columns, in double precision.
#[cold]
#[inline(never)]
fn summed_in_double<'a, T: Real>(row: impl Fn(usize) -> &'a [T], relative: &[T]) -> f64 {
    let of_column = |column: usize| -> f64 {
        let of = |(b, relative): (usize, &T)| relative.f64() * row(b)[column].f64();
        relative.iter().enumerate().map(of).sum::<f64>().powi(2)
    };
    (0..row(0).len()).map(of_column).sum()
}

impl<'a, T: Real> StepProjection<'a, T> {
    #[inline(always)]
    fn of(&self, b: usize) -> &'a [T] {
        match self {
            Self::Row(row) => row,
            Self::Sequences(rows) => rows.row(b),
        }
    }
}

impl<T: Real> RowStats<T> {
    pub(super) fn new() -> Self {
        Self { squares: Vec::new(), inner: Vec::new(), gram: Vec::new(), summed: Vec::new() }
    }

    /// One pass over the rows: squares, inner products, and their sum in full.
    pub(super) fn pass<const N: usize>(
        &mut self,
        rows: View<'_, T>,
        batch: usize,
        with: [StepProjection<'_, T>; N],
        factors: &[Factor<T>],
        sums: &mut [T],
    ) {
        self.squares.resize(rows.rows(), 0.0);
        self.inner.resize(rows.rows() * N, T::zero());
        pass(rows, batch, with, factors, sums, &mut self.squares, &mut self.inner);
    }

    /// Inner products of the rows of each loss with each other, and the size of their sum, by blocks of columns.
    pub(super) fn pairs(&mut self, rows: View<'_, T>, batch: usize, blocks: usize, relative: &[T]) {
        let losses = rows.rows() / batch;
        self.gram.resize(losses * blocks * batch * batch, 0.0);
        self.summed.resize(losses * blocks, 0.0);
        gram(rows, batch, blocks, relative, &mut self.gram);
        summed(rows, batch, blocks, relative, &mut self.summed);
    }

    /// ‖row‖² of sequence `b` of one block, times its factor squared.
    pub(super) fn row_square(&self, k: usize, block: usize, b: usize, batch: usize, blocks: usize) -> f64 {
        self.gram[((k * blocks + block) * batch + b) * batch + b]
    }

    /// ‖Σ_b da_b v_bᵀ‖² of one block, from the inner products of the v.
    pub(super) fn square_with(&self, k: usize, block: usize, batch: usize, blocks: usize, v: &[f64]) -> f64 {
        let gram = &self.gram[(k * blocks + block) * batch * batch..][..batch * batch];
        let mut sum = 0.0;
        for a in 0..batch {
            let (gram, v) = (&gram[a * batch..][..=a], &v[a * batch..][..=a]);
            let others: f64 = gram[..a].iter().zip(v).map(|(gram, v)| gram * v).sum();
            sum += gram[a] * v[a] + 2.0 * others;
        }
        // Terms that cancel may leave a rounding error below zero.
        sum.max(0.0)
    }

    /// ‖row‖ of row `r` of sequence `b`, the squares of its blocks' parts taken times `weights`.
    pub(super) fn weighted_size(&self, r: usize, b: usize, batch: usize, weights: &[f64]) -> f64 {
        let blocks = weights.len();
        let place = |block: usize| ((r / batch) * blocks + block) * batch * batch + b * (batch + 1);
        let square = |block: usize| -> f64 { self.gram[place(block)] };
        let whole: f64 = (0..blocks).map(square).sum();
        let other = || weights.iter().enumerate().filter(|(_, weight)| **weight != 1.0);
        let rest = other().fold(whole, |rest, (block, _)| rest - square(block));
        let weighted = other().fold(rest, |sum, (block, weight)| sum + square(block) * weight);
        // The inner products are relative to the loss's largest exponent; only their ratio counts here.
        let ratio = if whole > 0.0 { weighted / whole } else { 1.0 };
        (self.squares[r] * ratio).sqrt()
    }
}

/// gram_ab ← ⟨row_a, row_b⟩ relative_a relative_b for b ≤ a, in blocks of A rows and B others.
#[inline(always)]
fn gram_of<'a, T: Real, S: Simd, const A: usize, const B: usize>(
    simd: S,
    row: impl Fn(usize) -> &'a [T],
    relative: &[T],
    gram: &mut [f64],
) {
    let batch = relative.len();
    for first in (0..batch).step_by(A) {
        let last = (first + A).min(batch) - 1;
        for others in (0..=last).step_by(B) {
            let rows: [&[T]; A] = std::array::from_fn(
                #[inline(always)]
                |i| row((first + i).min(last)),
            );
            let with: [&[T]; B] = std::array::from_fn(
                #[inline(always)]
                |j| row((others + j).min(last)),
            );
            let mut products = [[Sum::new(simd); B]; A];
            parts::<T, S>(
                rows[0].len(),
                #[inline(always)]
                |at, part| {
                    // Written out: what `map` calls is not always inlined, and then compiled without the registers.
                    let mut loaded = [Vector::splat(simd, T::zero()); B];
                    for j in 0..B {
                        loaded[j] = Vector::load(simd, with[j], at);
                    }
                    for i in 0..A {
                        let row = Vector::load(simd, rows[i], at);
                        for j in 0..B {
                            products[i][j].add_product(part, row, loaded[j]);
                        }
                    }
                },
            );
            let totals = products.map(
                #[inline(always)]
                |products| products.map(Sum::total),
            );
            for ((a, totals), of_a) in (first..=last).zip(totals).zip(rows) {
                for ((b, total), of_b) in (others..=a).zip(totals).zip(with) {
                    let factor = relative[a].f64() * relative[b].f64();
                    gram[a * batch + b] = in_range(total, of_a, of_b) * factor;
                }
            }
        }
    }
}

on_registers! {
    /// Of every row ‖row‖² and ⟨row, with⟩; and sums_b ← sums_b + Σ factor · row over the rows of sequence b, without what is
    /// below the format's normal numbers.
    fn pass<'a, T: Real, const N: usize>(
        simd,
        rows: View<'a, T>,
        batch: usize,
        with: [StepProjection<'a, T>; N],
        factors: &'a [Factor<T>],
        sums: &'a mut [T],
        squares: &'a mut [f64],
        inner: &'a mut [T],
    ) -> () {
        let width = rows.cols();
        for r in 0..rows.rows() {
            let (numbers, b) = (rows.row(r), r % batch);
            let with = with.map(#[inline(always)] |with| with.of(b));
            let sums = &mut sums[b * width..(b + 1) * width];
            let zero = Vector::splat(simd, T::zero());
            let Factor { smallest, first, second } = factors[r];
            let (smallest, first) = (Vector::splat(simd, smallest), Vector::splat(simd, first));
            let second = Vector::splat(simd, second);
            let (mut square, mut products) = (Sum::new(simd), [Sum::new(simd); N]);
            parts::<T, S>(width, #[inline(always)] |at, part| {
                let row = Vector::load(simd, numbers, at);
                square.add_product(part, row, row);
                for n in 0..N {
                    products[n].add_product(part, row, Vector::load(simd, with[n], at));
                }
                let kept = row.abs().if_greater(smallest, row, zero) * first;
                kept.mul_add(second, Vector::load(simd, sums, at)).store(sums, at);
            });
            squares[r] = in_range(square.total(), numbers, numbers);
            for n in 0..N {
                inner[r * N + n] = products[n].total();
            }
        }
    }

    /// Inner products of the rows of each loss with each other (b ≤ a), each row times its factor, for each block of columns.
    fn gram<'a, T: Real>(
        simd,
        rows: View<'a, T>,
        batch: usize,
        blocks: usize,
        relative: &'a [T],
        gram: &'a mut [f64],
    ) -> () {
        let width = rows.cols() / blocks;
        for (i, gram) in gram.chunks_exact_mut(batch * batch).enumerate().take(rows.rows() / batch * blocks) {
            let (first, columns) = (i / blocks * batch, i % blocks * width..(i % blocks + 1) * width);
            let row = |b: usize| &rows.row(first + b)[columns.clone()];
            let relative = &relative[first..first + batch];
            // As many at a time as keep their sums in registers, each of which is used for several.
            if S::REGISTER_COUNT >= 32 {
                gram_of::<T, S, 2, 4>(simd, row, relative, gram);
            } else {
                gram_of::<T, S, 1, 2>(simd, row, relative, gram);
            }
        }
    }

    /// ‖Σ_b relative_b row_b‖² of each loss, for each block of columns.
    fn summed<'a, T: Real>(
        simd,
        rows: View<'a, T>,
        batch: usize,
        blocks: usize,
        relative: &'a [T],
        squares: &'a mut [f64],
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
            let total = total.total();
            *square = if is_dropped(total) {
                let row = |b: usize| &rows.row(first + b)[block..block + width];
                summed_in_double(row, &relative[first..first + batch])
            } else {
                total.f64()
            };
        }
    }
}
