//! The table of a comparison, as text and as CSV.

use bptt_train::compare::{Budget, Report, Row};
use bptt_view::table::{Align, number, table};

use crate::commands::tasks::lags;

const ABSENT: &str = "–";

/// The columns of the table.
pub(in super::super) const COLUMNS: [(&str, Align); 12] = [
    ("remedy", Align::Left),
    ("cell", Align::Left),
    ("H", Align::Right),
    ("solved", Align::Right),
    ("95 %", Align::Right),
    ("updates to solve", Align::Right),
    ("loss", Align::Right),
    ("horizon", Align::Right),
    ("decay", Align::Right),
    ("λ_max", Align::Right),
    ("GFLOP", Align::Right),
    ("s", Align::Right),
];

/// What the columns mean.
pub(in super::super) const MEANING: &str = "\
    Medians over the seeds. updates to solve: infinite for a training that did not solve the task; horizon: of the gradient of \
    W_hh, before → after training;\ndecay and λ_max (largest Lyapunov exponent): nats per step, after training; GFLOP, s: \
    operations and seconds of one training on one thread.";

/// What was trained, in one line.
pub(in super::super) fn head(report: &Report) -> String {
    let Report { task, length, updates, batch, solved_at, baseline_loss, .. } = report;
    let seeds = report.remedies.first().map_or(0, |row| row.trained);
    let lag = lags(&(report.lag[0]..=report.lag[1]));
    format!(
        "{task}, L = {length}, lag {lag}: {seeds} seeds, {updates} updates of {batch} sequences; solved at {:.1} %, baseline \
         loss {baseline_loss:.4} without memory",
        100.0 * solved_at
    )
}

/// Trainings that ended early, a sentence for each remedy, and what was kept equal.
pub(in super::super) fn notes(report: &Report) -> Vec<String> {
    let early = report.remedies.iter().filter(|row| row.not_finite > 0).map(|row| {
        let Row { not_finite, trained, name, .. } = row;
        format!("{not_finite} of {trained} trainings with {name} ended early because a number was not finite")
    });
    let budget = match report.budget {
        Budget::Flops => {
            "Budget: the same number of updates, and the largest number of units that costs no more operations than without a remedy."
        }
        Budget::Units => "Budget: the same number of updates and of units; the operations differ.",
    };
    early.chain([budget.to_owned()]).collect()
}

/// A header, the table, and the meaning of its columns.
pub(super) fn text(report: &Report) -> String {
    let rows: Vec<_> = report.remedies.iter().map(cells).collect();
    let table = table(&COLUMNS, &rows);
    format!("{}\n\n{table}\n{MEANING}\n{}\n", head(report), notes(report).join("\n"))
}

/// The row of a remedy.
pub(in super::super) fn cells(row: &Row) -> Vec<String> {
    let median = &row.median;
    let or_absent = |value: Option<f64>, show: fn(f64) -> String| value.map_or(ABSENT.into(), show);
    let count = |value: Option<f64>| or_absent(value, |value| format!("{value}"));
    let rate = |value: Option<f64>| or_absent(value, |value| format!("{value:.4}"));
    let [low, high] = row.solved_interval.map(|p| format!("{:.0}", 100.0 * p));
    vec![
        row.name.clone(),
        row.cell.clone(),
        row.hidden.to_string(),
        format!("{}/{}", row.solved, row.trained),
        format!("{low}–{high} %"),
        count(median.updates_to_solve),
        or_absent(median.loss, number),
        format!("{} → {}", count(median.horizon_before), count(median.horizon_after)),
        rate(median.decay_after),
        rate(median.lyapunov_after),
        format!("{:.3}", row.flops as f64 / 1e9),
        or_absent(median.seconds, |seconds| format!("{seconds:.1}")),
    ]
}

/// A header and one line per remedy; absent values are empty.
pub(super) fn csv(report: &Report) -> String {
    let mut lines = vec![
        "remedy,cell,hidden,parameters,flops,trained,solved,solved_low,solved_high,not_finite,updates_to_solve,\
         loss,baseline_loss,horizon_before,horizon_after,decay_before,decay_after,lyapunov_before,lyapunov_after,seconds"
            .to_owned(),
    ];
    for row in &report.remedies {
        let median = &row.median;
        let [low, high] = row.solved_interval;
        let fixed = [row.hidden as u64, row.parameters as u64, row.flops, row.trained as u64];
        let mut line = vec![row.name.clone(), row.cell.clone()];
        line.extend(fixed.map(|count| count.to_string()));
        line.extend([row.solved.to_string(), low.to_string(), high.to_string(), row.not_finite.to_string()]);
        let medians = [
            median.updates_to_solve,
            median.loss,
            Some(report.baseline_loss),
            median.horizon_before,
            median.horizon_after,
            median.decay_before,
            median.decay_after,
            median.lyapunov_before,
            median.lyapunov_after,
            median.seconds,
        ];
        line.extend(medians.map(|value| value.map_or(String::new(), |value| value.to_string())));
        lines.push(line.join(","));
    }
    lines.join("\n") + "\n"
}
