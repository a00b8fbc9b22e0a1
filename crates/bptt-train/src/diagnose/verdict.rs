//! The verdict: what was learned, then how far gradients reach, then why.

use serde::Serialize;

use super::learned::{self, Outcome, Size};
use super::sentences::{cut, fades, first_not_finite, part, power, reaches, sentences};
use super::{CutBy, Evidence, LagStatistics, Training};

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

/// The fraction of closed activations of a gate into or out of the state from which on nothing is learned through it.
pub const CLOSED: f64 = 0.99;

/// The fraction of closed activations of one gate from which on it is the reason for a vanishing gradient: the median is
/// closed.
pub const MOSTLY_SATURATED: f64 = 0.5;

/// The fraction of dead units from which on they are the first problem to solve: half of the units do not take part.
pub const DEAD: f64 = 0.5;

/// The fraction of losses cut from their dependency above which truncation limits learning: the median loss is cut.
pub const MOSTLY_CUT: f64 = 0.5;

/// The smallest number of lags from which on the reach of a gradient is judged where the lag of the dependency is not known:
/// in fewer, a gradient that halves at every step would reach the end.
pub const FEW_LAGS: usize = 7;

/// The verdicts, in the order in which they are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A number is infinite or NaN.
    NotFinite,
    /// A verdict is not possible.
    CannotTell,
    /// The task is solved.
    Learned,
    /// Nothing was learned, because updates change the weights too much.
    UpdatesTooLarge,
    /// Nothing was learned, because updates hardly change the weights.
    UpdatesTooSmall,
    /// Simple models find no structure in the text either.
    NothingToLearn,
    /// What was learned holds for the training data only.
    Overfits,
    /// What was learned was lost again.
    Worsened,
    /// Gradients grow with distance.
    Explodes,
    /// Relu units are 0 for all inputs.
    DeadUnits,
    /// Activations are at ends of their ranges at which nothing is learned.
    Saturated,
    /// The gradient is cut before the dependency.
    Cut,
    /// The gradient decays before the dependency.
    Vanishes,
    /// The gradient decays within the sequence, and the lag of the dependency is not known.
    Decays,
    /// The gradient reaches the dependency, or the end of the sequence.
    Reaches,
    /// Nothing was learned, and the gradient is not the reason.
    LearnedNothing,
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

impl Verdict {
    /// The verdict and the other measurements, each a sentence that begins with a capital letter and ends with a period.
    pub fn in_sentences(&self) -> Vec<String> {
        let whole = |clause: &String| {
            let mut letters = clause.chars();
            let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
            // Symbols at the beginning stay as they are.
            let first =
                if clause.starts_with(['σ', 'φ', 'λ']) { clause.chars().take(1).collect() } else { first };
            format!("{first}{}.", letters.as_str())
        };
        std::iter::once(&self.sentence).chain(&self.evidence).map(whole).collect()
    }
}

/// The verdict of the numbers, by the thresholds of this module.
pub fn diagnose(evidence: &Evidence) -> Verdict {
    let (kind, sentence) = verdict(evidence);
    Verdict { kind, sentence, evidence: sentences(evidence) }
}

/// What can be said of a training without a look at its gradients; `None` if it is no failure.
pub fn of_training(training: &Training) -> Option<Verdict> {
    let outcome = Outcome::of(training);
    let nothing = || {
        let losses = learned::losses(training).filter(|_| outcome == Outcome::Nothing)?;
        Some((Kind::LearnedNothing, format!("has learned nothing: {losses}")))
    };
    let (kind, sentence) = by_training(training, outcome).or_else(nothing)?;
    (kind != Kind::Learned).then(|| Verdict { kind, sentence, evidence: Vec::new() })
}

