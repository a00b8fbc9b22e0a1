//! The result of itemizing: for every loss k, step t and parameter the size of the contribution and its share of the
//! update, and the proof that the contributions add up.

use std::ops::Range;
use std::sync::Arc;

use super::balance::Balance;
use super::measured_errors::MeasuredErrors;
use super::operands::{OperandNorms, times_power};
use super::record_layout::RecordLayout;
use super::records::{Record, Records};
use crate::forward::GradientSpan;
use crate::model::{CellId, Direction, Parameter};

/// Why an entry (k, t) has the size it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// An ordinary number.
    Value,
    /// Exactly zero: a factor of it is zero.
    Zero,
    /// Not zero, but smaller than the smallest normal number of the network's precision: a framework computing in it
    /// would lose it. Its logarithm is still known.
    Underflow,
    /// Exactly zero because the state was forgotten or detached at this step, between t and k: in every sequence of the
    /// batch, and here in the one where the loss reaches farthest.
    Cut(usize),
    /// The sequences of the batch cancel so far that few digits of the norm are left, if any: it is below 2^14 ε of the sum of
    /// their norms, with ε of the network's precision. The norm is right to about ε of that sum.
    Cancelled,
    /// Too small to be itemized, see [`crate::ItemizeOptions::tolerance`]: part of the remainder at this step.
    Remainder,
    /// Step k has no loss.
    Masked,
    /// No path leads from step t through this cell to loss k: t > k in a network that reads forward only, or t lies
    /// behind the end of every sequence that has loss k.
    Unreached,
}

/// The contributions of one cell to one parameter.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which cell.
    pub cell: CellId,
    /// Which parameter.
    pub parameter: Parameter,
    /// What was measured of the cell.
    pub(crate) records: Arc<Records>,
    /// Which of a record's parameters this is.
    pub(crate) slot: usize,
    /// The power of two of U: inner products are to be multiplied with it.
    pub(crate) inner_exponent: i32,
    /// The gates' names.
    pub(crate) gates: Arc<[&'static str]>,
    /// The steps that each loss reaches; common to all entries.
    pub(crate) spans: Arc<[GradientSpan]>,
    /// ⟨gradient, U⟩.
    pub(crate) total_inner: f64,
    /// ‖Σ components‖: the norm of the ordinary gradient.
    pub(crate) total: f64,
    /// The smallest normal number of the network's precision.
    pub(crate) smallest_normal: f64,
    /// The column of a record that norms of single sequences come from, and the operand whose norm they are multiplied with.
    pub(crate) sequence: (usize, Option<usize>),
    /// The norms of the operands, if norms of single sequences were asked for.
    pub(crate) sequences: Option<Arc<OperandNorms>>,
    /// How far norms in f32 are from exact ones, if that was measured.
    pub(crate) errors: Option<Arc<MeasuredErrors>>,
}

impl Entry {
    /// The number of steps T, which is also the number of losses, masked ones included.
    pub fn steps(&self) -> usize {
        self.records.steps()
    }

    /// ‖component (k, t)‖ of the batch sum (Frobenius norm). `None` where no path leads from step t through the cell to loss k
    /// (t > k in a network that reads forward), loss k is masked or the component is part of the remainder; 0 where it is below f64's range, see [`Entry::log10_norm`].
    pub fn norm(&self, k: usize, t: usize) -> Option<f64> {
        Some(norm_in_full(self.records.get(k, t)?, self.slot))
    }

    /// ‖Σ of the components at step t that are in the remainder‖. `None` without a tolerance.
    pub fn remainder_norm(&self, t: usize) -> Option<f64> {
        Some(norm_in_full(self.records.remainder(t)?, self.slot))
    }

    /// log₁₀ of [`Entry::remainder_norm`], however small; −∞ where it is exactly zero or nothing is in it.
    pub fn remainder_log10_norm(&self, t: usize) -> Option<f64> {
        Some(log10_norm(self.records.remainder(t)?, self.slot))
    }

    /// ⟨remainder at step t, U⟩ / ⟨Σ components, U⟩: with these, all shares add up to 1. `None` without a tolerance.
    pub fn remainder_share(&self, t: usize) -> Option<f64> {
        Some(self.records.remainder(t)?.inner(self.slot) / self.total_inner)
    }

    fn layout(&self) -> RecordLayout {
        self.records.layout()
    }

    /// log₁₀ of the norm, however small; −∞ where it is exactly zero.
    pub fn log10_norm(&self, k: usize, t: usize) -> Option<f64> {
        Some(log10_norm(self.records.get(k, t)?, self.slot))
    }

    /// The names of the gates whose rows have norms of their own; none if they were not asked for, the cell has one gate
    /// only, or the parameter has no rows of gates (the input).
    pub fn gates(&self) -> &[&'static str] {
        if self.slot < self.layout().gated && self.layout().gates > 0 { &self.gates } else { &[] }
    }

