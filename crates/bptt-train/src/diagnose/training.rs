//! What the metrics of a training say about it.

use serde::Serialize;
use serde_json::Value;

use super::{Evidence, NotFinite, Origin};

/// What is known of a training. Losses are in bits per symbol for a text, in the unit of the loss for a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Training {
    /// `"finished"`, `"stopped"`, or what was not finite; empty while it runs.
    pub ending: String,
    /// Number of updates of the network.
    pub updates: u64,
    /// For a task, the fraction of solved held-out sequences.
    pub solved: Option<f64>,
    /// Whether the losses are bits per symbol.
    pub of_text: bool,
    /// The loss on held-out data.
    pub held_out: Option<f64>,
    /// The evaluation with the smallest held-out loss.
    pub best: Option<Evaluated>,
    /// The held-out loss of counting symbols.
    pub unigram: Option<f64>,
    /// The held-out loss of counting pairs of symbols.
    pub bigram: Option<f64>,
    /// The loss of a model of the task without memory.
    pub memoryless: Option<f64>,
    /// The median training loss of the first tenth of the updates, around the best evaluation, and of the last tenth.
    pub losses: Option<[f64; 3]>,
    /// The median of ‖gradient after clipping‖ / ‖gradient before‖.
    pub clipped: Option<f64>,
    /// ‖change of the weights‖ / ‖weights‖ of the first update, and its median over the measured ones.
    pub update_ratios: Option<[f64; 2]>,
}

/// A held-out loss during the training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluated {
    /// Number of updates before it.
    pub updates: u64,
    /// The loss.
    pub loss: f64,
}

impl Training {
    /// From the events in the metrics of a run, and what was not finite if that ended it; `None` if there are none.
    pub fn read(metrics: &[Value]) -> Option<(Self, Option<NotFinite>)> {
        let of = |event: &'static str| metrics.iter().filter(move |line| line["event"] == event);
        let steps: Vec<&Value> = of("step").collect();
        let end = of("end").next_back();
        if steps.is_empty() && end.is_none() {
            return None;
        }
        let number = |line: &Value, keys: [&str; 2]| keys.iter().find_map(|key| line[*key].as_f64());
        let loss = |line: &&Value| number(line, ["loss_bits", "loss"]);
        let ending = end.and_then(|end| end["ending"].as_str()).unwrap_or_default().to_owned();
        let last_step = steps.last().and_then(|line| line["step"].as_u64()).unwrap_or(0);
        let updates = end.and_then(|end| end["steps"].as_u64()).unwrap_or(last_step);
        let evaluated = |line: &Value| {
            let loss = number(line, ["held_out_bits", "held_out_loss"])?;
            Some(Evaluated { updates: line["step"].as_u64().unwrap_or(updates), loss })
        };
        let evaluations: Vec<Evaluated> = of("evaluation").filter_map(evaluated).collect();
        let last = end.and_then(|end| number(end, ["held_out_bits", "held_out_loss"]));
        let last = last.or_else(|| evaluations.last().map(|of| of.loss));
        let best = evaluations.iter().copied().chain(last.map(|loss| Evaluated { updates, loss }));
        let best = best.min_by(|a, b| a.loss.total_cmp(&b.loss));
        let tenth = (steps.len() / 10).max(1);
        let around = |at: usize| {
            let from = at.saturating_sub(tenth / 2).min(steps.len().saturating_sub(tenth));
            median(steps[from..(from + tenth).min(steps.len())].iter().filter_map(loss))
        };
        let at_best =
            best.map_or(0, |best| steps.partition_point(|line| line["step"].as_u64() < Some(best.updates)));
        let losses = || Some([around(0)?, around(at_best)?, around(steps.len())?]);
        let clipped = |line: &&Value| {
            let (before, after) = (line["gradient_norm"].as_f64()?, line["gradient_norm_clipped"].as_f64()?);
            Some(after / before).filter(|ratio| ratio.is_finite())
        };
        let ratio = |line: &&Value| line["update_ratio"].as_f64();
        let first_ratio = steps.iter().find_map(ratio);
        let of_end = |key: &str| end.and_then(|end| end[key].as_f64());
        let not_finite = ending.strip_prefix("not finite at update ").and_then(|rest| {
            let (update, what) = rest.split_once(": ")?;
            let step = update.parse().ok();
            Some(NotFinite { what: what.into(), origin: Origin::Training, step, sequence: None })
        });
        let training = Self {
            updates,
            solved: of_end("solved")
                .or_else(|| of("evaluation").next_back().and_then(|line| line["solved"].as_f64())),
            of_text: metrics
                .iter()
                .any(|line| !line["loss_bits"].is_null() || !line["held_out_bits"].is_null()),
            held_out: last,
            best,
            unigram: of_end("unigram_bits"),
            bigram: of_end("bigram_bits"),
            memoryless: of_end("baseline_loss"),
            losses: losses(),
            clipped: median(steps.iter().filter_map(clipped)),
            update_ratios: first_ratio
                .zip(median(steps.iter().filter_map(ratio)))
                .map(|(first, median)| [first, median]),
            ending,
        };
        Some((training, not_finite))
    }

    /// The unit of the losses, in words.
    pub(super) fn unit(&self) -> &'static str {
        if self.of_text { " bits per symbol" } else { "" }
    }
}

impl Evidence {
    /// Adds what the metrics of its run say, if there are any.
    pub fn add_training(&mut self, metrics: &[Value]) {
        if let Some((training, not_finite)) = Training::read(metrics) {
            self.not_finite = self.not_finite.take().or(not_finite);
            self.training = Some(training);
        }
    }
}

/// The middle one; of two, the smaller. `None` of none.
fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_best_evaluation_and_the_losses_around_it_are_found() {
        let mut metrics: Vec<Value> = (1..=100)
            .map(|step| {
                json!({
                    "event": "step", "step": step, "loss_bits": 10.0 - 0.05 * f64::from(step), "gradient_norm": 4.0,
                    "gradient_norm_clipped": 1.0, "update_ratio": if step == 1 { 0.5 } else { 0.1 },
                })
            })
            .collect();
        for (step, bits) in [(20, 7.0), (40, 6.0), (60, 8.0)] {
            metrics.push(json!({ "event": "evaluation", "step": step, "held_out_bits": bits }));
        }
        metrics.push(json!({
            "event": "end", "ending": "finished", "steps": 100, "held_out_bits": 9.0, "unigram_bits": 8.0, "bigram_bits": 5.0,
        }));
        let (of, not_finite) = Training::read(&metrics).unwrap();
        assert_eq!((of.updates, of.held_out, of.unigram, of.bigram), (100, Some(9.0), Some(8.0), Some(5.0)));
        assert_eq!(of.best, Some(Evaluated { updates: 40, loss: 6.0 }));
        assert_eq!((of.clipped, of.update_ratios), (Some(0.25), Some([0.5, 0.1])));
        let [first, best, last] = of.losses.unwrap();
        assert!(
            (first - 9.7).abs() < 0.1 && (best - 8.0).abs() < 0.1 && (last - 5.25).abs() < 0.1,
            "{first} {best} {last}"
        );
        assert!(of.of_text && not_finite.is_none());
    }

    #[test]
    fn a_training_that_runs_or_did_not_begin_is_no_error() {
        assert_eq!(Training::read(&[]), None);
        let (of, _) = Training::read(&[json!({ "event": "step", "step": 3, "loss": 0.7 })]).unwrap();
        assert_eq!((of.updates, of.held_out, of.ending.as_str(), of.of_text), (3, None, "", false));
    }
}
