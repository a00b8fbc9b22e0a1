//! One look for all charts of lines.

use std::sync::Arc;

use kuva::TickFormat;
use kuva::plot::{BandPlot, LegendPosition, LinePlot};
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use super::axes::{LABEL, TICK, TITLE};
use super::power_of_ten;

/// Colors that people with any kind of color vision tell apart (M. Okabe and K. Ito 2008), black last.
pub(super) const COLORS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000"];

/// How a line is drawn, so that it is told from others in gray too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    Solid,
    Dashed,
    Dotted,
    DashDot,
}

/// The `i`-th line of several: a color and a stroke.
pub(super) fn style(i: usize) -> (&'static str, Stroke) {
    let strokes = [Stroke::Solid, Stroke::Dashed, Stroke::DashDot, Stroke::Dotted];
    (COLORS[i % COLORS.len()], strokes[i % strokes.len()])
}

/// A line through points, called `name` in the legend if that is not empty. Points that are not finite are left out.
pub(super) fn line(
    points: impl Iterator<Item = (f64, f64)>,
    (color, stroke): (&str, Stroke),
    name: &str,
) -> Plot {
    let points = points.filter(|(x, y)| x.is_finite() && y.is_finite());
    let line = LinePlot::new().with_data(points).with_color(color).with_stroke_width(1.6);
    let line = match stroke {
        Stroke::Solid => line,
        Stroke::Dashed => line.with_dashed(),
        Stroke::Dotted => line.with_dotted(),
        Stroke::DashDot => line.with_dashdot(),
    };
    Plot::Line(if name.is_empty() { line } else { line.with_legend(name) })
}

/// What lies between two lines, given as (x, low, high).
pub(super) fn band(points: &[(f64, f64, f64)], color: &str, opacity: f64, name: &str) -> Plot {
    let of = |number: fn(&(f64, f64, f64)) -> f64| points.iter().map(number).collect::<Vec<f64>>();
    let band = BandPlot::new(of(|p| p.0), of(|p| p.1), of(|p| p.2)).with_color(color).with_opacity(opacity);
    Plot::Band(if name.is_empty() { band } else { band.with_legend(name) })
}

/// Title, axes, letters.
pub(super) fn layout(plots: &[Plot], title: &str, x_label: &str, y_label: &str) -> Layout {
    Layout::auto_from_plots(plots)
        .with_title(title)
        .with_x_label(x_label)
        .with_y_label(y_label)
        .with_width(640.0)
        .with_height(400.0)
        .with_show_grid(false)
        .with_title_size(TITLE)
        .with_label_size(LABEL)
        .with_tick_size(TICK)
        .with_body_size(TICK)
        .with_axis_line_width(0.8)
        .with_tick_width(0.8)
        .with_legend_box(false)
        .with_legend_position(LegendPosition::OutsideBottomColumns)
}

/// The y axis in powers of ten, for logarithms between `low` and `high`: kuva's own cannot go below the range of f64.
pub(super) fn decades(layout: Layout, low: f64, high: f64) -> Layout {
    let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    // As few as are read easily: every decade, every second, fifth, tenth, …
    let steps = (0..).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    let step = steps.into_iter().find(|step| (high - low) / step <= 9.0).unwrap_or(1.0);
    let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
    let format = TickFormat::Custom(Arc::new(power_of_ten));
    layout.with_y_axis_min(low).with_y_axis_max(high).with_y_tick_step(step).with_y_tick_format(format)
}
