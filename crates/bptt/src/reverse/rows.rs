//! The rows that the reverse scan carries: their gradients, and exponents that keep these from under- and overflowing.

use std::ops::Range;

use crate::array::{Aligned, View};
use crate::kernel;
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};
use crate::model::MAX_STATES;

/// Rows whose largest entry is outside 2^±RANGE are brought back to about 1.
const RANGE: i32 = 40;

/// Gradients with respect to the states, rows (k, b). A stored number stands for itself times 2^exponent of its row.
#[derive(Clone, Debug)]
pub(crate) struct Rows<T> {
    /// For each state (K·B, width).
    pub(crate) states: Vec<Aligned<T>>,
    /// One for each row; all zero unless the scan scales its rows.
    pub(crate) exponents: Vec<i32>,
    batch: usize,
    /// Numbers of a row of each state.
    widths: [usize; MAX_STATES],
    /// Of each row the largest number, for [`Rows::keep_in_range`].
    sizes: Vec<T>,
}

impl<T: Real> Default for Rows<T> {
    fn default() -> Self {
        Self {
            states: Vec::new(),
            exponents: Vec::new(),
            batch: 0,
            widths: [0; MAX_STATES],
            sizes: Vec::new(),
        }
    }
}

impl<T: Real> Rows<T> {
    /// Makes them zeros in the memory they have: `rows` for each of `batch` sequences, states of these widths.
    pub(crate) fn clear(&mut self, rows: usize, batch: usize, widths: impl Iterator<Item = usize>) {
        let mut count = 0;
        for (i, width) in widths.enumerate() {
            count = i + 1;
            if self.states.len() < count {
                self.states.push(Aligned::default());
            }
            self.widths[i] = width;
            self.states[i].clear();
            self.states[i].resize(rows * batch * width, T::zero());
        }
        self.states.truncate(count);
        self.exponents.clear();
        self.exponents.resize(rows * batch, 0);
        self.batch = batch;
    }

    /// B, the number of sequences: row r belongs to sequence r mod B.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// How many numbers a row of state `state` has.
    #[inline]
    pub(crate) fn width(&self, state: usize) -> usize {
        self.widths[state]
    }

    /// Row `r` of state `state`.
    pub(crate) fn row(&self, state: usize, r: usize) -> &[T] {
        let width = self.width(state);
        &self.states[state][r * width..(r + 1) * width]
    }

    /// Row `r` of every state, and its exponent, to write.
    pub(crate) fn row_mut(&mut self, r: usize) -> (impl Iterator<Item = &mut [T]>, &mut i32) {
        let parts = self
            .states
            .iter_mut()
            .zip(self.widths)
            .map(move |(state, width)| &mut state[r * width..(r + 1) * width]);
        (parts, &mut self.exponents[r])
    }

    /// The rows `rows` of every state, to write; empty where there is none.
    #[inline]
    pub(crate) fn range_mut(&mut self, rows: Range<usize>) -> [&mut [T]; MAX_STATES] {
        let mut parts: [&mut [T]; MAX_STATES] = Default::default();
        for ((state, part), width) in self.states.iter_mut().zip(&mut parts).zip(self.widths) {
            *part = &mut state[rows.start * width..rows.end * width];
        }
        parts
    }

    /// Copies these rows of every state.
    pub(crate) fn copy_of(&self, rows: &[usize]) -> Vec<T> {
        if rows.is_empty() {
            return Vec::new();
        }
        let states = 0..self.states.len();
        rows.iter().flat_map(|&r| states.clone().map(move |s| self.row(s, r))).flatten().copied().collect()
    }

    /// Puts back what [`Rows::copy_of`] copied.
    pub(crate) fn restore(&mut self, rows: &[usize], copy: &[T]) {
        let mut copy = copy;
        for &r in rows {
            for part in self.row_mut(r).0 {
                let (these, rest) = copy.split_at(part.len());
                part.copy_from_slice(these);
                copy = rest;
            }
        }
    }

    /// Makes row `r` zeros; its exponent stays.
    pub(crate) fn zero(&mut self, r: usize) {
        self.row_mut(r).0.for_each(|part| part.fill(T::zero()));
    }

    /// Adds `added`, numbers times 2^`exponent`, to row `r` of state `state`.
    pub(crate) fn add_to(&mut self, state: usize, r: usize, added: &[T], exponent: i32) {
        let (parts, row_exponent) = self.row_mut(r);
        let mut others: [&mut [T]; MAX_STATES] = Default::default();
        let mut row: &mut [T] = &mut [];
        for (i, part) in parts.enumerate() {
            if i == state { row = part } else { others[i] = part }
        }
        add_row(row, &mut others, row_exponent, added, exponent);
    }

    /// Moves powers of two between the numbers and the exponents so that a row neither underflows nor overflows, however
    /// far it travels. Multiplying by a power of two is exact, so nothing else changes.
    pub(crate) fn keep_in_range(&mut self, open: Range<usize>) {
        let (low, high) = (kernel::power_of_two(-RANGE), kernel::power_of_two(RANGE));
        let rows = self.exponents.len();
        let open = open.start * self.batch..open.end * self.batch;
        let Self { states, sizes, .. } = self;
        sizes.clear();
        sizes.resize(open.end, T::zero());
        for numbers in states.iter() {
            let width = numbers.len() / rows.max(1);
            row_sizes(&numbers[open.start * width..], width, &mut sizes[open.start..]);
        }
        let farthest = -floor_log2(T::min_positive_value().f64()) - 26;
        for r in open {
            let size = self.sizes[r];
            if size == T::zero() || (size >= low && size <= high) || !size.is_finite() {
                continue;
            }
            // No further at a time than a factor of this type can go; the rest follows at the next step.
            let exponent = floor_log2(size.f64()).clamp(-farthest, farthest);
            let factor: T = kernel::power_of_two(-exponent);
            let (parts, row_exponent) = self.row_mut(r);
            for number in parts.flatten() {
                *number *= factor;
            }
            *row_exponent += exponent;
            self.sizes[r] = size * factor;
        }
    }

