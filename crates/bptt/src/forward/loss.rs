//! Losses at every step, and the gradients ("seeds") each of them sends into the hidden state.

use pulp::Scalar;
use std::ops::Range;

use super::boundaries::GradientSpan;
use super::cache::{ForwardCache, first_not_finite};
use super::inputs::Symbols;
use crate::Error;
use crate::array::{Sequence, View};
use crate::kernel::activation::exp;
use crate::kernel::columns::{Sum, columns, parts};
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, Start, on_registers};
use crate::model::{Network, Readout};

/// What the outputs are compared with, and by which loss.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets<T> {
    /// Softmax cross-entropy with the right symbol of each step, L = −ln softmax(y)\[target\] (nats).
    CrossEntropy(Symbols),
    /// Squared error with (T, B, V) values, L = Σ_v (y_v − target_v)²; no factor ½, as PyTorch's `mse_loss`
    /// (whose "mean" also divides by V).
    SquaredError(Sequence<T>),
}

/// How the losses of single steps and sequences become one number.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reduction {
    /// The plain sum.
    Sum,
    /// The sum divided by the number of (t, b) that have a loss.
    MeanTokens,
    /// Summed over steps and divided by B: the convention of CS231n's temporal losses.
    MeanBatch,
    /// The mean over the steps of each sequence that have a loss, averaged over all B sequences; a sequence without a loss
    /// counts as 0.
    MeanPerSequence,
    /// The sum times this factor: a part of a batch in the mean of the whole.
    Times(f64),
}

impl Reduction {
    /// What the losses of each sequence are multiplied with, B numbers. `has_loss`: (T, B) time-major.
    pub fn factors(self, has_loss: &[bool], batch: usize) -> Vec<f64> {
        let count = |sequence: usize| has_loss[sequence..].iter().step_by(batch).filter(|&&has| has).count();
        let of = |b: usize| match self {
            Self::Sum => 1.0,
            Self::MeanTokens => 1.0 / has_loss.iter().filter(|&&has_loss| has_loss).count().max(1) as f64,
            Self::MeanBatch => 1.0 / batch as f64,
            Self::MeanPerSequence => 1.0 / (count(b).max(1) * batch) as f64,
            Self::Times(factor) => factor,
        };
        if self == Self::MeanPerSequence { (0..batch).map(of).collect() } else { vec![of(0); batch] }
    }

    /// The factor of all sequences; 1 where each has its own.
    fn common_factor(self, factors: &[f64]) -> f64 {
        if self == Self::MeanPerSequence { 1.0 } else { factors.first().copied().unwrap_or(1.0) }
    }
}

/// Targets, the steps that have one, and the reduction.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective<T> {
    /// What the outputs should be.
    pub targets: Targets<T>,
    /// (T, B) time-major; `false` where a step has no loss. `None`: every step has one. A many-to-one task is a mask
    /// that is true at the last step only.
    pub mask: Option<Vec<bool>>,
    /// How the losses add up.
    pub reduction: Reduction,
}

/// The losses of a forward scan, ready for the reverse scan.
///
/// What each loss sends into the top layer's output is its *seed* ∂L_t/∂h_t: given as it is, or dy_t W_hy, which the reverse
/// scan forms where it enters.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses<T> {
    /// L of each (t, b) before reduction, time-major; 0 where masked. Empty when made by [`Losses::from_seeds`].
    pub values: Vec<f64>,
    /// The reduced loss.
    pub total: f64,
    /// Whether step t has a loss in any sequence.
    pub present: Vec<bool>,
    /// The gradients of the losses where they begin.
    pub(crate) seeds: Sequence<T>,
    /// Whether they are dL/dy of the reduced loss at the readout, (T, B, V), instead of dL/dh at the top layer's output,
    /// (T, B, D·H).
    pub(crate) at_readout: bool,
    /// dL_t/dc_t at the top layer's cell states, (T, B, D·H), if losses read them.
    pub(crate) cell_seeds: Option<Sequence<T>>,
}

impl<T: Real> Default for Losses<T> {
    /// Losses of nothing.
    fn default() -> Self {
        Self::from_seeds(Sequence::default())
    }
}

impl<T: Real> Losses<T> {
    /// Losses known only by their seeds dL_k/dh_k, (T, B, D·H): every step has one. Seeds behind a sequence's end and in
    /// burn-in steps are ignored.
    pub fn from_seeds(dh: Sequence<T>) -> Self {
        let present = vec![true; dh.steps()];
        Self { values: Vec::new(), total: f64::NAN, present, seeds: dh, at_readout: false, cell_seeds: None }
    }