fn verdict(of: &Evidence) -> (Kind, String) {
    if let Some(not_finite) = &of.not_finite {
        return (Kind::NotFinite, first_not_finite(not_finite));
    }
    if of.losses == 0 {
        let why = "there is no loss at any step: everything is masked, padding or burn-in";
        return (Kind::CannotTell, format!("cannot tell: {why}"));
    }
    let outcome = of.training.as_ref().map_or(Outcome::Unknown, Outcome::of);
    let by_training = of.training.as_ref().and_then(|training| by_training(training, outcome));
    let is_cause = |kind: Kind| match kind {
        // Updates are small beside weights that are far too large.
        Kind::UpdatesTooSmall => saturated_throughout(of).is_none(),
        // What could not be learned is lost easily.
        Kind::Worsened => of.lag.is_none() || !of.lag_statistics.as_ref().is_some_and(mostly_cut),
        _ => true,
    };
    if let Some(found) = by_training.filter(|(kind, _)| is_cause(*kind)) {
        return found;
    }
    let (kind, reach) = by_gradient(of, outcome);
    if of.training.as_ref().is_some_and(|training| training.updates == 0) {
        return (Kind::CannotTell, format!("cannot tell: the network is untrained (its gradient: {reach})"));
    }
    let learned_nothing = outcome == Outcome::Nothing;
    match (of.training.as_ref().and_then(learned::losses), kind) {
        (Some(losses), Kind::Reaches | Kind::Decays | Kind::CannotTell) if learned_nothing => {
            (Kind::LearnedNothing, format!("has learned nothing: {losses}; {}", not_why(of, kind, &reach)))
        }
        (Some(losses), _) if learned_nothing => (kind, format!("{reach}; nothing was learned: {losses}")),
        (_, Kind::Decays | Kind::Reaches) if outcome == Outcome::BeyondPairs => {
            (kind, format!("{reach}; more than pairs of symbols was learned"))
        }
        _ => (kind, reach),
    }
}

/// What the gradient says where nothing was learned and it is not the reason.
fn not_why(of: &Evidence, kind: Kind, reach: &str) -> String {
    match kind {
        Kind::Reaches if of.lag.is_some() => format!("the gradient is not the reason: it {reach}"),
        _ => format!("whether the gradient is the reason is not known ({reach})"),
    }
}

/// A verdict that what was learned determines, whatever the gradients are.
fn by_training(training: &Training, outcome: Outcome) -> Option<(Kind, String)> {
    let losses = learned::losses(training).unwrap_or_default();
    let best = learned::best(training).unwrap_or_default();
    match outcome {
        Outcome::Solved => return Some((Kind::Learned, format!("has learned the task: {losses}"))),
        Outcome::NoStructure => {
            let why = "the network is as good as counting symbols, and counting pairs is no better";
            return Some((
                Kind::NothingToLearn,
                format!("nothing to learn here, as far as can be told: {why} ({losses})"),
            ));
        }
        _ => {}
    }
    let failed = [Outcome::Nothing, Outcome::Worsened].contains(&outcome);
    let small =
        outcome == Outcome::Nothing || (outcome == Outcome::Unknown && training.updates >= learned::TRAINED);
    match Size::of(training) {
        Some(Size::TooLarge(ratio)) if failed => Some((
            Kind::UpdatesTooLarge,
            format!(
                "updates are too large: the first one changed the weights by {}; {losses}",
                of_their_norm(ratio)
            ),
        )),
        Some(Size::TooSmall(ratio, clipped)) if small => {
            let clipping = clipped.map_or(String::new(), |left| {
                format!(", since clipping leaves {} of a gradient", part(left.log10()))
            });
            let all = part((ratio * training.updates as f64).log10());
            let losses = if losses.is_empty() { String::new() } else { format!("; {losses}") };
            Some((
                Kind::UpdatesTooSmall,
                format!(
                    "updates are too small: an update changes the weights by {} (median), all {} together by at most \
                     {all}{clipping}{losses}",
                    of_their_norm(ratio),
                    training.updates
                ),
            ))
        }
        _ => match outcome {
            Outcome::Overfit => {
                let fell = learned::training_losses(training).unwrap_or_default();
                Some((Kind::Overfits, format!("overfits: {best}, while {fell} ({losses})")))
            }
            Outcome::Worsened => {
                let went = learned::training_losses(training).unwrap_or_default();
                Some((Kind::Worsened, format!("got worse again: {best}; {went} ({losses})")))
            }
            _ => None,
        },
    }
}

/// The size of an update.
fn of_their_norm(ratio: f64) -> String {
    if ratio >= 10.0 {
        format!("{ratio:.0} times their norm")
    } else {
        format!("{} of their norm", part(ratio.log10()))
    }
}

/// Whether most losses are cut from the dependency.
fn mostly_cut(lags: &LagStatistics) -> bool {
    lags.at_lag > 0 && lags.cut_at_lag > MOSTLY_CUT
}

