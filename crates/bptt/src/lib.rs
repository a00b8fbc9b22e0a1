//! Exact, conserved ledgers of which past step taught a recurrent network what.
//!
//! The gradient of *each single loss* L_k is decomposed into the contribution of *each past step* t, for every parameter, and
//! the components are always checked to add up to the ordinary gradient. `NOTATION.md` has the mathematics.
//!
//! ```
//! use bptt::{CellParams, Inputs, ItemizeOptions, Losses, Network, Parameter, Sequence, Weights, cell_by_name};
//!
//! // A network of one tanh layer, two inputs, three units, and losses known by the gradients they send into h.
//! let cell = cell_by_name("rnn")?;
//! let mut layer = CellParams::<f64>::zeros(cell.spec(), 2, 3);
//! for (i, w) in layer["weight_hh"].data_mut().iter_mut().enumerate() {
//!     *w = 0.3 - 0.1 * i as f64;
//! }
//! let network = Network::new(cell, Weights { cells: vec![layer], bidirectional: false, readout: None })?;
//! let x = Sequence::new(4, 1, 2, &[0.1, -0.4, 0.7, 0.2, -0.9, 0.3, 0.5, -0.6])?;
//! let cache = network.scan(Inputs::Dense(x), &network.zero_state(1))?;
//! let losses = Losses::from_seeds(Sequence::new(4, 1, 3, &[1.0; 12])?);
//!
//! let ledger = network.itemize(&cache, &losses, &ItemizeOptions::default())?;
//! let bias = ledger.entry(0, Parameter::BIAS).unwrap();
//! assert!(bias.norm(3, 0) < bias.norm(3, 3)); // what step 0 taught loss 3 is less than what step 3 did
//! assert!(ledger.worst_balance() < 1e-12);
//! # Ok::<(), bptt::Error>(())
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod analysis;
mod array;
mod control;
pub mod dynamics;
mod error;
mod forward;
mod gradient;
pub mod in_f64;
pub mod kernel;
mod ledger;
mod methods;
mod model;
mod reverse;

pub use analysis::{
    Bootstrap, FormatAtLag, Framework, FrameworkSums, GateSaturation, Horizons, Interval, LagParts,
    LagPrecision, ParameterSums, PathSplit, PrecisionAudit, SATURATED, SmallestWindow, SumInFormat, SumOrder,
    Truncation, TruncationCurve, log_spaced_windows, quantile_interval,
};
pub use array::{Matrix, Sequence, SequenceView, View};
pub use control::Control;
pub use dynamics::{Flossing, MemoryProfile, Omega, Perturbed};
pub use error::Error;
pub use forward::{
    CellCache, ForwardCache, Inputs, Losses, Objective, Reduction, ScanOptions, Symbols, Targets,
};
pub use gradient::{Component, Gradient, GradientOptions, Select, TrainStep, gradcheck};
pub use kernel::{Format, Number, Real};
pub use ledger::{
    Balance, Entry, EntryState, ILL_CONDITIONED, ItemizeOptions, LagQuantiles, Ledger, PerLoss, QUANTILES,
};
pub use model::{
    Activation, Backward, Cell, CellId, CellKind, CellParams, CellSizes, CellSpec, Direction, Forward,
    InputProjection, Network, Parameter, Readout, State, StepCache, StepWeights, Weights, cell, cell_by_name,
    cells,
};
pub use reverse::{OutsideRows, RowNotFinite};

/// The README's example is compiled and run with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
