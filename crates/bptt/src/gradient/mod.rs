//! Ordinary gradients, the reusable training step, single components, and the check by finite differences.

mod components;
pub mod gradcheck;
mod ordinary;
mod params;
mod train_step;

pub use components::{Component, Select};
pub(crate) use components::{components, visit_components};
pub use ordinary::{Gradient, GradientOptions};
pub(crate) use ordinary::{check_losses, gradient, group_gradients, zero_gradient};
pub(crate) use params::{Threads, add_cell_gradient, add_readout_gradient};
pub use train_step::TrainStep;
