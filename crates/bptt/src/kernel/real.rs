//! f32 and f64 behind one trait.

use std::fmt::{Debug, Display};
use std::iter::Sum;

use super::activation::Exponential;
use super::product::Products;

/// A floating-point number the library computes with: `f32` or `f64`.
///
/// Everything measured *of* a gradient (norms, shares, errors) is an `f64` whatever the network computes in.
pub trait Real:
    num_traits::Float
    + num_traits::NumAssign
    + Exponential
    + Products
    + Default
    + Debug
    + Display
    + Sum
    + Send
    + Sync
{
    /// The type's name, for messages: `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// The largest relative error at which a ledger still counts as balanced: 1e-4 (f32), 1e-10 (f64).
    const BALANCE_TOLERANCE: f64;

    /// The nearest number of this type.
    fn of(value: f64) -> Self;

    /// The same number as an `f64`, exactly.
    fn f64(self) -> f64;
}

impl Real for f32 {
    const NAME: &'static str = "f32";
    const BALANCE_TOLERANCE: f64 = 1e-4;

    #[allow(clippy::cast_possible_truncation)] // rounding to the nearest f32 is what the name promises
    fn of(value: f64) -> Self {
        value as f32
    }

    fn f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    const NAME: &'static str = "f64";
    const BALANCE_TOLERANCE: f64 = 1e-10;

    fn of(value: f64) -> Self {
        value
    }

    fn f64(self) -> f64 {
        self
    }
}
