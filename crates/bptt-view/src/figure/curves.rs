//! Training over time: losses, gradient norms, and how far back the gradient reached; one run, or several beside each other.

use super::chart::{self, Axis, COLORS, Chart, Legend, Stroke};
use super::profile::{Profile, signed};
use super::scene::{Color, GRAY};
use super::{Figure, grid};
use crate::columns::{Column, Table};

/// More points than this are drawn as means, with the range they come from.
const POINTS: usize = 400;

/// What a run wrote down while it trained. Points are (update, value).
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// Which run.
    pub name: String,
    /// Whether the losses are bits a symbol, as those of a text; otherwise they have the unit of a task's loss.
    pub of_text: bool,
    /// The loss of the batch before each update.
    pub loss: Vec<(f64, f64)>,
    /// The held-out loss.
    pub held_out: Vec<(f64, f64)>,
    /// The global norm of the gradient before clipping.
    pub gradient: Vec<(f64, f64)>,
    /// horizon(0.99) of W_hh of the bottom layer, steps.
    pub horizon: Vec<(f64, f64)>,
    /// Losses that counting reaches on the held-out text, or a model without memory in a task, with their names.
    pub baselines: Vec<(String, f64)>,
}

impl Curves {
    /// The unit of the losses, in brackets.
    fn unit(&self) -> &'static str {
        if self.of_text { " (bits/symbol)" } else { "" }
    }

    fn last(&self) -> f64 {
        let all = [&self.loss, &self.held_out, &self.gradient, &self.horizon];
        all.into_iter().flatten().map(|(update, _)| *update).fold(1.0, f64::max)
    }
}

/// One run's curves: losses, gradient norm, horizon, over a common axis.
pub fn curves(title: &str, of: &Curves) -> Figure {
    let (blue, orange) = (COLORS[0], COLORS[1]);
    let highest = |points: &mut dyn Iterator<Item = f64>| {
        points.filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max)
    };
    let over = |x: &str, y: Axis, height: f64| Chart::new(Axis::whole(x, of.last()), y, (560.0, height));

    let measured = of.loss.iter().chain(&of.held_out).map(|(_, bits)| *bits);
    let top = highest(&mut measured.chain(of.baselines.iter().map(|(_, bits)| *bits)));
    let mut losses = over("", Axis::linear(&format!("loss{}", of.unit()), (0.0, 1.03 * top)), 200.0);
    averaged(&mut losses, &of.loss, blue, "training");
    losses.line(of.held_out.iter().copied(), Stroke(orange, &[8, 4]), "held out");
    let dashes: [&[u8]; 3] = [&[2, 3], &[10, 4, 2, 4], &[4, 4]];
    for ((name, bits), dashes) in of.baselines.iter().zip(dashes) {
        losses.line([(0.0, *bits), (of.last(), *bits)], Stroke(GRAY, dashes), name);
    }

    let norms: Vec<_> = of.gradient.iter().map(|&(step, norm)| (step, norm.log10())).collect();
    let axis = Axis::decades("‖gradient‖ before clipping", chart::decades(range(&norms)));
    let mut gradients = over("", axis, 150.0);
    averaged(&mut gradients, &norms, blue, "");

    let farthest = highest(&mut of.horizon.iter().map(|(_, steps)| *steps)).max(1.0);
    let axis = Axis::linear("horizon(0.99) of W_hh (steps)", (0.0, 1.05 * farthest));
    let mut horizons = over("update", axis, 150.0);
    horizons.line(of.horizon.iter().copied(), Stroke(blue, &[]), "");

    Figure {
        scene: grid::scene(title, &[losses, gradients, horizons], 1, &Legend::default()),
        table: Table::new("bptt.curves/1", rows([of].into_iter()).columns("update")),
    }
}

