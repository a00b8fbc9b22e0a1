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
    /// A warm-up for sequences of so many steps: a quarter of them, and at most 200.
    pub fn usual_warm_up(steps: usize) -> usize {
        (steps / 4).min(200)
    }

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
    /// Standard error of each, from the means of `blocks` blocks of steps: s/√blocks; `None` for a single block, NaN where an
    /// exponent is −∞.
    pub standard_error: Option<Vec<f64>>,
    /// The blocks, over all sequences: every sequence is one, and where there are fewer than ten, sequences are divided into
    /// blocks of at least 50 steps, over which the growth of a vector is nearly forgotten (batch means, Schmeiser 1982).
    pub blocks: usize,
    /// The exponents of each sequence, B lists of m.
    pub by_sequence: Vec<Vec<f64>>,
    /// The steps they are means of, over all sequences.
    pub steps: usize,
}

impl Lyapunov {
    /// The interval of 95 % around exponent `i`, λ_i ± t·(standard error), with Student's t for `blocks` − 1 degrees of
    /// freedom. `None` for a single block, or where the exponent is −∞.
    ///
    /// It is one for the exponent of long sequences like these, as long as the warm-up is longer than the memory of where they
    /// began.
    pub fn interval(&self, i: usize) -> Option<(f64, f64)> {
        let error = *self.standard_error.as_ref()?.get(i)?;
        let half = student_95(self.blocks - 1) * error;
        half.is_finite().then(|| (self.exponents[i] - half, self.exponents[i] + half))
    }

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
    /// Its standard error, see [`Lyapunov::standard_error`].
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
    let divided = BLOCKS.div_ceil(batch).min((shortest - options.warm_up) / SHORTEST_BLOCK).max(1);
    // The exponents of a sequence, and of its blocks, one after the other.
    let of_sequence = |b: usize| -> Result<(Vec<f64>, Vec<f64>), Error> {
        let mut jacobians = Jacobians::new(network, cache, index);
        let mut exponents = Exponents::new(network.state_width(), count)?;
        let kept = paths[b].len() - options.warm_up;
        let mut ends = (1..=divided).map(|block| options.warm_up + kept * block / divided).peekable();
        let (mut before, mut blocks) = ((vec![0.0; count], 0), Vec::with_capacity(divided * count));
        for (i, &t) in paths[b].iter().enumerate() {
            exponents.advance(jacobians.of_state(t, b));
            let (end, warm) = (ends.next_if_eq(&(i + 1)).is_some(), i + 1 == options.warm_up);
            if end || warm || (i + 1) % options.every == 0 {
                exponents.orthonormalize();
            }
            if warm {
                exponents.restart();
            }
            if end {
                let now = (exponents.sums().to_vec(), exponents.steps());
                let steps = (now.1 - before.1) as f64;
                blocks.extend(now.0.iter().zip(&before.0).map(|(now, before)| (now - before) / steps));
                before = now;
            }
        }
        Ok((exponents.values(), blocks))
    };
    let found: Vec<(Vec<f64>, Vec<f64>)> =
        (0..batch).into_par_iter().map(of_sequence).collect::<Result<_, Error>>()?;
    let mean = |i: usize| found.iter().map(|(of, _)| of[i]).sum::<f64>() / batch as f64;
    let exponents: Vec<f64> = (0..count).map(mean).collect();
    let blocks = batch * divided;
    let error = |i: usize| {
        let of_blocks = found.iter().flat_map(|(_, blocks)| blocks.iter().skip(i).step_by(count));
        let squares: f64 = of_blocks.map(|of| (of - exponents[i]).powi(2)).sum();
        (squares / (blocks - 1) as f64 / blocks as f64).sqrt()
    };
    let standard_error = (blocks > 1).then(|| (0..count).map(error).collect());
    let by_sequence = found.into_iter().map(|(of, _)| of).collect();
    let steps = paths.iter().map(|path| path.len() - options.warm_up).sum();
    Ok(Lyapunov { place, exponents, standard_error, blocks, by_sequence, steps })
}

/// The number of blocks that intervals are made of, at least, and their smallest number of steps.
const BLOCKS: usize = 10;
const SHORTEST_BLOCK: usize = 50;

/// The number that Student's t of `freedom` degrees of freedom exceeds with a probability of 2.5 %: a table up to 9, beyond
/// which the expansion around the normal quantile is right to three digits (Abramowitz & Stegun 26.7.5).
fn student_95(freedom: usize) -> f64 {
    const TABLE: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    if let Some(&found) = freedom.checked_sub(1).and_then(|i| TABLE.get(i)) {
        return found;
    }
    let (z, n) = (1.959_964_f64, freedom as f64);
    z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
}
