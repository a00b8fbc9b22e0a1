//! Losses at every step, and the gradients ("seeds") each of them sends into the hidden state.

use crate::bounds::Reach;
use crate::inputs::Symbols;
use crate::network::Network;
use crate::scan::Trace;
use crate::sequence::Sequence;
use crate::{Error, Real, kernel};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The plain sum.
    Sum,
    /// The sum divided by the number of (t, b) that have a loss.
    MeanTokens,
    /// Summed over steps and divided by B: the convention of CS231n's temporal losses.
    MeanBatch,
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
#[derive(Clone, Debug, PartialEq)]
pub struct Losses<T> {
    /// L of each (t, b) before reduction, time-major; 0 where masked. Empty when made by [`Losses::from_seeds`].
    pub values: Vec<f64>,
    /// The reduced loss.
    pub total: f64,
    /// dL/dy of the reduced loss, (T, B, V); absent without a readout.
    pub dy: Option<Sequence<T>>,
    /// ∂L_t/∂h_t of the reduced loss: the seed each step's loss sends into the top layer's output, (T, B, D·H).
    pub dh: Sequence<T>,
    /// Whether step t has a loss in any sequence.
    pub present: Vec<bool>,
}

impl<T: Real> Losses<T> {
    /// Losses known only by their seeds dL_k/dh_k, (T, B, D·H): every step has one. Seeds behind a sequence's end and in
    /// burn-in steps are ignored.
    pub fn from_seeds(dh: Sequence<T>) -> Self {
        let present = vec![true; dh.steps()];
        Self { values: Vec::new(), total: f64::NAN, dy: None, dh, present }
    }

    /// Whether step t has a loss in any sequence that can have one there.
    pub(crate) fn heard(&self, trace: &Trace<T>) -> Vec<bool> {
        let (_, batch) = trace.inputs().shape();
        let heard = |t: usize| (0..batch).any(|b| trace.bounds().can_have_loss(t, b));
        self.present.iter().enumerate().map(|(t, &present)| present && heard(t)).collect()
    }

    /// How far loss k reaches, in the sequences it has a seed in.
    pub(crate) fn reach(&self, trace: &Trace<T>, k: usize) -> Reach {
        let has_seed = |b: &usize| self.dh.at(k, *b).iter().any(|v| *v != T::zero());
        let sequences = (0..self.dh.batch()).filter(|&b| trace.bounds().can_have_loss(k, b));
        trace.bounds().reach(k, sequences.filter(has_seed))
    }

    /// Refuses losses that are not all finite, naming the first step whose loss or seed is not.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with step and sequence.
    pub fn check_finite(&self) -> Result<(), Error> {
        let batch = self.dh.batch();
        let loss = self.values.iter().position(|v| !v.is_finite()).map(|i| ("loss", (i / batch, i % batch)));
        let seed = self.dh.first_not_finite().map(|at| ("seed dL/dh", at));
        match loss.or(seed) {
            None => Ok(()),
            Some((what, (step, sequence))) => Err(Error::NotFinite { what: what.into(), step, sequence }),
        }
    }
}

impl<T: Real> Network<T> {
    /// The outputs y = W_hy h + b_y of every step, (T, B, V).
    ///
    /// # Errors
    /// If the network has no readout.
    pub fn outputs(&self, trace: &Trace<T>) -> Result<Sequence<T>, Error> {
        let readout = self.weights().readout.as_ref().ok_or_else(|| Error::Option {
            option: "readout".into(),
            given: "a network without one".into(),
            expected: "a network with a readout (head.weight, head.bias)".into(),
        })?;
        let (steps, batch) = trace.inputs().shape();
        let mut y = Sequence::zeros(steps, batch, readout.outputs());
        kernel::product_transposed(y.data_mut(), false, trace.output().rows(0..steps), readout.w_hy.view());
        for row in y.data_mut().chunks_exact_mut(readout.outputs()) {
            kernel::add_scaled(row, T::one(), readout.b_y.data());
        }
        Ok(y)
    }

    /// The losses of a forward scan under `objective`, and their seeds. Padding and burn-in steps have none.
    ///
    /// # Errors
    /// If the network has no readout, a shape does not fit or a target lies outside the output alphabet.
    pub fn losses(&self, trace: &Trace<T>, objective: &Objective<T>) -> Result<Losses<T>, Error> {
        let mut y = self.outputs(trace)?;
        let readout = self.weights().readout.as_ref().expect("outputs() refused a network without a readout");
        let (steps, batch) = trace.inputs().shape();
        objective.check(steps, batch, readout.outputs())?;

        let has_loss = |i: usize| {
            objective.mask.as_ref().is_none_or(|mask| mask[i])
                && trace.bounds().can_have_loss(i / batch, i % batch)
        };
        let count = (0..steps * batch).filter(|&i| has_loss(i)).count();
        let factor = match objective.reduction {
            Reduction::Sum => 1.0,
            Reduction::MeanTokens => 1.0 / count.max(1) as f64,
            Reduction::MeanBatch => 1.0 / batch as f64,
        };

        let mut values = vec![0.0; steps * batch];
        for (i, row) in y.data_mut().chunks_exact_mut(readout.outputs()).enumerate() {
            if !has_loss(i) {
                row.fill(T::zero());
                continue;
            }
            values[i] = match &objective.targets {
                Targets::CrossEntropy(symbols) => {
                    cross_entropy(row, symbols.ids()[i] as usize, T::of(factor))
                }
                Targets::SquaredError(target) => {
                    squared_error(row, target.rows(0..steps).row(i), T::of(factor))
                }
            };
        }
        let dy = y;
        let mut dh = Sequence::zeros(steps, batch, readout.w_hy.cols());
        kernel::product(dh.data_mut(), false, dy.rows(0..steps), readout.w_hy.view());
        let present = (0..steps).map(|t| (0..batch).any(|b| has_loss(t * batch + b))).collect();
        let total = values.iter().sum::<f64>() * factor;
        Ok(Losses { values, total, dy: Some(dy), dh, present })
    }
}

impl<T: Real> Objective<T> {
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

/// −ln softmax(y)\[target\]; `y` leaves as its gradient times `factor`, (softmax(y) − onehot) · factor.
fn cross_entropy<T: Real>(y: &mut [T], target: usize, factor: T) -> f64 {
    let max = y.iter().copied().fold(T::neg_infinity(), T::max);
    let at_target = y[target] - max;
    for y in y.iter_mut() {
        *y -= max;
    }
    kernel::exp(y);
    let sum: T = y.iter().copied().sum();
    for y in y.iter_mut() {
        *y = *y / sum * factor;
    }
    y[target] -= factor;
    sum.f64().ln() - at_target.f64()
}

/// Σ (y − target)²; `y` leaves as its gradient times `factor`, 2 (y − target) · factor.
fn squared_error<T: Real>(y: &mut [T], target: &[T], factor: T) -> f64 {
    let mut sum = 0.0;
    for (y, &target) in y.iter_mut().zip(target) {
        let difference = *y - target;
        sum += (difference * difference).f64();
        *y = (difference + difference) * factor;
    }
    sum
}
