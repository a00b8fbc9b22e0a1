//! Lyapunov exponents of a cell along what it reads.

use rayon::prelude::*;

use super::exponents::{Exponents, check_count};
use super::jacobian::{Jacobians, check_trajectory, steps_of};
use crate::Error;
use crate::forward::ForwardCache;
use crate::kernel::Real;
use crate::ledger::Entry;
use crate::model::{CellId, Network};

/// Which exponents to measure, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LyapunovOptions {
    /// How many, the largest first; `None`: all N.
    pub exponents: Option<usize>,
    /// Steps at the beginning of every sequence in which vectors find their directions, and states their attractor.
    pub warm_up: usize,
    /// Vectors are made orthonormal every so many steps. The exponents are the same for any number, up to rounding that grows
    /// as e^{every·(λ_1 − λ_m)}.
    pub every: usize,
}

impl Default for LyapunovOptions {
    /// All exponents, no warm-up, orthonormal after every step.
    fn default() -> Self {
        Self { exponents: None, warm_up: 0, every: 1 }
    }
}

impl LyapunovOptions {
    /// Refuses what sequences of at least `shortest` steps and states of `size` numbers do not have; returns m.
    pub(crate) fn check(&self, size: usize, shortest: usize) -> Result<usize, Error> {
        let count = self.exponents.unwrap_or(size);
        check_count(count, size)?;
        let refuse = |option: &str, given: usize, expected: String| {
            Err(Error::Value { option: option.into(), given: format!("{given} steps"), expected })
        };
        if self.every == 0 {
            return refuse("every", 0, "at least 1".into());
        }
        if self.warm_up >= shortest {
            let expected = format!("less than the {shortest} steps of the shortest sequence");
            return refuse("warm_up", self.warm_up, expected);
        }
        Ok(count)
    }
}

/// The Lyapunov exponents of one cell given what it reads, in nats per step.
#[derive(Clone, Debug, PartialEq)]
pub struct Lyapunov {
    /// The cell.
    pub place: CellId,
    /// λ_1, …, λ_m, the mean over sequences; −∞ where Jacobians are singular, see [`Exponents::values`].
    pub exponents: Vec<f64>,
    /// Standard error of each over sequences, s/√B; `None` for one sequence, NaN where an exponent is −∞.
    pub standard_error: Option<Vec<f64>>,
    /// The exponents of each sequence, B lists of m.
    pub by_sequence: Vec<Vec<f64>>,
    /// The steps they are means of, over all sequences.
    pub steps: usize,
}

impl Lyapunov {
    /// The largest exponent, in nats per step: what the trajectory makes of a perturbation, and of a gradient, in the long run.
    pub fn largest(&self) -> f64 {
        self.exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The largest exponent beside the decay that a ledger has measured.
    ///
    /// # Errors
    /// If `entry` is another cell's.
    pub fn beside(&self, entry: &Entry) -> Result<PredictedDecay, Error> {
        if entry.cell != self.place {
            return Err(Error::Value {
                option: "entry".into(),
                given: format!("one of {}", entry.cell.suffix()),
                expected: format!("one of {}, whose exponents these are", self.place.suffix()),
            });
        }
        let largest = self.largest();
        let index = self.exponents.iter().position(|&exponent| exponent == largest);
        let standard_error = self.standard_error.as_ref().zip(index).map(|(errors, index)| errors[index]);
        Ok(PredictedDecay { predicted: largest, standard_error, measured: entry.decay() })
    }
}

/// How fast gradients fade with distance, predicted by the largest Lyapunov exponent and measured by a ledger, both in nats
/// per step: negative where they vanish, positive where they explode.
///
/// The two need not agree over few steps: the exponent is that of the long run, the ledger's decay that of the lags there
/// are, weighted with what the losses ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictedDecay {
    /// The largest Lyapunov exponent.
    pub predicted: f64,
    /// Its standard error over sequences, if there are several.
    pub standard_error: Option<f64>,
    /// [`Entry::decay`]; `None` with fewer than two lags.
    pub measured: Option<f64>,
}

impl PredictedDecay {
    /// The factor per step that is predicted, e^λ.
    pub fn predicted_factor(&self) -> f64 {
        self.predicted.exp()
    }

    /// The factor per step that was measured.
    pub fn measured_factor(&self) -> Option<f64> {
        self.measured.map(f64::exp)
    }
}

/// The Lyapunov exponents of one cell, see [`Network::lyapunov`].
pub(crate) fn lyapunov<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    place: CellId,
    options: &LyapunovOptions,
) -> Result<Lyapunov, Error> {
    let index = check_trajectory(network, cache, place)?;
    let (_, batch) = cache.inputs().shape();
    let paths: Vec<Vec<usize>> = (0..batch).map(|b| steps_of(cache, place.direction, b)).collect();
    let shortest = paths.iter().map(Vec::len).min().unwrap_or(0);
    let count = options.check(network.state_width(), shortest)?;
    let of_sequence = |b: usize| -> Result<Vec<f64>, Error> {
        let mut jacobians = Jacobians::new(network, cache, index);
        let mut exponents = Exponents::new(network.state_width(), count)?;
        for (i, &t) in paths[b].iter().enumerate() {
            exponents.advance(jacobians.of_state(t, b));
            let (last, warm) = (i + 1 == paths[b].len(), i + 1 == options.warm_up);
            if last || warm || (i + 1) % options.every == 0 {
                exponents.orthonormalize();
            }
            if warm {
                exponents.restart();
            }
        }
        Ok(exponents.values())
    };
    let by_sequence: Vec<Vec<f64>> =
        (0..batch).into_par_iter().map(of_sequence).collect::<Result<_, Error>>()?;
    let mean = |i: usize| by_sequence.iter().map(|of| of[i]).sum::<f64>() / batch as f64;
    let exponents: Vec<f64> = (0..count).map(mean).collect();
    let error = |i: usize| {
        let squares: f64 = by_sequence.iter().map(|of| (of[i] - exponents[i]).powi(2)).sum();
        (squares / (batch - 1) as f64 / batch as f64).sqrt()
    };
    let standard_error = (batch > 1).then(|| (0..count).map(error).collect());
    let steps = paths.iter().map(|path| path.len() - options.warm_up).sum();
    Ok(Lyapunov { place, exponents, standard_error, by_sequence, steps })
}