    /// Adds what each loss sends into the cell state of the top layer, dL_k/dc_k, (T, B, D·H): the second state of a cell, c of
    /// an LSTM. Like the seeds of h they are ignored behind a sequence's end and in burn-in steps.
    #[must_use]
    pub fn with_cell_seeds(self, dc: Sequence<T>) -> Self {
        Self { cell_seeds: Some(dc), ..self }
    }

    /// Steps at which every gradient is exactly zero have no loss, unless all are: who gives zeros there means that.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        let batch = self.seeds.batch();
        let of_cell = |t: usize, b: usize| self.cell_seeds.as_ref().map_or(&[][..], |dc| dc.at(t, b));
        let begins = |t: usize| {
            (0..batch).any(|b| self.seeds.at(t, b).iter().chain(of_cell(t, b)).any(|v| *v != T::zero()))
        };
        let begins: Vec<bool> = (0..self.present.len()).map(begins).collect();
        if begins.contains(&true) {
            for (present, begins) in self.present.iter_mut().zip(begins) {
                *present &= begins;
            }
        }
        self
    }

    /// dL/dy of the reduced loss, (T, B, V); `None` without a readout.
    pub fn dy(&self) -> Option<&Sequence<T>> {
        self.at_readout.then_some(&self.seeds)
    }

    /// Leaves out all losses but those of the steps `ks`.
    pub(crate) fn keep_only(&mut self, ks: &[usize]) {
        for t in (0..self.present.len()).filter(|t| !ks.contains(t)) {
            self.present[t] = false;
            self.seeds.step_mut(t).fill(T::zero());
            if let Some(dc) = &mut self.cell_seeds {
                dc.step_mut(t).fill(T::zero());
            }
        }
    }

    /// Whether step t has a loss in any sequence that can have one there.
    pub(crate) fn active(&self, cache: &ForwardCache<T>) -> Vec<bool> {
        let (_, batch) = cache.inputs().shape();
        let active = |t: usize| (0..batch).any(|b| cache.boundaries().can_have_loss(t, b));
        self.present.iter().enumerate().map(|(t, &present)| present && active(t)).collect()
    }

    /// Refuses a step k that has no loss.
    pub(crate) fn check_loss(&self, cache: &ForwardCache<T>, k: usize) -> Result<(), Error> {
        let active = self.active(cache);
        if active.get(k) == Some(&true) {
            return Ok(());
        }
        Err(Error::Value {
            option: "loss".into(),
            given: format!("{k}"),
            expected: format!("a step below {} that has a loss", active.len()),
        })
    }

    /// How far loss k reaches, in the sequences it has a seed in.
    pub(crate) fn span(&self, cache: &ForwardCache<T>, k: usize) -> GradientSpan {
        let of_cell = |b: usize| self.cell_seeds.as_ref().map_or(&[][..], |dc| dc.at(k, b));
        let has_seed = |b: &usize| self.seeds.at(k, *b).iter().chain(of_cell(*b)).any(|v| *v != T::zero());
        let sequences = (0..self.seeds.batch()).filter(|&b| cache.boundaries().can_have_loss(k, b));
        cache.boundaries().span(k, sequences.filter(has_seed))
    }

    /// Refuses losses that are not all finite, naming the first step whose loss or seed is not.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with step and sequence.
    pub fn check_finite(&self) -> Result<(), Error> {
        let batch = self.seeds.batch();
        let loss = self.values.iter().position(|v| !v.is_finite()).map(|i| ("loss", (i / batch, i % batch)));
        let what = if self.at_readout { "gradient dL/dy" } else { "seed dL/dh" };
        let seed = first_not_finite(self.seeds.view()).map(|at| (what, at));
        let of_cell = || Some(("seed dL/dc", first_not_finite(self.cell_seeds.as_ref()?.view())?));
        match loss.or(seed).or_else(of_cell) {
            None => Ok(()),
            Some((what, (step, sequence))) => Err(Error::NotFinite { what: what.into(), step, sequence }),
        }
    }
}

/// The outputs of every step, (T, B, V), see [`Network::outputs`].
pub(crate) fn outputs<T: Real>(network: &Network<T>, cache: &ForwardCache<T>) -> Result<Sequence<T>, Error> {
    let readout = readout(network)?;
    let (steps, batch) = cache.inputs().shape();
    let mut y = Sequence::zeros(steps, batch, readout.outputs());
    read_out(network, cache, 0..steps, readout, y.data_mut());
    Ok(y)
}

/// y of these steps, (len · B, V).
fn read_out<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    steps: Range<usize>,
    readout: &Readout<T>,
    y: &mut [T],
) {
    let h = cache.output().rows(steps);
    T::multiply(y, readout.outputs(), Start::Row(readout.b_y.data()), h, network.packed().readout(readout));
}

