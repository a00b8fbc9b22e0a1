//! The gradient horizon of a network on a batch.

use bptt::dynamics::LyapunovOptions;
use bptt::in_f64;
use bptt::{
    CellId, Direction, ForwardCache, Inputs, ItemizeOptions, Ledger, Network, Reduction, ScanOptions, State,
    Targets,
};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::data_source::held_out_batch;
use crate::tasks::Task;
use crate::{Config, Error};

/// Number of sequences to measure on.
const SEQUENCES: usize = 8;

/// The distance that gradients of W_hh of the bottom layer's forward cell reach. Values that cannot be measured are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientHorizon {
    /// The lag within which 99 % of Σ m(τ) lies.
    pub horizon: Option<usize>,
    /// The slope of ln m(τ), in nats per step.
    pub decay: Option<f64>,
    /// The largest Lyapunov exponent along the sequences, in nats per step.
    pub lyapunov: Option<f64>,
}

impl GradientHorizon {
    /// Measured in f64 on held-out sequences of a task, the same for one seed.
    ///
    /// # Errors
    /// If the task does not fit the network.
    pub fn measure(
        network: &Network<f32>,
        task: &dyn Task,
        length: usize,
        config: &Config,
    ) -> Result<Self, Error> {
        let batch = held_out_batch(task, length, SEQUENCES, config.seed)?.batch;
        let state = network.zero_state(SEQUENCES);
        // Without a ledger there is no horizon.
        let Ok(ledger) = BatchLedger::take(network, &state, batch, config.detach_every) else {
            return Ok(Self::default());
        };
        let options = LyapunovOptions { exponents: Some(1), ..LyapunovOptions::default() };
        let place = CellId { layer: 0, direction: Direction::Forward };
        let lyapunov = in_f64::lyapunov(&ledger.network, &ledger.trace, place, &options);
        let largest = lyapunov.ok().map(|found| found.largest()).filter(|largest| largest.is_finite());
        let entry = ledger.ledger.recurrent(0).expect("every network has recurrent weights");
        let decay = entry.decay().filter(|decay| decay.is_finite());
        Ok(Self { horizon: entry.horizon(0.99), decay, lyapunov: largest })
    }
}

/// A batch and its ledger, in f64.
#[derive(Debug)]
pub struct BatchLedger {
    network: Network<f64>,
    trace: ForwardCache<f64>,
    /// The targets of the losses.
    pub targets: Targets<f64>,
    /// The ledger, without contributions to the inputs.
    pub ledger: Ledger,
}

impl BatchLedger {
    /// With an initial state, and with the state detached every `detach_every` steps; 0 for never.
    pub(crate) fn take(
        network: &Network<f32>,
        state: &State<f32>,
        batch: Batch,
        detach_every: usize,
    ) -> Result<Self, Error> {
        let network = network.cast::<f64>()?;
        let (inputs, objective) = batch.objective::<f64>(Reduction::Sum);
        let detach = ScanOptions::<f64>::detach_every(detach_every, inputs.shape().0);
        let options = ScanOptions { detach, ..ScanOptions::default() };
        let trace = in_f64::scan_with(&network, inputs, &state.cast(), options)?;
        let losses = in_f64::losses(&network, &trace, &objective)?;
        let options = ItemizeOptions { sequences: false, inputs: false, ..ItemizeOptions::default() };
        let ledger = in_f64::itemize(&network, &trace, &losses, &options)?;
        Ok(Self { network, trace, targets: objective.targets, ledger })
    }

    /// The inputs.
    pub fn inputs(&self) -> &Inputs<f64> {
        self.trace.inputs()
    }
}
