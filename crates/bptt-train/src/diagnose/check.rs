//! Limits for a network, for use in a CI.

use serde::Serialize;

use super::{CutBy, Evidence};

/// The limits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// The smallest learning horizon, in steps.
    pub min_horizon: Option<usize>,
    /// The largest decay of gradients, in nats per step.
    pub max_decay: Option<f64>,
    /// No gradient may be cut: between a loss and the step at the lag of the dependency if it is known, otherwise anywhere.
    pub no_cuts: bool,
}

/// One limit, and whether it is met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The name of the limit, as on the command line.
    pub name: &'static str,
    /// The limit.
    pub limit: Option<f64>,
    /// The measured value; `None` if it could not be measured.
    pub measured: Option<f64>,
    /// Whether the limit is met. A value that could not be measured does not meet it.
    pub passed: bool,
    /// The finding in words.
    pub found: String,
}

/// Compares a network with limits.
pub fn check(evidence: &Evidence, limits: &Limits) -> Vec<Check> {
    let mut checks = Vec::new();
    let lags = evidence.lag_statistics.as_ref();
    let unknown = || "not measurable: see bptt diagnose".to_owned();
    if let Some(least) = limits.min_horizon {
        let horizon = lags.and_then(|lags| lags.horizon);
        checks.push(Check {
            name: "min-horizon",
            limit: Some(least as f64),
            measured: horizon.map(|lag| lag as f64),
            passed: horizon.is_some_and(|lag| lag >= least),
            found: horizon.map_or_else(unknown, |lag| {
                format!("the horizon is {lag} steps; at least {least} are required")
            }),
        });
    }
    if let Some(most) = limits.max_decay {
        // Growing gradients do not decay.
        let fades = lags.and_then(|lags| lags.decay_per_step).map(|decay| (-decay).max(0.0));
        checks.push(Check {
            name: "max-decay",
            limit: Some(most),
            measured: fades,
            passed: fades.is_some_and(|fades| fades <= most),
            found: fades.map_or_else(unknown, |fades| {
                format!("gradients decay by {fades:.4} nats per step; at most {most} are allowed")
            }),
        });
    }
    if limits.no_cuts {
        checks.push(no_cuts(evidence));
    }
    checks
}

fn no_cuts(evidence: &Evidence) -> Check {
    let cut = match (&evidence.lag_statistics, evidence.lag) {
        (Some(lags), Some(lag)) if lags.at_lag > 0 => Ok((
            lags.cut_at_lag,
            format!(
                "{:.0} % of the losses are cut from the step {} steps back{}",
                100.0 * lags.cut_at_lag,
                lag.farthest,
                by(evidence)
            ),
        )),
        (Some(_), Some(lag)) => Err(format!(
            "not measurable: no loss has a step {} steps before it{}",
            lag.farthest,
            by(evidence)
        )),
        (Some(_), None) => Ok(match evidence.uncut {
            Some(uncut) if evidence.cut => {
                (1.0, format!("gradients are cut{}; they reach at most {uncut} steps back", by(evidence)))
            }
            _ if evidence.cut_by.contains(&CutBy::Reset) => {
                (0.0, "no gradient is cut within an episode; they end where episodes begin (resets)".into())
            }
            _ => (0.0, "no gradient is cut".into()),
        }),
        (None, _) => Err("not measurable: see bptt diagnose".into()),
    };
    let measured = cut.as_ref().ok().map(|cut| cut.0);
    let found = cut.map_or_else(|why| why, |cut| cut.1);
    Check { name: "no-cuts", limit: None, measured, passed: measured == Some(0.0), found }
}

/// What cuts gradients, in brackets.
fn by(evidence: &Evidence) -> String {
    let names = evidence.cut_by.iter().map(|by| match by {
        CutBy::Detach => "detached states",
        CutBy::BurnIn => "burn-in",
        CutBy::Reset => "resets",
    });
    let names: Vec<&str> = names.collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}
