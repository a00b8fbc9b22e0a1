//! How far back a network's gradient reaches on some sequences.

use bptt::dynamics::LyapunovOptions;
use bptt::{
    CellId, Direction, ForwardCache, Inputs, ItemizeOptions, Ledger, Network, Reduction, ScanOptions, State,
    Targets,
};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::material::held_out_batch;
use crate::tasks::Task;
use crate::{Config, Error};

/// Sequences it is measured on.
const SEQUENCES: usize = 8;

/// How far a gradient comes back to W_hh of the bottom layer's forward cell. What cannot be said is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// The lag within which 99 % of Σ m(τ) lies.
    pub horizon: Option<usize>,
    /// The slope of ln m(τ), in nats per step.
    pub decay: Option<f64>,
    /// The largest Lyapunov exponent along the sequences, in nats per step.
    pub lyapunov: Option<f64>,
}

impl Reach {
    /// On sequences of a task that nothing is learned from, the same for one seed. Computed in f64.
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
        // A gradient that cannot be taken apart has no horizon.
        let Ok(apart) = Apart::take(network, &state, batch, config.detach_every) else {
            return Ok(Self::default());
        };
        let options = LyapunovOptions { exponents: Some(1), ..LyapunovOptions::default() };
        let place = CellId { layer: 0, direction: Direction::Forward };
        let lyapunov = apart.network.lyapunov(&apart.trace, place, &options);
        let largest = lyapunov.ok().map(|found| found.largest()).filter(|largest| largest.is_finite());
        let entry = apart.ledger.recurrent(0).expect("every network has recurrent weights");
        let decay = entry.decay().filter(|decay| decay.is_finite());
        Ok(Self { horizon: entry.horizon(0.99), decay, lyapunov: largest })
    }
}

/// A batch's gradient taken apart, in f64.
#[derive(Debug)]
pub struct Apart {
    network: Network<f64>,
    trace: ForwardCache<f64>,
    /// What each loss compares with.
    pub targets: Targets<f64>,
    /// Which step contributed what to which loss, without the inputs' part.
    pub ledger: Ledger,
}

impl Apart {
    /// With a state to begin with and a gradient that is cut off every so many steps; 0 for never.
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
        let trace = network.scan_with(inputs, &state.cast(), options)?;
        let losses = network.losses(&trace, &objective)?;
        let options = ItemizeOptions { sequences: false, inputs: false, ..ItemizeOptions::default() };
        let ledger = network.itemize(&trace, &losses, &options)?;
        Ok(Self { network, trace, targets: objective.targets, ledger })
    }

    /// What was read.
    pub fn inputs(&self) -> &Inputs<f64> {
        self.trace.inputs()
    }
}
