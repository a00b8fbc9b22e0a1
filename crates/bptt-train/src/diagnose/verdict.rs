//! What the numbers mean.

use serde::Serialize;

use super::{Evidence, Median, NotFinite, Origin, Reach, Spread};

/// How much of the largest gradient nearer by has to be left at a lag for learning to reach it. A minibatch of B sequences
/// knows the near part to about 1/√B of its size; one hundredth disappears in that for any B below ten thousand.
pub const REACHES: f64 = 0.01;

/// How many times larger than at its own step a loss's gradient has to be farther back to explode: then what is near is less
/// than [`REACHES`] of it, and a clipped update has nothing of it left.
pub const EXPLODES: f64 = 1.0 / REACHES;

/// The fraction of saturated activations in every single gate from which on a network counts as saturated even where a
/// gradient passes: each weight learns at less than a tenth of its rate ([`bptt::SATURATED`]) in nine of ten activations.
pub const SATURATED_THROUGHOUT: f64 = 0.9;

/// The fraction of closed activations in one gate from which on that is why a gradient vanishes: the median one is closed.
pub const MOSTLY_SATURATED: f64 = 0.5;

/// The fraction of dead units from which on they are the first thing to mend: fewer than half of the units that are paid for
/// take part.
pub const DEAD: f64 = 0.5;

/// The fraction of losses cut from their dependency above which truncation is what ends learning: the median loss is cut.
pub const MOSTLY_CUT: f64 = 0.5;

/// The kinds of verdicts, in the order in which they are looked for. Whether one gate is saturated is asked once more where a
/// gradient vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number is infinite or not a number.
    NotFinite,
    /// What is needed for a verdict is not there.
    CannotTell,
    /// Gradients grow with distance.
    Explodes,
    /// Relu units answer to nothing.
    DeadUnits,
    /// Activations stand at the ends of their ranges.
    Saturated,
    /// Truncation ends the gradient before the dependency.
    Cut,
    /// The gradient arrives.
    Reaches,
    /// The gradient fades on the way.
    Vanishes,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Which.
    pub kind: Kind,
    /// The verdict and the number it rests on, in a sentence.
    pub sentence: String,
    /// Everything else that was measured, a sentence each.
    pub evidence: Vec<String>,
}

/// What the numbers mean, by the thresholds of this file alone.
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
        let why = "though data, weights, states and losses are finite";
        return (
            Kind::Explodes,
            format!("explodes: the gradient of {parameter} overflows on its way back, {why}"),
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
        let found = format!(
            "in every gate at least {percent:.0} % of the activations stand at an end of their range"
        );
        return (Kind::Saturated, format!("saturated: {found}, where next to nothing is learned"));
    }
    let Some(reach) = &of.reach else {
        let why = of.unbalanced.as_deref().unwrap_or("no loss reaches the recurrent weights");
        return (Kind::CannotTell, format!("cannot tell: {why}"));
    };
    if let Some(why) = no_distance(of, reach) {
        return (Kind::CannotTell, format!("cannot tell: {why}"));
    }
    if reach.at_lag > 0 && reach.cut_at_lag > MOSTLY_CUT {
        return (Kind::Cut, cut(of, reach));
    }
    let kept = reach.log10_kept.unwrap_or(f64::NEG_INFINITY);
    if kept >= REACHES.log10() {
        return (Kind::Reaches, reaches(of, reach, kept));
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
        return (Kind::Saturated, format!("saturated: {found}, and {}", fades(of, reach, kept)));
    }
    (Kind::Vanishes, format!("vanishes before it: {}", fades(of, reach, kept)))
}

