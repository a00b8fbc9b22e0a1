//! What the ledgers say, in words with numbers.

use std::f64::consts::LN_2;

use bptt::{Entry, GateSaturation};

use super::Subject;
use crate::json::HORIZON;
use crate::table::number;

/// A cancellation above this is hardly any, and below [`MUCH_CANCELS`] it is most.
const LITTLE_CANCELS: f64 = 0.7;
const MUCH_CANCELS: f64 = 0.2;

/// A gate with a larger fraction of saturated activations is named.
const MUCH_SATURATED: f64 = 0.25;

/// What the ledgers of a network say, the most important sentence first. Norms are those of contributions to W_hh of the
/// bottom layer's forward cell, as in the ledger's JSON.
pub fn verdict(of: &Subject) -> Vec<String> {
    let ledger = of.ledger();
    let Some(entry) = ledger.recurrent(0) else { return Vec::new() };
    let mut sentences = vec![reach(entry)];
    sentences.extend(decay(entry));
    sentences.extend(before(of));
    sentences.push(shares(entry));
    sentences.push(cancellation(entry));
    sentences.extend(strength(of, entry));
    sentences.extend(saturation(&of.saturation));
    sentences.push(format!(
        "The account is complete: all contributions add up to the ordinary gradient, for every parameter (relative error {:.0e} at \
         most).",
        ledger.worst_balance()
    ));
    sentences
}

/// How far back the gradient reaches.
fn reach(entry: &Entry) -> String {
    let farthest = entry.profile().last().map_or(0, |p| p.lag);
    match entry.horizon(HORIZON) {
        None => "No gradient reaches W_hh: every contribution is exactly zero.".into(),
        Some(0) => "The gradient does not reach back: 99 % of the contributions to W_hh come from the loss's own step.".into(),
        Some(lag) if lag == farthest => format!(
            "The gradient reaches back through the whole text: 99 % of the contributions to W_hh take all {} (median over the \
             losses). A longer text may show a longer reach.",
            steps(lag)
        ),
        Some(lag) => format!(
            "The gradient reaches {} back, of {farthest} possible: within them lie 99 % of the contributions to W_hh (median \
             over the losses).",
            steps(lag)
        ),
    }
}

fn steps(count: usize) -> String {
    if count == 1 { "1 step".into() } else { format!("{count} steps") }
}

/// What is left of a contribution further back.
fn decay(entry: &Entry) -> Option<String> {
    let decay = entry.decay().filter(|decay| decay.is_finite())?;
    let kept = decay.exp();
    let fate = if decay < -1e-3 {
        format!(
            "{:.1} % of a contribution is left, so it halves every {:.1} steps",
            100.0 * kept,
            LN_2 / -decay
        )
    } else if decay > 1e-3 {
        format!(
            "a contribution has grown {}-fold, so it doubles every {:.1} steps",
            number(kept),
            LN_2 / decay
        )
    } else {
        "a contribution is as large as before".into()
    };
    Some(format!("One step further back, {fate} (λ = {decay:.3} per step)."))
}

/// What training changed.
fn before(of: &Subject) -> Option<String> {
    let [first, .., last] = &of.stages[..] else { return None };
    let of_stage = |stage: &super::Stage| {
        let entry = stage.ledger.recurrent(0)?;
        Some((entry.horizon(HORIZON)?, entry.decay()?.exp()))
    };
    let ((was, kept_then), (is, kept_now)) = (of_stage(first)?, of_stage(last)?);
    let change = match is.cmp(&was) {
        std::cmp::Ordering::Less => "shortened the reach",
        std::cmp::Ordering::Equal => "left the reach as it was",
        std::cmp::Ordering::Greater => "lengthened the reach",
    };
    let when = match first.step {
        Some(0) | None => "untrained".to_owned(),
        Some(step) => format!("after {step} updates"),
    };
    Some(format!(
        "Training {change}: {when}, the horizon was {} and a step kept {:.1} %; now {} and {:.1} %.",
        steps(was),
        100.0 * kept_then,
        steps(is),
        100.0 * kept_now
    ))
}

/// Where the update comes from, by distance.
fn shares(entry: &Entry) -> String {
    let all = (0..entry.steps()).flat_map(|k| (0..entry.steps()).map(move |t| (k, t)));
    let mut near = [0.0; 3];
    for (k, t) in all {
        let share = entry.share(k, t).filter(|share| share.is_finite()).unwrap_or(0.0);
        near[match k.abs_diff(t) {
            0 => 0,
            1..10 => 1,
            _ => 2,
        }] += 100.0 * share;
    }
    let [own, middle, far] = near;
    format!(
        "Of the gradient of W_hh, after everything has cancelled, {own:.1} % comes from the losses' own steps, {middle:.1} % \
         from 1 to 9 steps back, and {far:.1} % from farther away."
    )
}

fn cancellation(entry: &Entry) -> String {
    let cancellation = entry.cancellation();
    let fate = if cancellation.is_nan() {
        return "There is nothing to cancel: every contribution is zero.".into();
    } else if cancellation >= LITTLE_CANCELS {
        "the contributions mostly pull the same way"
    } else if cancellation > MUCH_CANCELS {
        "part of the contributions cancel each other"
    } else {
        "most contributions cancel each other"
    };
    format!(
        "Of the contributions' norms, {:.0} % are left in their sum (‖Σ‖ / Σ‖·‖ = {cancellation:.3}): {fate}.",
        100.0 * cancellation
    )
}

/// How σ_max and what was measured go together, of a cell with a single gate, where σ_max says something at all.
fn strength(of: &Subject, entry: &Entry) -> Option<String> {
    let blocks: Vec<_> = of.blocks.iter().filter(|block| block.cell == entry.cell).collect();
    let (&[block], decay) = (&blocks[..], entry.decay()?) else { return None };
    let sigma = block.sigma_max;
    Some(match (sigma > 1.0, decay < 0.0) {
        (true, true) => format!(
            "σ_max(W_hh) = {sigma:.2} is above 1, and still contributions shrink with distance: above 1 is necessary for \
             exploding gradients, not sufficient."
        ),
        (true, false) => {
            format!("σ_max(W_hh) = {sigma:.2} is above 1, and contributions grow with distance.")
        }
        (false, _) => format!(
            "σ_max(W_hh) = {sigma:.2} is not above 1: that alone makes contributions shrink with distance where no \
             activation has a slope above 1."
        ),
    })
}

/// The most saturated gate, if it is much.
fn saturation(gates: &[GateSaturation]) -> Option<String> {
    let much = |gate: &GateSaturation| gate.saturated.map_or(0.0, |(low, high)| low + high);
    let dead: usize = gates.iter().filter_map(|gate| gate.dead.as_ref()).map(Vec::len).sum();
    if dead > 0 {
        return Some(format!("{dead} relu units answered 0 at every step: no gradient comes through them."));
    }
    let worst =
        gates.iter().max_by(|a, b| much(a).total_cmp(&much(b))).filter(|gate| gate.saturated.is_some())?;
    let (percent, layer, gate) = (100.0 * much(worst), worst.cell.layer, worst.gate);
    Some(if much(worst) > MUCH_SATURATED {
        format!(
            "Gate {gate} of layer {layer} is saturated in {percent:.0} % of all activations, where its slope is below a tenth of \
             its largest: little gradient comes through there."
        )
    } else {
        format!(
            "No gate is often saturated: at most {percent:.0} % of the activations (gate {gate} of layer {layer})."
        )
    })
}
