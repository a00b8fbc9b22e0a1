//! How far the norms of a ledger in f32 are from the exact ones, estimated from some of its losses that are itemized again in
//! f64.
//!
//! A reverse scan in f32 rounds at every step, and a forward scan before it. The balance does not see it, since the ordinary
//! gradient has the same roundings. As it is carried to earlier steps, a row turns toward the direction that decays slowest. From
//! then on the rows of all losses meet the same steps in the same direction and err alike: the error that a loss which comes from
//! farther gathers between k and t, measured where it was itemized again, is that of loss k, too. What is left of the errors at
//! the other itemized losses when these *shared* errors are subtracted is measured by the lag and the part of the sequence.
//! A loss whose row has little of the slowest direction keeps little of its norm, but all of its error there. How much less it
//! keeps than other rows do, the ledger itself tells: it is its *misalignment*, and what is left is larger by so much.

use std::sync::Arc;

use super::quantiles::median;

/// Losses on each side of k that an estimate for k is made from.
const NEAR: usize = 3;

/// By how much an estimate is larger than what is left of the errors near it. With it, in networks of every cell without chosen
/// activations, 998 entries in 1,000 or more were below their estimates at T = 512 and 2,048, but 996 with layer normalization
/// at 2,048; the median estimate was 1.5 to 30 times the error (`bptt-bench f32-errors`).
const MARGIN: f64 = 3.0;

/// Lags of the first ranges.
const SHORTEST: usize = 16;

/// Steps that another row has gone before it is compared with: by then it has turned.
const TURNED: usize = 8;

/// Other rows that it is compared with.
const COMPARED: usize = 3;

/// The error of a rounding to f32, below which no estimate lies.
const ROUNDING: f64 = f32::EPSILON as f64;

/// log₁₀ of the norm of (k, t), if there is one.
pub(crate) type Norms<'a> = &'a dyn Fn(usize, usize) -> Option<f64>;

/// What was measured of one entry's norms at the losses that were itemized again.
#[derive(Clone, Debug)]
pub(crate) struct MeasuredErrors {
    /// These losses, ascending.
    ks: Arc<[usize]>,
    /// For each of them ln(found / exact) at every step; NaN where there is none.
    errors: Arc<LogErrors>,
    /// The same of the bias's norms: without the operand's error.
    of_rows: Arc<LogErrors>,
    /// For each of them, of the steps up to it and of those after it: by range of lags what is left of the errors in that range
    /// and its neighbors, at most, divided by the misalignment.
    by_range: Vec<[Vec<f64>; 2]>,
}

/// For each of some losses ln(found / exact) at every step; NaN where there is none.
pub(crate) type LogErrors = Vec<Vec<f64>>;

/// Compares log₁₀ of the norms of (k, t) in f32 and exact ones at the losses `ks`, for `steps` steps t.
pub(crate) fn log_errors(steps: usize, found: Norms<'_>, exact: Norms<'_>, ks: &[usize]) -> LogErrors {
    let error = |k: usize, t: usize| match found(k, t).zip(exact(k, t)) {
        Some((found, exact)) if found == exact => 0.0,
        Some((found, exact)) => (found - exact) * std::f64::consts::LN_10,
        None => f64::NAN,
    };
    ks.iter().map(|&k| (0..steps).map(|t| error(k, t)).collect()).collect()
}

impl MeasuredErrors {
    /// From an entry's norms in f32, their errors at the losses `ks`, and those of the bias of the same cell.
    pub(crate) fn new(
        found: Norms<'_>,
        errors: &Arc<LogErrors>,
        of_rows: &Arc<LogErrors>,
        ks: &Arc<[usize]>,
    ) -> Self {
        let (errors, of_rows) = (Arc::clone(errors), Arc::clone(of_rows));
        let mut measured = Self { ks: Arc::clone(ks), errors, of_rows, by_range: Vec::new() };
        measured.by_range = (0..ks.len()).map(|i| measured.ranges(found, i)).collect();
        measured
    }