    /// ‖rows of gate `gate` of component (k, t)‖; their squares add up to the square of [`Entry::norm`].
    pub fn gate_norm(&self, k: usize, t: usize, gate: usize) -> Option<f64> {
        let record = self.records.get(k, t).filter(|_| gate < self.gates().len())?;
        Some(times_power(record.gate(self.slot, gate), record.exponent()))
    }

    /// log₁₀ of [`Entry::gate_norm`], however small; −∞ where it is exactly zero.
    pub fn log10_gate_norm(&self, k: usize, t: usize, gate: usize) -> Option<f64> {
        let record = self.records.get(k, t).filter(|_| gate < self.gates().len())?;
        Some(log10(record, record.gate(self.slot, gate)))
    }

    /// ⟨component, U⟩ / ⟨Σ components, U⟩ with U the update; all shares add up to 1. NaN where ⟨Σ components, U⟩ is 0.
    pub fn share(&self, k: usize, t: usize) -> Option<f64> {
        Some(self.scaled_inner(k, t)? / self.total_inner)
    }

    /// ⟨component, U⟩ with U the update: to first order, how much adding U raises the loss by way of this component. For
    /// the inputs U is the direction of their total gradient, of unit length.
    pub fn inner(&self, k: usize, t: usize) -> Option<f64> {
        Some(times_power(self.scaled_inner(k, t)?, self.inner_exponent))
    }

    /// The same with U divided by its power of two.
    fn scaled_inner(&self, k: usize, t: usize) -> Option<f64> {
        self.records.get(k, t).map(|record| record.inner(self.slot))
    }

    /// ‖component (k, t)‖ of sequence `b` alone. `None` where there is no such entry or sequence, or norms of single
    /// sequences were not asked for.
    pub fn sequence_norm(&self, k: usize, t: usize, b: usize) -> Option<f64> {
        let norms = self.sequences.as_ref().filter(|_| b < self.layout().batch)?;
        let record = self.records.get(k, t)?;
        let (column, operand) = self.sequence;
        let size = record.sequence(column, b);
        let of_operand = operand.map_or(1.0, |operand| norms.0[operand][t * self.layout().batch + b]);
        Some(times_power(size * of_operand, record.exponent()))
    }

    /// B, if norms of single sequences were asked for.
    pub fn sequences(&self) -> Option<usize> {
        self.sequences.as_ref().map(|_| self.layout().batch)
    }

    /// Why the entry has the size it has.
    pub fn state(&self, k: usize, t: usize) -> EntryState {
        match self.records.get(k, t).map(|record| record.norm(self.slot)) {
            Some(norm) if norm.is_sign_negative() => EntryState::Cancelled,
            None if self.records.is_masked(k) => EntryState::Masked,
            None if self.records.is_merged(k, t) && t < self.spans[k].uncut.start => {
                EntryState::Cut(self.spans[k].uncut.start)
            }
            None if self.records.is_merged(k, t) => EntryState::Remainder,
            None => EntryState::Unreached,
            Some(0.0) if t < self.spans[k].uncut.start => EntryState::Cut(self.spans[k].uncut.start),
            Some(0.0) if t >= self.spans[k].uncut.end => EntryState::Cut(self.spans[k].uncut.end),
            Some(0.0) => EntryState::Zero,
            Some(_) if self.norm(k, t) < Some(self.smallest_normal) => EntryState::Underflow,
            Some(_) => EntryState::Value,
        }
    }

    /// ‖Σ components‖, the norm of the ordinary gradient.
    pub fn total_norm(&self) -> f64 {
        self.total
    }

    /// ‖Σ components‖ / Σ ‖components‖: 1 where all pull the same way, near 0 where they cancel. NaN if all are zero. Of
    /// what is in the remainder, only each step's sum is known and counts.
    pub fn cancellation(&self) -> f64 {
        let of_loss = |k: usize| (0..self.steps()).filter_map(move |t| self.norm(k, t));
        let sum: f64 = self.losses().into_iter().flat_map(of_loss).sum();
        let remainder: f64 = (0..self.steps()).filter_map(|t| self.remainder_norm(t)).sum();
        self.total / (sum + remainder)
    }
}

/// The norm of a parameter in a record.
fn norm_in_full(record: Record<'_>, slot: usize) -> f64 {
    times_power(record.norm(slot), record.exponent()).abs()
}

/// log₁₀ of it, however small.
fn log10_norm(record: Record<'_>, slot: usize) -> f64 {
    log10(record, record.norm(slot))
}

/// log₁₀ of a number of a record, with its power of two.
fn log10(record: Record<'_>, number: f64) -> f64 {
    number.abs().log10() + f64::from(record.exponent()) * std::f64::consts::LOG10_2
}

