//! Training over time: losses, gradient norms, and how far back the gradient reached; one run, or several beside each other.

use kuva::render::annotations::ReferenceLine;
use kuva::render::figure::Figure as Grid;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use super::Figure;
use super::chart::{self, COLORS, Stroke};
use super::profile::Profile;
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
    let (blue, orange) = (COLORS[0], COLORS[1]);
    let mut losses = averaged(&of.loss, blue, "training");
    losses.push(chart::line(of.held_out.iter().copied(), (orange, Stroke::Dashed), "held out"));
    let norms: Vec<_> = of.gradient.iter().map(|&(step, norm)| (step, norm.log10())).collect();
    let norms_drawn = averaged(&norms, blue, "");
    let horizons = vec![chart::line(of.horizon.iter().copied(), (blue, Stroke::Solid), "")];

    let layout = |plots: &[Plot], y: &str| {
        chart::layout(plots, "", "update", y).with_x_axis_min(0.0).with_x_axis_max(of.last())
    };
    let mut loss_layout = layout(&losses, "loss (bits/symbol)").with_y_axis_min(0.0);
    for (name, bits) in &of.baselines {
        let line =
            ReferenceLine::horizontal(*bits).with_label(name).with_color("#777777").with_dasharray("2 2");
        loss_layout = loss_layout.with_reference_line(line);
    }
    let (low, high) = range(&norms);
    let norm_layout = chart::decades(layout(&norms_drawn, "gradient norm"), low, high);
    let horizon_layout = layout(&horizons, "horizon(0.99) (steps)").with_y_axis_min(0.0);
    let scene = Grid::new(3, 1)
        .with_title(title)
        .with_title_size(super::axes::TITLE)
        .with_plots(vec![losses, norms_drawn, horizons])
        .with_layouts(vec![loss_layout, norm_layout, horizon_layout])
        .with_cell_size(620.0, 230.0)
        .with_shared_x_all()
        .render();
    Figure { scene, images: Vec::new(), table: table(std::slice::from_ref(of)) }
}

/// Several runs: their held-out losses (training losses where nothing is held out) and their lag profiles.
pub fn compare(title: &str, runs: &[(Curves, Profile<'_>)], unit: &str) -> Figure {
    let loss = |(i, (run, _)): (usize, &(Curves, Profile<'_>))| {
        let points = if run.held_out.is_empty() {
            means(&run.loss).into_iter().map(|m| (m.0, m.1)).collect()
        } else {
            run.held_out.clone()
        };
        chart::line(points.into_iter(), chart::style(i), "")
    };
    let profile = |(i, (run, profile)): (usize, &(Curves, Profile<'_>))| {
        let horizon = profile.horizon.map_or(String::new(), |(_, lag)| format!(", horizon {lag}"));
        let decay = profile.fit.map_or(String::new(), |(_, slope)| format!(", λ {slope:.3}"));
        chart::line(profile.medians(), chart::style(i), &format!("{}{horizon}{decay}", run.name))
    };
    let losses: Vec<Plot> = runs.iter().enumerate().map(loss).collect();
    let profiles: Vec<Plot> = runs.iter().enumerate().map(profile).collect();
    let last = runs.iter().map(|(run, _)| run.last()).fold(1.0, f64::max);
    let held_out = runs.iter().all(|(run, _)| !run.held_out.is_empty());
    let what = if held_out { "held-out loss (bits/symbol)" } else { "loss (bits/symbol)" };
    let loss_layout = chart::layout(&losses, "", "update", what)
        .with_y_axis_min(0.0)
        .with_x_axis_min(0.0)
        .with_x_axis_max(last);
    let ranges = runs.iter().map(|(_, profile)| profile.range());
    let (low, high) =
        ranges.fold((f64::INFINITY, f64::NEG_INFINITY), |all, own| (all.0.min(own.0), all.1.max(own.1)));
    let layout: Layout =
        chart::layout(&profiles, "", "lag τ = |k − t| (steps)", &format!("median ‖component‖ ({unit})"));
    let layout = chart::decades(layout, low, high).with_x_axis_min(0.0);
    let scene = Grid::new(1, 2)
        .with_title(title)
        .with_title_size(super::axes::TITLE)
        .with_plots(vec![losses, profiles])
        .with_layouts(vec![loss_layout, layout])
        .with_cell_size(420.0, 320.0)
        .with_shared_legend_bottom()
        .render();
    let curves: Vec<Curves> = runs.iter().map(|(run, _)| run.clone()).collect();
    Figure { scene, images: Vec::new(), table: compared(&curves, runs) }
}

/// A line; where there are many points, their means and the range they come from.
fn averaged(points: &[(f64, f64)], color: &str, name: &str) -> Vec<Plot> {
    let means = means(points);
    let line = chart::line(means.iter().map(|m| (m.0, m.1)), (color, Stroke::Solid), name);
    let ranges: Vec<_> = means.iter().map(|m| (m.0, m.2, m.3)).collect();
    if points.len() > POINTS { vec![chart::band(&ranges, color, 0.2, ""), line] } else { vec![line] }
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

/// A row for each number: run, quantity, update, value.
fn table(runs: &[Curves]) -> Table {
    Table::new("bptt.curves/1", rows(runs).into_columns("update"))
}

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

    fn into_columns(self, at: &'static str) -> Vec<(&'static str, Column)> {
        vec![
            ("run", Column::names(self.run)),
            ("quantity", Column::names(self.quantity)),
            (at, Column::Real(self.at)),
            ("value", Column::Real(self.value)),
        ]
    }
}

fn rows(runs: &[Curves]) -> Rows {
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

/// The curves, and the medians at each lag: run, quantity, update or lag, value.
fn compared(curves: &[Curves], runs: &[(Curves, Profile<'_>)]) -> Table {
    let mut rows = rows(curves);
    for (run, profile) in runs {
        for p in profile.lags {
            rows.push(&run.name, "log10_median", Some(p.lag as f64), p.log10_median());
        }
    }
    Table::new("bptt.comparison/1", rows.into_columns("update_or_lag"))
}
