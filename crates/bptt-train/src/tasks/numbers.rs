//! The adding and multiplication problems.

use std::ops::RangeInclusive;

use super::{Example, Task, Values};
use crate::Rng;

/// Hochreiter and Schmidhuber's (1997) experiments 4 and 5, with sequences of one length, L steps.
///
/// Each step has a number and a marker. The marker is 1 at one of the first ten steps and at another of the first L/2 − 1
/// steps, and −1 at the first and the last step. If the first step is one of the two, its marker is 1 and its number is
/// neutral: 0 in a sum, 1 in a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TwoNumbers {
    /// X₁ X₂ with numbers uniform in (0, 1), in place of ½ + (X₁ + X₂)/4 with numbers uniform in (−1, 1).
    pub multiplied: bool,
}

impl TwoNumbers {
    /// Number of steps from which the first and the second marked step are chosen.
    fn places(length: usize) -> (usize, usize) {
        let second = length / 2 - 1;
        (second.min(10), second)
    }
}

impl Task for TwoNumbers {
    fn name(&self) -> String {
        if self.multiplied { "multiplication" } else { "adding" }.into()
    }

    fn about(&self) -> &'static str {
        if self.multiplied {
            "the product of two marked numbers among L (Hochreiter and Schmidhuber 1997, experiment 5)"
        } else {
            "½ + ¼ of the sum of two marked numbers among L (Hochreiter and Schmidhuber 1997, experiment 4)"
        }
    }

    fn inputs(&self) -> usize {
        2
    }

    fn outputs(&self) -> usize {
        1
    }

    fn usual_length(&self) -> usize {
        100
    }

    fn least_length(&self) -> usize {
        6
    }

    fn lag(&self, length: usize) -> RangeInclusive<usize> {
        length - Self::places(length).1..=length - 1
    }

    /// The variance of the target.
    fn baseline_loss(&self, length: usize) -> f64 {
        let (first, second) = Self::places(length);
        let (first, second) = (first as f64, second as f64);
        // The probability that the first step is one of the two.
        let neutral = 1.0 / first + (1.0 - 1.0 / first) / (second - 1.0);
        if self.multiplied {
            let mean = (1.0 - neutral) / 4.0 + neutral / 2.0;
            (1.0 - neutral) / 9.0 + neutral / 3.0 - mean * mean
        } else {
            (2.0 - neutral) / 48.0
        }
    }

    fn tolerance(&self) -> f64 {
        0.04
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let (low, neutral) = if self.multiplied { (0.0, 1.0) } else { (-1.0, 0.0) };
        let mut numbers: Vec<f64> = (0..length).map(|_| rng.uniform_in(low, 1.0)).collect();
        let (among, second) = Self::places(length);
        let first = rng.below(among);
        let second = (first + 1 + rng.below(second - 1)) % second;
        let mut markers = vec![0.0; length];
        (markers[0], markers[length - 1]) = (-1.0, -1.0);
        (markers[first], markers[second]) = (1.0, 1.0);
        if markers[0] > 0.0 {
            numbers[0] = neutral;
        }
        let (a, b) = (numbers[first], numbers[second]);
        let target = if self.multiplied { a * b } else { 0.5 + (a + b) / 4.0 };
        let inputs = numbers.iter().zip(&markers).flat_map(|(&x, &marker)| [x, marker]);
        let mut targets = vec![0.0; length];
        targets[length - 1] = target;
        Example::of_last(rounded(inputs), rounded(targets), length)
    }
}

/// Numbers in f32.
#[allow(clippy::cast_possible_truncation)] // rounding to the nearest f32
pub(super) fn rounded(numbers: impl IntoIterator<Item = f64>) -> Values {
    Values::Numbers(numbers.into_iter().map(|number| number as f32).collect())
}
