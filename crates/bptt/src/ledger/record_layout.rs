//! Where a number is in a record.

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
