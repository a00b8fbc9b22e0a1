//! Charts in rows and columns under one title.

use super::axes::{TITLE, text};
use super::chart::{Chart, Legend};
use super::scene::{Anchor, Scene};

/// Space above the charts, between them, and at the right of each.
const TOP: f64 = 44.0;
const GAP: f64 = 18.0;
const RIGHT: f64 = 18.0;

/// A scene of charts, `columns` of them side by side; `shared` is the legend of all, below them.
pub(super) fn scene(title: &str, charts: &[Chart], columns: usize, shared: &Legend) -> Scene {
    let rows = charts.len().div_ceil(columns);
    let of_column = |column: usize| charts.iter().skip(column).step_by(columns);
    let of_row = |row: usize| charts.iter().skip(row * columns).take(columns);
    let largest = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0, f64::max);

    // Where the rectangles begin, so that they are in line in both directions.
    let (mut lefts, mut right) = (Vec::new(), 0.0);
    for column in 0..columns {
        lefts.push(right + largest(&mut of_column(column).map(|chart| chart.margins().0)));
        right = lefts[column] + largest(&mut of_column(column).map(|chart| chart.size.0)) + RIGHT;
    }
    let (mut tops, mut bottom) = (Vec::new(), TOP);
    for row in 0..rows {
        tops.push(bottom);
        bottom += largest(&mut of_row(row).map(|chart| chart.size.1 + chart.margins().1)) + GAP;
    }

    let mut scene = Scene::new(right, bottom + shared.height(right - 2.0 * RIGHT));
    text(&mut scene, (right / 2.0, 24.0), title, TITLE, Anchor::Middle);
    for (i, chart) in charts.iter().enumerate() {
        chart.draw(&mut scene, (lefts[i % columns], tops[i / columns]));
    }
    shared.draw(&mut scene, (RIGHT, bottom - GAP), right - 2.0 * RIGHT);
    scene
}
