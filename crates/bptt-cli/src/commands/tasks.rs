//! `bptt tasks`: the tasks with known dependencies.

use std::ops::RangeInclusive;

use bptt_train::{Task, tasks};
use bptt_view::table::{Align, table};
use serde_json::json;

use super::{print, print_json};
use crate::Failure;
use crate::args::TasksArgs;

pub(crate) fn run(args: &TasksArgs) -> Result<(), Failure> {
    let tasks = tasks();
    let length = |task: &dyn Task| args.length.unwrap_or_else(|| task.usual_length());
    for task in &tasks {
        tasks::check_length(&**task, length(&**task))?;
    }
    if args.json {
        let of = |task: &dyn Task| {
            let length = length(task);
            let lag = task.lag(length);
            json!({
                "name": task.name(), "about": task.about(), "length": length, "steps": task.steps(length),
                "least_length": task.least_length(), "inputs": task.inputs(), "outputs": task.outputs(),
                "lag": [lag.start(), lag.end()], "baseline_loss": task.baseline_loss(length),
            })
        };
        let tasks: Vec<_> = tasks.iter().map(|task| of(&**task)).collect();
        return print_json(&json!({ "schema": "bptt.tasks/1", "tasks": tasks }));
    }
    let row = |task: &dyn Task| {
        let length = length(task);
        let baseline = format!("{:.4}", task.baseline_loss(length));
        vec![task.name(), length.to_string(), lags(&task.lag(length)), baseline, task.about().to_owned()]
    };
    let rows: Vec<_> = tasks.iter().map(|task| row(&**task)).collect();
    let columns = [
        ("task", Align::Left),
        ("L", Align::Right),
        ("lag", Align::Right),
        ("baseline", Align::Right),
        ("target", Align::Left),
    ];
    print(&table(&columns, &rows))?;
    print(
        "\nlag: number of steps from the dependency to the loss\nbaseline: mean loss (nats or squared error) of a model \
         that knows the task but has no memory\n",
    )
}

/// `"110"` or `"51–99"`.
pub(super) fn lags(lag: &RangeInclusive<usize>) -> String {
    if lag.start() == lag.end() {
        lag.start().to_string()
    } else {
        format!("{}–{}", lag.start(), lag.end())
    }
}
