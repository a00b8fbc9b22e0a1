//! The measurements in sentences.

use std::f64::consts::LN_2;

use bptt::cell::GateRole;

use super::{CutBy, Evidence, Gate, LagStatistics, Median, NotFinite, Origin, REACHES, Spread, learned};

/// Above this ratio of ‖Σ components‖ to Σ ‖components‖ little cancels, below [`MUCH_CANCELS`] most does.
const LITTLE_CANCELS: f64 = 0.7;
const MUCH_CANCELS: f64 = 0.2;

/// The fraction of saturated activations from which on the meaning is said.
const MUCH_SATURATED: f64 = 0.25;

pub(super) fn first_not_finite(of: &NotFinite) -> String {
    let what = &of.what;
    let at = match (of.step, of.sequence) {
        (Some(step), Some(sequence)) => format!("first at step {step} of sequence {sequence}, in {what}"),
        (Some(step), None) => format!("first at update {step}: {what}"),
        (None, _) => format!("first in {what}"),
    };
    let seen = match of.origin {
        Origin::Data => "the data contain it",
        Origin::Weights => "the data are finite, the weights are not",
        Origin::States => "data and weights are finite; the states overflow in the forward pass",
        Origin::Losses => "data, weights and states are finite; the loss or its gradient is not",
        Origin::Training => "the network of the update before it was kept and is finite",
    };
    format!("not finite: {at} ({seen})")
}

pub(super) fn cut(of: &Evidence, lags: &LagStatistics) -> String {
    let (percent, target) = (100.0 * lags.cut_at_lag, lags.target);
    let uncut = of.uncut.unwrap_or(0);
    let what = if of.cut_by.iter().find(|by| **by != CutBy::Reset) == Some(&CutBy::BurnIn) {
        "cut by burn-in"
    } else {
        "cut by truncation"
    };
    format!(
        "{what}: {percent:.0} % of the losses are cut from the step {target} steps back; gradients reach at most {uncut} steps back"
    )
}

pub(super) fn reaches(of: &Evidence, lags: &LagStatistics, kept: f64) -> String {
    let target = lags.target;
    match of.lag {
        Some(_) => format!(
            "reaches the dependency: {} of the gradient is left {target} steps back, at the lag of the dependency",
            part(kept)
        ),
        None if of.cut => format!(
            "reaches the end of the window, {target} steps back, with {} of the gradient left; gradients are cut there, and the lag \
             of the dependency is not known",
            part(kept)
        ),
        None => format!(
            "reaches the end of the sequence, {target} steps back, with {} of the gradient left; the lag of the dependency is not \
             known",
            part(kept)
        ),
    }
}

/// What is left at the lag of the dependency, or at the end of the sequence.
pub(super) fn fades(of: &Evidence, lags: &LagStatistics, kept: f64) -> String {
    let (target, reached) = (lags.target, lags.reached);
    let left = if kept == f64::NEG_INFINITY { "nothing".to_owned() } else { part(kept) };
    let end = if of.cut { "at the end of the window" } else { "at the end of the sequence" };
    let what = if of.lag.is_some() { "at the lag of the dependency" } else { end };
    format!(
        "less than a hundredth of the gradient is left after {reached} steps, {left} {target} steps back, {what}"
    )
}

/// 10^`log10` as a number.
pub(super) fn power(log10: f64) -> String {
    match log10 {
        ..-300.0 | 300.0.. => format!("10^{log10:.0}"),
        -2.0..3.0 => format!("{:.3}", 10f64.powf(log10)),
        _ => format!("{:.1e}", 10f64.powf(log10)),
    }
}

/// 10^`log10` as a fraction.
pub(super) fn part(log10: f64) -> String {
    if log10 >= -3.0 {
        format!("{:.2} %", 100.0 * 10f64.powf(log10))
    } else {
        format!("a fraction of {}", power(log10))
    }
}

pub(super) fn sentences(of: &Evidence) -> Vec<String> {
    let mut said = Vec::new();
    if of.steps > 0 {
        let read = format!("{} of {}", counted(of.sequences, "sequence"), counted(of.steps, "step"));
        said.push(format!("{read}, with losses at {} of them, read by {}", of.losses, of.cell));
    }
    said.extend(training(of));
    if let Some(lags) = &of.lag_statistics {
        said.extend(distances(of, lags));
    }
    said.extend(before(of));
    said.extend(spreads(of));
    said.extend(truncation(of));
    said.extend(of.exponent.map(|exponent| {
        let [low, high] = exponent.interval.unwrap_or([exponent.per_step; 2]);
        let interval =
            exponent.interval.map(|_| format!(" (95 %: {low:.4} to {high:.4})")).unwrap_or_default();
        let fate = match (low, high) {
            (_, ..0.0) => "each step shrinks the gradient",
            (0.0, 0.0) => "each step preserves the gradient",
            (low, _) if low > 0.0 => "each step grows the gradient",
            _ => "whether the gradient shrinks or grows cannot be told",
        };
        format!(
            "largest Lyapunov exponent {:.4}{interval} per step: over many steps, {fate}",
            exponent.per_step
        )
    }));
    said.extend(strength(of));
    said.extend(of.gates.iter().filter_map(gate_sentence));
    said
}

pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// How the training went.
fn training(of: &Evidence) -> Option<String> {
    let training = of.training.as_ref()?;
    let ending = if training.ending.is_empty() { "still running or killed" } else { &training.ending };
    let mut said = format!("training {ending} after {} updates", training.updates);
    said.extend(learned::losses(training).map(|losses| format!(": {losses}")));
    said.extend(
        learned::best(training)
            .filter(|_| training.best.is_some_and(|best| best.updates < training.updates))
            .map(|best| format!("; {best}")),
    );
    if let Some([first, median]) = training.update_ratios {
        said += &format!(
            "; the first update changed the weights by {} of their norm, the median one by {}",
            part(first.log10()),
            part(median.log10())
        );
    }
    Some(said)
}

fn distances(of: &Evidence, lags: &LagStatistics) -> Vec<String> {
    let mut said = Vec::new();
    let farthest = lags.log10_profile.last().map_or(0, |last| last.0);
    let horizon = match lags.horizon {
        None => "none".to_owned(),
        Some(lag) if lag == farthest => {
            format!("{} or more, as far as gradients go here", counted(lag, "step"))
        }
        Some(lag) => counted(lag, "step"),
    };
    let memory = of.memory_horizon.map_or(String::new(), |memory| {
        format!("; memory horizon {memory} steps: 99 % of the effect of a change of h lies within it")
    });
    said.push(format!("learning horizon {horizon}: 99 % of the contributions to W_hh lie within it{memory}"));
    if of.lag.is_none() && lags.log10_kept.is_some_and(|kept| kept < REACHES.log10()) {
        said.push(
            "whether a gradient from farther back is needed is not known, since the lag of the dependency is not"
                .into(),
        );
    }
    if let Some([own, near, far]) = of.shares {
        said.push(format!(
            "of the gradient of W_hh, {:.1} % comes from the losses' own steps, {:.1} % from 1 to 9 steps back, and {:.1} % from \
             farther back",
            100.0 * own,
            100.0 * near,
            100.0 * far
        ));
    }
    if let Some(decay) = lags.decay_per_step {
        let fate = if decay < -1e-3 {
            format!(", so they halve every {:.1} steps", LN_2 / -decay)
        } else if decay > 1e-3 {
            format!(", so they double every {:.1} steps", LN_2 / decay)
        } else {
            String::new()
        };
        said.push(format!(
            "decay {decay:.4} nats per step: one step farther back, contributions are multiplied by {:.4}{fate}",
            decay.exp()
        ));
    }
    if let Some(dependency) = of.lag {
        let range = match dependency {
            of if of.nearest == of.farthest => format!("{}", of.farthest),
            of => format!("{} to {}", of.nearest, of.farthest),
        };
        let uncut = of.uncut.unwrap_or(0);
        said.push(format!(
            "the dependency lies {range} steps back; gradients reach at most {uncut} steps back"
        ));
    }
    if let Some(growth) = lags.log10_growth.filter(|growth| *growth > 0.0) {
        said.push(format!(
            "the largest contribution of a past step is {} times that of the loss's own step",
            power(growth)
        ));
    }
    if let Some(cancellation) = lags.cancellation {
        let fate = match cancellation {
            LITTLE_CANCELS.. => "contributions mostly have the same direction",
            ..=MUCH_CANCELS => "most of the contributions cancel each other",
            _ => "part of the contributions cancel each other",
        };
        said.push(format!(
            "cancellation {cancellation:.3}: the norm of the gradient, {:.3e}, divided by the sum of the norms of all contributions; \
             {fate}",
            lags.gradient_norm
        ));
    }
    said.push(format!(
        "balance: the contributions add up to the gradient, relative error {:.0e}",
        lags.balance
    ));
    said
}

/// The change during the training.
fn before(of: &Evidence) -> Option<String> {
    let (before, lags) = (of.before?, of.lag_statistics.as_ref()?);
    let (was, is) = (before.horizon?, lags.horizon?);
    let change = match is.cmp(&was) {
        std::cmp::Ordering::Less => "has become shorter in training",
        std::cmp::Ordering::Equal => "is what it was before training",
        std::cmp::Ordering::Greater => "has become longer in training",
    };
    let when = if before.updates == 0 {
        "untrained".to_owned()
    } else {
        format!("after {} updates", before.updates)
    };
    let kept = |decay: Option<f64>| {
        decay.map_or(String::new(), |decay| format!(" with {:.1} % left per step", 100.0 * decay.exp()))
    };
    Some(format!(
        "the learning horizon {change}: {when} {}{}, now {}{}",
        counted(was, "step"),
        kept(before.decay_per_step),
        counted(is, "step"),
        kept(lags.decay_per_step)
    ))
}

/// The smallest window within the requested bias.
fn truncation(of: &Evidence) -> Option<String> {
    let window = of.smallest_window?;
    Some(format!(
        "a window of {} gives the gradient with a relative bias of {:.3} (cosine {:.4}); it is the smallest within the limit",
        counted(window.steps, "step"),
        window.bias,
        window.cosine
    ))
}