/// Several runs: their held-out losses (training losses where nothing is held out) and their lag profiles.
pub fn compare(title: &str, runs: &[(Curves, Profile<'_>)], unit: &str) -> Figure {
    let held_out = runs.iter().all(|(run, _)| !run.held_out.is_empty());
    let of = |run: &Curves| -> Vec<(f64, f64)> {
        if held_out {
            run.held_out.clone()
        } else {
            means(&run.loss).into_iter().map(|m| (m.0, m.1)).collect()
        }
    };
    let last = runs.iter().map(|(run, _)| run.last()).fold(1.0, f64::max);
    let what = if held_out { "held-out loss" } else { "training loss" };
    let what = format!("{what}{}", runs.first().map_or("", |(run, _)| run.unit()));
    let (_, top) = range(&runs.iter().flat_map(|(run, _)| of(run)).collect::<Vec<_>>());
    let size = (380.0, 280.0);
    let mut losses = Chart::new(Axis::whole("update", last), Axis::linear(&what, (0.0, 1.03 * top)), size);

    let medians: Vec<_> = runs.iter().flat_map(|(_, profile)| profile.medians()).collect();
    let far = runs.iter().filter_map(|(_, profile)| profile.lags.last()).map(|p| p.lag).max().unwrap_or(1);
    let label = format!("median ‖component (k, t)‖ ({unit})");
    let axis = Axis::decades(&label, chart::decades(range(&medians)));
    let mut profiles = Chart::new(Axis::whole("lag τ = |k − t| (steps)", far as f64), axis, size);

    for (i, (run, profile)) in runs.iter().enumerate() {
        losses.line(of(run), Stroke::of(i), "");
        let horizon =
            profile.horizon.map_or(String::new(), |(q, lag)| format!(", horizon({q}) = {lag} steps"));
        let decay =
            profile.fit.map_or(String::new(), |(_, slope)| format!(", λ = {} per step", signed(slope)));
        profiles.line(profile.medians(), Stroke::of(i), &format!("{}{horizon}{decay}", run.name));
    }
    let legend = std::mem::take(&mut profiles.legend);
    let scene = grid::scene(title, &[losses, profiles], 2, &legend);
    let mut rows = rows(runs.iter().map(|(run, _)| run));
    for (run, profile) in runs {
        for p in profile.lags {
            rows.push(&run.name, "log10_median", Some(p.lag as f64), p.log10_median());
        }
    }
    Figure { scene, table: Table::new("bptt.comparison/1", rows.columns("update_or_lag")) }
}

/// A line; where there are many points, their means and the range they come from.
fn averaged(chart: &mut Chart, points: &[(f64, f64)], color: Color, name: &str) {
    let means = means(points);
    if points.len() > POINTS {
        chart.band(means.iter().map(|m| (m.0, m.2, m.3)).collect(), color, 0.25, "");
    }
    chart.line(means.iter().map(|m| (m.0, m.1)), Stroke(color, &[]), name);
}

/// At most [`POINTS`] neighborhoods as (update, mean, smallest, largest).
fn means(points: &[(f64, f64)]) -> Vec<(f64, f64, f64, f64)> {
    let mean = |block: &[(f64, f64)]| {
        let of = |number: fn(&(f64, f64)) -> f64| block.iter().map(number).sum::<f64>() / block.len() as f64;
        let (low, high) = range(block);
        (of(|p| p.0), of(|p| p.1), low, high)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

/// The smallest and the largest finite value.
fn range(points: &[(f64, f64)]) -> (f64, f64) {
    let finite = points.iter().map(|p| p.1).filter(|v| v.is_finite());
    finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// A row for each number.
struct Rows {
    run: Vec<String>,
    quantity: Vec<String>,
    at: Vec<Option<f64>>,
    value: Vec<Option<f64>>,
}

impl Rows {
    fn push(&mut self, run: &str, quantity: &str, at: Option<f64>, value: f64) {
        self.run.push(run.into());
        self.quantity.push(quantity.into());
        self.at.push(at);
        self.value.push(Some(value));
    }

    /// Run, quantity, where on the axis called `at`, value.
    fn columns(self, at: &'static str) -> Vec<(&'static str, Column)> {
        vec![
            ("run", Column::names(self.run)),
            ("quantity", Column::names(self.quantity)),
            (at, Column::Real(self.at)),
            ("value", Column::Real(self.value)),
        ]
    }
}

fn rows<'a>(runs: impl Iterator<Item = &'a Curves>) -> Rows {
    let mut rows = Rows { run: vec![], quantity: vec![], at: vec![], value: vec![] };
    for run in runs {
        let quantities = [
            (if run.of_text { "loss_bits" } else { "loss" }, &run.loss),
            (if run.of_text { "held_out_bits" } else { "held_out_loss" }, &run.held_out),
            ("gradient_norm", &run.gradient),
            ("horizon", &run.horizon),
        ];
        for (quantity, points) in quantities {
            for &(update, value) in points {
                rows.push(&run.name, quantity, Some(update), value);
            }
        }
        run.baselines.iter().for_each(|(name, loss)| {
            let unit = if run.of_text { "bits" } else { "loss" };
            rows.push(&run.name, &format!("{name}_{unit}"), None, *loss);
        });
    }
    rows
}