/// Whether gradients grow with distance, by the ledger or, where that has nothing to measure, by the exponent.
fn explodes(of: &Evidence, saturated: bool) -> Option<String> {
    let per_step = of.exponent.map_or(0.0, |exponent| exponent.per_step);
    // Where everything is saturated, what differs between steps is the activations' slopes; only the exponent tells.
    if saturated && per_step <= 0.0 {
        return None;
    }
    let grows = |log10: &f64| *log10 >= EXPLODES.log10();
    if let Some(growth) = of.reach.as_ref().and_then(|reach| reach.log10_growth) {
        let how = "farther back a loss's gradient is up to";
        let times = power(growth);
        return grows(&growth).then(|| format!("explodes: {how} {times} times what it is at its own step"));
    }
    let growth = Some(per_step * of.steps as f64 / std::f64::consts::LN_10).filter(grows)?;
    let times = power(growth);
    Some(format!(
        "explodes: nothing can be measured of the losses, but {} steps stretch a gradient {times} times",
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
        Origin::Data => "it is the data, not the network",
        Origin::Weights => "the data are finite; the weights are not, before any step",
        Origin::States => "data and weights are finite; the states overflow on their way forward",
        Origin::Losses => "data, weights and states are finite; the loss or what it sends back is not",
        Origin::Training => "the network of the update before it is kept, and is finite",
    };
    format!("not finite: {at} ({seen})")
}

/// Why nothing can be said of the distance that counts.
fn no_distance(of: &Evidence, reach: &Reach) -> Option<String> {
    let steps = of.steps;
    if reach.horizon.is_none() && reach.log10_profile.iter().all(|(_, m)| m.is_none()) {
        return Some("no loss sends anything back: every component is exactly zero".into());
    }
    match of.lag {
        None if reach.target == 0 => {
            Some(format!("in {steps} steps no loss has a past; read longer sequences"))
        }
        Some(lag) if reach.at_lag == 0 => Some(format!(
            "no loss has a step {} steps before it in the {steps} steps that were read; read longer sequences",
            lag.farthest
        )),
        _ => None,
    }
}

fn cut(of: &Evidence, reach: &Reach) -> String {
    let (percent, target) = (100.0 * reach.cut_at_lag, reach.target);
    let uncut = of.uncut.unwrap_or(0);
    format!(
        "cut by truncation: {percent:.0} % of the losses are cut from what lies {target} steps back; gradients go back {uncut} \
         steps at most"
    )
}

fn reaches(of: &Evidence, reach: &Reach, kept: f64) -> String {
    let target = reach.target;
    match of.lag {
        Some(_) => format!(
            "reaches the dependency: {} of the gradient is left {target} steps back, where it lies",
            part(kept)
        ),
        None if of.cut => format!(
            "reaches the window's end, {target} steps back, with {} of the gradient left; what lies farther is cut, and no \
             dependency's lag is known",
            part(kept)
        ),
        None => format!(
            "reaches the sequence's end, {target} steps back, with {} of the gradient left; no dependency's lag is known",
            part(kept)
        ),
    }
}

fn fades(of: &Evidence, reach: &Reach, kept: f64) -> String {
    let (target, reached) = (reach.target, reach.reached);
    let what = if of.lag.is_some() { "where the dependency lies" } else { "at the end of what was read" };
    let left = if kept == f64::NEG_INFINITY { "nothing".to_owned() } else { part(kept) };
    format!(
        "{left} of the gradient is left {target} steps back, {what}; it is down to a hundredth after {reached}"
    )
}

/// 10^`log10` as a number that reads well.
fn power(log10: f64) -> String {
    match log10 {
        ..-300.0 | 300.0.. => format!("10^{log10:.0}"),
        -2.0..3.0 => format!("{:.3}", 10f64.powf(log10)),
        _ => format!("{:.1e}", 10f64.powf(log10)),
    }
}

/// 10^`log10` as a fraction of the whole.
fn part(log10: f64) -> String {
    if log10 >= -3.0 {
        format!("{:.2} %", 100.0 * 10f64.powf(log10))
    } else {
        format!("a {} part", power(log10))
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
    if let Some(reach) = &of.reach {
        said.extend(distances(of, reach));
    }
    said.extend(spreads(of));
    said.extend(truncation(of));
    said.extend(of.exponent.map(|exponent| {
        let error = exponent.standard_error.map_or(String::new(), |error| format!(" ± {error:.4}"));
        let fate = match exponent.per_step {
            ..0.0 => "shrinks",
            0.0 => "keeps",
            _ => "stretches",
        };
        format!(
            "largest Lyapunov exponent {:.4}{error} per step: in the long run a step {fate} what goes back",
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

fn distances(of: &Evidence, reach: &Reach) -> Vec<String> {
    let mut said = Vec::new();
    let lag = |lag: Option<usize>| lag.map_or("none".to_owned(), |lag| format!("{lag} steps"));
    let memory = of.memory_horizon.map_or(String::new(), |memory| {
        format!("; memory horizon {memory} steps: so long a change of h leaves its trace")
    });
    said.push(format!(
        "learning horizon {}: within it lie 99 % of the contributions to W_hh{memory}",
        lag(reach.horizon)
    ));
    if let Some(decay) = reach.decay_per_step {
        said.push(format!(
            "decay {decay:.4} nats per step: one step farther back, a contribution is {:.4} times as large",
            decay.exp()
        ));
    }
    if let Some(dependency) = of.lag {
        let range = match dependency {
            of if of.nearest == of.farthest => format!("{}", of.farthest),
            of => format!("{} to {}", of.nearest, of.farthest),
        };
        let uncut = of.uncut.unwrap_or(0);
        said.push(format!("the dependency lies {range} steps back; gradients go back {uncut} steps at most"));
    }
    if let Some(growth) = reach.log10_growth.filter(|growth| *growth > 0.0) {
        said.push(format!(
            "the largest contribution of a past step is {} times that of the loss's own step",
            power(growth)
        ));
    }
    if let Some(cancellation) = reach.cancellation {
        said.push(format!("cancellation {cancellation:.3}: so much of all contributions is left in their sum, whose norm is {:.3e}", reach.gradient_norm));
    }
    said.push(format!(
        "the account is complete: contributions add up to the gradient, relative error {:.0e}",
        reach.balance
    ));
    said
}

/// The smallest window whose bias is as small as was asked for.
fn truncation(of: &Evidence) -> Option<String> {
    let window = of.smallest_window?;
    Some(format!(
        "a window of {} keeps the gradient with a relative bias of {:.3} (cosine {:.4}); none smaller is as good",
        counted(window.steps, "step"),
        window.bias,
        window.cosine
    ))
}

/// Horizons over sequences, after training and before it.
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
            if of.bound_to_vanish { ", so every step shrinks every gradient, whatever is read" } else { "" };
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
