//! A summary of the ledgers in sentences.

use std::f64::consts::LN_2;

use bptt::{Entry, GateSaturation};

use super::Subject;
use crate::json::HORIZON;
use crate::table::number;

/// Above this ratio little cancels, below [`MUCH_CANCELS`] most cancels.
const LITTLE_CANCELS: f64 = 0.7;
const MUCH_CANCELS: f64 = 0.2;

/// The fraction of saturated activations from which on a gate is mentioned.
const MUCH_SATURATED: f64 = 0.25;

/// A summary of the ledgers of a network, the most important sentence first. Norms are those of contributions to W_hh of
/// the bottom layer's forward cell, as in the ledger's JSON.
pub fn verdict(of: &Subject) -> Vec<String> {
    let ledger = of.ledger();
    let Some(entry) = ledger.recurrent(0) else { return Vec::new() };
    let mut sentences = vec![horizon(entry)];
    sentences.extend(decay(entry));
    sentences.extend(before(of));
    sentences.push(shares(entry));
    sentences.push(cancellation(entry));
    sentences.extend(strength(of, entry));
    sentences.extend(saturation(&of.saturation));
    sentences.push(format!(
        "The ledger balances: for every parameter the contributions add up to the ordinary gradient, with a relative error of at \
         most {:.0e}.",
        ledger.worst_balance()
    ));
    sentences
}

/// How far back the gradient reaches.
fn horizon(entry: &Entry) -> String {
    let farthest = entry.profile().last().map_or(0, |p| p.lag);
    match entry.horizon(HORIZON) {
        None => "No gradient reaches W_hh: every contribution is exactly zero.".into(),
        Some(0) => "The gradient does not reach past steps: 99 % of the contributions to W_hh come from the step of the loss itself.".into(),
        Some(lag) if lag == farthest => format!(
            "The gradient reaches back through the whole sequence: 99 % of the contributions to W_hh are spread over all {} \
             (median over the losses). A longer sequence may have a longer horizon.",
            steps(lag)
        ),
        Some(lag) => format!(
            "The gradient reaches {} back, of {farthest} possible: 99 % of the contributions to W_hh lie within them (median \
             over the losses).",
            steps(lag)
        ),
    }
}

fn steps(count: usize) -> String {
    if count == 1 { "1 step".into() } else { format!("{count} steps") }
}

/// The decay per step.
fn decay(entry: &Entry) -> Option<String> {
    let decay = entry.decay().filter(|decay| decay.is_finite())?;
    let kept = decay.exp();
    let fate = if decay < -1e-3 {
        format!("contributions are multiplied by {:.3}, so they halve every {:.1} steps", kept, LN_2 / -decay)
    } else if decay > 1e-3 {
        format!(
            "contributions are multiplied by {}, so they double every {:.1} steps",
            number(kept),
            LN_2 / decay
        )
    } else {
        "contributions keep their size".into()
    };
    Some(format!("One step farther back, {fate} (λ = {decay:.3} per step)."))
}

/// The change during the training.
fn before(of: &Subject) -> Option<String> {
    let [first, .., last] = &of.stages[..] else { return None };
    let of_stage = |stage: &super::Stage| {
        let entry = stage.ledger.recurrent(0)?;
        Some((entry.horizon(HORIZON)?, entry.decay()?.exp()))
    };
    let ((was, kept_then), (is, kept_now)) = (of_stage(first)?, of_stage(last)?);
    let change = match is.cmp(&was) {
        std::cmp::Ordering::Less => "shortened the horizon",
        std::cmp::Ordering::Equal => "did not change the horizon",
        std::cmp::Ordering::Greater => "lengthened the horizon",
    };
    let when = match first.step {
        Some(0) | None => "untrained".to_owned(),
        Some(step) => format!("after {step} updates"),
    };
    Some(format!(
        "Training {change}: {when}, it was {} with {:.1} % left per step; now it is {} with {:.1} %.",
        steps(was),
        100.0 * kept_then,
        steps(is),
        100.0 * kept_now
    ))
}

/// The shares of the gradient by lag.
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
        "Of the gradient of W_hh, {own:.1} % comes from the steps of the losses themselves, {middle:.1} % from 1 to 9 steps \
         back, and {far:.1} % from farther back."
    )
}

fn cancellation(entry: &Entry) -> String {
    let cancellation = entry.cancellation();
    let fate = if cancellation.is_nan() {
        return "Nothing cancels: every contribution is zero.".into();
    } else if cancellation >= LITTLE_CANCELS {
        "the contributions mostly have the same direction"
    } else if cancellation > MUCH_CANCELS {
        "part of the contributions cancel each other"
    } else {
        "most contributions cancel each other"
    };
    format!(
        "The norm of the gradient is {:.0} % of the sum of the norms of the contributions (‖Σ‖ / Σ‖·‖ = {cancellation:.3}): {fate}.",
        100.0 * cancellation
    )
}

/// σ_max compared with the measured decay, for cells with a single gate, where σ_max is meaningful.
fn strength(of: &Subject, entry: &Entry) -> Option<String> {
    let blocks: Vec<_> = of.blocks.iter().filter(|block| block.cell == entry.cell).collect();
    let (&[block], decay) = (&blocks[..], entry.decay()?) else { return None };
    let sigma = block.sigma_max;
    Some(match (sigma > 1.0, decay < 0.0) {
        (true, true) => format!(
            "σ_max(W_hh) = {sigma:.2} is above 1, but contributions shrink with the lag: a value above 1 is necessary for \
             exploding gradients, not sufficient."
        ),
        (true, false) => {
            format!("σ_max(W_hh) = {sigma:.2} is above 1, and contributions grow with the lag.")
        }
        (false, _) => format!(
            "σ_max(W_hh) = {sigma:.2} is at most 1: contributions cannot grow with the lag if no activation has a slope above 1."
        ),
    })
}

/// The most saturated gate, and dead units.
fn saturation(gates: &[GateSaturation]) -> Option<String> {
    let much = |gate: &GateSaturation| gate.saturated.map_or(0.0, |(low, high)| low + high);
    let dead: usize = gates.iter().filter_map(|gate| gate.dead.as_ref()).map(Vec::len).sum();
    if dead > 0 {
        return Some(format!("{dead} relu units were 0 at every step: no gradient passes through them."));
    }
    let worst =
        gates.iter().max_by(|a, b| much(a).total_cmp(&much(b))).filter(|gate| gate.saturated.is_some())?;
    let (percent, layer, gate) = (100.0 * much(worst), worst.cell.layer, worst.gate);
    Some(if much(worst) > MUCH_SATURATED {
        format!(
            "Gate {gate} of layer {layer} is saturated in {percent:.0} % of all activations, where its slope is below a tenth of \
             its largest: little gradient passes through them."
        )
    } else {
        format!(
            "No gate is saturated often: at most {percent:.0} % of the activations (gate {gate} of layer {layer})."
        )
    })
}
