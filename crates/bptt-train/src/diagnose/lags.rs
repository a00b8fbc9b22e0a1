//! What a ledger says by lag, and what stands between losses and earlier steps.

use bptt::dynamics::sigma_max;
use bptt::{Entry, ForwardCache, Ledger, Network, Parameter, ScanOptions};

use super::measure::{HORIZON, gates};
use super::verdict::REACHES;
use super::{Before, CutBy, Evidence, Lag, LagStatistics};

/// The largest number of units with singular values; larger blocks would take longer than the ledger.
const MOST_UNITS: usize = 256;

impl Evidence {
    /// What the ledger of a batch says, with the gates, and nothing that needs another pass. `bounds` are the options of the
    /// scan, `lag` the nearest and farthest lag of the dependency if it is known.
    pub fn of_ledger(
        network: &Network<f64>,
        trace: &ForwardCache<f64>,
        ledger: &Ledger,
        bounds: &ScanOptions<f64>,
        lag: Option<std::ops::RangeInclusive<usize>>,
    ) -> Self {
        let (steps, sequences) = trace.inputs().shape();
        let mut evidence = Self {
            cell: network.spec().name.as_str().into(),
            steps,
            sequences,
            lag: lag.map(|lag| Lag { nearest: *lag.start(), farthest: *lag.end() }),
            gates: gates(network, trace, &[]),
            ..Self::default()
        };
        evidence.add_ledger(ledger, bounds);
        if let [gate, ..] = &mut evidence.gates[..]
            && network.spec().gate_count() == 1
        {
            let recurrent = network.weights().cells[0].recurrent_block(0);
            gate.sigma_max = recurrent.filter(|_| network.hidden() <= MOST_UNITS).map(sigma_max);
        }
        evidence
    }

    /// What the ledger says.
    pub(super) fn add_ledger(&mut self, ledger: &Ledger, bounds: &ScanOptions<f64>) {
        let present: Vec<usize> = (0..ledger.steps()).filter(|&k| ledger.has_loss(k)).collect();
        self.losses = present.len();
        let cuts = Cuts { bounds, sequences: self.sequences };
        let uncut = |&k: &usize| cuts.at(k).map(move |(_, first, _)| k - first);
        self.uncut = present.iter().flat_map(uncut).max();
        let mut counts = [(CutBy::Detach, 0), (CutBy::BurnIn, 0), (CutBy::Reset, 0)];
        for (_, _, by) in present.iter().flat_map(|&k| cuts.at(k)) {
            for (kind, count) in &mut counts {
                *count += usize::from(by == Some(*kind));
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.cut_by = counts.iter().filter(|(_, count)| *count > 0).map(|(kind, _)| *kind).collect();
        self.cut = self.cut_by.iter().any(|by| *by != CutBy::Reset);
        self.lag_statistics = lag_statistics(ledger, self.lag, &cuts);
        self.shares = ledger.recurrent(0).and_then(shares);
    }
}

impl Before {
    /// Of a ledger after this number of updates; `None` if no loss reaches W_hh.
    pub fn of(ledger: &Ledger, updates: u64) -> Option<Self> {
        let entry = ledger.recurrent(0)?;
        let decay_per_step = entry.decay().filter(|decay| decay.is_finite());
        Some(Self { updates, horizon: entry.horizon(HORIZON), decay_per_step })
    }
}

/// What keeps gradients of a batch from earlier steps, in the direction of time.
struct Cuts<'a> {
    bounds: &'a ScanOptions<f64>,
    sequences: usize,
}

impl Cuts<'_> {
    /// For each sequence that has a step k outside of padding and burn-in: its number, the first step that the gradient of
    /// a loss at step k reaches, and what lies before it.
    fn at(&self, k: usize) -> impl Iterator<Item = (usize, usize, Option<CutBy>)> {
        let ScanOptions { lengths, resets, detach, burn_in, .. } = self.bounds;
        let read = move |&b: &usize| lengths.as_ref().is_none_or(|lengths| k < lengths[b]) && k >= *burn_in;
        let cut = [
            (detach.iter().copied().filter(|&s| s <= k).max(), CutBy::Detach),
            (Some(*burn_in), CutBy::BurnIn),
        ];
        let sequences = self.sequences;
        (0..sequences).filter(read).map(move |b| {
            let reset = |s: &usize| resets.as_ref().is_some_and(|resets| resets[s * sequences + b]);
            let places = cut.into_iter().chain([((0..=k).rev().find(reset), CutBy::Reset)]);
            let last = places.filter_map(|(step, by)| Some((step.filter(|&step| step > 0)?, by)));
            let last = last.max_by_key(|(step, by)| (*step, *by == CutBy::Reset));
            last.map_or((b, 0, None), |(step, by)| (b, step, Some(by)))
        })
    }

