//! How far learning reaches beside how long states remember, over the sequences of a batch, with bootstrap intervals.

use crate::Error;
use crate::dynamics::MemoryProfile;
use crate::ledger::{Entry, quantile};

/// The learning horizon (backward: the ledger's) and the memory horizon (forward) of every sequence, in steps. A state can
/// outlive its gradient, and a gradient can reach what a state no longer distinguishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Horizons {
    /// q, the fraction of all that lies within a horizon.
    pub fraction: f64,
    /// Of each sequence the smallest lag within which q of its components lies; `None` if they are all zero.
    pub learning: Vec<Option<usize>>,
    /// Of each sequence the smallest lag within which q of what a perturbation leaves lies; `None` if all is zero.
    pub memory: Vec<Option<usize>>,
}

impl Horizons {
    /// The horizons of every sequence at fraction `q`, from a ledger's entry and a memory profile of the same batch.
    ///
    /// # Errors
    /// If the ledger has no norms of single sequences, of another number of sequences than the memory profile, or `q` is not
    /// between 0 and 1.
    pub fn new(entry: &Entry, memory: &MemoryProfile, q: f64) -> Result<Self, Error> {
        check_fraction("fraction", q)?;
        let sequences = memory.sequences();
        if entry.sequences() != Some(sequences) {
            let given = entry.sequences().map_or("none: itemize with `sequences`".into(), |b| b.to_string());
            return Err(Error::Shape {
                what: "sequences of the ledger".into(),
                expected: format!("{sequences}, as in the memory profile"),
                given,
            });
        }
        Ok(Self {
            fraction: q,
            learning: (0..sequences).map(|b| entry.horizon_of_sequence(b, q)).collect(),
            memory: (0..sequences).map(|b| memory.horizon_of_sequence(b, q)).collect(),
        })
    }

    /// The `q`-quantile of the learning horizons over sequences, with its interval; `None` if no sequence has one.
    ///
    /// # Errors
    /// As of [`quantile_interval`].
    pub fn learning_quantile(
        &self,
        q: f64,
        bootstrap: Bootstrap,
        index: impl FnMut(usize) -> usize,
    ) -> Result<Option<Interval>, Error> {
        quantile_interval(&known(&self.learning), q, bootstrap, index)
    }

    /// The same of the memory horizons.
    ///
    /// # Errors
    /// As of [`quantile_interval`].
    pub fn memory_quantile(
        &self,
        q: f64,
        bootstrap: Bootstrap,
        index: impl FnMut(usize) -> usize,
    ) -> Result<Option<Interval>, Error> {
        quantile_interval(&known(&self.memory), q, bootstrap, index)
    }
}

fn known(horizons: &[Option<usize>]) -> Vec<f64> {
    horizons.iter().flatten().map(|&horizon| horizon as f64).collect()
}

/// An estimate and the interval that it lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Of the values themselves.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How an interval is found from resampled values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// How many times the values are drawn anew.
    pub resamples: usize,
    /// The probability that the interval is to have, such as 0.95.
    pub level: f64,
}

impl Default for Bootstrap {
    /// 2,000 resamples for 95 %.
    fn default() -> Self {
        Self { resamples: 2_000, level: 0.95 }
    }
}

/// The `q`-quantile of `values` (linear between neighbors) and its percentile bootstrap interval (Efron 1979): as many values
/// as there are, drawn with replacement, `bootstrap.resamples` times. `index(n)` draws from 0..n; the library has no random
/// numbers of its own. `None` of no values; of one value the interval is that value.
///
/// # Errors
/// If `q` or the level is not between 0 and 1, there are no resamples, or `index` draws outside of 0..n.
pub fn quantile_interval(
    values: &[f64],
    q: f64,
    bootstrap: Bootstrap,
    mut index: impl FnMut(usize) -> usize,
) -> Result<Option<Interval>, Error> {
    check_fraction("quantile", q)?;
    check_fraction("level", bootstrap.level)?;
    let refuse = |option: &str, given: String, expected: String| {
        Err(Error::Value { option: option.into(), given, expected })
    };
    if bootstrap.resamples == 0 {
        return refuse("resamples", "0".into(), "at least 1".into());
    }
    if values.is_empty() {
        return Ok(None);
    }
    let of = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        quantile(&values, q)
    };
    let mut estimates = Vec::with_capacity(bootstrap.resamples);
    for _ in 0..bootstrap.resamples {
        let mut drawn = Vec::with_capacity(values.len());
        for _ in values {
            let i = index(values.len());
            match values.get(i) {
                Some(&value) => drawn.push(value),
                None => return refuse("index", i.to_string(), format!("a draw below {}", values.len())),
            }
        }
        estimates.push(of(drawn));
    }
    estimates.sort_by(f64::total_cmp);
    let outside = (1.0 - bootstrap.level) / 2.0;
    Ok(Some(Interval {
        estimate: of(values.to_vec()),
        low: quantile(&estimates, outside),
        high: quantile(&estimates, 1.0 - outside),
    }))
}

fn check_fraction(option: &str, given: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&given) {
        return Ok(());
    }
    Err(Error::Value { option: option.into(), given: given.to_string(), expected: "0 to 1".into() })
}
