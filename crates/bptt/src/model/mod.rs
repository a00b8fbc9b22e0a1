//! What a network is: cells, their parameters and states, and the readout.

pub mod cell;
mod network;
mod packed_weights;
mod params;
mod recurrent;
mod registry;
mod state;

pub use cell::{Activation, Backward, Cell, Forward, Gru, GruResetBefore, Leaky, Lstm, Rnn, StepCache};
pub use network::Network;
pub use params::{CellParams, Direction, Place, Readout, Weights};
pub use recurrent::{Contribution, Recurrent};
pub use registry::{cell_by_name, cells};
pub use state::State;