    /// Number of losses with a step at this lag, the fraction of those of single sequences that are cut from it, and the
    /// fraction of all that an episode's beginning parts from it: then there is no such step.
    fn at_lag(&self, ledger: &Ledger, lag: usize) -> (usize, f64, f64) {
        let (mut losses, mut whole, mut cut, mut reset) = (0, 0, 0, 0);
        for k in (lag..ledger.steps()).filter(|&k| ledger.has_loss(k)) {
            let mut has = false;
            for (_, first, by) in self.at(k) {
                match by {
                    Some(CutBy::Reset) if k - lag < first => reset += 1,
                    Some(_) if k - lag < first => cut += 1,
                    _ => whole += 1,
                }
                has |= by != Some(CutBy::Reset) || k - lag >= first;
            }
            losses += usize::from(has);
        }
        let fraction = |part: usize, all: usize| part as f64 / all.max(1) as f64;
        (losses, fraction(cut, whole + cut), fraction(reset, whole + cut + reset))
    }
}

/// Shares of the losses' own steps, of 1 to 9 steps back, and of farther back.
fn shares(entry: &Entry) -> Option<[f64; 3]> {
    let mut shares = [0.0; 3];
    for (k, t) in (0..entry.steps()).flat_map(|k| (0..entry.steps()).map(move |t| (k, t))) {
        shares[match k.abs_diff(t) {
            0 => 0,
            1..10 => 1,
            _ => 2,
        }] += entry.share(k, t).unwrap_or(0.0);
    }
    Some(shares).filter(|shares| shares.iter().all(|share| share.is_finite()))
}

/// `None` if no loss reaches the recurrent weights at all.
fn lag_statistics(ledger: &Ledger, lag: Option<Lag>, cuts: &Cuts<'_>) -> Option<LagStatistics> {
    let recurrent = ledger.recurrent(0)?;
    let bias = ledger.entry(0, Parameter::BIAS).or_else(|| ledger.entry(0, Parameter::BIAS_IH))?;
    let profile: Vec<(usize, f64)> = bias.profile().iter().map(|of| (of.lag, of.log10_median())).collect();
    let target = lag.map_or_else(|| profile.last().map_or(0, |last| last.0), |lag| lag.farthest);
    let (at_lag, cut_at_lag, reset_at_lag) =
        lag.map_or((0, 0.0, 0.0), |lag| cuts.at_lag(ledger, lag.farthest));
    let largest = profile.iter().map(|of| of.1).fold(f64::NEG_INFINITY, f64::max);
    let first = profile.first().map_or(f64::NEG_INFINITY, |first| first.1);
    let kept = kept(&profile);
    Some(LagStatistics {
        horizon: recurrent.horizon(HORIZON),
        decay_per_step: recurrent.decay().filter(|decay| decay.is_finite()),
        cancellation: Some(Entry::cancellation(recurrent)).filter(|of| of.is_finite()),
        gradient_norm: recurrent.total_norm(),
        balance: ledger.worst_balance(),
        log10_profile: profile.iter().map(|&(lag, m)| (lag, Some(m).filter(|m| m.is_finite()))).collect(),
        target,
        log10_kept: kept.iter().find(|of| of.0 == target).map(|of| of.1),
        reached: kept.iter().take_while(|of| of.1 >= REACHES.log10()).last().map_or(0, |of| of.0),
        log10_growth: first.is_finite().then_some(largest - first),
        at_lag,
        cut_at_lag,
        reset_at_lag,
    })
}

/// log₁₀ of the ratio of m at each lag to the largest m up to it.
fn kept(profile: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let mut largest = f64::NEG_INFINITY;
    let kept = profile.iter().map(|&(lag, m)| {
        largest = largest.max(m);
        (lag, if m.is_finite() { m - largest } else { f64::NEG_INFINITY })
    });
    kept.collect()
}
