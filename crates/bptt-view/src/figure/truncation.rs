//! What truncated backpropagation loses, window by window.

use kuva::plot::LegendPosition;
use kuva::render::figure::Figure as Grid;

use super::Figure;
use super::axes::TITLE;
use super::chart::{self, Chart, Stroke};
use crate::columns::{Column, Table};
use crate::table::number;

/// The relative biases and the cosines of one gradient, truncated: a number for each window.
#[derive(Clone, Copy, Debug)]
pub struct Truncated<'a> {
    /// Of which parameters the gradient is.
    pub name: &'a str,
    /// ‖g_w − g‖ / ‖g‖.
    pub bias: &'a [f64],
    /// cos(g_w, g).
    pub cosine: &'a [f64],
}

/// The bias and the direction of truncated gradients over the window w, steps. `smallest` is a bias and the smallest window
/// that keeps it.
pub fn truncation(
    title: &str,
    windows: &[usize],
    gradients: &[Truncated<'_>],
    smallest: Option<(f64, usize)>,
) -> Figure {
    let over = |values: &[f64]| -> Vec<(f64, f64)> {
        windows.iter().map(|&w| w as f64).zip(values.iter().copied()).collect()
    };
    let (mut biases, mut cosines) = (Chart::default(), Chart::default());
    let mut ends = (f64::INFINITY, 0.0f64);
    for (i, gradient) in gradients.iter().enumerate() {
        let logs: Vec<f64> = gradient.bias.iter().map(|bias| bias.log10()).collect();
        for log10 in logs.iter().filter(|log10| log10.is_finite()) {
            ends = (ends.0.min(*log10), ends.1.max(*log10));
        }
        biases.line(over(&logs), Stroke::of(i), gradient.name);
        cosines.line(over(gradient.cosine), Stroke::of(i), "");
    }
    let axis = chart::decades((ends.0.min(ends.1), ends.1));
    if let Some((bias, window)) = smallest {
        let name = format!("bias at most {} from {window} steps on", number(bias));
        biases.line([(window as f64, axis.0), (window as f64, axis.1)], Stroke("#777777", "2 3"), &name);
    }
    let lowest = gradients.iter().flat_map(|gradient| gradient.cosine.iter().copied()).fold(0.0, f64::min);
    let below = LegendPosition::OutsideBottomColumns;
    let x = "window w (steps)";
    let bias_layout = biases.layout(x, "relative bias ‖g_w − g‖ / ‖g‖", below).with_log_x();
    let layouts = vec![
        chart::in_decades(bias_layout, axis),
        cosines
            .layout(x, "cosine of g_w and g", below)
            .with_log_x()
            .with_y_axis_min(if lowest < 0.0 { -1.0 } else { 0.0 })
            .with_y_axis_max(1.0),
    ];
    let legend = biases.legend.clone();
    let scene = Grid::new(1, 2)
        .with_title(title)
        .with_title_size(TITLE)
        .with_plots(vec![biases.plots, cosines.plots])
        .with_layouts(layouts)
        .with_cell_size(400.0, 320.0)
        .with_shared_legend_entries(legend)
        .with_shared_legend_bottom()
        .render();
    Figure { scene, images: Vec::new(), table: table(windows, gradients) }
}

/// A row for each gradient and window.
fn table(windows: &[usize], gradients: &[Truncated<'_>]) -> Table {
    let rows = || gradients.iter().flat_map(|gradient| (0..windows.len()).map(move |i| (gradient, i)));
    Table::new(
        "bptt.truncation/1",
        vec![
            ("parameter", Column::names(rows().map(|(gradient, _)| gradient.name.to_owned()))),
            ("window", Column::counts(rows().map(|(_, i)| Some(windows[i])))),
            ("bias", Column::reals(rows().map(|(gradient, i)| gradient.bias[i]))),
            ("cosine", Column::reals(rows().map(|(gradient, i)| gradient.cosine[i]))),
        ],
    )
}
