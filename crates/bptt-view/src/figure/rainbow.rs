//! For each step the sizes of what it contributed to every later loss, one on the other: RNNbow's bars (D. Cashman,
//! G. Patterson, A. Mosca, N. Watts, S. Robinson, R. Chang: RNNbow: Visualizing Learning via Backpropagation Gradients in RNNs,
//! IEEE Computer Graphics and Applications 38(6), 2018).

use bptt::Entry;

use super::axes::{self, Area, LABEL, Side, TICK, TITLE};
use super::raster::color;
use super::scene::{Anchor, Color, Scene, Shape, WHITE};
use super::{Figure, ticks};
use crate::entries;
use crate::table::number;

/// Up to how many steps every loss has a piece of its own; beyond, losses of one color are one piece.
const SEPARATE: usize = 64;

/// The bars of one cell's contributions to one parameter. A piece is ‖component (k, t)‖; they are stacked by lag, the loss of
/// the step itself lowest, and colored by lag. `read` are what the network read; `unit` is what norms are measured in.
pub fn rainbow(title: &str, entry: &Entry, read: Option<&[String]>, unit: &str) -> Figure {
    let steps = entry.steps();
    let stacks: Vec<Vec<(usize, f64)>> = (0..steps).map(|t| stack(entry, t)).collect();
    let highest =
        stacks.iter().map(|stack| stack.iter().map(|(_, norm)| norm).sum()).fold(f64::MIN_POSITIVE, f64::max);
    let largest_lag = stacks.iter().flatten().map(|&(lag, _)| lag).max().unwrap_or(0);
    let bands = band(largest_lag) + 1;
    let shade = |band: usize| color(band as f64 / (bands.max(2) - 1) as f64);

    // Space for the symbols of as many steps as are drawn separately.
    let wide = 9.0 * SEPARATE as f64;
    let bottom = axes::space(read, wide);
    let area = Area { x: 86.0, y: 44.0, width: wide, height: 280.0 };
    let mut scene = Scene::new(area.x + wide + 120.0, area.y + area.height + bottom + 10.0);
    axes::text(&mut scene, (area.x + wide / 2.0, 24.0), title, TITLE, Anchor::Middle);
    let marked = ticks::between(0.0, highest * 1.05, 5);
    let top = marked.last().copied().unwrap_or(highest).max(highest * 1.02);
    let height = |norm: f64| norm / top * area.height;
    let cell = wide / steps as f64;
    for (t, stack) in stacks.iter().enumerate() {
        let x = area.x + t as f64 * cell;
        let mut below = 0.0;
        for piece in pieces(stack, steps <= SEPARATE) {
            let tall = height(piece.norm);
            let y = area.y + area.height - below - tall;
            below += tall;
            let border = (steps <= SEPARATE && tall > 1.0).then_some((WHITE, 0.4));
            let (x, width) = if steps <= SEPARATE { (x + 0.06 * cell, 0.88 * cell) } else { (x, cell) };
            let area = Area { x, y, width, height: tall };
            scene.add(Shape::Rect { area, fill: shade(piece.band), border });
        }
    }
    for tick in marked {
        let y = area.y + area.height - height(tick);
        axes::line(&mut scene, (area.x - 4.0, y), (area.x, y));
        let name = if tick == 0.0 { "0".into() } else { trimmed(tick) };
        axes::text(&mut scene, (area.x - 7.0, y + 3.6), &name, TICK, Anchor::End);
    }
    let y_label = format!("Σₖ ‖component (k, t)‖ ({unit})");
    let middle = (area.x - 58.0, area.y + area.height / 2.0);
    axes::upward(&mut scene, middle, &y_label, LABEL, Anchor::Middle);
    axes::steps(&mut scene, area, Side::Bottom, steps, read, ("step t", "reads"));
    axes::line(&mut scene, (area.x, area.y), (area.x, area.y + area.height));
    axes::line(&mut scene, (area.x, area.y + area.height), (area.x + wide, area.y + area.height));
    legend(&mut scene, (area.x + wide + 18.0, area.y + 12.0), largest_lag, shade);
    Figure { scene, table: entries::rows_of(std::iter::once(entry)) }
}

/// What step t contributed to each loss, by lag, smallest first.
fn stack(entry: &Entry, t: usize) -> Vec<(usize, f64)> {
    let steps = entry.steps();
    let mut stack: Vec<(usize, f64)> =
        (0..steps).filter_map(|k| Some((k.abs_diff(t), entry.norm(k, t)?))).collect();
    stack.sort_by_key(|&(lag, _)| lag);
    stack
}

/// Lags of one color: 0, 1, 2 to 3, 4 to 7, …
fn band(lag: usize) -> usize {
    (usize::BITS - lag.leading_zeros()) as usize
}

/// A rectangle of a bar.
struct Piece {
    band: usize,
    norm: f64,
}

fn pieces(stack: &[(usize, f64)], separate: bool) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for &(lag, norm) in stack {
        match pieces.last_mut() {
            Some(last) if !separate && last.band == band(lag) => last.norm += norm,
            _ => pieces.push(Piece { band: band(lag), norm }),
        }
    }
    pieces
}

fn legend(scene: &mut Scene, (x, y): (f64, f64), largest_lag: usize, shade: impl Fn(usize) -> Color) {
    axes::text(scene, (x, y), "lag k − t", TICK, Anchor::Start);
    let bands = band(largest_lag) + 1;
    for of in (0..bands).rev() {
        let at = y + 10.0 + 18.0 * (bands - 1 - of) as f64;
        let area = Area { x, y: at, width: 14.0, height: 14.0 };
        scene.add(Shape::Rect { area, fill: shade(of), border: None });
        let first = if of == 0 { 0 } else { 1 << (of - 1) };
        let last = ((1 << of) - 1).min(largest_lag);
        let name = if first == last { format!("{first}") } else { format!("{first} to {last}") };
        axes::text(scene, (x + 20.0, at + 11.0), &name, TICK, Anchor::Start);
    }
}

/// A number without zeros at its end.
fn trimmed(value: f64) -> String {
    let text = number(value);
    if text.contains('e') { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}
