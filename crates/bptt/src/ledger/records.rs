//! What a ledger keeps of one cell: a record of numbers for every loss k and every step t that it reaches.

use std::ops::Range;

/// What stands where in a record: the power of two that all its norms are to be multiplied with; for each parameter a norm
/// and ⟨component, U⟩, the latter in full; then what was asked for beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Parameters.
    pub(crate) slots: usize,
    /// The first of them have a norm for each gate's rows, too.
    pub(crate) gated: usize,
    /// So many; 0 if they were not asked for.
    pub(crate) gates: usize,
    /// Sequences with norms of their own, ‖da‖, ‖da_hh‖ and ‖dx‖ in full; 0 if they were not asked for.
    pub(crate) batch: usize,
}

impl Form {
    /// Numbers of a record.
    pub(crate) fn width(self) -> usize {
        self.sequence(3, 0)
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

    /// ‖da‖ (0), ‖da_hh‖ (1) or ‖dx‖ (2) of sequence `b`.
    pub(crate) fn sequence(self, what: usize, b: usize) -> usize {
        1 + 2 * self.slots + self.gated * self.gates + what * self.batch + b
    }
}

/// The records of all losses.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    form: Form,
    /// The steps of each loss, and a record for each of them; nothing where masked.
    rows: Vec<(Range<usize>, Vec<f64>)>,
    /// A record for every step of what is not told apart, if losses may fall; then their steps begin where they fell.
    remainder: Option<Vec<f64>>,
}

impl Records {
    /// From the rows of all losses in order, and the remainder's.
    pub(crate) fn new(form: Form, rows: Vec<(Range<usize>, Vec<f64>)>, remainder: Option<Vec<f64>>) -> Self {
        Self { form, rows, remainder }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
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
    pub(crate) fn has_fallen(&self, k: usize, t: usize) -> bool {
        let start = self.rows.get(k).map_or(0, |(span, _)| span.start);
        self.remainder.is_some() && !self.is_masked(k) && t < start
    }

    /// The record of the remainder at step t, if there is one.
    pub(crate) fn remainder(&self, t: usize) -> Option<&[f64]> {
        self.remainder.as_ref()?.chunks_exact(self.form.width()).nth(t)
    }

    /// The record of (k, t), if there is one.
    pub(crate) fn get(&self, k: usize, t: usize) -> Option<&[f64]> {
        let (span, numbers) = self.rows.get(k)?;
        let width = self.form.width();
        span.contains(&t).then(|| &numbers[(t - span.start) * width..][..width])
    }
}
