//! What is measured of one loss in one cell.

use std::ops::Range;

use super::records::RecordLayout;

/// Everything measured of one loss k in one cell, at the steps from which a path leads through the cell to the loss.
pub(crate) struct LossRow {
    /// These steps.
    pub(crate) span: Range<usize>,
    /// A record for each of them.
    pub(crate) records: Vec<f64>,
    /// dL_k/d of each initial state.
    pub(crate) initial: Vec<InitialMeasure>,
}

impl LossRow {
    pub(crate) fn new(span: Range<usize>, layout: RecordLayout) -> Self {
        let records = vec![0.0; span.len() * layout.width()];
        Self { span, records, initial: Vec::new() }
    }

    /// From step `t` back the loss is part of the remainder.
    pub(crate) fn merge_from(&mut self, t: usize) {
        let width = self.records.len() / self.span.len();
        self.records.drain(..(t + 1 - self.span.start) * width);
        self.records.shrink_to_fit();
        self.span.start = t + 1;
        self.initial.clear();
    }
}

/// A gradient with respect to an initial state.
pub(crate) struct InitialMeasure {
    pub(crate) norm: f64,
    pub(crate) log10_norm: f64,
    pub(crate) inner: f64,
}
