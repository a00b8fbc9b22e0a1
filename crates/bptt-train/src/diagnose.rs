//! How far learning reaches in a network, why no farther, and what to change.
//!
//! [`measure`] gathers numbers of a network on a batch: its ledger, exponents, horizons, spectra and activations. What they
//! mean, [`diagnose`], is decided from these numbers alone, by the thresholds that stand beside it as constants; so is what to
//! change, in the settings of a run. [`check`] holds the same numbers against limits.

mod check;
mod evidence;
mod measure;
mod remedies;
mod verdict;

pub use check::{Check, Limits, check};
pub use evidence::{
    Evidence, Exponent, Gate, Lag, Median, NotFinite, Origin, Reach, Spread, Training, Window,
};
pub use measure::{Subject, measure};
pub use remedies::{Remedy, remedies};
pub use verdict::{
    DEAD, EXPLODES, Kind, MOSTLY_CUT, MOSTLY_SATURATED, REACHES, SATURATED_THROUGHOUT, Verdict, diagnose,
};
