//! The ledger, in the order in which it is made: options, build, blocks of losses, norms, sums, balance, entries.

mod balance;
mod blocks;
mod build;
mod entries;
mod measured;
mod norms;
mod options;
mod passes;
pub(crate) mod profile;
mod projections;
mod records;
mod sums;

pub use balance::Balance;
pub(crate) use balance::balance;
pub use entries::{Entry, EntryState, Ledger, PerLoss};
pub use options::ItemizeOptions;
pub use profile::{LagQuantiles, QUANTILES};
pub(crate) use profile::{horizon, median, quantile};
