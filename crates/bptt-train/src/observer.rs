//! What a training run tells, and the answer it takes back.

use std::sync::Arc;

use bptt::Network;

use crate::clip::Clipped;
use crate::reach::Apart;

/// Whether to go on, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Go on with this learning rate before the schedule, from the next update on; finite and above 0.
    LearningRate(f64),
    /// Stop after this step; what was learned so far is kept.
    Stop,
}

impl Flow {
    /// Stops if either says so; of two learning rates the other's counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == Self::Stop || other == Self::Continue { self } else { other }
    }
}

/// Something that happened in training. Steps count updates from 1.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// An update was made.
    Step {
        /// Which one.
        step: u64,
        /// Mean loss of the batch before the update: nats a symbol of a text; nats or squared error of a task.
        loss: f64,
        /// The learning rate of the update.
        learning_rate: f64,
        /// Global norm of the gradient before and after clipping.
        gradient: Clipped,
        /// Symbols, or steps of a task, learned from so far, repetitions counted.
        symbols: u64,
        /// The network after the update.
        network: &'a Network<f32>,
    },
    /// An update was made that pulls Lyapunov exponents to 0, before training.
    Flossing {
        /// Which one of these.
        step: u64,
        /// The mean square of the exponents before it, (nats per step)².
        loss: f64,
        /// The exponents, the largest first, in nats per step.
        exponents: &'a [f64],
    },
    /// The gradient of the batch's first sequence was taken apart, before the update.
    Trace {
        /// Which update.
        step: u64,
        /// The lag within which 99 % of Σ m(τ) lies, for W_hh; `None` if every contribution is zero.
        horizon: Option<usize>,
        /// The slope of ln m(τ) per step, for W_hh.
        decay: Option<f64>,
        /// What they are of; `None` for a gradient that cannot be taken apart.
        apart: Option<&'a Arc<Apart>>,
    },
    /// The held-out text was predicted, or a task done on sequences that nothing is learned from.
    Evaluation {
        /// After which update.
        step: u64,
        /// Mean loss, as above.
        loss: f64,
        /// Of a task, the fraction of sequences that are solved.
        solved: Option<f64>,
    },
}

/// Whoever watches a training run.
pub trait Observer {
    /// Takes notice; [`Flow::Stop`] ends the run.
    fn event(&mut self, event: &Event<'_>) -> Flow;
}

impl<F: FnMut(&Event<'_>) -> Flow> Observer for F {
    fn event(&mut self, event: &Event<'_>) -> Flow {
        self(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_wins_and_a_learning_rate_is_not_lost() {
        use Flow::{Continue, LearningRate, Stop};
        for (a, b, both) in [
            (Continue, Continue, Continue),
            (Stop, LearningRate(0.1), Stop),
            (LearningRate(0.1), Stop, Stop),
            (LearningRate(0.1), Continue, LearningRate(0.1)),
            (Continue, LearningRate(0.1), LearningRate(0.1)),
            (LearningRate(0.1), LearningRate(0.2), LearningRate(0.2)),
        ] {
            assert_eq!(a.and(b), both);
        }
    }
}
