//! What a ledger keeps of one cell: a record of numbers for every loss k and every step t that it reaches.

use std::ops::Range;
use std::sync::Arc;

use super::loss_row::LossRecords;
use super::one_sequence::OneSequence;
use super::record_layout::RecordLayout;

/// The records of all losses.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    layout: RecordLayout,
    /// What packed records are read with, if there are any.
    packed: Option<Arc<OneSequence>>,
    /// The steps of each loss, and a record for each of them; nothing where masked.
    rows: Vec<(Range<usize>, LossRecords)>,
    /// A record for every step of the remainder, if losses may be merged; then their steps begin where they were.
    remainder: Option<LossRecords>,
}

/// A record of one loss at one step.
#[derive(Clone, Copy)]
pub(crate) enum Record<'a> {
    /// In full.
    Full(RecordLayout, &'a [f64]),
    /// Packed, of this step.
    Packed(&'a OneSequence, usize, &'a [u8]),
}

impl Record<'_> {
    /// The power of two of all its norms.
    #[allow(clippy::cast_possible_truncation)] // an integer within ±10⁵ or so
    pub(crate) fn exponent(self) -> i32 {
        match self {
            Self::Full(_, record) => record[RecordLayout::EXPONENT] as i32,
            Self::Packed(packed, _, record) => packed.exponent(record),
        }
    }

    /// The norm of a parameter without that; negative where it cancelled.
    pub(crate) fn norm(self, slot: usize) -> f64 {
        match self {
            Self::Full(_, record) => record[RecordLayout::norm(slot)],
            Self::Packed(packed, t, record) => packed.norm(record, t, slot),
        }
    }

    /// ⟨component, U⟩ of a parameter in full, with U divided by its power of two.
    pub(crate) fn inner(self, slot: usize) -> f64 {
        match self {
            Self::Full(_, record) => record[RecordLayout::inner(slot)],
            Self::Packed(packed, _, record) => packed.inner(record, slot),
        }
    }

    /// The norm of a gate's rows of a parameter; only where norms of gates were asked for.
    pub(crate) fn gate(self, slot: usize, gate: usize) -> f64 {
        match self {
            Self::Full(layout, record) => record[layout.gate(slot, gate)],
            Self::Packed(..) => f64::NAN,
        }
    }

    /// Number `column` of sequence `b`; only where norms of single sequences were asked for.
    pub(crate) fn sequence(self, column: usize, b: usize) -> f64 {
        match self {
            Self::Full(layout, record) => record[layout.sequence(column, b)],
            Self::Packed(packed, t, record) => packed.sequence(record, t, column),
        }
    }
}

impl Records {
    /// From the rows of all losses in order, and the remainder's.
    pub(crate) fn new(
        layout: RecordLayout,
        packed: Option<Arc<OneSequence>>,
        rows: Vec<(Range<usize>, LossRecords)>,
        remainder: Option<LossRecords>,
    ) -> Self {
        Self { layout, packed, rows, remainder }
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
    pub(crate) fn remainder(&self, t: usize) -> Option<Record<'_>> {
        self.at(self.remainder.as_ref()?, t, 0)
    }

    /// The record of (k, t), if there is one.
    pub(crate) fn get(&self, k: usize, t: usize) -> Option<Record<'_>> {
        let (span, records) = self.rows.get(k)?;
        if span.contains(&t) { self.at(records, t, span.start) } else { None }
    }

    /// The record of step t among those from step `first` on.
    fn at<'a>(&'a self, records: &'a LossRecords, t: usize, first: usize) -> Option<Record<'a>> {
        match records {
            LossRecords::Full(records) => {
                let record = records.chunks_exact(self.layout.width()).nth(t - first)?;
                Some(Record::Full(self.layout, record))
            }
            LossRecords::Packed(records) => {
                let packed = self.packed.as_deref()?;
                let record = records.chunks_exact(packed.width()).nth(t - first)?;
                Some(Record::Packed(packed, t, record))
            }
        }
    }
}
