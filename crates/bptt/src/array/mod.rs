//! Arrays: row-major matrices and time-major sequences, with nothing but their layout.

mod matrix;
mod sequence;

pub(crate) use matrix::zeros;
pub use matrix::{Matrix, View};
pub use sequence::{Sequence, SequenceView};
