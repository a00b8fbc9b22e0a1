//! Random numbers that are the same in every version.
//!
//! The generator is `ChaCha8`, whose output is fixed by its definition. Everything drawn from it (uniform and normal
//! numbers, integers, shuffles) is defined here and not by a dependency.

use std::f64::consts::TAU;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// The 24 bytes after the seed in the key.
const KEY: &[u8; 24] = b"bptt: seed, then stream.";

/// A random generator: a seed, one of its streams, and a position in that stream.
#[derive(Clone, Debug)]
pub struct Rng {
    chacha: ChaCha8Rng,
}

impl Rng {
    /// The beginning of stream `stream` of `seed`. Different streams of one seed are independent.
    ///
    /// The `ChaCha` key is the seed's 8 bytes, little-endian, then the ASCII text `bptt: seed, then stream.`; the stream
    /// number is the nonce.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..].copy_from_slice(KEY);
        let mut chacha = ChaCha8Rng::from_seed(key);
        chacha.set_stream(stream);
        Self { chacha }
    }

    /// The position in the stream, in words of 32 bits.
    pub(crate) fn position(&self) -> u128 {
        self.chacha.get_word_pos()
    }

    /// Goes to a position in the stream.
    pub(crate) fn set_position(&mut self, position: u128) {
        self.chacha.set_word_pos(position);
    }

    /// A number in [0, 1): the upper 53 bits of the next 64, over 2⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.chacha.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in [`low`, `high`): low + (high − low) · uniform.
    pub fn uniform_in(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A standard normal number: √(−2 ln(1 − u)) cos(2πv) from two uniforms u, v (Box and Muller 1958).
    ///
    /// The sine variate is not used, so that every number takes two uniforms from the stream.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// A uniform integer in 0..n: 64 bits modulo n, drawn again while below 2⁶⁴ mod n.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is no integer below 0");
        let n = n as u64;
        let unfair = n.wrapping_neg() % n;
        let mut bits = self.chacha.next_u64();
        while bits < unfair {
            bits = self.chacha.next_u64();
        }
        usize::try_from(bits % n).expect("less than n, which is a usize")
    }

    /// A uniform choice of `items`.
    ///
    /// # Panics
    /// If `items` is empty.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Shuffles `items` uniformly (Fisher–Yates, from the last item down).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An independent Python `ChaCha8` made these numbers from the definition in the RFC 8439 layout with a 64-bit
    /// counter and nonce: key = struct.pack("<Q", 42) + b"bptt: seed, then stream.", nonce = 7.
    #[test]
    fn the_stream_is_pinned() {
        let mut rng = Rng::new(42, 7);
        let uniforms: Vec<f64> = (0..3).map(|_| rng.uniform()).collect();
        assert_eq!(uniforms, [0.621_173_494_648_757_4, 0.339_977_146_861_987_2, 0.741_782_910_977_655_5]);
        let mut rng = Rng::new(42, 7);
        let below: Vec<usize> = (0..8).map(|_| rng.below(10)).collect();
        assert_eq!(below, [6, 8, 9, 9, 2, 7, 0, 9]);
        let mut rng = Rng::new(42, 7);
        assert!((rng.normal() + 0.746_411_811_502_568_7).abs() < 1e-15);
        let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
        Rng::new(42, 7).shuffle(&mut items);
        assert_eq!(items, [5, 3, 6, 7, 4, 1, 2, 0]);
    }

    #[test]
    fn streams_differ() {
        assert_ne!(Rng::new(1, 0).uniform().to_bits(), Rng::new(1, 1).uniform().to_bits());
        assert_ne!(Rng::new(1, 0).uniform().to_bits(), Rng::new(2, 0).uniform().to_bits());
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(3, 0);
        let n = 100_000;
        let moments = |draws: Vec<f64>| {
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            (mean, draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n))
        };
        let (mean, variance) = moments((0..n).map(|_| rng.normal()).collect());
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let (mean, variance) = moments((0..n).map(|_| rng.uniform_in(-1.0, 3.0)).collect());
        assert!((mean - 1.0).abs() < 0.01 && (variance - 16.0 / 12.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn every_integer_and_every_item_comes_up() {
        let mut rng = Rng::new(4, 0);
        let mut counts = [0; 5];
        for _ in 0..10_000 {
            counts[rng.below(5)] += 1;
        }
        assert!(counts.iter().all(|&count| (1850..2150).contains(&count)), "{counts:?}");
        assert_eq!(*rng.choose(&["only"]), "only");
    }
}
