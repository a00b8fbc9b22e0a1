//! Text generation.

use bptt::{Inputs, Network, Symbols};

use crate::{Error, Rng, Vocabulary};

/// The sampling of the next symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The softmax temperature; 0 always takes the most likely symbol.
    pub temperature: f64,
    /// The number of most likely symbols to sample from; `None` for all.
    pub top_k: Option<usize>,
}

impl Sampling {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// If the temperature is negative or not finite, or `top_k` is 0.
    pub fn check(&self) -> Result<(), Error> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let expected = "a finite number, at least 0";
            return Err(Error::setting("temperature", self.temperature, expected));
        }
        if self.top_k == Some(0) {
            return Err(Error::setting("top_k", 0, "at least 1"));
        }
        Ok(())
    }

    /// Draws a symbol from its scores.
    fn draw(&self, scores: &[f32], rng: &mut Rng) -> usize {
        let mut ranked: Vec<usize> = (0..scores.len()).collect();
        ranked.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        ranked.truncate(self.top_k.unwrap_or(usize::MAX));
        if self.temperature == 0.0 {
            return ranked[0];
        }
        let top = f64::from(scores[ranked[0]]);
        let weights: Vec<f64> =
            ranked.iter().map(|&i| ((f64::from(scores[i]) - top) / self.temperature).exp()).collect();
        let mut left = rng.uniform() * weights.iter().sum::<f64>();
        for (&i, weight) in ranked.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return i;
            }
        }
        ranked[ranked.len() - 1]
    }
}

/// Generates `length` symbols after `prime` and returns them.
///
/// An empty prime stands for a newline, or for the most frequent symbol if the vocabulary has no newline.
///
/// # Errors
/// If the sampling is impossible, the vocabulary does not fit the network, or the network is bidirectional.
pub fn sample(
    network: &Network<f32>,
    vocabulary: &Vocabulary,
    prime: &[u32],
    length: usize,
    sampling: &Sampling,
    rng: &mut Rng,
) -> Result<Vec<u32>, Error> {
    sampling.check()?;
    if network.directions() == 2 {
        return Err(Error::Bidirectional);
    }
    let prime = if prime.is_empty() { vec![vocabulary.id("\n").unwrap_or(0)] } else { prime.to_vec() };
    let mut read = prime;
    let mut state = network.zero_state(1);
    let mut drawn = Vec::new();
    while drawn.len() < length {
        let trace = network.scan(Inputs::Symbols(Symbols::new(read.len(), 1, read.clone())?), &state)?;
        let outputs = network.outputs(&trace)?;
        let choice = sampling.draw(outputs.at(read.len() - 1, 0), rng);
        let id = u32::try_from(choice).expect("a vocabulary has fewer than 2³² symbols");
        drawn.push(id);
        state = trace.final_state();
        read = vec![id];
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_zero_takes_the_likeliest_and_top_k_leaves_the_rest_out() {
        let scores = [0.1, 2.0, 1.9, -1.0];
        let mut rng = Rng::new(3, 0);
        assert_eq!(Sampling { temperature: 0.0, top_k: None }.draw(&scores, &mut rng), 1);
        let two = Sampling { temperature: 10.0, top_k: Some(2) };
        let drawn: Vec<usize> = (0..200).map(|_| two.draw(&scores, &mut rng)).collect();
        assert!(drawn.contains(&1) && drawn.contains(&2) && drawn.iter().all(|&i| i == 1 || i == 2));
    }

    #[test]
    fn symbols_are_drawn_with_their_softmax_probability() {
        let scores = [0.0, 3f32.ln()];
        let mut rng = Rng::new(4, 0);
        let plain = Sampling { temperature: 1.0, top_k: None };
        let ones = (0..20_000).filter(|_| plain.draw(&scores, &mut rng) == 1).count();
        // 15,000 expected; four standard deviations are 245.
        assert!((14_755..=15_245).contains(&ones), "{ones}");
    }

    #[test]
    fn impossible_samplings_are_refused() {
        let message = |sampling: Sampling| sampling.check().unwrap_err().to_string();
        assert!(message(Sampling { temperature: f64::NAN, top_k: None }).starts_with("temperature: NaN"));
        assert!(message(Sampling { temperature: 1.0, top_k: Some(0) }).starts_with("top_k: 0"));
    }
}
