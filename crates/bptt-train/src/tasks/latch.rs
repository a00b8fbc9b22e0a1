//! Tasks in which a sign must be stored.

use std::ops::RangeInclusive;

use super::numbers::rounded;
use super::{Example, Task, Values};
use crate::Rng;

/// Number of steps that show the sign, and the standard deviation of the noise after them.
const SHOWN: usize = 3;
const NOISE: f64 = 0.447_213_595_499_957_9; // √0.2

/// The latching problem of Bengio, Simard and Frasconi (1994), with the numbers of Hochreiter and Schmidhuber's (1997)
/// experiment 3a: three steps of 1 or −1, then Gaussian noise of variance 0.2; the target at the last step is the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoisyLatch;

impl Task for NoisyLatch {
    fn name(&self) -> String {
        "noisy_latch".into()
    }

    fn about(&self) -> &'static str {
        "the sign of the first three of L numbers, followed by noise (Bengio et al. 1994)"
    }

    fn inputs(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        2
    }

    fn usual_length(&self) -> usize {
        100
    }

    fn least_length(&self) -> usize {
        SHOWN + 1
    }

    /// The last of the three is sufficient.
    fn lag(&self, length: usize) -> RangeInclusive<usize> {
        length - SHOWN..=length - 1
    }

    fn baseline_loss(&self, _: usize) -> f64 {
        std::f64::consts::LN_2
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let class = *rng.choose(&[0, 1]);
        let sign = if class == 1 { 1.0 } else { -1.0 };
        let numbers = (0..length).map(|t| if t < SHOWN { sign } else { NOISE * rng.normal() });
        let inputs = rounded(numbers);
        let mut targets = vec![0; length];
        targets[length - 1] = class;
        Example::of_last(inputs, Values::Symbols(targets), length)
    }
}

/// The k-bit flip-flop of Sussillo and Barak (2013): k channels with occasional pulses of 1 or −1, and k outputs equal to
/// the last pulse of each channel. Every channel begins with a pulse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FlipFlop {
    /// k.
    pub bits: usize,
    /// The probability of a pulse in a channel at a step.
    pub pulse: f64,
}

impl Task for FlipFlop {
    fn name(&self) -> String {
        format!("flip_flop:bits={},pulse={:?}", self.bits, self.pulse)
    }

    fn about(&self) -> &'static str {
        "the last pulse of each channel, at every one of L steps (Sussillo and Barak 2013)"
    }

    fn inputs(&self) -> usize {
        self.bits
    }

    fn outputs(&self) -> usize {
        self.bits
    }

    fn usual_length(&self) -> usize {
        100
    }

    fn least_length(&self) -> usize {
        2
    }

    /// From one step to the mean interval between pulses.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rounded number between 1 and the length
    fn lag(&self, length: usize) -> RangeInclusive<usize> {
        1..=((1.0 / self.pulse).round() as usize).clamp(1, length - 1)
    }

    /// Without a pulse the sign is unknown, with one it is visible: k (1 − p) at every step but the first.
    fn baseline_loss(&self, length: usize) -> f64 {
        self.bits as f64 * (1.0 - self.pulse) * (length - 1) as f64 / length as f64
    }

    fn tolerance(&self) -> f64 {
        1.0
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let mut held = vec![0.0; self.bits];
        for t in 0..length {
            for held in &mut held {
                let pulse = t == 0 || rng.uniform() < self.pulse;
                let sign = if rng.below(2) == 1 { 1.0 } else { -1.0 };
                if pulse {
                    *held = sign;
                }
                inputs.push(if pulse { sign } else { 0.0 });
                targets.push(*held);
            }
        }
        Example {
            inputs: rounded(inputs),
            targets: rounded(targets),
            has_loss: vec![true; length],
            judged: vec![true; length],
        }
    }
}
