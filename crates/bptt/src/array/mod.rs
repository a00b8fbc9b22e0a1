//! Arrays: row-major matrices and time-major sequences, with nothing but their layout.

mod aligned;
mod matrix;
mod sequence;

pub(crate) use aligned::Aligned;
pub use matrix::{Matrix, View};
pub use sequence::{Sequence, SequenceView};
