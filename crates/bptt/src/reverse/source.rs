//! Where gradients enter a reverse scan.

use std::ops::Range;

use super::plan::Plan;
use super::rows::{Rows, add_row};
use super::tolerance::MergedRow;
use crate::array::{Aligned, Sequence, View};
use crate::forward::{Losses, SequenceBoundaries};
use crate::kernel;
use crate::kernel::{Packed, Real, Start};
use crate::model::Direction;

/// Where gradients enter the top layer of a reverse scan: at the losses, or where rows were merged, for each cell the last
/// step first; these all enter the first row.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a, T> {
    /// The gradients of the losses.
    Losses(&'a Losses<T>),
    /// Merged rows of each cell.
    Merged(&'a [Vec<MergedRow<T>>]),
}

/// What a layer sends into the one below it: for every step and row the gradient with respect to the lower output.
pub(super) struct LowerLayerGrads<T> {
    /// (T, K·B, D·P).
    numbers: Sequence<T>,
    /// (T, K·B).
    exponents: Vec<i32>,
    /// How many rows (k) were open at each step.
    open: Vec<usize>,
    /// How many of them were merged.
    merged: Vec<usize>,
}

impl<T: Real> LowerLayerGrads<T> {
    pub(super) fn zeros(steps: usize, rows: usize, features: usize) -> Self {
        let numbers = Sequence::zeros(steps, rows, features);
        // At a step that is not visited, all rows that were ever open are merged.
        Self { numbers, exponents: vec![0; steps * rows], open: vec![0; steps], merged: vec![rows; steps] }
    }

    /// Adds `dx`, the rows of one cell's step from row `first` on.
    pub(super) fn add(&mut self, t: usize, first: usize, dx: View<'_, T>, exponents: &[i32], batch: usize) {
        self.open[t] = self.open[t].max(first + dx.rows() / batch);
        self.merged[t] = first;
        for (r, &exponent) in exponents.iter().enumerate() {
            let to = first * batch + r;
            let place = t * self.numbers.batch() + to;
            let row = self.numbers.at_mut(t, to);
            add_row(row, &mut [], &mut self.exponents[place], dx.row(r), exponent);
        }
    }

    /// How many rows were merged at step `t`.
    pub(super) fn merged_at(&self, t: usize) -> usize {
        self.merged[t]
    }
}

/// What the readout sends into a cell that reads one sequence, at some steps.
#[derive(Clone, Debug)]
pub(super) struct ReadoutGrads<T> {
    steps: Range<usize>,
    /// dy W_hy, (len, P).
    dh: Aligned<T>,
}

/// For how many steps they are made at once.
const STEPS_AT_ONCE: usize = 48;

impl<T: Real> Default for ReadoutGrads<T> {
    fn default() -> Self {
        Self { steps: 0..0, dh: Aligned::default() }
    }
}

impl<T: Real> ReadoutGrads<T> {
    pub(super) fn clear(&mut self) {
        self.steps = 0..0;
    }

    fn make(&mut self, steps: Range<usize>, dy: &Sequence<T>, w_hy: &Packed<T>) {
        self.dh.resize(steps.len() * w_hy.cols(), T::zero());
        T::multiply(&mut self.dh, w_hy.cols(), Start::Zero, dy.rows(steps.clone()), w_hy);
        self.steps = steps;
    }

    /// Those of step `t`, (P).
    fn dh(&self, t: usize, width: usize) -> &[T] {
        &self.dh[(t - self.steps.start) * width..][..width]
    }
}

/// What enters one cell.
pub(super) struct CellSource<'a, T> {
    /// Where gradients enter the top layer.
    pub(super) source: Source<'a, T>,
    /// What the layer above sends, below the top.
    pub(super) above: Option<&'a LowerLayerGrads<T>>,
    /// The number of the cell.
    pub(super) index: usize,
    /// The columns of the output that are this cell's.
    pub(super) columns: Range<usize>,
    /// W_hy's columns for this cell's direction, if there is a readout.
    pub(super) readout: Option<&'a Packed<T>>,
    pub(super) direction: Direction,
    pub(super) boundaries: &'a SequenceBoundaries,
    pub(super) plan: &'a Plan,
}

