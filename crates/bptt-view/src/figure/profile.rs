//! How large contributions are at each distance.

use bptt::LagQuantiles;

use super::chart::{self, Axis, COLORS, Chart, Legend, Stroke};
use super::scene::BLACK;
use super::{Figure, grid};
use crate::columns::{Column, Table};

/// A lag profile and what is read off it.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    /// The quantiles at each lag, smallest first: [`bptt::Entry::profile`].
    pub lags: &'a [LagQuantiles],
    /// The fitted line (a, λ), ln m(τ) ≈ a + λ τ: [`bptt::Entry::fit`].
    pub fit: Option<(f64, f64)>,
    /// The fraction q and horizon(q), steps: [`bptt::Entry::horizon`].
    pub horizon: Option<(f64, usize)>,
    /// The lag at which what decides a prediction lies, of a task where it is known.
    pub true_lag: Option<usize>,
}

impl Profile<'_> {
    /// The medians that are not zero, as (lag, log₁₀).
    pub(super) fn medians(&self) -> impl Iterator<Item = (f64, f64)> {
        self.lags.iter().map(|p| (p.lag as f64, p.log10_median())).filter(|(_, log10)| log10.is_finite())
    }

    /// The smallest and the largest finite quantile.
    pub(super) fn range(&self) -> (f64, f64) {
        let finite = self.lags.iter().flat_map(|p| p.log10).filter(|log10| log10.is_finite());
        let (low, high) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high { (-1.0, 0.0) } else { (low, high) }
    }
}

/// The lag profile: median, quantile bands, fitted decay, horizon. `unit` is what norms are measured in.
pub fn profile(title: &str, of: &Profile<'_>, unit: &str) -> Figure {
    let axis = chart::decades(of.range());
    let (low, high, _) = axis;
    // A quantile that is zero has no logarithm; its band goes down to the axis.
    let band = |from: usize, to: usize| -> Vec<(f64, f64, f64)> {
        let reaching = of.lags.iter().filter(|p| p.log10[to].is_finite());
        reaching.map(|p| (p.lag as f64, p.log10[from].max(low), p.log10[to])).collect()
    };
    let blue = COLORS[0];
    let last = of.lags.last().map_or(1, |p| p.lag).max(of.true_lag.unwrap_or(0));
    let y_label = format!("‖component (k, t)‖ ({unit})");
    let x_axis = Axis::whole("lag τ = |k − t| (steps)", last as f64);
    let mut chart = Chart::new(x_axis, Axis::decades(&y_label, axis), (560.0, 340.0));
    chart.band(band(0, 4), blue, 0.15, "10 % to 90 % of the losses");
    chart.band(band(1, 3), blue, 0.38, "25 % to 75 %");
    chart.line(of.medians(), Stroke(blue, &[]), "median m(τ)");
    if let Some((a, slope)) = of.fit {
        let name = format!("fitted decay, λ = {} per step (a factor {:.3})", signed(slope), slope.exp());
        let at = |lag: f64| (a + slope * lag) / std::f64::consts::LN_10;
        chart.line(of.medians().map(|(lag, _)| (lag, at(lag))), Stroke(BLACK, &[8, 4]), &name);
    }
    let mut upright = |lag: usize, stroke, name: String| {
        chart.line([(lag as f64, low), (lag as f64, high)], stroke, &name);
    };
    if let Some((q, lag)) = of.horizon {
        upright(lag, Stroke(COLORS[1], &[2, 3]), format!("horizon({q}) = {lag} steps"));
    }
    if let Some(lag) = of.true_lag {
        upright(lag, Stroke(COLORS[2], &[]), format!("true lag, {lag} steps"));
    }
    Figure { scene: grid::scene(title, &[chart], 1, &Legend::default()), table: table(of) }
}

/// A number with the sign that is as wide as a plus.
pub(super) fn signed(value: f64) -> String {
    format!("{value:.3}").replace('-', "−")
}

/// The quantiles as they are, zeros included, and the fit.
fn table(of: &Profile<'_>) -> Table {
    let quantile = |i: usize| Column::reals(of.lags.iter().map(|p| p.log10[i]));
    let fit =
        |p: &LagQuantiles| of.fit.map(|(a, slope)| (a + slope * p.lag as f64) / std::f64::consts::LN_10);
    Table::new(
        "bptt.profile/1",
        vec![
            ("lag", Column::counts(of.lags.iter().map(|p| Some(p.lag)))),
            ("losses", Column::counts(of.lags.iter().map(|p| Some(p.losses)))),
            ("log10_q10", quantile(0)),
            ("log10_q25", quantile(1)),
            ("log10_q50", quantile(2)),
            ("log10_q75", quantile(3)),
            ("log10_q90", quantile(4)),
            ("log10_fit", Column::Real(of.lags.iter().map(fit).collect())),
        ],
    )
}
