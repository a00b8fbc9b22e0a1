//! What a ledger says about distance: the lag profile, its decay, and the horizon.

use super::entries::Entry;
use super::quantiles::{median, quantile};

/// The contributions at one lag τ = |k − t|, over all losses k that reach that far.
#[derive(Clone, Debug, PartialEq)]
pub struct LagQuantiles {
    /// τ = k − t, or t − k in a cell that reads in reverse.
    pub lag: usize,
    /// How many contributions (of a [`crate::MemoryProfile`]: perturbations) there are at that lag.
    pub losses: usize,
    /// log₁₀ of the norm at the quantiles 0.1, 0.25, 0.5, 0.75, 0.9; −∞ where exactly zero, or where so many components are
    /// in the remainder that the quantile is one of them.
    pub log10: [f64; 5],
}

/// The quantiles of [`LagQuantiles::log10`].
pub const QUANTILES: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 0.9];

impl LagQuantiles {
    /// log₁₀ of the median norm m(τ).
    pub fn log10_median(&self) -> f64 {
        self.log10[2]
    }
}

impl Entry {
    /// The lag profile m(τ): how large contributions are at each distance, smallest lag first. Lags that no loss
    /// reaches are left out.
    pub fn profile(&self) -> Vec<LagQuantiles> {
        let losses = self.losses();
        profile_of(self.steps(), |lag| losses.iter().flat_map(|&k| self.at_lag(k, lag)).collect())
    }

    /// λ, the slope of ln m(τ) per step with m the median, by least squares weighted with the number of losses at each
    /// lag; lags where m is exactly zero are left out. Negative where gradients vanish with distance, comparable with a
    /// Lyapunov exponent. `None` with fewer than two lags.
    pub fn decay(&self) -> Option<f64> {
        self.fit().map(|(_, slope)| slope)
    }

    /// The line ln m(τ) ≈ a + λ τ that [`Entry::decay`] is the slope of, as (a, λ).
    pub fn fit(&self) -> Option<(f64, f64)> {
        let points: Vec<(f64, f64, f64)> = self
            .profile()
            .into_iter()
            .filter(|p| p.log10_median().is_finite())
            .map(|p| (p.losses as f64, p.lag as f64, p.log10_median() * std::f64::consts::LN_10))
            .collect();
        let weight: f64 = points.iter().map(|p| p.0).sum();
        let mean = |f: fn(&(f64, f64, f64)) -> f64| points.iter().map(|p| p.0 * f(p)).sum::<f64>() / weight;
        let (lag, log) = (mean(|p| p.1), mean(|p| p.2));
        let spread: f64 = points.iter().map(|p| p.0 * (p.1 - lag).powi(2)).sum();
        let slope = points.iter().map(|p| p.0 * (p.1 - lag) * (p.2 - log)).sum::<f64>() / spread;
        (points.len() >= 2).then_some((log - slope * lag, slope))
    }

    /// horizon(q): the smallest lag within which a fraction q of Σ_τ m(τ) lies, with m the median over losses. `None`
    /// if every median is zero.
    pub fn horizon(&self, q: f64) -> Option<usize> {
        horizon(self.profile().iter().map(|p| (p.lag, p.log10_median())), q)
    }

    /// The horizon of loss k alone: the smallest lag within which a fraction q of its Σ_t ‖component‖ lies. `None` if
    /// all are zero or loss k is masked.
    pub fn horizon_of_loss(&self, k: usize, q: f64) -> Option<usize> {
        horizon((0..self.steps()).flat_map(|lag| self.at_lag(k, lag).map(move |log10| (lag, log10))), q)
    }

