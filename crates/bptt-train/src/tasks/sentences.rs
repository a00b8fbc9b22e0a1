//! The pantry text as a task of its own.

use std::ops::RangeInclusive;

use super::{Example, Task, Values};
use crate::{Rng, pantry};

/// The longest sentence up to its effect, and the lags there are, from reading the word before the effect back to the cue.
const LONGEST: usize = 18;
const LAGS: RangeInclusive<usize> = 7..=15;

/// Sentences of [`crate::pantry`], L words of them: before each effect it is to be said which of the sixteen it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PantryTask {
    words: Vec<&'static str>,
}

impl PantryTask {
    pub fn new() -> Self {
        Self { words: pantry::words() }
    }

    fn id(&self, word: &str) -> u32 {
        let place = self.words.binary_search(&word).expect("a word of the pantry's sentences");
        u32::try_from(place).expect("few words")
    }
}

impl Task for PantryTask {
    fn name(&self) -> String {
        "pantry".into()
    }

    fn about(&self) -> &'static str {
        "in sentences of L words, what had to be skipped for want of which of sixteen things"
    }

    fn inputs(&self) -> usize {
        self.words.len()
    }

    fn outputs(&self) -> usize {
        pantry::PAIRS.len()
    }

    fn usual_length(&self) -> usize {
        32
    }

    fn least_length(&self) -> usize {
        LONGEST
    }

    fn lag(&self, _: usize) -> RangeInclusive<usize> {
        LAGS
    }

    fn baseline_loss(&self, _: usize) -> f64 {
        (pantry::PAIRS.len() as f64).ln()
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let (mut words, mut targets, mut has_loss) = (Vec::new(), vec![0; length], vec![false; length]);
        while words.len() < length {
            let sentence = pantry::sentence(rng);
            let asked = words.len() + sentence.effect - 1;
            if asked < length {
                let effect = &sentence.symbols[sentence.effect];
                let class = pantry::PAIRS.iter().position(|(_, known)| known == effect);
                targets[asked] = class.and_then(|class| u32::try_from(class).ok()).expect("one of sixteen");
                has_loss[asked] = true;
            }
            words.extend(sentence.symbols.iter().map(|word| self.id(word)));
        }
        words.truncate(length);
        let (inputs, targets) = (Values::Symbols(words), Values::Symbols(targets));
        Example { inputs, targets, judged: has_loss.clone(), has_loss }
    }
}
