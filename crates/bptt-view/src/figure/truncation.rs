//! What truncated backpropagation loses, window by window.

use super::chart::{self, Axis, Chart, Stroke};
use super::scene::GRAY;
use super::{Figure, grid};
use crate::columns::{Column, Table};
use crate::table::number;

/// The size of either chart.
const SIZE: (f64, f64) = (340.0, 260.0);

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
    let logs = |gradient: &Truncated<'_>| gradient.bias.iter().map(|bias| bias.log10()).collect::<Vec<_>>();
    let finite = gradients.iter().flat_map(logs).filter(|log10| log10.is_finite());
    let ends = finite.fold((f64::INFINITY, 0.0f64), |(low, high), log10| (low.min(log10), high.max(log10)));
    let axis = chart::decades((ends.0.min(ends.1), ends.1));
    let lowest = gradients.iter().flat_map(|gradient| gradient.cosine.iter().copied()).fold(0.0, f64::min);
    let (first, last) = (windows.first().map_or(1, |w| *w), windows.last().map_or(1, |w| *w));
    let x = Axis::logarithmic("window w (steps)", first as f64, last as f64);
    let bias_axis = Axis::decades("relative bias ‖g_w − g‖ / ‖g‖", axis);
    let cosine_axis = Axis::linear("cosine of g_w and g", (if lowest < 0.0 { -1.0 } else { 0.0 }, 1.0));
    let mut biases = Chart::new(x.clone(), bias_axis, SIZE);
    let mut cosines = Chart::new(x, cosine_axis, SIZE);
    for (i, gradient) in gradients.iter().enumerate() {
        biases.line(over(&logs(gradient)), Stroke::of(i), gradient.name);
        cosines.line(over(gradient.cosine), Stroke::of(i), "");
    }
    if let Some((bias, window)) = smallest {
        let name = format!("bias at most {} from {window} steps on", number(bias));
        biases.line([(window as f64, axis.0), (window as f64, axis.1)], Stroke(GRAY, &[2, 3]), &name);
    }
    let legend = std::mem::take(&mut biases.legend);
    let scene = grid::scene(title, &[biases, cosines], 2, &legend);
    Figure { scene, table: table(windows, gradients) }
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