impl<T: Real> CellSource<'_, T> {
    /// Adds what enters h (and c, of a loss that reads it) at step `t`: the gradient of the step's own loss, the upper layer's, or merged rows. Returns how
    /// many losses are open now; `open` were before.
    pub(super) fn add_to(
        &self,
        rows: &mut Rows<T>,
        readout_grads: &mut ReadoutGrads<T>,
        t: usize,
        open: usize,
        classes: usize,
    ) -> usize {
        let batch = rows.batch();
        let mut open = open;
        if let Source::Merged(merged) = self.source {
            let merged = &merged[self.index];
            let later = merged.partition_point(|merged| merged.t > t);
            for merged in merged[later..].iter().take_while(|merged| merged.t == t) {
                merged.enter(rows);
                open = open.max(1);
            }
        }
        match (self.above, self.source) {
            (Some(above), _) => {
                for r in above.merged[t].min(above.open[t]) * batch..above.open[t] * batch {
                    let exponent = above.exponents[t * above.numbers.batch() + r];
                    let seed = &above.numbers.at(t, r)[self.columns.clone()];
                    rows.add_to(0, r / batch * classes * batch + r % batch, seed, exponent);
                }
                open.max(above.open[t])
            }
            (None, Source::Losses(losses)) => {
                let Some(row) = self.plan.row(t) else { return open };
                self.add_loss(rows, readout_grads, losses, t, row * classes * batch);
                // Rows are numbered as a forward cell opens them; a reverse cell opens them all at once.
                let forward = self.direction == Direction::Forward;
                if forward { open.max(row + 1) } else { self.plan.groups().len() }
            }
            (None, Source::Merged(_)) => open,
        }
    }

    /// Adds the gradient of step t's loss to the rows from `first` on.
    fn add_loss(
        &self,
        rows: &mut Rows<T>,
        readout_grads: &mut ReadoutGrads<T>,
        losses: &Losses<T>,
        t: usize,
        first: usize,
    ) {
        let (batch, width) = (rows.batch(), self.columns.len());
        let seeds = &losses.seeds;
        if let Some(dc) = &losses.cell_seeds {
            let width = rows.width(1);
            let column = if self.direction == Direction::Forward { 0 } else { width };
            for b in (0..batch).filter(|&b| self.boundaries.can_have_loss(t, b)) {
                rows.add_to(1, first + b, &dc.at(t, b)[column..column + width], 0);
            }
        }
        match self.readout.filter(|_| losses.at_readout) {
            // A row with an exponent belongs to one loss, whose seeds are added before its first step: the exponent is still 0.
            Some(w_hy) if batch > 1 => {
                let dh = &mut rows.states[0][first * width..(first + batch) * width];
                T::multiply(dh, width, Start::Out, seeds.step(t), w_hy);
            }
            // One row alone would wait for the weights; those of many steps are one product.
            Some(w_hy) => {
                if !readout_grads.steps.contains(&t) {
                    readout_grads.make(self.steps_at_once(t), seeds, w_hy);
                }
                kernel::add_scaled(
                    &mut rows.states[0][first * width..],
                    T::one(),
                    readout_grads.dh(t, width),
                );
            }
            None => {
                for b in (0..batch).filter(|&b| self.boundaries.can_have_loss(t, b)) {
                    rows.add_to(0, first + b, &seeds.at(t, b)[self.columns.clone()], 0);
                }
            }
        }
    }

    /// Step `t` and those the backward pass comes to next, up to the first without a loss.
    fn steps_at_once(&self, t: usize) -> Range<usize> {
        let has_loss = |&t: &usize| self.plan.row(t).is_some();
        if self.direction == Direction::Forward {
            let first = (t + 1).saturating_sub(STEPS_AT_ONCE);
            t - (first..t).rev().take_while(has_loss).count()..t + 1
        } else {
            let end = self.plan.steps().min(t + STEPS_AT_ONCE);
            t..t + 1 + (t + 1..end).take_while(has_loss).count()
        }
    }
}
