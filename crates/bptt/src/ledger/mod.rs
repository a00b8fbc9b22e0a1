//! The ledger, in the order in which it is made: options, build, blocks of losses, norms, sums, balance, entries.

mod balance;
mod blocks;
mod build;
mod entries;
mod error_estimate;
mod initial;
mod loss_row;
mod measured;
mod measured_errors;
mod norms;
mod one_sequence;
pub(crate) mod operands;
mod options;
mod passes;
pub(crate) mod profile;
mod projections;
mod quantiles;
mod record_layout;
mod records;
mod step_products;
mod sums;

pub use balance::{Balance, ILL_CONDITIONED};
pub(crate) use balance::{PartSize, balance, unbalanced};
pub(crate) use build::itemize;
pub use entries::{Entry, EntryState, Ledger, PerLoss};
pub use options::ItemizeOptions;
pub(crate) use profile::horizon;
pub use profile::{LagQuantiles, QUANTILES};
pub(crate) use quantiles::{median, quantile};
