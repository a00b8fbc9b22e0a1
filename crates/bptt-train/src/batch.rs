//! Batches of sequences: inputs, targets, and a mask of the losses.

use std::ops::Range;

use bptt::{Inputs, Objective, Real, Reduction, Sequence, Symbols, Targets};

use crate::Error;
use crate::corpus::Window;

/// B sequences of T steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Inputs, (T, B) or (T, B, I).
    pub inputs: Inputs<f32>,
    /// Targets, (T, B) or (T, B, V).
    pub targets: Targets<f32>,
    /// (T, B) time-major: the positions that have a loss. `None`: all.
    pub mask: Option<Vec<bool>>,
}

impl Batch {
    /// A window of a text: the target of each symbol is the next one.
    ///
    /// # Errors
    /// If the window does not have `batch` streams.
    pub fn of_text(window: Window, batch: usize) -> Result<Self, Error> {
        let steps = window.inputs.len() / batch.max(1);
        Ok(Self {
            inputs: Inputs::Symbols(Symbols::new(steps, batch, window.inputs)?),
            targets: Targets::CrossEntropy(Symbols::new(steps, batch, window.targets)?),
            mask: None,
        })
    }

    /// (T, B).
    pub fn shape(&self) -> (usize, usize) {
        self.inputs.shape()
    }

    /// Number of (t, b) that have a loss.
    pub fn losses(&self) -> usize {
        let (steps, batch) = self.shape();
        self.mask.as_ref().map_or(steps * batch, |mask| mask.iter().filter(|&&there| there).count())
    }

    /// The last step with a loss; the last step if there is none.
    pub fn last_loss(&self) -> usize {
        let (steps, batch) = self.shape();
        let last = self.mask.as_ref().and_then(|mask| mask.iter().rposition(|&there| there));
        last.map_or(steps.saturating_sub(1), |at| at / batch)
    }

    /// A batch of these sequences only.
    #[must_use]
    pub fn sequences(&self, range: Range<usize>) -> Self {
        let (steps, batch) = self.shape();
        let places = || (0..steps).flat_map(|t| range.clone().map(move |b| (t, b)));
        let dense = |of: &Sequence<f32>| {
            let mut some = Sequence::zeros(steps, range.len(), of.features());
            for (t, b) in places() {
                some.at_mut(t, b - range.start).copy_from_slice(of.at(t, b));
            }
            some
        };
        let symbols = |of: &Symbols| {
            let ids = places().map(|(t, b)| of.step(t)[b]).collect();
            Symbols::new(steps, range.len(), ids).expect("an id for each place")
        };
        Self {
            inputs: match &self.inputs {
                Inputs::Dense(x) => Inputs::Dense(dense(x)),
                Inputs::Symbols(ids) => Inputs::Symbols(symbols(ids)),
            },
            targets: match &self.targets {
                Targets::CrossEntropy(ids) => Targets::CrossEntropy(symbols(ids)),
                Targets::SquaredError(values) => Targets::SquaredError(dense(values)),
            },
            mask: self.mask.as_ref().map(|mask| places().map(|(t, b)| mask[t * batch + b]).collect()),
        }
    }

    /// The inputs, and the targets as an objective.
    pub fn objective<T: Real>(self, reduction: Reduction) -> (Inputs<T>, Objective<T>) {
        let targets = match self.targets {
            Targets::CrossEntropy(ids) => Targets::CrossEntropy(ids),
            Targets::SquaredError(values) => Targets::SquaredError(values.cast()),
        };
        (self.inputs.cast(), Objective { targets, mask: self.mask, reduction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_sequences_are_those_columns() {
        let numbers: Vec<f32> = (0_u8..12).map(f32::from).collect();
        let batch = Batch {
            inputs: Inputs::Symbols(Symbols::new(2, 3, (0..6).collect()).unwrap()),
            targets: Targets::SquaredError(Sequence::new(2, 3, 2, &numbers).unwrap()),
            mask: Some(vec![true, false, false, true, true, false]),
        };
        assert_eq!((batch.shape(), batch.losses()), ((2, 3), 3));
        let last = batch.sequences(1..3);
        assert_eq!(last.inputs, Inputs::Symbols(Symbols::new(2, 2, vec![1, 2, 4, 5]).unwrap()));
        let expected = [2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0];
        assert_eq!(last.targets, Targets::SquaredError(Sequence::new(2, 2, 2, &expected).unwrap()));
        assert_eq!((last.mask.clone(), last.losses()), (Some(vec![false, false, true, false]), 1));
        assert_eq!(batch.sequences(0..3), batch);
    }
}
