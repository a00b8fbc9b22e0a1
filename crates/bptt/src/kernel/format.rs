//! Number formats that gradients are rounded to.

use super::number::Number;

/// A number format that gradients are kept in. Products add up in f32 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
                Self::Bf16 => *number = T::of(f64::from(bf16(f32::of(number.f64())))),
            }
        }
    }
}

/// The nearest bf16, which is an f32 without its lower 16 bits; of two equally near the one whose last bit is 0.
pub(crate) fn bf16(number: f32) -> f32 {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if number.is_nan() { f32::NAN } else { f32::from_bits(rounded & 0xffff_0000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_has_eight_digits_and_the_range_of_f32() {
        let ulp = 2f64.powi(-7);
        let cases = [
            (1.0 + 0.5 * ulp, 1.0),
            (1.0 + 1.5 * ulp, 1.0 + 2.0 * ulp),
            (1.0 + 0.50001 * ulp, 1.0 + ulp),
            (-5.3, -5.3125),
            (0.0, 0.0),
            (1e-39, 1.010_190_457_737_903_3e-39),
            (3.4e38, f64::INFINITY),
            (3.38e38, 3.376_239_109_293_686_3e38),
            (f64::NEG_INFINITY, f64::NEG_INFINITY),
        ];
        for (number, expected) in cases {
            let mut rounded = [number];
            Format::Bf16.round(&mut rounded);
            let relative = (rounded[0] - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
            assert!(rounded[0] == expected || relative < 1e-6, "{number}: {} {expected}", rounded[0]);
        }
        let mut nan = [f32::NAN];
        Format::Bf16.round(&mut nan);
        assert!(nan[0].is_nan());
    }
}
