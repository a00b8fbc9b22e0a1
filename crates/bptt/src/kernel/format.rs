//! Number formats that gradients are rounded to.

use half::bf16;

use super::number::Number;

/// A number format that gradients are kept in. Products add up in f32 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// f32 with denormal numbers, as a processor computes.
    F32,
    /// f32 where what is below the smallest normal number is set to zero, as accelerators and
    /// `torch.set_flush_denormal(True)` do.
    F32Flushed,
    /// Weights, inputs, states and gates are rounded to bf16 after every step, and so are dh, dc and da in the backward pass.
    Bf16,
}

impl Format {
    /// All of them, in the order of [`crate::LagPrecision::formats`].
    pub const ALL: [Self; 3] = [Self::F32, Self::F32Flushed, Self::Bf16];

    /// log₁₀ of the smallest normal number, 2^-126 in all of them.
    pub const LOG10_SMALLEST_NORMAL: f64 = -126.0 * std::f64::consts::LOG10_2;

    /// The name in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F32Flushed => "f32_flushed",
            Self::Bf16 => "bf16",
        }
    }

    /// The numbers as the format keeps them.
    pub(crate) fn round<T: Number>(self, numbers: &mut [T]) {
        let smallest = T::of(f64::from(f32::MIN_POSITIVE));
        for number in numbers {
            match self {
                Self::F32Flushed if number.abs() < smallest => *number = T::zero(),
                Self::F32 | Self::F32Flushed => {}
                Self::Bf16 => *number = T::of(bf16::from_f64(number.f64()).to_f64()),
            }
        }
    }
}
