//! Training over time: losses, gradient norms, and how far back the gradient reached; one run, or several beside each other.

use kuva::plot::LegendPosition;
use kuva::render::figure::Figure as Grid;

use super::Figure;
use super::axes::TITLE;
use super::chart::{self, COLORS, Chart, Stroke};
use super::profile::{Profile, signed};
use crate::columns::{Column, Table};

/// More points than this are drawn as means, with the range they come from.
const POINTS: usize = 400;

/// What a run wrote down while it trained. Points are (update, value).
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// Which run.
    pub name: String,
    /// The loss of the window before each update, bits a symbol.
    pub loss: Vec<(f64, f64)>,
    /// The held-out loss, bits a symbol.
    pub held_out: Vec<(f64, f64)>,
    /// The global norm of the gradient before clipping.
    pub gradient: Vec<(f64, f64)>,
    /// horizon(0.99) of W_hh of the bottom layer, steps.
    pub horizon: Vec<(f64, f64)>,
    /// Losses that counting reaches on the held-out text, with their names, bits a symbol.
    pub baselines: Vec<(String, f64)>,
}

impl Curves {
    fn last(&self) -> f64 {
        let all = [&self.loss, &self.held_out, &self.gradient, &self.horizon];
        all.into_iter().filter_map(|points| points.last()).map(|(update, _)| *update).fold(1.0, f64::max)
    }
}

/// One run's curves: losses, gradient norm, horizon, over a common axis.
pub fn curves(title: &str, of: &Curves) -> Figure {
    let (blue, orange, gray) = (COLORS[0], COLORS[1], "#777777");
    let mut losses = Chart::default();
    averaged(&mut losses, &of.loss, blue, "training");
    losses.line(of.held_out.iter().copied(), Stroke(orange, "8 4"), "held out");
    for ((name, bits), dashes) in of.baselines.iter().zip(["2 3", "10 4 2 4", "4 4"]) {
        losses.line([(0.0, *bits), (of.last(), *bits)], Stroke(gray, dashes), name);
    }
    let norms: Vec<_> = of.gradient.iter().map(|&(step, norm)| (step, norm.log10())).collect();
    let mut gradients = Chart::default();
    averaged(&mut gradients, &norms, blue, "");
    let mut horizons = Chart::default();
    horizons.line(of.horizon.iter().copied(), Stroke(blue, ""), "");

    let axes = |chart: &Chart, x: &str, y: &str| {
        chart::whole(chart.layout(x, y, LegendPosition::OutsideBottomColumns), of.last())
    };
    let norm_layout = axes(&gradients, "", "‖gradient‖ before clipping");
    let layouts = vec![
        axes(&losses, "", "loss (bits/symbol)").with_y_axis_min(0.0),
        chart::in_decades(norm_layout, chart::decades(range(&norms))),
        axes(&horizons, "update", "horizon(0.99) of W_hh (steps)").with_y_axis_min(0.0),
    ];
    let scene = Grid::new(3, 1)
        .with_title(title)
        .with_title_size(TITLE)
        .with_plots(vec![losses.plots, gradients.plots, horizons.plots])
        .with_layouts(layouts)
        .with_cell_size(620.0, 200.0)
        .with_row_height(0, 260.0)
        .render();
    Figure {
        scene,
        images: Vec::new(),
        table: Table::new("bptt.curves/1", rows([of].into_iter()).columns("update")),
    }
}

/// Several runs: their held-out losses (training losses where nothing is held out) and their lag profiles.
pub fn compare(title: &str, runs: &[(Curves, Profile<'_>)], unit: &str) -> Figure {
    let held_out = runs.iter().all(|(run, _)| !run.held_out.is_empty());
    let (mut losses, mut profiles) = (Chart::default(), Chart::default());
    for (i, (run, profile)) in runs.iter().enumerate() {
        if held_out {
            losses.line(run.held_out.iter().copied(), Stroke::of(i), "");
        } else {
            losses.line(means(&run.loss).into_iter().map(|m| (m.0, m.1)), Stroke::of(i), "");
        }
        let horizon =
            profile.horizon.map_or(String::new(), |(q, lag)| format!(", horizon({q}) = {lag} steps"));
        let decay =
            profile.fit.map_or(String::new(), |(_, slope)| format!(", λ = {} per step", signed(slope)));
        profiles.line(profile.medians(), Stroke::of(i), &format!("{}{horizon}{decay}", run.name));
    }
    let last = runs.iter().map(|(run, _)| run.last()).fold(1.0, f64::max);
    let what = if held_out { "held-out loss (bits/symbol)" } else { "training loss (bits/symbol)" };
    let none = LegendPosition::OutsideBottomColumns;
    let loss_layout = chart::whole(losses.layout("update", what, none), last).with_y_axis_min(0.0);
    let ends = runs.iter().flat_map(|(_, profile)| profile.medians().map(|(_, log10)| log10));
    let ends = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let axis = chart::decades(if ends.0 > ends.1 { (-1.0, 0.0) } else { ends });
    let y_label = format!("median ‖component (k, t)‖ ({unit})");
    let layout = chart::in_decades(profiles.layout("lag τ = |k − t| (steps)", &y_label, none), axis);
    let far = runs.iter().filter_map(|(_, profile)| profile.lags.last()).map(|p| p.lag).max().unwrap_or(1);
    let scene = Grid::new(1, 2)
        .with_title(title)
        .with_title_size(TITLE)
        .with_shared_legend_entries(profiles.legend.clone())
        .with_plots(vec![losses.plots, profiles.plots])
        .with_layouts(vec![loss_layout, chart::whole(layout, far as f64)])
        .with_cell_size(420.0, 320.0)
        .with_shared_legend_bottom()
        .render();
    let mut rows = rows(runs.iter().map(|(run, _)| run));
    for (run, profile) in runs {
        for p in profile.lags {
            rows.push(&run.name, "log10_median", Some(p.lag as f64), p.log10_median());
        }
    }
    Figure {
        scene,
        images: Vec::new(),
        table: Table::new("bptt.comparison/1", rows.columns("update_or_lag")),
    }
}

/// A line; where there are many points, their means and the range they come from.
fn averaged(chart: &mut Chart, points: &[(f64, f64)], color: &'static str, name: &str) {
    let means = means(points);
    if points.len() > POINTS {
        let ranges: Vec<_> = means.iter().map(|m| (m.0, m.2, m.3)).collect();
        chart.band(&ranges, color, 0.25, "");
    }
    chart.line(means.iter().map(|m| (m.0, m.1)), Stroke(color, ""), name);
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
            ("loss_bits", &run.loss),
            ("held_out_bits", &run.held_out),
            ("gradient_norm", &run.gradient),
            ("horizon", &run.horizon),
        ];
        for (quantity, points) in quantities {
            for &(update, value) in points {
                rows.push(&run.name, quantity, Some(update), value);
            }
        }
        run.baselines
            .iter()
            .for_each(|(name, bits)| rows.push(&run.name, &format!("{name}_bits"), None, *bits));
    }
    rows
}
