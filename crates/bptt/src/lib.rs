//! Exact, conserved ledgers of which past step taught a recurrent network what.
//!
//! The gradient of *each single loss* L_k is taken apart into the contribution of *each past step* t, for every
//! parameter, and the pieces are always checked to add up to the ordinary gradient. `NOTATION.md` has the mathematics.
//!
//! ```
//! use bptt::{CellParams, Inputs, ItemizeOptions, Losses, Network, Parameter, Sequence, Weights, cell_by_name};
//!
//! // A network of one tanh layer, two inputs, three units, and losses known by the gradients they send into h.
//! let mut layer = CellParams::<f64>::zeros(1, 2, 3);
//! for (i, w) in layer.w_hh.data_mut().iter_mut().enumerate() {
//!     *w = 0.3 - 0.1 * i as f64;
//! }
//! let network = Network::new(cell_by_name("rnn")?, Weights { layers: vec![layer], bidirectional: false, readout: None })?;
//! let x = Sequence::new(4, 1, 2, &[0.1, -0.4, 0.7, 0.2, -0.9, 0.3, 0.5, -0.6])?;
//! let trace = network.scan(Inputs::Dense(x), &network.zero_state(1))?;
//! let losses = Losses::from_seeds(Sequence::new(4, 1, 3, &[1.0; 12])?);
//!
//! let ledger = network.itemize(&trace, &losses, &ItemizeOptions::default())?;
//! let bias = ledger.entry(0, Parameter::Bias).unwrap();
//! assert!(bias.norm(3, 0) < bias.norm(3, 3)); // what step 0 taught loss 3 is less than what step 3 did
//! assert!(ledger.worst_balance() < 1e-12);
//! # Ok::<(), bptt::Error>(())
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bounds;
mod bptt;
mod cell;
mod component;
mod error;
mod flossing;
pub mod gradcheck;
mod gradient;
mod horizons;
mod inputs;
mod itemize;
pub mod kernel;
mod lags;
mod layout;
mod learner;
mod ledger;
mod loss;
mod measure;
mod memory;
mod meter;
mod network;
mod omega;
mod paths;
mod precision;
mod profile;
mod real;
mod records;
mod remainder;
mod rows;
mod saturation;
mod scan;
mod sequence;
pub mod spectrum;
mod truncation;

pub use bounds::ScanOptions;
pub use cell::{
    Activation, Backward, Cell, CellParams, Forward, Gru, GruResetBefore, Leaky, Lstm, Rnn, StepCache,
    cell_by_name, cells,
};
pub use component::{Component, Select};
pub use error::Error;
pub use flossing::Flossing;
pub use gradient::Gradient;
pub use horizons::{Bootstrap, Horizons, Interval, quantile_interval};

pub use inputs::{Inputs, Symbols};
pub use itemize::ItemizeOptions;
pub use lags::LagParts;
pub use layout::{Contribution, Recurrent};
pub use learner::Learner;
pub use ledger::{Balance, Entry, Ledger, Parameter, PerLoss, State as EntryState};
pub use loss::{Losses, Objective, Reduction, Targets};
pub use memory::{MemoryProfile, Perturbed};
pub use network::{Direction, Network, Place, Readout, State, Weights};
pub use omega::Omega;
pub use paths::PathSplit;
pub use precision::{Format, FormatAtLag, LagPrecision, PrecisionAudit};
pub use profile::{LagQuantiles, QUANTILES};
pub use real::Real;
pub use saturation::{GateSaturation, SATURATED};
pub use scan::{LayerTrace, Trace};
pub use sequence::{Matrix, Sequence, SequenceView, View};
pub use truncation::{SmallestWindow, Truncation, TruncationCurve, log_spaced_windows};
