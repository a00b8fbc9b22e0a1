//! The forward scan: inputs, sequence boundaries, the time loop, what it saves, and the losses.

mod boundaries;
mod cache;
mod inputs;
mod loss;
mod scan;

pub use boundaries::ScanOptions;
pub(crate) use boundaries::{GradientSpan, SequenceBoundaries};
pub use cache::{CellCache, ForwardCache};
pub(crate) use inputs::{BySymbol, StepInput};
pub use inputs::{Inputs, Symbols};
pub use loss::{Losses, Objective, Reduction, Targets};
pub(crate) use loss::{gradient_of_outputs, losses, losses_into, outputs};
pub(crate) use scan::{scan_into, scan_rounded, scan_with};
