//! The ids of a text: a held-out part, windows of parallel streams, and baselines by counting.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The default held-out fraction.
pub const HELD_OUT: f64 = 0.1;

/// The ids of a text, split in two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The first part, for training.
    pub train: Vec<u32>,
    /// The last part, held out.
    pub held_out: Vec<u32>,
}

impl Corpus {
    /// Holds out the last `fraction` of the ids, rounded down to whole symbols.
    ///
    /// # Errors
    /// If the fraction is outside [0, 1).
    pub fn split(mut ids: Vec<u32>, fraction: f64) -> Result<Self, Error> {
        if !(0.0..1.0).contains(&fraction) {
            let expected = "a fraction of the text, at least 0 and below 1";
            return Err(Error::setting("held_out", fraction, expected));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // rounds down a count below the length
        let count = (ids.len() as f64 * fraction) as usize;
        let held_out = ids.split_off(ids.len() - count);
        Ok(Self { train: ids, held_out })
    }

    /// The part to look at a network with: what is held out, or the rest if that has nothing to predict.
    pub fn shown(&self) -> &[u32] {
        if self.held_out.len() > 1 { &self.held_out } else { &self.train }
    }
}

/// T steps of B streams, ids in time-major (T, B) order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The input of each step, (T, B).
    pub inputs: Vec<u32>,
    /// The next symbol of each step, (T, B).
    pub targets: Vec<u32>,
    /// Whether the streams start here; then no state is carried in.
    pub fresh: bool,
}

/// B contiguous streams of one text, read in windows of T steps (the scheme of Karpathy's char-rnn).
///
/// Stream b starts at symbol b · L with L = ⌊(N − 1)/B⌋ of N symbols, so a window continues the one before it in every
/// stream. After the last whole window all streams start again.
#[derive(Clone, Debug)]
pub struct Streams {
    ids: Vec<u32>,
    batch: usize,
    window: usize,
    position: usize,
}

impl Streams {
    /// `batch` streams of `ids` in windows of `window` steps.
    ///
    /// # Errors
    /// If either is 0, or if there are fewer than batch · window + 1 ids.
    pub fn new(ids: Vec<u32>, batch: usize, window: usize) -> Result<Self, Error> {
        for (setting, value) in [("batch", batch), ("window", window)] {
            if value == 0 {
                return Err(Error::setting(setting, 0, "at least 1"));
            }
        }
        let needed = batch.saturating_mul(window).saturating_add(1);
        if ids.len() < needed {
            let needs = format!("{batch} streams of windows of {window} steps need");
            return Err(Error::TooShort { given: ids.len(), needed, needs });
        }
        Ok(Self { ids, batch, window, position: 0 })
    }

    /// The next T steps of every stream.
    pub fn next_window(&mut self) -> Window {
        let starts = (0..self.window)
            .flat_map(|t| (0..self.batch).map(move |b| (t, b)))
            .map(|(t, b)| b * self.stream_length() + self.position * self.window + t);
        let (inputs, targets) = starts.map(|at| (self.ids[at], self.ids[at + 1])).unzip();
        let fresh = self.position == 0;
        self.position = (self.position + 1) % self.windows_per_epoch();
        Window { inputs, targets, fresh }
    }

    /// The index of the next window in its epoch.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Continues with the window of this index; false if there is none.
    pub(crate) fn set_position(&mut self, position: usize) -> bool {
        let there = position < self.windows_per_epoch();
        if there {
            self.position = position;
        }
        there
    }

    /// Number of windows before the streams start again.
    pub fn windows_per_epoch(&self) -> usize {
        self.stream_length() / self.window
    }

    fn stream_length(&self) -> usize {
        (self.ids.len() - 1) / self.batch
    }
}

/// Baselines by counting: cross-entropy of the held-out text in bits per symbol, over every symbol but the first.
///
/// A network whose loss is not below `bigram_bits` has learned nothing from more than one symbol back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// With add-one smoothing over the vocabulary: P(w) = (c(w) + 1) / (N + V).
    pub unigram_bits: f64,
    /// Witten–Bell interpolated with that unigram (Witten and Bell 1991):
    /// P(w|v) = (c(v, w) + N₁₊(v) P(w)) / (c(v) + N₁₊(v)), with N₁₊(v) the number of different symbols seen after v.
    pub bigram_bits: f64,
}