/// The contributions that have one number for each loss: h0's, and the readout's on the diagonal t = k.
#[derive(Clone, Debug, PartialEq)]
pub struct PerLoss {
    /// Which cell; `None` for the readout.
    pub cell: Option<CellId>,
    /// Which parameter.
    pub parameter: Parameter,
    /// log₁₀ of the norm for each loss; `None` where masked or part of the remainder, −∞ where exactly zero.
    pub log10_norm: Vec<Option<f64>>,
    /// The norm for each loss.
    pub norm: Vec<Option<f64>>,
    /// ⟨component, U⟩ for each loss.
    pub inner: Vec<Option<f64>>,
    /// ⟨Σ components, U⟩.
    pub total_inner: f64,
    /// The norm of the sum of those losses that fell below the tolerance on their way, and its inner product; `None`
    /// without a tolerance, and of the readout, which nothing is on its way to.
    pub remainder: Option<(f64, f64)>,
}

impl PerLoss {
    /// Nothing for any of `losses` losses.
    pub(crate) fn masked(cell: Option<CellId>, parameter: Parameter, losses: usize) -> Self {
        Self {
            cell,
            parameter,
            norm: vec![None; losses],
            log10_norm: vec![None; losses],
            inner: vec![None; losses],
            total_inner: 0.0,
            remainder: None,
        }
    }

    /// Sets what loss k contributes.
    pub(crate) fn set(&mut self, k: usize, norm: f64, log10_norm: f64, inner: f64) {
        self.norm[k] = Some(norm);
        self.log10_norm[k] = Some(log10_norm);
        self.inner[k] = Some(inner);
    }

    /// ⟨component, U⟩ / ⟨Σ components, U⟩ of loss k, see [`Entry::share`].
    pub fn share(&self, k: usize) -> Option<f64> {
        Some(self.inner[k]? / self.total_inner)
    }

    /// The share of the remainder; with it, all shares add up to 1.
    pub fn remainder_share(&self) -> Option<f64> {
        Some(self.remainder?.1 / self.total_inner)
    }
}

/// Every contribution of every past step to every loss, as norms and shares. See [`crate::Network::itemize`].
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) steps: usize,
    pub(crate) present: Vec<bool>,
    pub(crate) spans: Arc<[GradientSpan]>,
    pub(crate) tolerance: Option<f64>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) per_loss: Vec<PerLoss>,
    pub(crate) balance: Vec<Balance>,
}

impl Ledger {
    /// T, the number of steps, which is also the number of losses, masked ones included.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Whether step k has a loss.
    pub fn has_loss(&self, k: usize) -> bool {
        self.present[k]
    }

    /// The steps that no forgotten or detached state parts from loss k, in the sequence where it reaches farthest. What
    /// lies outside of them is [`EntryState::Cut`].
    pub fn gradient_span(&self, k: usize) -> Range<usize> {
        self.spans[k].uncut.clone()
    }

    /// The tolerance below which components were not itemized, see [`crate::ItemizeOptions::tolerance`].
    pub fn tolerance(&self) -> Option<f64> {
        self.tolerance
    }

    /// The contributions over (k, t), by layer and parameter.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The contributions of layer `layer` (its forward cell) to `parameter` over (k, t), if that is what the parameter
    /// has.
    pub fn entry(&self, layer: usize, parameter: Parameter) -> Option<&Entry> {
        self.entry_at(CellId { layer, direction: Direction::Forward }, parameter)
    }

    /// The contributions of layer `layer` that say how far gradients reach: those to W_hh, or in a cell without one those to
    /// the bias, which are the gradients of the pre-activations themselves.
    pub fn recurrent(&self, layer: usize) -> Option<&Entry> {
        self.recurrent_at(CellId { layer, direction: Direction::Forward })
    }

    /// The same of the cell at `cell`.
    pub fn recurrent_at(&self, cell: CellId) -> Option<&Entry> {
        let of = |parameter| self.entry_at(cell, parameter);
        of(Parameter::WEIGHT_HH).or_else(|| of(Parameter::BIAS)).or_else(|| of(Parameter::BIAS_IH))
    }

    /// The contributions of the cell at `place` to `parameter` over (k, t), if that is what the parameter has.
    pub fn entry_at(&self, cell: CellId, parameter: Parameter) -> Option<&Entry> {
        self.entries.iter().find(|e| e.cell == cell && e.parameter == parameter)
    }

    /// The contributions with one number for each loss: initial state and readout.
    pub fn per_loss(&self) -> &[PerLoss] {
        &self.per_loss
    }

    /// The proof: for every parameter, how far Σ components is from the ordinary gradient.
    pub fn balance(&self) -> &[Balance] {
        &self.balance
    }

    /// The largest relative error of the balance.
    pub fn worst_balance(&self) -> f64 {
        self.balance.iter().map(|b| b.relative_error).fold(0.0, f64::max)
    }
}
