//! Rows that have become too small to be told apart: they fall out of their block, and go on together as one.
//!
//! A row falls once its largest number is at most a tolerance times the largest it has had, and the rows opened before it
//! have fallen; then the open rows are still side by side. What has fallen, at whatever step and from whatever block, enters
//! one row of a reverse scan of its own, the remainder, so nothing is lost. A block is done when its last row has fallen.

use std::ops::Range;

use super::rows::{Rows, add_row};
use crate::kernel::Real;

/// A row on its way back, at the step from which on it is part of the remainder.
#[derive(Clone, Debug)]
pub(crate) struct Fallen<T> {
    /// The step.
    pub(crate) t: usize,
    /// Which row it was.
    pub(crate) row: usize,
    /// (B, H).
    dh: Vec<T>,
    /// (B, H), or empty.
    dc: Vec<T>,
    /// One for each sequence.
    exponents: Vec<i32>,
}

impl<T: Real> Fallen<T> {
    /// Adds it to the first row.
    pub(crate) fn enter(&self, rows: &mut Rows<T>) {
        let batch = self.exponents.len();
        let (hidden, memory) = (self.dh.len() / batch, self.dc.len() / batch);
        for (b, &exponent) in self.exponents.iter().enumerate() {
            let (dh, dc, row_exponent) = rows.parts_mut(b);
            add_row(dh, dc, row_exponent, &self.dh[b * hidden..(b + 1) * hidden], exponent);
            add_row(dc, dh, row_exponent, &self.dc[b * memory..(b + 1) * memory], exponent);
        }
    }
}

/// What has fallen of one block in one cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Falling<T> {
    /// The rows that have, but for those of zeros.
    pub(crate) fallen: Vec<Fallen<T>>,
    /// log₂ of the largest number that each row has had.
    largest: Vec<f64>,
}

impl<T: Real> Falling<T> {
    /// For a block of `rows` rows that have not yet been opened.
    pub(crate) fn clear(&mut self, rows: usize) {
        self.fallen.clear();
        self.largest.clear();
        self.largest.resize(rows, f64::NEG_INFINITY);
    }

    /// Lets those of the rows `open` fall that may; from row `limit` on they may not. Leaves zeros in their places and
    /// returns the first that has not fallen. The rows have just been brought in range.
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
                self.fall(rows, row, t, size > f64::NEG_INFINITY);
                first += 1;
            }
        }
        first
    }

    fn fall(&mut self, rows: &mut Rows<T>, row: usize, t: usize, counts: bool) {
        let of_row = row * rows.batch()..(row + 1) * rows.batch();
        if counts {
            self.fallen.push(Fallen {
                t,
                row,
                dh: of_row.clone().flat_map(|r| rows.dh(r).to_vec()).collect(),
                dc: of_row.clone().flat_map(|r| rows.dc(r).to_vec()).collect(),
                exponents: rows.exponents[of_row.clone()].to_vec(),
            });
        }
        for r in of_row {
            let (dh, dc, exponent) = rows.parts_mut(r);
            dh.fill(T::zero());
            dc.fill(T::zero());
            *exponent = 0;
        }
    }
}
