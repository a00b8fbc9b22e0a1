//! Diagnosis: how far back gradients reach in a network, what limits them, and what to change.
//!
//! [`measure`] measures a network on a batch: its ledger, exponents, horizons, spectra and activations. [`diagnose`]
//! derives a verdict from these numbers alone, by the thresholds in its file; [`remedies`] proposes changes of the settings
//! of a run; [`check`] compares the numbers with limits, [`check_watch_log`] those of a training watched in Python.

mod check;
mod evidence;
mod measure;
mod remedies;
mod verdict;
mod watch_log;

pub use check::{Check, Limits, check};
pub use evidence::{
    Evidence, Exponent, Gate, Lag, LagStatistics, Median, NotFinite, Origin, Spread, Training, Window,
};
pub use measure::{Subject, measure};
pub use remedies::{Remedy, remedies};
pub use verdict::{
    DEAD, EXPLODES, Kind, MOSTLY_CUT, MOSTLY_SATURATED, REACHES, SATURATED_THROUGHOUT, Verdict, diagnose,
};
pub use watch_log::{WatchLimits, WatchedUpdate, check_watch_log, read_watch_log};
