//! What all code asks of a number type, before any of its vectors.

use std::fmt::{Debug, Display};
use std::iter::Sum;

/// A floating-point number, and how it is made from an `f64` and read as one.
pub trait Number:
    num_traits::Float + num_traits::NumAssign + Default + Debug + Display + Sum + Send + Sync
{
    /// The type's name, for messages: `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// The nearest number of this type.
    fn of(value: f64) -> Self;

    /// The same number as an `f64`, exactly.
    fn f64(self) -> f64;
}

impl Number for f32 {
    const NAME: &'static str = "f32";

    #[allow(clippy::cast_possible_truncation)] // rounding to the nearest f32 is what the name promises
    fn of(value: f64) -> Self {
        value as f32
    }

    fn f64(self) -> f64 {
        f64::from(self)
    }
}

impl Number for f64 {
    const NAME: &'static str = "f64";

    fn of(value: f64) -> Self {
        value
    }

    fn f64(self) -> f64 {
        self
    }
}
