//! Events of a training, and the answers of its observer.

use std::sync::Arc;

use bptt::Network;

use crate::clip::Clipped;
use crate::horizon::BatchLedger;
use crate::trainer::Training;

/// Whether and how the training continues.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    /// Continue.
    Continue,
    /// Continue with this base learning rate from the next update on; finite and above 0.
    LearningRate(f64),
    /// Stop after this update and keep the network.
    Stop,
}

impl Flow {
    /// Stops if either does; of two learning rates the second one is used.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == Self::Stop || other == Self::Continue { self } else { other }
    }
}

/// An event of a training. Updates are counted from 1.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// An update was made.
    Step {
        /// Number of the update.
        step: u64,
        /// Mean loss of the batch before the update: nats per symbol of a text; nats or squared error of a task.
        loss: f64,
        /// The learning rate of the update.
        learning_rate: f64,
        /// Global norm of the gradient before and after clipping.
        gradient: Clipped,
        /// ‖change of the weights‖ / ‖weights‖ of the first update and of every tenth after it.
        update_ratio: Option<f64>,
        /// Number of symbols of a text, or steps of a task, used so far, with repetitions.
        symbols: u64,
        /// The network after the update.
        network: &'a Network<f32>,
    },
    /// An update of gradient flossing was made, before training.
    Flossing {
        /// Number of the update.
        step: u64,
        /// The mean square of the exponents before it, (nats per step)².
        loss: f64,
        /// The exponents, the largest first, in nats per step.
        exponents: &'a [f64],
    },
    /// A ledger of the first sequence of the batch was made, before the update.
    Ledger {
        /// Number of the update.
        step: u64,
        /// The lag within which 99 % of Σ m(τ) lies, for W_hh; `None` if all contributions are zero.
        horizon: Option<usize>,
        /// The slope of ln m(τ) per step, for W_hh.
        decay: Option<f64>,
        /// The ledger; `None` if it could not be made.
        ledger: Option<&'a Arc<BatchLedger>>,
    },
    /// The network was evaluated on held-out data.
    Evaluation {
        /// Number of updates before the evaluation.
        step: u64,
        /// Mean loss, in the unit of [`Event::Step`].
        loss: f64,
        /// For a task, the fraction of solved sequences.
        solved: Option<f64>,
    },
    /// An update and its other events are over; the training can be saved. Learning rates in the answer are not used.
    Updated {
        /// The training as it is now.
        training: &'a Training<'a, 'a>,
        /// Whether the observer has stopped it.
        ends: bool,
    },
}

/// Observes a training.
pub trait Observer {
    /// Called for every event; the answer decides how the training continues.
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
