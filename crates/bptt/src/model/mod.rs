//! What a network is: cells and their specifications, parameters, states, and the readout.

mod activation;
pub mod cell;
mod layout;
mod network;
mod packed_weights;
mod parameter;
mod params;
mod paths;
mod registry;
mod spec;
mod spec_check;
mod state;
mod step_weights;

pub use activation::Activation;
pub use cell::{Backward, Cell, CellKind, Forward, StepCache};
pub(crate) use layout::BlockGroup;
pub use network::Network;
pub(crate) use packed_weights::BackwardProduct;
pub use parameter::Parameter;
pub use params::{CellId, CellParams, Direction, Readout, Weights};
pub use registry::{cell_by_name, cells};
pub use spec::{
    CellSizes, CellSpec, MAX_ADJOINTS, MAX_ON_ADJOINT, MAX_SAVED, MAX_STATES, Operand, ParamKind, Stage,
    Width,
};
pub use state::State;
pub use step_weights::InputProjection;
pub use step_weights::StepWeights;
