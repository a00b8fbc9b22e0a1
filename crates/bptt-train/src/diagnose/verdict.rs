//! The verdict and its sentences.

use serde::Serialize;

use super::{Evidence, LagStatistics, Median, NotFinite, Origin, Spread};

/// The smallest ratio of the gradient at a lag to the largest gradient at smaller lags with which the gradient reaches that
/// lag. A minibatch of B sequences determines the near part with a relative error of about 1/√B; one hundredth disappears
/// in it for any B below ten thousand.
pub const REACHES: f64 = 0.01;

/// The smallest ratio of the gradient of a loss farther back to that at its own step with which it explodes: the near part
/// is then less than [`REACHES`] of it, and nothing of it is left in a clipped update.
pub const EXPLODES: f64 = 1.0 / REACHES;

/// The fraction of saturated activations, reached by every gate, from which on a network counts as saturated even if a
/// gradient passes: each weight learns at less than a tenth of its rate ([`bptt::SATURATED`]) in nine of ten activations.
pub const SATURATED_THROUGHOUT: f64 = 0.9;

/// The fraction of closed activations of one gate from which on it is the reason for a vanishing gradient: the median is
/// closed.
pub const MOSTLY_SATURATED: f64 = 0.5;

/// The fraction of dead units from which on they are the first problem to solve: half of the units do not take part.
pub const DEAD: f64 = 0.5;

/// The fraction of losses cut from their dependency above which truncation limits learning: the median loss is cut.
pub const MOSTLY_CUT: f64 = 0.5;

/// The verdicts, in the order in which they are checked. The saturation of a single gate is checked again where a gradient
/// gradient vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number is infinite or NaN.
    NotFinite,
    /// A verdict is not possible.
    CannotTell,
    /// Gradients grow with distance.
    Explodes,
    /// Relu units are 0 for all inputs.
    DeadUnits,
    /// Activations are at the ends of their ranges.
    Saturated,
    /// Truncation cuts the gradient before the dependency.
    Cut,
    /// The gradient reaches the dependency.
    Reaches,
    /// The gradient decays before the dependency.
    Vanishes,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Which verdict.
    pub kind: Kind,
    /// The verdict with the number it is based on, in a sentence.
    pub sentence: String,
    /// All other measurements, one sentence each.
    pub evidence: Vec<String>,
}

/// The verdict of the numbers, by the thresholds of this file.
pub fn diagnose(evidence: &Evidence) -> Verdict {
    let (kind, sentence) = verdict(evidence);
    Verdict { kind, sentence, evidence: sentences(evidence) }
}

fn verdict(of: &Evidence) -> (Kind, String) {
    if let Some(not_finite) = &of.not_finite {
        return (Kind::NotFinite, first_not_finite(not_finite));
    }
    if of.losses == 0 {
        let why = "there is no loss at any step: everything is masked, padding or burn-in";
        return (Kind::CannotTell, format!("cannot tell: {why}"));
    }
    if let Some(parameter) = &of.overflow {
        let why = "although data, weights, states and losses are finite";
        return (
            Kind::Explodes,
            format!("explodes: the gradient of {parameter} overflows in the backward pass, {why}"),
        );
    }
    let throughout = of.gates.iter().map(|gate| gate.at_ends().unwrap_or(0.0)).reduce(f64::min);
    let saturated = throughout.filter(|fraction| *fraction >= SATURATED_THROUGHOUT);
    if let Some(sentence) = explodes(of, saturated.is_some()) {
        return (Kind::Explodes, sentence);
    }
    if let Some(dead) = of.dead().filter(|dead| *dead >= DEAD) {
        let percent = 100.0 * dead;
        let found = format!("{percent:.0} % of a layer's relu units were 0 at every step of every sequence");
        return (Kind::DeadUnits, format!("dead units: {found}"));
    }
    if let Some(fraction) = saturated {
        let percent = 100.0 * fraction;
        let found =
            format!("in every gate at least {percent:.0} % of the activations are at an end of their range");
        return (Kind::Saturated, format!("saturated: {found}, where gradients are close to zero"));
    }
    let Some(lags) = &of.lag_statistics else {
        let why = of.unbalanced.as_deref().unwrap_or("no loss reaches the recurrent weights");
        return (Kind::CannotTell, format!("cannot tell: {why}"));
    };
    if let Some(why) = no_distance(of, lags) {
        return (Kind::CannotTell, format!("cannot tell: {why}"));
    }
    if lags.at_lag > 0 && lags.cut_at_lag > MOSTLY_CUT {
        return (Kind::Cut, cut(of, lags));
    }
    let kept = lags.log10_kept.unwrap_or(f64::NEG_INFINITY);
    if kept >= REACHES.log10() {
        return (Kind::Reaches, reaches(of, lags, kept));
    }
    let closed = of.gates.iter().filter_map(|gate| Some((gate, gate.closed()?)));
    let closed = closed.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, closed)| *closed >= MOSTLY_SATURATED);
    if let Some((gate, closed)) = closed {
        let end = if gate.shuts { "shut" } else { "at an end of their range" };
        let found = format!(
            "{:.0} % of the activations of gate {} (layer {}) are {end}",
            100.0 * closed,
            gate.gate,
            gate.layer
        );
        return (Kind::Saturated, format!("saturated: {found}, and {}", fades(of, lags, kept)));
    }
    (Kind::Vanishes, format!("vanishes before it: {}", fades(of, lags, kept)))
}

