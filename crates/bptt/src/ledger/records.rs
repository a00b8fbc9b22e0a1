//! What a ledger keeps of one cell: a record of numbers for every loss k and every step t that it reaches.

use std::ops::Range;

/// Where the numbers of a record are: the power of two that all its norms are to be multiplied with; for each parameter a
/// norm and ⟨component, U⟩, the latter in full; then what was asked for besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordLayout {
    /// Parameters.
    pub(crate) slots: usize,
    /// The first of them have a norm for each gate's rows, too.
    pub(crate) gated: usize,
    /// So many; 0 if they were not asked for.
    pub(crate) gates: usize,
    /// Numbers that are kept of every sequence, in full.
    pub(crate) columns: usize,
    /// Sequences; 0 if their norms were not asked for.
    pub(crate) batch: usize,
}

impl RecordLayout {
    /// Numbers of a record.
    pub(crate) fn width(self) -> usize {
        self.sequence(self.columns, 0)
    }

    /// The power of two.
    pub(crate) const EXPONENT: usize = 0;

    pub(crate) fn norm(slot: usize) -> usize {
        1 + 2 * slot
    }

    pub(crate) fn inner(slot: usize) -> usize {
        2 + 2 * slot
    }

    pub(crate) fn gate(self, slot: usize, gate: usize) -> usize {
        1 + 2 * self.slots + slot * self.gates + gate
    }

    /// Number `column` of sequence `b`.
    pub(crate) fn sequence(self, column: usize, b: usize) -> usize {
        1 + 2 * self.slots + self.gated * self.gates + column * self.batch + b
    }
}

/// The records of all losses.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    layout: RecordLayout,
    /// The steps of each loss, and a record for each of them; nothing where masked.
    rows: Vec<(Range<usize>, Vec<f64>)>,
    /// A record for every step of the remainder, if losses may be merged; then their steps begin where they were.
    remainder: Option<Vec<f64>>,
}

impl Records {
    /// From the rows of all losses in order, and the remainder's.
    pub(crate) fn new(
        layout: RecordLayout,
        rows: Vec<(Range<usize>, Vec<f64>)>,
        remainder: Option<Vec<f64>>,
    ) -> Self {
        Self { layout, rows, remainder }
    }

    pub(crate) fn layout(&self) -> RecordLayout {
        self.layout
    }

    /// T, the number of losses.
    pub(crate) fn steps(&self) -> usize {
        self.rows.len()
    }

    /// Whether loss k has none.
    pub(crate) fn is_masked(&self, k: usize) -> bool {
        self.rows.get(k).is_some_and(|(span, _)| span.is_empty())
    }

    /// Whether (k, t) is part of the remainder.
    pub(crate) fn is_merged(&self, k: usize, t: usize) -> bool {
        let start = self.rows.get(k).map_or(0, |(span, _)| span.start);
        self.remainder.is_some() && !self.is_masked(k) && t < start
    }

    /// The record of the remainder at step t, if there is one.
    pub(crate) fn remainder(&self, t: usize) -> Option<&[f64]> {
        self.remainder.as_ref()?.chunks_exact(self.layout.width()).nth(t)
    }

    /// The record of (k, t), if there is one.
    pub(crate) fn get(&self, k: usize, t: usize) -> Option<&[f64]> {
        let (span, numbers) = self.rows.get(k)?;
        let width = self.layout.width();
        span.contains(&t).then(|| &numbers[(t - span.start) * width..][..width])
    }
}