/// The losses of a forward scan and their seeds, see [`Network::losses`].
pub(crate) fn losses<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    objective: &Objective<T>,
) -> Result<Losses<T>, Error> {
    let mut losses = Losses::default();
    losses_into(network, &mut losses, cache, objective)?;
    Ok(losses)
}

/// The same in the memory of older losses. After an error they are of no use.
pub(crate) fn losses_into<T: Real>(
    network: &Network<T>,
    losses: &mut Losses<T>,
    cache: &ForwardCache<T>,
    objective: &Objective<T>,
) -> Result<(), Error> {
    let readout = readout(network)?;
    let (steps, batch) = cache.inputs().shape();
    let outputs = readout.outputs();
    let (has_loss, factors) =
        objective.which(steps, batch, outputs, |t, b| cache.boundaries().can_have_loss(t, b))?;
    let factor = objective.reduction.common_factor(&factors);

    losses.seeds.reshape(steps, batch, outputs);
    losses.at_readout = true;
    losses.cell_seeds = None;
    losses.values.clear();
    losses.values.resize(steps * batch, 0.0);
    // Some steps at a time: what the product leaves is still near when the loss is taken.
    let at_a_time = (ROWS_AT_A_TIME / batch).max(1);
    for first in (0..steps).step_by(at_a_time) {
        let range = first..steps.min(first + at_a_time);
        let y = &mut losses.seeds.data_mut()[range.start * batch * outputs..range.end * batch * outputs];
        read_out(network, cache, range.clone(), readout, y);
        let rows = range.start * batch..range.end * batch;
        objective.compare(y, rows.clone(), &has_loss[rows.clone()], factor, &mut losses.values[rows]);
    }
    losses.present.clear();
    losses.present.extend(has_loss.chunks(batch).map(|step| step.contains(&true)));
    losses.total = losses.values.iter().sum::<f64>() * factor;
    if objective.reduction == Reduction::MeanPerSequence {
        losses.total = losses.values.iter().enumerate().map(|(i, value)| value * factors[i % batch]).sum();
        scale_sequences(losses.seeds.data_mut(), outputs, &factors);
    }
    Ok(())
}

/// dL/dy of outputs y, (T, B, V), of whole sequences that have a loss wherever the objective says so.
pub(crate) fn gradient_of_outputs<T: Real>(
    objective: &Objective<T>,
    mut y: Sequence<T>,
) -> Result<Sequence<T>, Error> {
    let rows = y.steps() * y.batch();
    let outputs = y.features();
    let (has_loss, factors) = objective.which(y.steps(), y.batch(), outputs, |_, _| true)?;
    let factor = objective.reduction.common_factor(&factors);
    objective.compare(y.data_mut(), 0..rows, &has_loss, factor, &mut vec![0.0; rows]);
    if objective.reduction == Reduction::MeanPerSequence {
        scale_sequences(y.data_mut(), outputs, &factors);
    }
    Ok(y)
}

/// Multiplies dy, (T, B, V), with the factor of each sequence.
fn scale_sequences<T: Real>(dy: &mut [T], outputs: usize, factors: &[f64]) {
    for (dy, &factor) in dy.chunks_exact_mut(outputs).zip(factors.iter().cycle()) {
        for dy in dy {
            *dy *= T::of(factor);
        }
    }
}

fn readout<T: Real>(network: &Network<T>) -> Result<&Readout<T>, Error> {
    network.weights().readout.as_ref().ok_or_else(|| Error::Unsupported {
        what: "readout".into(),
        given: "a network without one".into(),
        expected: "a network with a readout (head.weight, head.bias)".into(),
    })
}

/// Rows (t, b) of outputs that are made and compared with their targets at a time.
const ROWS_AT_A_TIME: usize = 128;

impl<T: Real> Objective<T> {
    /// The same objective in another precision.
    pub fn cast<U: Real>(&self) -> Objective<U> {
        let targets = match &self.targets {
            Targets::CrossEntropy(symbols) => Targets::CrossEntropy(symbols.clone()),
            Targets::SquaredError(values) => Targets::SquaredError(values.cast()),
        };
        Objective { targets, mask: self.mask.clone(), reduction: self.reduction }
    }

    /// Which (t, b) have a loss, and what the losses of each sequence are multiplied with.
    fn which(
        &self,
        steps: usize,
        batch: usize,
        outputs: usize,
        can_have_loss: impl Fn(usize, usize) -> bool,
    ) -> Result<(Vec<bool>, Vec<f64>), Error> {
        self.check(steps, batch, outputs)?;
        let has_loss =
            |i: usize| self.mask.as_ref().is_none_or(|mask| mask[i]) && can_have_loss(i / batch, i % batch);
        let has_loss: Vec<bool> = (0..steps * batch).map(has_loss).collect();
        let factors = self.reduction.factors(&has_loss, batch);
        Ok((has_loss, factors))
    }

