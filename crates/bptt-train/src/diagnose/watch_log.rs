//! The log of a watched training (`bptt.torch.watch(log=...)` in Python) against limits.

use serde::Deserialize;

use super::Check;

/// A line of the log: what was seen of one update of one module. The log has more keys.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct WatchedUpdate {
    /// The module's name.
    pub module: String,
    /// The lags up to which 99 % of the gradient lies.
    #[serde(default)]
    pub horizon: Option<f64>,
    /// ln of the norm per step of lag.
    #[serde(default)]
    pub decay: Option<f64>,
    /// The smallest lag with a contribution.
    #[serde(default)]
    pub nearest_lag: Option<f64>,
    /// The largest.
    #[serde(default)]
    pub farthest_lag: Option<f64>,
    /// Pairs of a loss and a step before it that cross ids.
    #[serde(default)]
    pub crossing: Option<f64>,
    /// How far the stored state is from the one that the weights give now, relative.
    #[serde(default)]
    pub state_error: Option<f64>,
    /// How far the outputs are from those of the rollout, relative.
    #[serde(default)]
    pub output_error: Option<f64>,
    /// The part of the squared gradient that lies behind the sequences' ends.
    #[serde(default)]
    pub padding: Option<f64>,
}

/// Limits for every update of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WatchLimits {
    /// The smallest horizon, in steps.
    pub min_horizon: Option<usize>,
    /// The largest decay of gradients, in nats per step.
    pub max_decay: Option<f64>,
    /// The largest distance from a loss to the nearest input that it sees, in steps.
    pub max_nearest_lag: Option<usize>,
    /// The smallest distance from a loss to the farthest input that it sees, in steps.
    pub min_farthest_lag: Option<usize>,
    /// No pair may cross ids.
    pub no_crossing: bool,
    /// The largest relative error of a stored state.
    pub state_error: Option<f64>,
    /// The largest relative difference between outputs and those of the rollout.
    pub output_error: Option<f64>,
    /// No padding may have a loss.
    pub no_padding: bool,
}

/// Reads a log, a JSON object a line.
///
/// # Errors
/// A sentence that names the first line that is not one, or says that there is none.
pub fn read_watch_log(text: &str) -> Result<Vec<WatchedUpdate>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| format!("line {} is no watched update: {error}", number + 1))
    };
    let updates = lines.map(read).collect::<Result<Vec<_>, _>>()?;
    if updates.is_empty() {
        return Err("the log has no update".into());
    }
    Ok(updates)
}

/// Compares every update with the limits. A limit that no update has a number for is not met.
pub fn check_watch_log(updates: &[WatchedUpdate], limits: &WatchLimits) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut at_least = |name, limit: Option<usize>, what, of: fn(&WatchedUpdate) -> Option<f64>| {
        if let Some(least) = limit {
            checks.push(worst(updates, name, least as f64, true, what, of));
        }
    };
    at_least("min-horizon", limits.min_horizon, "a horizon of {} steps", |of| of.horizon);
    at_least("min-farthest-lag", limits.min_farthest_lag, "a farthest lag of {} steps", |of| of.farthest_lag);
    let mut at_most = |name, limit: Option<f64>, what, of: fn(&WatchedUpdate) -> Option<f64>| {
        if let Some(most) = limit {
            checks.push(worst(updates, name, most, false, what, of));
        }
    };
    // Growing gradients do not decay.
    at_most("max-decay", limits.max_decay, "a decay of {} nats per step", |of| {
        of.decay.map(|decay| (-decay).max(0.0))
    });
    let lag = limits.max_nearest_lag.map(|lag| lag as f64);
    at_most("max-nearest-lag", lag, "a nearest lag of {} steps", |of| of.nearest_lag);
    let none = |wanted: bool| wanted.then_some(0.0);
    at_most("no-crossing", none(limits.no_crossing), "{} pairs that cross ids", |of| of.crossing);
    at_most("state-error", limits.state_error, "stored states off by {}", |of| of.state_error);
    at_most("output-error", limits.output_error, "outputs off by {}", |of| of.output_error);
    at_most("no-padding", none(limits.no_padding), "{} of the squared gradient at padding", |of| of.padding);
    checks
}

/// The worst update for one limit. `what` says a measurement, with {} for the number.
fn worst(
    updates: &[WatchedUpdate],
    name: &'static str,
    limit: f64,
    is_least: bool,
    what: &str,
    of: fn(&WatchedUpdate) -> Option<f64>,
) -> Check {
    let measured = updates.iter().filter_map(|update| Some((update, of(update)?)));
    let worse = |a: f64, b: f64| if is_least { a.total_cmp(&b) } else { b.total_cmp(&a) };
    let found = measured.clone().min_by(|a, b| worse(a.1, b.1));
    let Some((update, value)) = found else {
        let found = format!("not measured: none of {} updates has this number", updates.len());
        return Check { name, limit: Some(limit), measured: None, passed: false, found };
    };
    let what = what.replace("{}", &format!("{}", (value * 1e4).round() / 1e4));
    let count = measured.count();
    let bound = if is_least { "at least" } else { "at most" };
    let found =
        format!("{}: {what}, the worst of {count} updates; {bound} {limit} is required", update.module);
    let passed = if is_least { value >= limit } else { value <= limit };
    Check { name, limit: Some(limit), measured: Some(value), passed, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"module": "core", "count": 0, "horizon": 12, "decay": -0.3, "nearest_lag": 0, "farthest_lag": 23, "crossing": 0, "state_error": 0.008, "facts": []}

{"module": "core", "count": 100, "horizon": 9, "decay": 0.1, "nearest_lag": 6, "farthest_lag": 23, "crossing": 3, "state_error": null, "padding": null}
"#;

    fn check(limits: WatchLimits) -> Vec<(&'static str, bool, Option<f64>)> {
        let checks = check_watch_log(&read_watch_log(LOG).unwrap(), &limits);
        checks.into_iter().map(|check| (check.name, check.passed, check.measured)).collect()
    }

    #[test]
    fn the_worst_update_counts() {
        let limits = WatchLimits {
            min_horizon: Some(10),
            max_decay: Some(0.3),
            max_nearest_lag: Some(1),
            min_farthest_lag: Some(23),
            no_crossing: true,
            state_error: Some(0.01),
            ..WatchLimits::default()
        };
        let expected = [
            ("min-horizon", false, Some(9.0)),
            ("min-farthest-lag", true, Some(23.0)),
            ("max-decay", true, Some(0.3)),
            ("max-nearest-lag", false, Some(6.0)),
            ("no-crossing", false, Some(3.0)),
            ("state-error", true, Some(0.008)),
        ];
        assert_eq!(check(limits), expected);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let limits = WatchLimits { no_padding: true, output_error: Some(0.1), ..WatchLimits::default() };
        assert_eq!(check(limits), [("output-error", false, None), ("no-padding", false, None)]);
    }

    #[test]
    fn other_lines_are_refused_by_number() {
        assert!(read_watch_log("").unwrap_err().contains("no update"));
        let broken = format!("{LOG}{{\"module\": \"co");
        assert!(read_watch_log(&broken).unwrap_err().starts_with("line 4 is no watched update"));
        assert!(read_watch_log("{\"horizon\": 3}").unwrap_err().contains("module"));
    }
}