/// Horizons over sequences, after and before training.
fn spreads(of: &Evidence) -> Vec<String> {
    if of.sequences < 2 && of.horizons_untrained.is_none() {
        return Vec::new();
    }
    let median = |median: Option<Median>| match median {
        Some(Median { steps, low, high }) => format!("{steps:.0} [{low:.0}, {high:.0}]"),
        None => "none".to_owned(),
    };
    let both = |spread: Spread| {
        let memory = spread.memory.map_or(String::new(), |of| format!(", memory {}", median(Some(of))));
        format!("learning {}{memory}", median(spread.learning))
    };
    let spread = |(when, spread): (&str, Option<Spread>)| {
        Some(format!("horizons{when}, median over sequences [95 %]: {}", both(spread?)))
    };
    [("", of.horizons), (" before training", of.horizons_untrained)].into_iter().filter_map(spread).collect()
}

/// σ_max compared with the measured decay, for cells with a single gate, where it bounds the decay.
fn strength(of: &Evidence) -> Option<String> {
    let bottom: Vec<&Gate> =
        of.gates.iter().filter(|gate| gate.layer == 0 && gate.direction == "forward").collect();
    let ([gate], decay) = (&bottom[..], of.lag_statistics.as_ref()?.decay_per_step?) else { return None };
    let sigma = gate.sigma_max?;
    match (sigma > 1.0, decay < 0.0) {
        (true, true) => Some(format!(
            "σ_max(W_hh) = {sigma:.2} is above 1, but contributions shrink with the lag: a value above 1 is necessary for exploding \
             gradients, not sufficient"
        )),
        (true, false) => {
            Some(format!("σ_max(W_hh) = {sigma:.2} is above 1, and contributions grow with the lag"))
        }
        (false, _) => None,
    }
}

fn gate_sentence(of: &Gate) -> Option<String> {
    let mut said = Vec::new();
    if let (Some(sigma), Some(radius)) = (of.sigma_max, of.spectral_radius) {
        let vanishing =
            if of.bound_to_vanish { ", so every step shrinks every gradient, for all inputs" } else { "" };
        said.push(format!("σ_max {sigma:.3}, spectral radius {radius:.3}{vanishing}"));
    }
    if let Some((low, high)) = of.saturated {
        said.push(format!(
            "{:.0} % of activations at the lower end, {:.0} % at the upper{}",
            100.0 * low,
            100.0 * high,
            of.meaning(low, high).map_or(String::new(), |meaning| format!(": {meaning}"))
        ));
    }
    if let Some(dead) = of.dead {
        said.push(format!("{:.0} % of units dead", 100.0 * dead));
    }
    (!said.is_empty()).then(|| format!("{}: {}", of.place(), said.join("; ")))
}

impl Gate {
    fn place(&self) -> String {
        format!("gate {} of layer {} ({})", self.gate, self.layer, self.direction)
    }

    /// What it means that many activations are at an end; `None` if few are.
    fn meaning(&self, low: f64, high: f64) -> Option<&'static str> {
        let (low_much, high_much) = (low > MUCH_SATURATED, high > MUCH_SATURATED);
        match self.role {
            GateRole::Candidate => {
                (low + high > MUCH_SATURATED).then_some("little gradient passes through saturated candidates")
            }
            _ if !self.shuts => None,
            GateRole::Keep if high_much && !low_much => Some("open, so the state and its gradient are kept"),
            GateRole::Keep if low_much && !high_much => {
                Some("closed, so the state and its gradient end here")
            }
            GateRole::Write if low_much => {
                Some("closed, so little is written into the state and little is learned about it")
            }
            GateRole::Read if low_much => {
                Some("closed, so little of the state leaves it and little gradient enters")
            }
            GateRole::Replace if high_much && !low_much => {
                Some("the state is replaced, and its gradient ends here")
            }
            GateRole::Replace if low_much && !high_much => {
                Some("closed, so the state is kept and little is learned about it")
            }
            GateRole::Reset if low_much => Some("closed, so candidates do not see the past"),
            _ => None,
        }
    }

    /// The gate, and what it does where [`Gate::stops_the_past`] counts.
    pub(super) fn effect_where_it_stops(&self) -> String {
        let effect = match self.role {
            GateRole::Keep => "are closed: little of the state is kept from step to step",
            GateRole::Replace => "are open: most of the state is replaced at each step",
            _ => "are at an end of their range",
        };
        format!("{} {effect}", self.place())
    }

    /// The gate, and what it does where [`Gate::stops_learning`] counts.
    pub(super) fn effect_where_it_closes(&self) -> String {
        let effect = match self.role {
            GateRole::Write | GateRole::Replace => {
                "are closed: nothing is written into the state, and what should be is not learned"
            }
            GateRole::Read => "are closed: nothing of the state leaves the cell, and no gradient enters it",
            _ => "are at an end of their range: almost no gradient passes",
        };
        format!("{} {effect}", self.place())
    }
}