impl Baselines {
    /// Counts `train` and predicts `held_out`; all ids are below `vocabulary`.
    ///
    /// # Errors
    /// If fewer than two symbols are held out.
    ///
    /// # Panics
    /// If an id is not below `vocabulary`.
    pub fn measure(train: &[u32], held_out: &[u32], vocabulary: usize) -> Result<Self, Error> {
        if held_out.len() < 2 {
            let needs = "held-out predictions need".into();
            return Err(Error::TooShort { given: held_out.len(), needed: 2, needs });
        }
        let mut counts = vec![0_u64; vocabulary];
        for &w in train {
            counts[w as usize] += 1;
        }
        let mut pairs = HashMap::<(u32, u32), u64>::new();
        for pair in train.windows(2) {
            *pairs.entry((pair[0], pair[1])).or_default() += 1;
        }
        let (mut seen_before, mut kinds_after) = (vec![0_u64; vocabulary], vec![0_u64; vocabulary]);
        for (&(v, _), count) in &pairs {
            seen_before[v as usize] += count;
            kinds_after[v as usize] += 1;
        }

        let unigram = |w: u32| (counts[w as usize] + 1) as f64 / (train.len() + vocabulary) as f64;
        let bigram = |v: u32, w: u32| {
            let kinds = kinds_after[v as usize] as f64;
            if kinds == 0.0 {
                return unigram(w);
            }
            let count = pairs.get(&(v, w)).copied().unwrap_or(0) as f64;
            (count + kinds * unigram(w)) / (seen_before[v as usize] as f64 + kinds)
        };
        let mean_bits = |probability: &dyn Fn(u32, u32) -> f64| {
            let bits = held_out.windows(2).map(|pair| -probability(pair[0], pair[1]).log2());
            bits.sum::<f64>() / (held_out.len() - 1) as f64
        };
        Ok(Self { unigram_bits: mean_bits(&|_, w| unigram(w)), bigram_bits: mean_bits(&bigram) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_is_held_out() {
        let corpus = Corpus::split((0..25).collect(), HELD_OUT).unwrap();
        assert_eq!((corpus.train.len(), corpus.held_out), (23, vec![23, 24]));
        assert!(Corpus::split(vec![1], 0.0).unwrap().held_out.is_empty());
        assert!(Corpus::split(vec![1], 1.0).is_err());
        assert!(Corpus::split(vec![1], f64::NAN).is_err());
    }

    #[test]
    fn windows_continue_every_stream_and_then_start_again() {
        // 14 ids in 2 streams of 6: two whole windows of 3 steps each.
        let mut streams = Streams::new((0..14).collect(), 2, 3).unwrap();
        assert_eq!(streams.windows_per_epoch(), 2);
        let first = streams.next_window();
        assert_eq!(first.inputs, [0, 6, 1, 7, 2, 8]);
        assert_eq!(first.targets, [1, 7, 2, 8, 3, 9]);
        assert!(first.fresh);
        let second = streams.next_window();
        assert_eq!(second.inputs, [3, 9, 4, 10, 5, 11]);
        assert_eq!(second.targets, [4, 10, 5, 11, 6, 12]);
        assert!(!second.fresh);
        assert_eq!(streams.next_window(), first);
    }

    #[test]
    fn a_text_that_fills_no_window_is_refused() {
        assert!(Streams::new(vec![0; 129], 4, 32).is_ok());
        assert_eq!(
            Streams::new(vec![0; 128], 4, 32).unwrap_err().to_string(),
            "the text is too short: 4 streams of windows of 32 steps need 129 symbols, given 128; give a longer text \
             or ask for less"
        );
        assert!(matches!(Streams::new(vec![0; 9], 0, 3), Err(Error::Setting { .. })));
    }

    /// The definitions, written out for train = a b a b a c with V = 4 (d is never seen) and held out = b a b c d a:
    /// c = 3 2 1 0; after a: b b c (3, 2 kinds); after b: a a (2, 1 kind); after c and d: nothing.
    #[test]
    fn baselines_are_what_the_definitions_give() {
        let (a, b, c, d) = (4.0 / 10.0, 3.0 / 10.0, 2.0 / 10.0, 1.0 / 10.0);
        let mean_bits = |p: [f64; 5]| -p.map(f64::log2).iter().sum::<f64>() / 5.0;
        let expected_unigram = mean_bits([a, b, c, d, a]);
        let expected_bigram = mean_bits([(2.0 + a) / 3.0, (2.0 + 2.0 * b) / 5.0, (0.0 + c) / 3.0, d, a]);

        let measured = Baselines::measure(&[0, 1, 0, 1, 0, 2], &[1, 0, 1, 2, 3, 0], 4).unwrap();
        assert!((measured.unigram_bits - expected_unigram).abs() < 1e-14);
        assert!((measured.bigram_bits - expected_bigram).abs() < 1e-14);
        assert!(Baselines::measure(&[0, 1], &[0], 2).is_err());
    }

    #[test]
    fn an_untrained_unigram_is_uniform() {
        let measured = Baselines::measure(&[], &[0, 1, 2, 3], 8).unwrap();
        assert_eq!(measured, Baselines { unigram_bits: 3.0, bigram_bits: 3.0 });
    }
}
