//! The reverse scan: one time loop for training and for ledgers, which differ only in the rows it carries.

mod blocks;
mod options;
mod outside;
mod parts;
mod plan;
mod rows;
mod scan;
mod source;
mod step;
mod tolerance;

pub(crate) use blocks::{SIDE_BY_SIDE, losses_of_a_block};
pub(crate) use options::{Numbers, RowOptions};
pub use outside::{OutsideRows, RowNotFinite};
pub(crate) use parts::{Part, Scaled, add, largest};
pub(crate) use plan::Plan;
pub(crate) use rows::{Rows, floor_log2, sum_of_classes};
pub(crate) use scan::{BackwardBuffers, Kept, Step, reverse_layers};
pub(crate) use source::Source;
pub(crate) use step::{Adjoints, CellContext};
pub(crate) use tolerance::MergedRow;
