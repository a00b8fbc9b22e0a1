//! The copy task.

use std::ops::RangeInclusive;

use super::{Example, Task, Values};
use crate::Rng;

/// Number of letters to copy, and size of the alphabet.
const LETTERS: usize = 10;
const ALPHABET: usize = 8;
const BLANK: u32 = 8;
const GO: u32 = 9;

/// The copy task of Arjovsky, Shah and Bengio (2016), after Hochreiter and Schmidhuber (1997): ten letters, L − 1 blanks, a
/// marker, ten blanks; the targets are blanks up to the marker, and then the letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CopyMemory;

impl Task for CopyMemory {
    fn name(&self) -> String {
        "copy_memory".into()
    }

    fn about(&self) -> &'static str {
        "copy ten letters of eight after L blanks, in L + 20 steps (Arjovsky et al. 2016)"
    }

    fn inputs(&self) -> usize {
        ALPHABET + 2
    }

    fn outputs(&self) -> usize {
        ALPHABET + 1
    }

    fn usual_length(&self) -> usize {
        100
    }

    fn least_length(&self) -> usize {
        1
    }

    fn steps(&self, length: usize) -> usize {
        length + 2 * LETTERS
    }

    fn lag(&self, length: usize) -> RangeInclusive<usize> {
        length + LETTERS..=length + LETTERS
    }

    /// 10 ln 8 / (L + 20): the blanks are known, the letters are not.
    fn baseline_loss(&self, length: usize) -> f64 {
        LETTERS as f64 * (ALPHABET as f64).ln() / self.steps(length) as f64
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let steps = self.steps(length);
        let letters: Vec<u32> = (0_u32..8).collect();
        let (mut inputs, mut targets) = (vec![BLANK; steps], vec![BLANK; steps]);
        for i in 0..LETTERS {
            inputs[i] = *rng.choose(&letters);
            targets[steps - LETTERS + i] = inputs[i];
        }
        inputs[steps - LETTERS - 1] = GO;
        Example {
            inputs: Values::Symbols(inputs),
            targets: Values::Symbols(targets),
            has_loss: vec![true; steps],
            judged: (0..steps).map(|t| t >= steps - LETTERS).collect(),
        }
    }
}