    /// The losses of outputs `y` at the rows (t, b) of `rows`; `y` leaves as their gradient.
    fn compare(&self, y: &mut [T], rows: Range<usize>, has_loss: &[bool], factor: f64, values: &mut [f64]) {
        match &self.targets {
            Targets::CrossEntropy(symbols) => {
                cross_entropies(y, &symbols.ids()[rows], has_loss, T::of(factor), values);
            }
            Targets::SquaredError(target) => {
                let steps = rows.start / target.batch()..rows.end / target.batch();
                squared_errors(y, target.rows(steps), has_loss, T::of(factor), values);
            }
        }
    }

    fn check(&self, steps: usize, batch: usize, outputs: usize) -> Result<(), Error> {
        let mismatch = |what: &str, expected: String, given: String| {
            if expected == given { Ok(()) } else { Err(Error::Shape { what: what.into(), expected, given }) }
        };
        match &self.targets {
            Targets::CrossEntropy(symbols) => {
                mismatch(
                    "targets",
                    format!("(T, B) = ({steps}, {batch})"),
                    format!("(T, B) = {:?}", symbols.shape()),
                )?;
                symbols.check("targets", outputs)?;
            }
            Targets::SquaredError(target) => mismatch(
                "targets",
                format!("(T, B, V) = {:?}", (steps, batch, outputs)),
                format!("(T, B, V) = {:?}", (target.steps(), target.batch(), target.features())),
            )?,
        }
        match &self.mask {
            Some(mask) => {
                mismatch("mask", format!("{} entries", steps * batch), format!("{} entries", mask.len()))
            }
            None => Ok(()),
        }
    }
}

on_registers! {
    /// −ln softmax(y)\[target\] of each row with a loss; `y` becomes the gradient times `factor`,
    /// (softmax(y) − onehot) · factor, and zeros in the other rows.
    fn cross_entropies<'a, T: Real>(
        simd,
        y: &'a mut [T],
        targets: &'a [u32],
        has_loss: &'a [bool],
        factor: T,
        values: &'a mut [f64],
    ) -> () {
        let outputs = y.len() / targets.len();
        let lowest = Vector::splat(simd, T::neg_infinity());
        for (i, y) in y.chunks_exact_mut(outputs).enumerate() {
            if !has_loss[i] {
                y.fill(T::zero());
                continue;
            }
            let mut largest = lowest;
            columns::<T, S>(outputs, #[inline(always)] |at| {
                largest = Vector::load_or(simd, y, at, lowest).max(largest);
            });
            let largest = largest.largest();
            let (target, shift) = (targets[i] as usize, Vector::splat(simd, largest));
            let at_target = y[target] - largest;
            let right = exp(Vector::splat(Scalar::new(), at_target)).largest();
            // The others are added up alone: what they leave of the right one's probability is then known to the last
            // digit, however near to 1 that is.
            y[target] = T::neg_infinity();
            let mut others = Sum::new(simd);
            parts::<T, S>(outputs, #[inline(always)] |at, part| {
                let power = exp(Vector::load_or(simd, y, at, lowest) - shift);
                power.store(y, at);
                others.add(part, power);
            });
            let others = others.total();
            let scale = factor / (others + right);
            let by = Vector::splat(simd, scale);
            columns::<T, S>(outputs, #[inline(always)] |at| (Vector::load(simd, y, at) * by).store(y, at));
            y[target] = -others * scale;
            values[i] = if right > T::min_positive_value() {
                (others.f64() / right.f64()).ln_1p()
            } else {
                others.f64().ln() - at_target.f64()
            };
        }
    }
}

/// Σ (y − target)² of each row with a loss; `y` leaves as its gradient times `factor`, 2 (y − target) · factor, and as zeros
/// in the other rows.
fn squared_errors<T: Real>(
    y: &mut [T],
    targets: View<'_, T>,
    has_loss: &[bool],
    factor: T,
    values: &mut [f64],
) {
    for (i, y) in y.chunks_exact_mut(targets.cols()).enumerate() {
        if !has_loss[i] {
            y.fill(T::zero());
            continue;
        }
        for (y, &target) in y.iter_mut().zip(targets.row(i)) {
            let difference = *y - target;
            values[i] += (difference * difference).f64();
            *y = (difference + difference) * factor;
        }
    }
}
