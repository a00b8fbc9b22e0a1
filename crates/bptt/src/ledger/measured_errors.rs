//! How far the norms of a ledger in f32 are from the exact ones, estimated from some of its losses that are itemized again in
//! f64.
//!
//! A reverse scan in f32 rounds at every step, and a forward scan before it. The balance does not see it, since the ordinary
//! gradient has the same roundings. What an error depends on is measured at the losses that are itemized again: the lag, and
//! the part of the sequence. A third dependence is known from the ledger itself: as it is carried to earlier steps, a row turns
//! toward the direction that decays slowest. A loss whose row has little of that direction keeps little of its norm, but all of
//! its error there. How much less it keeps than other rows do is its *misalignment*, and its relative error is larger by so much.

use std::sync::Arc;

use super::quantiles::median;

/// Losses on each side of k that an estimate for k is made from.
const NEAR: usize = 3;

/// By how much an estimate is larger than the largest error that was measured near it. With it, at T = 512 and 2,048, 998 entries
/// in 1,000 or more were below their estimates in networks of every cell without chosen activations but one, and 994 in an LSTM; the median estimate was
/// 8 to 31 times the error (`bptt-bench f32-errors`).
const MARGIN: f64 = 4.5;

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
    /// For each of them, of the steps up to it and of those after it: by range of lags the largest relative error in that range
    /// and its neighbors, divided by the misalignment.
    by_range: Vec<[Vec<f64>; 2]>,
}

impl MeasuredErrors {
    /// Compares log₁₀ of the norms of (k, t) in f32 and exact ones at the losses `ks`, for `steps` steps t.
    pub(crate) fn new(steps: usize, found: Norms<'_>, exact: Norms<'_>, ks: &Arc<[usize]>) -> Self {
        let of_loss = |&k: &usize| {
            let mut by_range = [Vec::new(), Vec::new()];
            for t in 0..steps {
                let (Some(of_found), Some(of_exact)) = (found(k, t), exact(k, t)) else {
                    continue;
                };
                let of_side: &mut Vec<f64> = &mut by_range[usize::from(t > k)];
                let range = range_of(k.abs_diff(t));
                of_side.resize(of_side.len().max(range + 1), 0.0);
                let error = relative_error(of_found, of_exact).max(ROUNDING) / misalignment(found, ks, k, t);
                of_side[range] = error.max(of_side[range]);
            }
            by_range.map(|of_side| with_neighbors(&of_side))
        };
        Self { ks: Arc::clone(ks), by_range: ks.iter().map(of_loss).collect() }
    }

    /// The estimate for (k, t) by the norms in f32: from the nearest losses on both sides of k, at lags near |k − t|.
    pub(crate) fn estimate(&self, norms: Norms<'_>, k: usize, t: usize) -> f64 {
        let after = self.ks.partition_point(|&probe| probe < k);
        let near = &self.by_range[after.saturating_sub(NEAR)..(after + NEAR).min(self.ks.len())];
        let at = |range: usize| {
            near.iter().filter_map(|of| of[usize::from(t > k)].get(range)).copied().reduce(f64::max)
        };
        // Where no loss has lags as large: the largest that one has.
        let largest = (0..=range_of(k.abs_diff(t))).rev().find_map(at).unwrap_or(ROUNDING);
        MARGIN * (largest * misalignment(norms, &self.ks, k, t)).max(ROUNDING)
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

/// |found − exact| / exact of two norms by their logarithms.
fn relative_error(found: f64, exact: f64) -> f64 {
    if found == exact { 0.0 } else { (10f64.powf(found - exact) - 1.0).abs() }
}
