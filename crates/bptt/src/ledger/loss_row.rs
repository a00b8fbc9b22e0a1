//! What is measured of one loss in one cell.

use std::ops::Range;

use super::one_sequence::OneSequence;
use super::record_layout::RecordLayout;

/// Everything measured of one loss k in one cell, at the steps from which a path leads through the cell to the loss.
pub(crate) struct LossRow {
    /// These steps.
    pub(crate) span: Range<usize>,
    /// A record for each of them.
    pub(crate) records: LossRecords,
    /// dL_k/d of each initial state.
    pub(crate) initial: Vec<InitialMeasure>,
}

/// The records of one loss, one for each of its steps.
#[derive(Clone, Debug)]
pub(crate) enum LossRecords {
    /// In full, see [`RecordLayout`].
    Full(Vec<f64>),
    /// Those of one sequence, see [`OneSequence`].
    Packed(Vec<u8>),
}

impl LossRecords {
    /// The packed records, if they are.
    pub(super) fn packed(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Full(_) => None,
            Self::Packed(records) => Some(records),
        }
    }
}

impl LossRow {
    /// Records of zeros, packed if there is a way to.
    pub(crate) fn new(span: Range<usize>, layout: RecordLayout, packed: Option<&OneSequence>) -> Self {
        let records = match packed {
            None => LossRecords::Full(vec![0.0; span.len() * layout.width()]),
            Some(packed) => LossRecords::Packed(vec![0; span.len() * packed.width()]),
        };
        Self { span, records, initial: Vec::new() }
    }

    /// From step `t` back the loss is part of the remainder.
    pub(crate) fn merge_from(&mut self, t: usize) {
        fn drain<N>(records: &mut Vec<N>, steps: usize, merged: usize) {
            let width = records.len() / steps;
            records.drain(..merged * width);
            records.shrink_to_fit();
        }
        let (steps, merged) = (self.span.len(), t + 1 - self.span.start);
        match &mut self.records {
            LossRecords::Full(records) => drain(records, steps, merged),
            LossRecords::Packed(records) => drain(records, steps, merged),
        }
        self.span.start = t + 1;
        self.initial.clear();
    }

    /// The records in full; of packed ones those after step `t` have been entered.
    pub(super) fn unpack_after(
        &mut self,
        t: usize,
        packed: Option<&OneSequence>,
        layout: RecordLayout,
    ) -> &mut Vec<f64> {
        if let (LossRecords::Packed(records), Some(packed)) = (&self.records, packed) {
            let mut full = vec![0.0; self.span.len() * layout.width()];
            let both = full.chunks_exact_mut(layout.width()).zip(records.chunks_exact(packed.width()));
            for (t, (record, records)) in self.span.clone().zip(both).skip(t + 1 - self.span.start) {
                packed.unpack(records, t, layout, record);
            }
            self.records = LossRecords::Full(full);
        }
        match &mut self.records {
            LossRecords::Full(full) => full,
            LossRecords::Packed(_) => unreachable!("nothing is packed without a way to read it"),
        }
    }
}

/// A gradient with respect to an initial state.
pub(crate) struct InitialMeasure {
    pub(crate) norm: f64,
    pub(crate) log10_norm: f64,
    pub(crate) inner: f64,
}
