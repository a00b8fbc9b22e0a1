//! A comparison of remedies: how many trainings each of them made solve the task, and how far gradients reach.

use super::chart::{Axis, COLORS, Chart, Legend, Stroke};
use super::scene::GRAY;
use super::{Figure, grid};
use crate::columns::{Column, Table};

/// The width of a chart, and the height of one remedy in it.
const WIDTH: f64 = 230.0;
const ROW: f64 = 26.0;

/// The trainings with one remedy.
#[derive(Clone, Debug)]
pub struct Remedied<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many trainings solved the task, and how many there are.
    pub solved: (usize, usize),
    /// The interval of 95 % of the probability of solving it.
    pub interval: [f64; 2],
    /// The horizon of each training, steps, before it and after it.
    pub horizons: Vec<(Option<usize>, Option<usize>)>,
    /// The held-out loss at the end of each training; `None` where it is not finite.
    pub losses: Vec<Option<f64>>,
}

/// The remedies below each other: the fraction of solved trainings with its interval, the horizons before and after training
/// with the lag of the dependency (nearest to farthest), and the losses with the `baseline` without memory.
pub fn remedies(title: &str, of: &[Remedied<'_>], lag: [usize; 2], baseline: f64) -> Figure {
    let names: Vec<&str> = of.iter().map(|remedy| remedy.name).collect();
    let (named, height) = (Axis::names(&names), ROW * names.len() as f64);
    let unnamed = named.clone().unnamed();
    let row = |i: usize| named.of_name(i);
    let (blue, orange) = (COLORS[0], COLORS[1]);
    let across = |x: f64| [(x, 0.0), (x, names.len() as f64)];
    let size = (WIDTH, height);

    let mut solved =
        Chart::new(Axis::linear("fraction that solved the task", (0.0, 1.0)), named.clone(), size);
    let mut shares = Vec::new();
    for (i, remedy) in of.iter().enumerate() {
        let [low, high] = remedy.interval;
        let name = if i == 0 { "interval of 95 %" } else { "" };
        solved.line([(low, row(i)), (high, row(i))], Stroke(GRAY, &[]), name);
        if remedy.solved.1 > 0 {
            shares.push((remedy.solved.0 as f64 / remedy.solved.1 as f64, row(i)));
        }
    }
    solved.dots(shares, blue, "of all seeds");

    // Seeds of a remedy above each other, around its middle.
    let placed = |i: usize, j: usize, count: usize| row(i) + 0.6 * (0.5 - (j as f64 + 0.5) / count as f64);
    let steps = |of: Option<usize>| of.map(|steps| steps as f64);
    let all = of.iter().flat_map(|remedy| &remedy.horizons);
    let farthest = all.flat_map(|&(before, after)| [before, after]).flatten().fold(lag[1], usize::max) as f64;
    let mut horizons =
        Chart::new(Axis::linear("horizon(0.99), steps", (0.0, 1.03 * farthest)), unnamed.clone(), size);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (i, remedy) in of.iter().enumerate() {
        for (j, horizon) in remedy.horizons.iter().enumerate() {
            let y = placed(i, j, remedy.horizons.len());
            let (from, to) = (steps(horizon.0).map(|x| (x, y)), steps(horizon.1).map(|x| (x, y)));
            if let (Some(from), Some(to)) = (from, to) {
                horizons.line([from, to], Stroke(GRAY, &[]), "");
            }
            before.extend(from);
            after.extend(to);
        }
    }
    horizons.dots(before, orange, "before training");
    horizons.dots(after, blue, "after training");
    let name = if lag[0] == lag[1] {
        format!("lag, {} steps", lag[0])
    } else {
        format!("lag, {} to {} steps", lag[0], lag[1])
    };
    horizons.line(across(lag[0] as f64), Stroke(GRAY, &[2, 3]), &name);
    if lag[1] != lag[0] {
        horizons.line(across(lag[1] as f64), Stroke(GRAY, &[2, 3]), "");
    }

    let finite = of.iter().flat_map(|remedy| remedy.losses.iter().flatten());
    let largest = finite.fold(baseline, |largest, &loss| largest.max(loss));
    // A diverged loss must not push all others to the left end.
    let axis = Axis::linear("held-out loss at the end", (0.0, 1.03 * largest.min(3.0 * baseline)));
    let mut losses = Chart::new(axis, unnamed, size);
    let shown = |loss: f64| loss.min(3.0 * baseline);
    let points = of.iter().enumerate().flat_map(|(i, remedy)| {
        let count = remedy.losses.len();
        remedy.losses.iter().enumerate().filter_map(move |(j, loss)| Some((i, j, count, (*loss)?)))
    });
    losses.dots(points.map(|(i, j, count, loss)| (shown(loss), placed(i, j, count))), blue, "of each seed");
    losses.line(across(baseline), Stroke(GRAY, &[2, 3]), "without memory");

    let scene = grid::scene(title, &[solved, horizons, losses], 3, &Legend::default());
    Figure { scene, table: table(of) }
}

/// A row for each training.
fn table(of: &[Remedied<'_>]) -> Table {
    let rows = || of.iter().flat_map(|remedy| (0..remedy.losses.len()).map(move |i| (remedy, i)));
    Table::new(
        "bptt.remedies/1",
        vec![
            ("remedy", Column::names(rows().map(|(remedy, _)| remedy.name.to_owned()))),
            ("training", Column::counts(rows().map(|(_, i)| Some(i)))),
            ("horizon_before", Column::counts(rows().map(|(remedy, i)| remedy.horizons[i].0))),
            ("horizon_after", Column::counts(rows().map(|(remedy, i)| remedy.horizons[i].1))),
            ("loss", Column::Real(rows().map(|(remedy, i)| remedy.losses[i]).collect())),
            ("solved", Column::counts(rows().map(|(remedy, _)| Some(remedy.solved.0)))),
            ("trained", Column::counts(rows().map(|(remedy, _)| Some(remedy.solved.1)))),
            ("solved_low", Column::reals(rows().map(|(remedy, _)| remedy.interval[0]))),
            ("solved_high", Column::reals(rows().map(|(remedy, _)| remedy.interval[1]))),
        ],
    )
}
