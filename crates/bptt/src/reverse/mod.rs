//! The reverse scan: one time loop for training and for ledgers, which differ only in the rows it carries.

mod blocks;
mod by_gate;
mod plan;
mod rows;
mod scan;
mod tolerance;

pub(crate) use blocks::{SIDE_BY_SIDE, losses_of_a_block};
pub(crate) use by_gate::{Part, Scaled, add, largest};
pub(crate) use plan::Plan;
pub(crate) use rows::{Rows, floor_log2, sum_of_classes};
pub(crate) use scan::{
    Beginning, Carry, Kept, Reverse, Step, reverse_layers, reverse_layers_from, through_kept,
    through_recurrent,
};
pub(crate) use tolerance::Fallen;
