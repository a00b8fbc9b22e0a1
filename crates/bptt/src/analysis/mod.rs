//! What ledgers and gradients mean: lags, truncation, paths, precision, saturation, horizons.

mod horizons;
mod lag_parts;
mod paths;
mod precision;
mod saturation;
mod truncation;

pub use horizons::{Bootstrap, Horizons, Interval, quantile_interval};
pub use lag_parts::LagParts;
pub use paths::PathSplit;
pub use precision::{FormatAtLag, LagPrecision, PrecisionAudit};
pub use saturation::{GateSaturation, SATURATED};
pub use truncation::{SmallestWindow, Truncation, TruncationCurve, log_spaced_windows};