/// Whether gradients grow with the lag, by the ledger or, where all its contributions are zero, by the exponent.
fn explodes(of: &Evidence, saturated: bool) -> Option<String> {
    let per_step = of.exponent.map_or(0.0, |exponent| exponent.per_step);
    // If everything is saturated, the slopes of the activations differ between steps; only the exponent is meaningful.
    if saturated && per_step <= 0.0 {
        return None;
    }
    let grows = |log10: &f64| *log10 >= EXPLODES.log10();
    if let Some(growth) = of.lag_statistics.as_ref().and_then(|lags| lags.log10_growth) {
        let how = "at larger lags the gradient of a loss is up to";
        let times = power(growth);
        return grows(&growth).then(|| format!("explodes: {how} {times} times what it is at its own step"));
    }
    let growth = Some(per_step * of.steps as f64 / std::f64::consts::LN_10).filter(grows)?;
    let times = power(growth);
    Some(format!(
        "explodes: no contribution can be measured, and {} steps multiply the norm of a gradient by {times}",
        of.steps
    ))
}

fn first_not_finite(of: &NotFinite) -> String {
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

/// The reason why the lag of the dependency cannot be judged.
fn no_distance(of: &Evidence, lags: &LagStatistics) -> Option<String> {
    let steps = of.steps;
    if lags.horizon.is_none() && lags.log10_profile.iter().all(|(_, m)| m.is_none()) {
        return Some("every component of every loss is exactly zero".into());
    }
    match of.lag {
        None if lags.target == 0 => {
            Some(format!("in {steps} steps no loss has an earlier step; read longer sequences"))
        }
        Some(lag) if lags.at_lag == 0 => Some(format!(
            "no loss has a step {} steps before it in the {steps} steps read; read longer sequences",
            lag.farthest
        )),
        _ => None,
    }
}

fn cut(of: &Evidence, lags: &LagStatistics) -> String {
    let (percent, target) = (100.0 * lags.cut_at_lag, lags.target);
    let uncut = of.uncut.unwrap_or(0);
    format!(
        "cut by truncation: {percent:.0} % of the losses are cut from the step {target} steps back; gradients reach at most {uncut} \
         steps back"
    )
}

fn reaches(of: &Evidence, lags: &LagStatistics, kept: f64) -> String {
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

fn fades(of: &Evidence, lags: &LagStatistics, kept: f64) -> String {
    let (target, reached) = (lags.target, lags.reached);
    let what = if of.lag.is_some() { "at the lag of the dependency" } else { "at the end of the sequence" };
    let left = if kept == f64::NEG_INFINITY { "nothing".to_owned() } else { part(kept) };
    format!(
        "{left} of the gradient is left {target} steps back, {what}; less than a hundredth is left after {reached} steps"
    )
}

/// 10^`log10` as a number.
fn power(log10: f64) -> String {
    match log10 {
        ..-300.0 | 300.0.. => format!("10^{log10:.0}"),
        -2.0..3.0 => format!("{:.3}", 10f64.powf(log10)),
        _ => format!("{:.1e}", 10f64.powf(log10)),
    }
}

/// 10^`log10` as a fraction.
fn part(log10: f64) -> String {
    if log10 >= -3.0 {
        format!("{:.2} %", 100.0 * 10f64.powf(log10))
    } else {
        format!("a fraction of {}", power(log10))
    }
}

fn sentences(of: &Evidence) -> Vec<String> {
    let mut said = vec![format!(
        "{} read {} of {}, with losses at {}",
        of.cell,
        counted(of.sequences, "sequence"),
        counted(of.steps, "step"),
        counted(of.losses, "of them"),
    )];
    if of.steps == 0 {
        said.clear();
    }
    if let Some(lags) = &of.lag_statistics {
        said.extend(distances(of, lags));
    }
    said.extend(spreads(of));
    said.extend(truncation(of));
    said.extend(of.exponent.map(|exponent| {
        let error = exponent.standard_error.map_or(String::new(), |error| format!(" ± {error:.4}"));
        let fate = match exponent.per_step {
            ..0.0 => "shrinks",
            0.0 => "preserves",
            _ => "grows",
        };
        format!(
            "largest Lyapunov exponent {:.4}{error} per step: over many steps, each step {fate} the gradient",
            exponent.per_step
        )
    }));
    said.extend(of.gates.iter().filter_map(gate_sentence));
    if let Some(training) = &of.training {
        let solved = training
            .solved
            .map_or(String::new(), |solved| format!(", {:.1} % of the sequences solved", 100.0 * solved));
        said.push(format!("training {} after {} updates{solved}", training.ending, training.updates));
    }
    said
}

fn counted(count: usize, what: &str) -> String {
    if what == "of them" {
        return format!("{count} of them");
    }
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn distances(of: &Evidence, lags: &LagStatistics) -> Vec<String> {
    let mut said = Vec::new();
    let lag = |lag: Option<usize>| lag.map_or("none".to_owned(), |lag| format!("{lag} steps"));
    let memory = of.memory_horizon.map_or(String::new(), |memory| {
        format!("; memory horizon {memory} steps: 99 % of the effect of a change of h lies within it")
    });
    said.push(format!(
        "learning horizon {}: 99 % of the contributions to W_hh lie within it{memory}",
        lag(lags.horizon)
    ));
    if let Some(decay) = lags.decay_per_step {
        said.push(format!(
            "decay {decay:.4} nats per step: one step farther back, contributions are multiplied by {:.4}",
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
        said.push(format!("cancellation {cancellation:.3}: the norm of the gradient, {:.3e}, divided by the sum of the norms of all contributions", lags.gradient_norm));
    }
    said.push(format!(
        "balance: the contributions add up to the gradient, relative error {:.0e}",
        lags.balance
    ));
    said
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

fn gate_sentence(of: &super::Gate) -> Option<String> {
    let mut said = Vec::new();
    if let (Some(sigma), Some(radius)) = (of.sigma_max, of.spectral_radius) {
        let vanishing =
            if of.bound_to_vanish { ", so every step shrinks every gradient, for all inputs" } else { "" };
        said.push(format!("σ_max {sigma:.3}, spectral radius {radius:.3}{vanishing}"));
    }
    if let Some((low, high)) = of.saturated {
        said.push(format!(
            "{:.0} % of activations at the lower end, {:.0} % at the upper",
            100.0 * low,
            100.0 * high
        ));
    }
    if let Some(dead) = of.dead {
        said.push(format!("{:.0} % of units dead", 100.0 * dead));
    }
    let place = format!("gate {} of layer {} ({})", of.gate, of.layer, of.direction);
    (!said.is_empty()).then(|| format!("{place}: {}", said.join("; ")))
}
