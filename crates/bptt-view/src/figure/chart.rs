//! One look for all charts of lines.

use std::sync::Arc;

use kuva::TickFormat;
use kuva::plot::{BandPlot, LegendEntry, LegendPosition, LegendShape, LinePlot, LineStyle};
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use kuva::render::render_utils::compute_tick_step;

use super::axes::{LABEL, TICK, TITLE};
use super::power_of_ten;

/// Colors that people with any kind of color vision tell apart (M. Okabe and K. Ito 2008), black last.
pub(super) const COLORS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000"];

/// A color, and the dashes by which a line is told from others in gray too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stroke(pub &'static str, pub &'static str);

impl Stroke {
    /// That of the `i`-th line of several.
    pub fn of(i: usize) -> Self {
        Self(COLORS[i % COLORS.len()], ["", "8 4", "2 4", "10 4 2 4"][i % 4])
    }
}

/// What is drawn in one pair of axes, and its legend.
#[derive(Default)]
pub(super) struct Chart {
    pub plots: Vec<Plot>,
    pub legend: Vec<LegendEntry>,
}

impl Chart {
    /// A line through points, called `name` in the legend if that is not empty. Points that are not finite are left out.
    pub fn line(
        &mut self,
        points: impl IntoIterator<Item = (f64, f64)>,
        Stroke(color, dashes): Stroke,
        name: &str,
    ) {
        let points: Vec<(f64, f64)> =
            points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        if points.is_empty() {
            return;
        }
        let style = if dashes.is_empty() { LineStyle::Solid } else { LineStyle::Custom(dashes.into()) };
        let line = LinePlot::new().with_data(points).with_color(color).with_stroke_width(1.6);
        self.plots.push(Plot::Line(line.with_line_style(style)));
        self.enter(
            name,
            color.into(),
            LegendShape::Line,
            Some(dashes.to_owned()).filter(|dashes| !dashes.is_empty()),
        );
    }

    /// What lies between two lines, given as (x, low, high). `tint` (0 to 1) is how much of the color there is on white.
    pub fn band(&mut self, points: &[(f64, f64, f64)], color: &str, tint: f64, name: &str) {
        if points.is_empty() {
            return;
        }
        let of = |number: fn(&(f64, f64, f64)) -> f64| points.iter().map(number).collect::<Vec<f64>>();
        let color = tinted(color, tint);
        let band = BandPlot::new(of(|p| p.0), of(|p| p.1), of(|p| p.2));
        self.plots.push(Plot::Band(band.with_color(color.clone()).with_opacity(1.0)));
        self.enter(name, color, LegendShape::Rect, None);
    }

    fn enter(&mut self, name: &str, color: String, shape: LegendShape, dasharray: Option<String>) {
        if !name.is_empty() {
            self.legend.push(LegendEntry { label: name.into(), color, shape, dasharray });
        }
    }

    /// Axes with the names of what they measure; the legend where `legend` says.
    pub fn layout(&self, x_label: &str, y_label: &str, legend: LegendPosition) -> Layout {
        let layout = Layout::auto_from_plots(&self.plots)
            .with_x_label(x_label)
            .with_y_label(y_label)
            .with_width(640.0)
            .with_height(470.0)
            .with_show_grid(false)
            .with_title_size(TITLE)
            .with_label_size(LABEL)
            .with_tick_size(TICK)
            .with_body_size(TICK)
            .with_axis_line_width(0.8)
            .with_tick_width(0.8);
        if self.legend.is_empty() {
            return layout;
        }
        layout.with_legend_entries(self.legend.clone()).with_legend_box(false).with_legend_position(legend)
    }
}

/// A color thinned with white.
fn tinted(color: &str, tint: f64) -> String {
    let channel = |at: usize| u8::from_str_radix(&color[at..at + 2], 16).expect("a color of this file");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between two channels
    let thin = |own: u8| (255.0 - tint * (255.0 - f64::from(own))).round() as u8;
    super::raster::hex([1, 3, 5].map(|at| thin(channel(at))))
}

/// The x axis from 0 to `last`, in whole numbers.
pub(super) fn whole(layout: Layout, last: f64) -> Layout {
    let step = compute_tick_step(0.0, last.max(1.0), 8).ceil().max(1.0);
    layout.with_x_axis_min(0.0).with_x_axis_max(last.max(1.0)).with_x_tick_step(step)
}

/// Ends and step of an axis of powers of ten that has the logarithms `low` and `high` on it.
pub(super) fn decades((low, high): (f64, f64)) -> (f64, f64, f64) {
    let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    // As few as are read easily: every decade, every second, fifth, tenth, …
    let mut steps = (0..3).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    let step = steps.find(|step| (high - low) / step <= 9.0).unwrap_or(1000.0);
    ((low / step).floor() * step, (high / step).ceil() * step, step)
}

/// The y axis in powers of ten, for logarithms: kuva's own cannot go below the range of f64.
pub(super) fn in_decades(layout: Layout, (low, high, step): (f64, f64, f64)) -> Layout {
    let format = TickFormat::Custom(Arc::new(power_of_ten));
    layout.with_y_axis_min(low).with_y_axis_max(high).with_y_tick_step(step).with_y_tick_format(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_hold_the_data_and_are_few() {
        assert_eq!(decades((-3.2, 0.4)), (-4.0, 1.0, 1.0));
        assert_eq!(decades((-17.0, 0.0)), (-18.0, 0.0, 2.0));
        assert_eq!(decades((-340.0, -300.5)), (-340.0, -300.0, 5.0));
        assert_eq!(decades((2.0, 2.0)), (2.0, 3.0, 1.0));
    }

    #[test]
    fn colors_are_thinned_with_white() {
        assert_eq!([tinted("#0072b2", 0.0), tinted("#0072b2", 1.0)], ["#ffffff", "#0072b2"]);
        assert_eq!(tinted("#000000", 0.2), "#cccccc");
    }
}
