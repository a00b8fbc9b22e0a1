//! The cue sentences as a task.

use std::ops::RangeInclusive;

use super::{Example, Task, Values};
use crate::{Rng, cue_sentences};

/// The longest sentence up to its effect, and the possible lags, from the step that reads the word before the effect to the
/// cue.
const LONGEST: usize = 18;
const LAGS: RangeInclusive<usize> = 7..=15;

/// Sentences of [`crate::cue_sentences`], L words of them; the target before each effect is its class, one of sixteen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CueSentencesTask {
    words: Vec<&'static str>,
}

impl CueSentencesTask {
    pub fn new() -> Self {
        Self { words: cue_sentences::words() }
    }

    fn id(&self, word: &str) -> u32 {
        let place = self.words.binary_search(&word).expect("a word of the sentences");
        u32::try_from(place).expect("few words")
    }
}

impl Task for CueSentencesTask {
    fn name(&self) -> String {
        "cue_sentences".into()
    }

    fn about(&self) -> &'static str {
        "classify the last word of sentences by an earlier word, one of sixteen, in L words"
    }

    fn inputs(&self) -> usize {
        self.words.len()
    }

    fn outputs(&self) -> usize {
        cue_sentences::PAIRS.len()
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
        (cue_sentences::PAIRS.len() as f64).ln()
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let (mut words, mut targets, mut has_loss) = (Vec::new(), vec![0; length], vec![false; length]);
        while words.len() < length {
            let sentence = cue_sentences::sentence(rng);
            let asked = words.len() + sentence.effect - 1;
            if asked < length {
                let effect = &sentence.symbols[sentence.effect];
                let class = cue_sentences::PAIRS.iter().position(|(_, known)| known == effect);
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
