//! What one step makes of a gradient, and what many do: singular values of the recurrent weights, and Lyapunov exponents.

use kuva::plot::LegendPosition;
use kuva::render::figure::Figure as Grid;

use super::Figure;
use super::axes::TITLE;
use super::chart::{self, COLORS, Chart, Stroke};
use super::profile::signed;
use crate::columns::{Column, Table};

/// The singular values of blocks of W_hh, by name, the largest first; beside them the Lyapunov exponents of the cell, nats per
/// step, and the slope of ln m(τ) that its ledger has, if there is one.
pub fn spectrum(title: &str, blocks: &[(&str, &[f64])], exponents: &[f64], decay: Option<f64>) -> Figure {
    let numbered = |values: &[f64]| -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(i, &value)| ((i + 1) as f64, value)).collect()
    };
    let most = |values: usize| values.max(2) as f64;
    let (mut singular, mut lyapunov) = (Chart::default(), Chart::default());
    for (i, (name, values)) in blocks.iter().enumerate() {
        singular.line(numbered(values), Stroke::of(i), name);
    }
    let widest = most(blocks.iter().map(|(_, values)| values.len()).max().unwrap_or(0));
    let largest = blocks.iter().flat_map(|(_, values)| values.iter().copied()).fold(1.0, f64::max);
    let width = most(exponents.len());
    lyapunov.line(numbered(exponents), Stroke(COLORS[0], ""), "Lyapunov exponents");
    lyapunov.line([(0.0, 0.0), (width, 0.0)], Stroke("#777777", "2 3"), "neither grows nor fades");
    if let Some(decay) = decay {
        let name = format!("the ledger's decay, λ = {} per step", signed(decay));
        lyapunov.line([(0.0, decay), (width, decay)], Stroke("#000000", "8 4"), &name);
    }
    let below = LegendPosition::OutsideBottomColumns;
    let layouts = vec![
        chart::whole(singular.layout("number i, largest first", "singular value σ_i of W_hh", below), widest)
            .with_y_axis_min(0.0)
            .with_y_axis_max(largest * 1.05),
        chart::whole(
            lyapunov.layout("number i, largest first", "exponent λ_i (nats per step)", below),
            width,
        ),
    ];
    let table = table(blocks, exponents);
    let scene = Grid::new(1, 2)
        .with_title(title)
        .with_title_size(TITLE)
        .with_plots(vec![singular.plots, lyapunov.plots])
        .with_layouts(layouts)
        .with_cell_size(400.0, 380.0)
        .render();
    Figure { scene, images: Vec::new(), table }
}

/// A row for each number.
fn table(blocks: &[(&str, &[f64])], exponents: &[f64]) -> Table {
    let lists = || {
        let singular = blocks.iter().map(|&(name, values)| ("singular_value", Some(name), values));
        singular.chain([("lyapunov_exponent", None, exponents)])
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
