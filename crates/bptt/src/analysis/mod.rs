//! What ledgers and gradients mean: lags, truncation, paths, precision, saturation, horizons.

mod bf16_pass;
mod bf16_unit;
mod horizons;
mod lag_parts;
mod paths;
mod precision;
mod precision_sums;
mod saturation;
mod truncation;

pub use horizons::{Bootstrap, Horizons, Interval, quantile_interval};
pub use lag_parts::LagParts;
pub(crate) use lag_parts::lag_parts;
pub use paths::PathSplit;
pub(crate) use paths::path_split;
pub(crate) use precision::precision_audit;
pub use precision::{FormatAtLag, LagPrecision, PrecisionAudit};
pub(crate) use precision_sums::precision_sums;
pub use precision_sums::{Framework, FrameworkSums, ParameterSums, SumInFormat, SumOrder};
pub(crate) use saturation::saturation;
pub use saturation::{GateSaturation, SATURATED};
pub use truncation::{SmallestWindow, Truncation, TruncationCurve, log_spaced_windows};
pub(crate) use truncation::{smallest_window, truncation_curve};
