//! Diagnosis: how far back gradients reach in a network, what limits them, and what to change.
//!
//! [`measure`] measures a network on a batch: its ledger, exponents, horizons, spectra and activations;
//! [`Evidence::of_ledger`] takes what a ledger alone says; [`Training::read`] reads the metrics of a run. [`diagnose`]
//! derives a verdict from these numbers alone, the same one for reports, `diagnose`, `check`, the laboratory and Python:
//! first from what was learned, then from how far gradients reach, then from what limits them. [`remedies`] proposes changes
//! of the settings of a run, and lines of PyTorch; [`check`] compares the numbers with limits, [`check_watch_log`] those of a
//! training watched in Python.

mod check;
mod evidence;
mod lags;
mod learned;
mod measure;
mod remedies;
mod sentences;
mod torch_lines;
mod training;
mod verdict;
mod watch_log;

pub use check::{Check, Limits, check};
pub use evidence::{
    Before, CutBy, Evidence, Exponent, Gate, Lag, LagStatistics, Median, NotFinite, Origin, Spread, Window,
};
pub use measure::{Subject, measure};
pub use remedies::{Remedy, remedies};
pub use training::{Evaluated, Training};
pub use verdict::{Kind, REACHES, Verdict, diagnose, of_training};
pub use watch_log::{WatchLimits, WatchedUpdate, check_watch_log, read_watch_log};
