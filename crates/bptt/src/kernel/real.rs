//! f32 and f64 behind one trait.

use super::activation::Exponential;
use super::product::Products;

/// A floating-point number the library computes with: `f32` or `f64`.
///
/// Everything measured *of* a gradient (norms, shares, errors) is an `f64` whatever the network computes in.
pub trait Real: Exponential + Products {
    /// The largest relative error at which a ledger still counts as balanced: 1e-4 (f32), 1e-10 (f64).
    const BALANCE_TOLERANCE: f64;
}

impl Real for f32 {
    const BALANCE_TOLERANCE: f64 = 1e-4;
}

impl Real for f64 {
    const BALANCE_TOLERANCE: f64 = 1e-10;
}
