//! What one step makes of a gradient, and what many do: singular values of the recurrent weights, and Lyapunov exponents.

use bptt::dynamics::Lyapunov;

use super::chart::{Axis, COLORS, Chart, Legend, Stroke};
use super::profile::signed;
use super::scene::{BLACK, GRAY};
use super::{Figure, grid};
use crate::columns::{Column, Table};

/// The size of either chart.
const SIZE: (f64, f64) = (340.0, 280.0);

/// The singular values of blocks of W_hh, by name, the largest first; beside them the Lyapunov exponents of the cell, nats per
/// step with their intervals of 95 %, and the slope of ln m(τ) that its ledger has, if there is one.
pub fn spectrum(title: &str, blocks: &[(&str, &[f64])], found: &Lyapunov, decay: Option<f64>) -> Figure {
    let exponents = &found.exponents[..];
    let intervals: Option<Vec<(f64, f64)>> = (0..exponents.len()).map(|i| found.interval(i)).collect();
    let (low, high): (Vec<f64>, Vec<f64>) = intervals.unwrap_or_default().into_iter().unzip();
    let numbered = |values: &[f64]| -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(i, &value)| ((i + 1) as f64, value)).collect()
    };
    let most = |values: usize| values.max(2) as f64;
    let widest = most(blocks.iter().map(|(_, values)| values.len()).max().unwrap_or(0));
    let largest = blocks.iter().flat_map(|(_, values)| values.iter().copied()).fold(1.0, f64::max);
    let x_label = "number i, largest first";
    let (x, y) =
        (Axis::whole(x_label, widest), Axis::linear("singular value σ_i of W_hh", (0.0, largest * 1.05)));
    let mut singular = Chart::new(x, y, SIZE);
    for (i, (name, values)) in blocks.iter().enumerate() {
        singular.line(numbered(values), Stroke::of(i), name);
    }

    let width = most(exponents.len());
    let shown = [exponents, &low, &high]
        .concat()
        .into_iter()
        .chain([0.0])
        .chain(decay)
        .filter(|value| value.is_finite());
    let (least, most) =
        shown.fold((0.0f64, 0.0f64), |(least, most), value| (least.min(value), most.max(value)));
    let room = 0.05 * (most - least).max(0.1);
    let y = Axis::linear("exponent λ_i (nats per step)", (least - room, most + room));
    let mut lyapunov = Chart::new(Axis::whole(x_label, width), y, SIZE);
    lyapunov.line(numbered(exponents), Stroke(COLORS[0], &[]), "Lyapunov exponents");
    for (end, name) in [(&low, "interval of 95 %: lower end"), (&high, "interval of 95 %: upper end")] {
        if !end.is_empty() {
            lyapunov.line(numbered(end), Stroke(COLORS[0], &[2, 2]), name);
        }
    }
    lyapunov.line([(0.0, 0.0), (width, 0.0)], Stroke(GRAY, &[2, 3]), "neither grows nor fades");
    if let Some(decay) = decay {
        let name = format!("the ledger's decay, λ = {} per step", signed(decay));
        lyapunov.line([(0.0, decay), (width, decay)], Stroke(BLACK, &[8, 4]), &name);
    }
    let scene = grid::scene(title, &[singular, lyapunov], 2, &Legend::default());
    Figure { scene, table: table(blocks, [exponents, &low, &high]) }
}

/// A row for each number.
fn table(blocks: &[(&str, &[f64])], exponents: [&[f64]; 3]) -> Table {
    const EXPONENTS: [&str; 3] = ["lyapunov_exponent", "lyapunov_low", "lyapunov_high"];
    let lists = || {
        let singular = blocks.iter().map(|&(name, values)| ("singular_value", Some(name), values));
        singular.chain(EXPONENTS.into_iter().zip(exponents).map(|(name, values)| (name, None, values)))
    };
    let rows = || {
        lists().flat_map(|(quantity, block, values)| {
            values.iter().enumerate().map(move |v| (quantity, block, v))
        })
    };
    Table::new(
        "bptt.spectrum/1",
        vec![
            ("quantity", Column::names(rows().map(|(quantity, _, _)| quantity.to_owned()))),
            (
                "block",
                Column::Text(rows().map(|(_, block, _)| block.map(|name| name.to_owned().into())).collect()),
            ),
            ("i", Column::counts(rows().map(|(_, _, (i, _))| Some(i + 1)))),
            ("value", Column::reals(rows().map(|(_, _, (_, &value))| value))),
        ],
    )
}