    /// By range of lags what is left of the errors of the `i`-th loss.
    fn ranges(&self, found: Norms<'_>, i: usize) -> [Vec<f64>; 2] {
        let k = self.ks[i];
        let mut by_range = [Vec::new(), Vec::new()];
        for (t, &error) in self.errors[i].iter().enumerate().filter(|(_, error)| !error.is_nan()) {
            let of_side: &mut Vec<f64> = &mut by_range[usize::from(t > k)];
            let range = range_of(k.abs_diff(t));
            of_side.resize(of_side.len().max(range + 1), 0.0);
            let left =
                relative(error - self.shared(k, t)).max(ROUNDING) / misalignment(found, &self.ks, k, t);
            of_side[range] = left.max(of_side[range]);
        }
        by_range.map(|of_side| with_neighbors(&of_side))
    }

    /// ln of the error that losses which come from farther have gathered between k and t, with that of the operand at t: the median
    /// over the next [`COMPARED`], because a row may have turned late; 0 where there is none.
    fn shared(&self, k: usize, t: usize) -> f64 {
        let next = if t <= k {
            let first = self.ks.partition_point(|&other| other <= k);
            first..(first + COMPARED).min(self.ks.len())
        } else {
            let end = self.ks.partition_point(|&other| other < k);
            end.saturating_sub(COMPARED)..end
        };
        let gathered = next.map(|i| self.errors[i][t] - self.of_rows[i][k]);
        median(gathered.filter(|error| error.is_finite()).collect()).unwrap_or(0.0)
    }

    /// The estimate for (k, t) by the norms in f32: the shared error, and what is left at the nearest losses on both sides of k, at
    /// lags near |k − t|.
    pub(crate) fn estimate(&self, norms: Norms<'_>, k: usize, t: usize) -> f64 {
        let after = self.ks.partition_point(|&probe| probe < k);
        let near = &self.by_range[after.saturating_sub(NEAR)..(after + NEAR).min(self.ks.len())];
        let at = |range: usize| {
            near.iter().filter_map(|of| of[usize::from(t > k)].get(range)).copied().reduce(f64::max)
        };
        // Where no loss has lags as large: the largest that one has.
        let left = (0..=range_of(k.abs_diff(t))).rev().find_map(at).unwrap_or(ROUNDING);
        relative(self.shared(k, t)) + MARGIN * (left * misalignment(norms, &self.ks, k, t)).max(ROUNDING)
    }
}

/// The largest of each number and its neighbors.
fn with_neighbors(numbers: &[f64]) -> Vec<f64> {
    let around = |i: usize| &numbers[i.saturating_sub(1)..(i + 2).min(numbers.len())];
    (0..numbers.len()).map(|i| around(i).iter().copied().fold(0.0, f64::max)).collect()
}

/// How much less row k has kept of its norm between k and `t` than other rows have that came from farther: the median over
/// [`COMPARED`] of the losses `ks`; 1 at least, and where there is none.
fn misalignment(norms: Norms<'_>, ks: &[usize], k: usize, t: usize) -> f64 {
    // Those that are far enough from k, or the last one on that side.
    let others = if t <= k {
        let first = ks.partition_point(|&other| other < k + TURNED).min(ks.len().saturating_sub(1));
        &ks[first..(first + COMPARED).min(ks.len())]
    } else {
        let end = ks.partition_point(|&other| other + TURNED <= k).max(1).min(ks.len());
        &ks[end.saturating_sub(COMPARED)..end]
    };
    let kept = |k: usize, from: usize| Some(norms(k, t)? - norms(k, from)?);
    let Some(of_this) = kept(k, k).filter(|kept| kept.is_finite()) else { return 1.0 };
    let less =
        |&other: &usize| kept(other, k).map(|of_other| of_other - of_this).filter(|less| less.is_finite());
    let median = median(others.iter().filter(|&&other| other != k).filter_map(less).collect());
    10f64.powf(median.map_or(0.0, |median| median.clamp(0.0, 8.0)))
}

/// The range of a lag: 16 lags each at first, then each an eighth longer than the one before.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small number
fn range_of(lag: usize) -> usize {
    let first = 8 * SHORTEST;
    if lag < first { lag / SHORTEST } else { 8 + ((lag as f64 / first as f64).ln() / 1.125f64.ln()) as usize }
}

/// |e^error − 1|.
fn relative(error: f64) -> f64 {
    error.exp_m1().abs()
}
