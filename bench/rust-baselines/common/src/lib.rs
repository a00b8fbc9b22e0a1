//! What the Rust baselines share: the cases, the protocol with the driver and the number of threads.

mod case;
mod protocol;
mod threads;

pub use case::{Case, Cell};
pub use protocol::{Baseline, Check, Job, serve};
pub use threads::keep_to_threads;

/// Whatever goes wrong, as a text for the driver.
pub type Error = Box<dyn std::error::Error>;
/// A result whose error is a text for the driver.
pub type Result<T> = std::result::Result<T, Error>;
