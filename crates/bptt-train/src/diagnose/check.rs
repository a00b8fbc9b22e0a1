//! Limits that a network has to keep, for those who watch over it.

use serde::Serialize;

use super::Evidence;

/// What is asked of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// The learning horizon has to be at least so many steps.
    pub min_horizon: Option<usize>,
    /// Gradients may fade by at most so many nats per step.
    pub max_decay: Option<f64>,
    /// No gradient may be cut on its way: at the dependency's lag, where that is known, and otherwise anywhere.
    pub no_cuts: bool,
}

/// One limit, and whether it is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The limit's name, as the command line has it.
    pub name: &'static str,
    /// What is asked.
    pub limit: Option<f64>,
    /// What was measured; `None` if that could not be.
    pub measured: Option<f64>,
    /// Whether it is kept. What could not be measured is not.
    pub passed: bool,
    /// What was found, in words.
    pub found: String,
}

/// Holds a network against limits, one after another.
pub fn check(evidence: &Evidence, limits: &Limits) -> Vec<Check> {
    let mut checks = Vec::new();
    let reach = evidence.reach.as_ref();
    let unknown = || "it cannot be measured here: see bptt diagnose".to_owned();
    if let Some(least) = limits.min_horizon {
        let horizon = reach.and_then(|reach| reach.horizon);
        checks.push(Check {
            name: "min-horizon",
            limit: Some(least as f64),
            measured: horizon.map(|lag| lag as f64),
            passed: horizon.is_some_and(|lag| lag >= least),
            found: horizon
                .map_or_else(unknown, |lag| format!("the horizon is {lag} of at least {least} steps")),
        });
    }
    if let Some(most) = limits.max_decay {
        // Of gradients that grow, nothing fades.
        let fades = reach.and_then(|reach| reach.decay_per_step).map(|decay| (-decay).max(0.0));
        checks.push(Check {
            name: "max-decay",
            limit: Some(most),
            measured: fades,
            passed: fades.is_some_and(|fades| fades <= most),
            found: fades.map_or_else(unknown, |fades| {
                format!("gradients fade by {fades:.4} of at most {most} nats per step")
            }),
        });
    }
    if limits.no_cuts {
        checks.push(no_cuts(evidence));
    }
    checks
}

fn no_cuts(evidence: &Evidence) -> Check {
    let cut = match (&evidence.reach, evidence.lag) {
        (Some(reach), Some(lag)) if reach.at_lag > 0 => Some((
            reach.cut_at_lag,
            format!(
                "{:.0} % of the losses are cut from what lies {} steps back",
                100.0 * reach.cut_at_lag,
                lag.farthest
            ),
        )),
        (Some(_), _) => Some(match evidence.uncut {
            Some(uncut) if evidence.cut => {
                (1.0, format!("gradients are cut; they go back {uncut} steps at most"))
            }
            _ => (0.0, "no gradient is cut".into()),
        }),
        (None, _) => None,
    };
    let found = cut
        .as_ref()
        .map_or_else(|| "it cannot be measured here: see bptt diagnose".into(), |cut| cut.1.clone());
    let measured = cut.map(|cut| cut.0);
    Check { name: "no-cuts", limit: None, measured, passed: measured == Some(0.0), found }
}
