//! The table of a comparison.

use serde::Serialize;
use serde_json::{Map, Value};

use super::statistics::{median, wilson};
use super::{Budget, Plan, Planned, TrainingResult};
use crate::{Config, Error, GradientHorizon};

/// The result of a comparison; `bptt.comparison/1` as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `"bptt.comparison/1"`.
    pub schema: &'static str,
    /// The task.
    pub task: String,
    /// L.
    pub length: usize,
    /// T.
    pub steps: usize,
    /// The lag of the dependency, from the nearest to the farthest.
    pub lag: [usize; 2],
    /// The mean loss of a model without memory of it.
    pub baseline_loss: f64,
    /// Number of updates of each training.
    pub updates: u64,
    /// B.
    pub batch: usize,
    /// What was kept equal in addition to the number of updates.
    pub budget: Budget,
    /// Fraction of solved sequences at which the task counts as solved.
    pub solved_at: f64,
    /// One row per remedy.
    pub remedies: Vec<Row>,
}

/// The results of one remedy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The settings it changes, with their values.
    pub changes: Map<String, Value>,
    /// The cell.
    pub cell: String,
    /// H.
    pub hidden: usize,
    /// Number of parameters.
    pub parameters: usize,
    /// Multiplications and additions in the matrix products of one training, forward and backward.
    pub flops: u64,
    /// Number of trainings, one per seed.
    pub trained: usize,
    /// Number of trainings that solved the task.
    pub solved: usize,
    /// Wilson's 95 % interval of the probability of solving it.
    pub solved_interval: [f64; 2],
    /// Number of trainings that ended with a number that is not finite.
    pub not_finite: usize,
    /// Medians over the trainings.
    pub median: Median,
    /// The result of each training, in the order of the seeds.
    pub trainings: Vec<TrainingResult>,
}

/// Medians over the seeds. Trainings without a value are left out, except for `updates_to_solve` and `loss`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Median {
    /// Number of updates until an evaluation found the task solved; infinite for a training that never did. An infinite
    /// median is `None`.
    pub updates_to_solve: Option<f64>,
    /// The loss at the end; infinite where it is not finite.
    pub loss: Option<f64>,
    /// The horizon at the beginning.
    pub horizon_before: Option<f64>,
    /// The horizon at the end.
    pub horizon_after: Option<f64>,
    /// The decay at the beginning, in nats per step.
    pub decay_before: Option<f64>,
    /// The decay at the end.
    pub decay_after: Option<f64>,
    /// The largest Lyapunov exponent at the beginning, in nats per step.
    pub lyapunov_before: Option<f64>,
    /// The largest Lyapunov exponent at the end.
    pub lyapunov_after: Option<f64>,
    /// Duration of a training in seconds.
    pub seconds: Option<f64>,
}

impl Median {
    fn of(trainings: &[TrainingResult]) -> Self {
        let of =
            |number: &dyn Fn(&TrainingResult) -> Option<f64>| median(trainings.iter().filter_map(number));
        let horizon = |of: &GradientHorizon| of.horizon.map(|lag| lag as f64);
        let or_infinite = |number: Option<f64>| number.or(Some(f64::INFINITY));
        Self {
            updates_to_solve: of(&|r| or_infinite(r.solved_after.map(|updates| updates as f64))),
            loss: of(&|r| or_infinite(r.loss)),
            horizon_before: of(&|r| horizon(&r.before)),
            horizon_after: of(&|r| horizon(&r.after)),
            decay_before: of(&|r| r.before.decay),
            decay_after: of(&|r| r.after.decay),
            lyapunov_before: of(&|r| r.before.lyapunov),
            lyapunov_after: of(&|r| r.after.lyapunov),
            seconds: of(&|r| Some(r.seconds)),
        }
    }
}

impl Report {
    /// From `plan` and the results of its trainings, in the order of [`Plan::trainings`]; those that have not finished are
    /// left out.
    ///
    /// # Errors
    /// None that [`Plan::new`] has not already returned.
    ///
    /// # Panics
    /// If there are more or fewer results than trainings.
    pub fn new(plan: &Plan, results: &[Option<TrainingResult>]) -> Result<Self, Error> {
        let Plan { comparison, task, length, remedies } = plan;
        let n = remedies.len();
        assert_eq!(results.len() as u64, n as u64 * comparison.seeds, "a result for each training");
        let row = |(i, planned): (usize, &Planned)| -> Result<Row, Error> {
            let trainings: Vec<TrainingResult> =
                results.iter().skip(i).step_by(n).flatten().cloned().collect();
            let solved = trainings.iter().filter(|reached| reached.solved_after.is_some()).count();
            let (low, high) = wilson(solved, trainings.len());
            let config = &planned.config;
            let parameters = config.weight_count(task.inputs(), task.outputs())?;
            Ok(Row {
                name: planned.name.clone(),
                changes: changes(&comparison.base, config),
                cell: config.cell.clone(),
                hidden: config.hidden,
                parameters: usize::try_from(parameters).unwrap_or(usize::MAX),
                flops: planned.flops,
                trained: trainings.len(),
                solved,
                solved_interval: [low, high],
                not_finite: trainings.iter().filter(|reached| reached.not_finite.is_some()).count(),
                median: Median::of(&trainings),
                trainings,
            })
        };
        let lag = task.lag(*length);
        Ok(Self {
            schema: "bptt.comparison/1",
            task: task.name(),
            length: *length,
            steps: task.steps(*length),
            lag: [*lag.start(), *lag.end()],
            baseline_loss: task.baseline_loss(*length),
            updates: comparison.base.steps,
            batch: comparison.base.batch,
            budget: comparison.budget,
            solved_at: comparison.solved_at,
            remedies: remedies.iter().enumerate().map(row).collect::<Result<_, _>>()?,
        })
    }
}

/// The settings in which `config` differs from `base`.
fn changes(base: &Config, config: &Config) -> Map<String, Value> {
    let settings = |config: &Config| match serde_json::to_value(config) {
        Ok(Value::Object(settings)) => settings,
        _ => unreachable!("settings are an object"),
    };
    let base = settings(base);
    settings(config).into_iter().filter(|(key, value)| base.get(key) != Some(value)).collect()
}
