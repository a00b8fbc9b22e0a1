//! Rows that are too small to be distinguished: they leave their block and go on together as one.
//!
//! A row is merged once its largest number is at most a tolerance times the largest it has had and the rows opened before it
//! are merged; then the open rows are still the first ones side by side. Merged rows, at whatever step and from whatever
//! block, enter the single row of a reverse scan of their own, the remainder, so nothing is lost. A block is done when its
//! last row is merged.

use std::ops::Range;

use super::rows::Rows;
use crate::kernel::Real;

/// A row at the step from which on it is part of the remainder.
#[derive(Clone, Debug)]
pub(crate) struct MergedRow<T> {
    /// The step.
    pub(crate) t: usize,
    /// Which row it was.
    pub(crate) row: usize,
    /// For each state (B, width).
    states: Vec<Vec<T>>,
    /// One for each sequence.
    exponents: Vec<i32>,
}

impl<T: Real> MergedRow<T> {
    /// Adds it to the first row.
    pub(crate) fn enter(&self, rows: &mut Rows<T>) {
        let batch = self.exponents.len();
        for (b, &exponent) in self.exponents.iter().enumerate() {
            for (state, numbers) in self.states.iter().enumerate() {
                let width = numbers.len() / batch;
                rows.add_to(state, b, &numbers[b * width..(b + 1) * width], exponent);
            }
        }
    }
}

/// What was merged of one block in one cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToleranceState<T> {
    /// The merged rows, but for those of zeros.
    pub(crate) merged: Vec<MergedRow<T>>,
    /// log₂ of the largest number that each row has had.
    largest: Vec<f64>,
}

impl<T: Real> ToleranceState<T> {
    /// For a block of `rows` rows that have not yet been opened.
    pub(crate) fn clear(&mut self, rows: usize) {
        self.merged.clear();
        self.largest.clear();
        self.largest.resize(rows, f64::NEG_INFINITY);
    }

    /// Merges those of the rows `open` that are small enough; from row `limit` on none may be. Leaves zeros in their places
    /// and returns the first that is not merged. The rows have just been brought in range.
    pub(crate) fn step(
        &mut self,
        rows: &mut Rows<T>,
        open: Range<usize>,
        limit: usize,
        tolerance: f64,
        t: usize,
    ) -> usize {
        let mut first = open.start;
        for row in open {
            let size = rows.log2_size(row);
            self.largest[row] = self.largest[row].max(size);
            if row == first && row < limit && size <= self.largest[row] + tolerance.log2() {
                self.merge(rows, row, t, size > f64::NEG_INFINITY);
                first += 1;
            }
        }
        first
    }

    fn merge(&mut self, rows: &mut Rows<T>, row: usize, t: usize, counts: bool) {
        let of_row = row * rows.batch()..(row + 1) * rows.batch();
        if counts {
            let state = |s: usize| of_row.clone().flat_map(|r| rows.row(s, r).to_vec()).collect();
            self.merged.push(MergedRow {
                t,
                row,
                states: (0..rows.states.len()).map(state).collect(),
                exponents: rows.exponents[of_row.clone()].to_vec(),
            });
        }
        for r in of_row {
            rows.zero(r);
            rows.exponents[r] = 0;
        }
    }
}
