//! Tasks on random bits.

use std::ops::RangeInclusive;

use super::numbers::rounded;
use super::{Example, Task, Values};
use crate::Rng;

/// Engelken's (2023) delayed temporal XOR: y_t = |x_{t−d/2} − x_{t−d}| of random bits, at every step from d on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DelayedXor {
    /// d, even.
    pub delay: usize,
}

impl Task for DelayedXor {
    fn name(&self) -> String {
        format!("delayed_xor:delay={}", self.delay)
    }

    fn about(&self) -> &'static str {
        "whether the bits d/2 and d steps ago differ, at every one of L steps from d on (Engelken 2023)"
    }

    fn inputs(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        1
    }

    fn usual_length(&self) -> usize {
        300.max(self.least_length())
    }

    fn least_length(&self) -> usize {
        self.delay + 1
    }

    fn lag(&self, _: usize) -> RangeInclusive<usize> {
        self.delay / 2..=self.delay
    }

    /// The variance of a random bit.
    fn baseline_loss(&self, _: usize) -> f64 {
        0.25
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let bits: Vec<bool> = (0..length).map(|_| rng.below(2) == 1).collect();
        let answer = |t: usize| t >= self.delay && bits[t - self.delay / 2] != bits[t - self.delay];
        let number = |bit: bool| f64::from(u8::from(bit));
        let has_loss: Vec<bool> = (0..length).map(|t| t >= self.delay).collect();
        Example {
            inputs: rounded(bits.iter().map(|&bit| number(bit))),
            targets: rounded((0..length).map(|t| number(answer(t)))),
            judged: has_loss.clone(),
            has_loss,
        }
    }
}

/// Parity: whether the number of ones among all L bits is odd, at the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parity;

impl Task for Parity {
    fn name(&self) -> String {
        "parity".into()
    }

    fn about(&self) -> &'static str {
        "whether the number of ones among L bits is odd"
    }

    fn inputs(&self) -> usize {
        2
    }

    fn outputs(&self) -> usize {
        2
    }

    fn usual_length(&self) -> usize {
        20
    }

    fn least_length(&self) -> usize {
        2
    }

    /// All bits are required, and without the farthest nothing is known.
    fn lag(&self, length: usize) -> RangeInclusive<usize> {
        length - 1..=length - 1
    }

    fn baseline_loss(&self, _: usize) -> f64 {
        std::f64::consts::LN_2
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let bits: Vec<u32> = (0..length).map(|_| *rng.choose(&[0, 1])).collect();
        let mut targets = vec![0; length];
        targets[length - 1] = bits.iter().sum::<u32>() % 2;
        Example::of_last(Values::Symbols(bits), Values::Symbols(targets), length)
    }
}