/// The verdict about the gradient.
fn by_gradient(of: &Evidence, outcome: Outcome) -> (Kind, String) {
    if let Some(parameter) = &of.overflow {
        let why = "although data, weights, states and losses are finite";
        return (
            Kind::Explodes,
            format!("explodes: the gradient of {parameter} overflows in the backward pass, {why}"),
        );
    }
    let saturated = saturated_throughout(of);
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
    if let Some(sentence) = closed(of) {
        return (Kind::Saturated, sentence);
    }
    let Some(lags) = &of.lag_statistics else {
        let why = of.unbalanced.as_deref().unwrap_or("no loss reaches the recurrent weights");
        return (Kind::CannotTell, format!("cannot tell: {why}"));
    };
    if let Some(why) = no_distance(of, lags) {
        return (Kind::CannotTell, format!("cannot tell: {why}"));
    }
    if mostly_cut(lags) {
        return (Kind::Cut, cut(of, lags));
    }
    let kept = lags.log10_kept.unwrap_or(f64::NEG_INFINITY);
    if of.lag.is_none() && lags.target < FEW_LAGS {
        return few_lags(of, lags);
    }
    if kept >= REACHES.log10() {
        return (Kind::Reaches, reaches(of, lags, kept));
    }
    let stopped = of.gates.iter().filter_map(|gate| Some((gate, gate.stops_the_past()?)));
    let stopped = stopped.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, part)| *part >= MOSTLY_SATURATED);
    let found = stopped.map(|(gate, part)| {
        format!("{:.0} % of the activations of {}", 100.0 * part, gate.effect_where_it_stops())
    });
    let fades = fades(of, lags, kept);
    match (of.lag, found) {
        (Some(_), Some(found)) => (Kind::Saturated, format!("saturated: {found}, and {fades}")),
        (Some(_), None) => (Kind::Vanishes, format!("vanishes before it: {fades}")),
        (None, Some(found)) if outcome == Outcome::Nothing => {
            (Kind::Saturated, format!("saturated: {found}, and {fades}"))
        }
        (None, Some(found)) => (Kind::Decays, format!("decays: {fades}; {found}")),
        (None, None) => (Kind::Decays, format!("decays: {fades}")),
    }
}

/// The smallest fraction of saturated activations of any gate, if that is almost all.
fn saturated_throughout(of: &Evidence) -> Option<f64> {
    let throughout = of.gates.iter().map(|gate| gate.at_ends().unwrap_or(0.0)).reduce(f64::min);
    throughout.filter(|fraction| *fraction >= SATURATED_THROUGHOUT)
}

/// A gate through which nothing is learned.
fn closed(of: &Evidence) -> Option<String> {
    let closed = of.gates.iter().filter_map(|gate| Some((gate, gate.stops_learning()?)));
    let (gate, part) = closed.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, part)| *part >= CLOSED)?;
    Some(format!("saturated: {:.0} % of the activations of {}", 100.0 * part, gate.effect_where_it_closes()))
}

/// A sequence of so few steps that the reach of a gradient is what it is in any network.
fn few_lags(of: &Evidence, lags: &LagStatistics) -> (Kind, String) {
    let short = format!("the sequence has {} steps, too few to tell how far gradients reach", of.steps);
    let short = if of.cut {
        format!("gradients are cut after {} steps, too few to tell", lags.target)
    } else {
        short
    };
    match lags.decay_per_step {
        Some(decay) if decay < REACHES.ln() / lags.target as f64 => {
            let kept = 100.0 * decay.exp();
            (
                Kind::Decays,
                format!("decays: {kept:.2} % of the gradient is left per step; {short} in longer ones"),
            )
        }
        Some(decay) => {
            let kept = 100.0 * decay.exp();
            (Kind::CannotTell, format!("cannot tell: {short}; per step, {kept:.1} % of the gradient is left"))
        }
        None => (Kind::CannotTell, format!("cannot tell: {short}")),
    }
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

/// The reason why the lag of the dependency cannot be judged.
fn no_distance(of: &Evidence, lags: &LagStatistics) -> Option<String> {
    let steps = of.steps;
    if lags.horizon.is_none() && lags.log10_profile.iter().all(|(_, m)| m.is_none()) {
        return Some("every component of every loss is exactly zero".into());
    }
    let read = if steps == 1 { "step".to_owned() } else { format!("{steps} steps") };
    match of.lag {
        None if lags.target == 0 && of.cut_by.first() == Some(&CutBy::Reset) => Some(
            "no loss has an earlier step in its episode: an episode begins at every step with a loss (resets)".into(),
        ),
        None if lags.target == 0 && of.cut => {
            Some("gradients are cut before every loss; without cuts, they can be judged".into())
        }
        None if lags.target == 0 => {
            Some(format!("in the {read} read no loss has an earlier step; read longer sequences"))
        }
        Some(lag) if lags.at_lag == 0 && lags.reset_at_lag > 0.0 => Some(format!(
            "no loss has a step {} steps before it in its episode: episodes begin in between (resets), and neither state nor \
             gradient passes from one to the next",
            lag.farthest
        )),
        Some(lag) if lags.at_lag == 0 => Some(format!(
            "no loss has a step {} steps before it in the {read} read; read longer sequences",
            lag.farthest
        )),
        _ => None,
    }
}