    /// log₂ of the largest number in any sequence's row of `k`, as [`Rows::keep_in_range`] has just left it.
    pub(crate) fn log2_size(&self, k: usize) -> f64 {
        let rows = k * self.batch..(k + 1) * self.batch;
        let size = |r: usize| self.sizes[r].f64().log2() + f64::from(self.exponents[r]);
        rows.map(size).fold(f64::NEG_INFINITY, f64::max)
    }
}

on_registers! {
    /// sizes_r ← the larger of itself and the largest absolute value of row r; NaN is ignored.
    fn row_sizes<'a, T: Real>(simd, rows: &'a [T], width: usize, sizes: &'a mut [T]) -> () {
        if width == 0 {
            return;
        }
        for (row, size) in rows.chunks_exact(width).zip(sizes) {
            let mut largest = Vector::splat(simd, *size);
            columns::<T, S>(width, #[inline(always)] |at| {
                largest = Vector::load(simd, row, at).abs().max(largest);
            });
            *size = largest.largest();
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // the binary logarithm of a finite number is within ±1100
pub(crate) fn floor_log2(size: f64) -> i32 {
    size.log2().floor() as i32
}

/// row ← row + added · 2^`exponent`, where row stands for itself times 2^`row_exponent`, as do `others`, which only
/// follow the row's exponent. The larger exponent of the two stays, but zeros have none.
pub(crate) fn add_row<T: Real>(
    row: &mut [T],
    others: &mut [&mut [T]],
    row_exponent: &mut i32,
    added: &[T],
    exponent: i32,
) {
    if exponent == *row_exponent {
        kernel::add_scaled(row, T::one(), added);
    } else if kernel::largest(added) > T::zero() {
        if others.iter().fold(kernel::largest(row), |most, other| most.max(kernel::largest(other)))
            == T::zero()
        {
            *row_exponent = exponent;
        } else if exponent > *row_exponent {
            let factor: T = kernel::power_of_two(*row_exponent - exponent);
            for number in row.iter_mut().chain(others.iter_mut().flat_map(|other| other.iter_mut())) {
                *number *= factor;
            }
            *row_exponent = exponent;
        }
        kernel::add_scaled(row, kernel::power_of_two(exponent - *row_exponent), added);
    }
}

/// Σ_p of rows (k, p, b), without the entries (p, column) that `keep` refuses: rows (k, b) and their exponents.
pub(crate) fn sum_of_classes<T: Real>(
    rows: View<'_, T>,
    exponents: &[i32],
    (classes, batch): (usize, usize),
    keep: impl Fn(usize, usize) -> bool,
) -> (Vec<T>, Vec<i32>) {
    let (count, width) = (rows.rows() / classes, rows.cols());
    let (mut sum, mut of_sum) = (vec![T::zero(); count * width], vec![0; count]);
    for (r, &exponent) in exponents.iter().enumerate() {
        let (k, p, b) = (r / (classes * batch), r / batch % classes, r % batch);
        let kept = |(column, &v): (usize, &T)| if keep(p, column) { v } else { T::zero() };
        let row: Vec<T> = rows.row(r).iter().enumerate().map(kept).collect();
        let to = k * batch + b;
        add_row(&mut sum[to * width..(to + 1) * width], &mut [], &mut of_sum[to], &row, exponent);
    }
    (sum, of_sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_far_out_of_range_come_back_without_losing_a_bit() {
        let mut rows = Rows::<f32>::default();
        rows.clear(2, 1, std::iter::once(2));
        rows.states[0].copy_from_slice(&[3.0e-30, -1.5e-31, 5.0e20, 7.0]);
        let before: Vec<f64> = rows.states[0].iter().map(|&v| f64::from(v)).collect();
        rows.keep_in_range(0..2);
        assert!(rows.states[0][0] >= 1.0 && rows.states[0][0] < 2.0);
        for (i, (&v, before)) in rows.states[0].iter().zip(before).enumerate() {
            assert_eq!(f64::from(v) * 2f64.powi(rows.exponents[i / 2]), before);
        }
    }

    #[test]
    fn adding_rows_keeps_the_larger_exponent() {
        let (mut row, mut beside, mut exponent) = ([1.0f32, 2.0], [4.0], -3);
        add_row(&mut row, &mut [&mut beside], &mut exponent, &[1.0, 0.0], 0);
        assert_eq!((row, beside, exponent), ([1.125, 0.25], [0.5], 0));
        add_row(&mut row, &mut [&mut beside], &mut exponent, &[8.0, 8.0], -3);
        assert_eq!((row, exponent), ([2.125, 1.25], 0));
        // Nor may zeros that have come far drag down what is added to them.
        let (mut zeros, mut at) = ([0.0f32; 2], 0);
        add_row(&mut zeros, &mut [], &mut at, &[1.0, 2.0], -500);
        assert_eq!((zeros, at), ([1.0, 2.0], -500));
        // A seed of zeros must not pull a far row up into underflow.
        let mut far = -500;
        add_row(&mut row, &mut [&mut beside], &mut far, &[0.0, 0.0], 0);
        assert_eq!((row, far), ([2.125, 1.25], -500));
    }
}