    /// The horizon of sequence `b` alone: that of the median over its losses of ‖component‖ in this sequence. `None` if all
    /// are zero or norms of single sequences were not asked for ([`crate::ItemizeOptions::sequences`]).
    pub fn horizon_of_sequence(&self, b: usize, q: f64) -> Option<usize> {
        let steps = self.steps();
        let merged = |k: usize, t: usize| self.records.is_merged(k, t).then_some(0.0);
        let norm = |k: usize, t: usize| self.sequence_norm(k, t, b).or_else(|| merged(k, t));
        // A loss that this sequence does not have is zero everywhere.
        let has = |k: &usize| (0..steps).any(|t| norm(*k, t).is_some_and(|norm| norm > 0.0));
        let losses: Vec<usize> = self.losses().into_iter().filter(has).collect();
        let at = |lag: usize| {
            let norms = losses.iter().flat_map(|&k| self.at(k, lag).filter_map(move |t| norm(k, t)));
            median(norms.map(f64::log10).collect()).map(|median| (lag, median))
        };
        let profile: Vec<(usize, f64)> = (0..steps).filter_map(at).collect();
        horizon(profile.into_iter(), q)
    }

    /// The steps that have a loss. Going over all others, too, would take time in T² where there is one loss.
    pub(super) fn losses(&self) -> Vec<usize> {
        (0..self.steps()).filter(|&k| !self.records.is_masked(k)).collect()
    }

    /// log₁₀ of the norms of loss k at a lag: one, or in the lower layers of a bidirectional stack up to two. What is in the
    /// remainder has decayed below whatever is itemized: it counts as nothing, so medians are exact where more than half
    /// the losses are itemized.
    fn at_lag(&self, k: usize, lag: usize) -> impl Iterator<Item = f64> + Clone {
        let merged = move |t| self.records.is_merged(k, t).then_some(f64::NEG_INFINITY);
        self.at(k, lag).filter_map(move |t| self.log10_norm(k, t).or_else(|| merged(t)))
    }

    /// The steps at a lag from loss k. Those that are cut off from the loss are left out: what is cut has not decayed.
    fn at(&self, k: usize, lag: usize) -> impl Iterator<Item = usize> + Clone {
        let before = k.checked_sub(lag);
        let after = (lag > 0).then_some(k + lag);
        before.into_iter().chain(after).filter(move |t| self.spans[k].uncut.contains(t))
    }
}

/// The quantiles at each lag, of log₁₀ of the norms that `at_lag` finds there; lags without any are left out.
pub(crate) fn profile_of(lags: usize, at_lag: impl Fn(usize) -> Vec<f64>) -> Vec<LagQuantiles> {
    let at = |lag: usize| {
        let mut log10 = at_lag(lag);
        log10.sort_by(f64::total_cmp);
        (!log10.is_empty()).then(|| LagQuantiles {
            lag,
            losses: log10.len(),
            log10: QUANTILES.map(|q| quantile(&log10, q)),
        })
    };
    (0..lags).filter_map(at).collect()
}

/// The smallest lag within which a fraction `q` of Σ 10^log₁₀ lies; lags ascend.
pub(crate) fn horizon(sizes: impl Iterator<Item = (usize, f64)> + Clone, q: f64) -> Option<usize> {
    // Relative to the largest, so that a profile below f64's range still has a horizon.
    let top = sizes.clone().map(|(_, log10)| log10).fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return None;
    }
    let total: f64 = sizes.clone().map(|(_, log10)| 10f64.powf(log10 - top)).sum();
    let mut within = 0.0;
    let mut last = None;
    for (lag, log10) in sizes {
        within += 10f64.powf(log10 - top);
        last = Some(lag);
        if within >= q * total {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometric_profile_has_the_horizon_of_its_sum() {
        // Σ_{τ<n} 2^-τ = 2 - 2^(1-n): 99 % of the sum of ten terms lies within the first seven (lags 0 to 6).
        let sizes = (0..10).map(|lag| (lag, -(lag as f64) * std::f64::consts::LOG10_2));
        assert_eq!(horizon(sizes.clone(), 0.99), Some(6));
        assert_eq!(horizon(sizes.clone(), 0.5), Some(0));
        let far_below_f64 = sizes.map(|(lag, log10)| (lag, log10 - 1000.0));
        assert_eq!(horizon(far_below_f64, 0.99), Some(6));
        assert_eq!(horizon([(0, f64::NEG_INFINITY)].into_iter(), 0.99), None);
    }
}
