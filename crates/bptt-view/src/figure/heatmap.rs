//! The ledger itself: a colored cell for each loss k and step t.

use std::io;

use bptt::{Entry, EntryState};

use super::axes::{self, Area, LABEL, Side, TICK, TITLE};
use super::pixels::PIXELS;
use super::raster::{Fill, Raster};
use super::scene::{Anchor, Scene, Shape};
use super::{Figure, power_of_ten, ticks};
use crate::entries;
use crate::table::number;

/// How many decades below the largest norm the colors tell apart.
const DECADES: f64 = 12.0;

/// How many pixels wide and high a heatmap is, about: alone, and beside others.
const ALONE: usize = 1440;
const AMONG: usize = 780;

/// Up to so many steps there is space for every symbol: 27 pixels for each.
const SPELLED: usize = 64;

/// Space between and around panels, in units.
const GAP: f64 = 18.0;

/// One cell's contributions to one parameter, with a name above.
#[derive(Clone, Copy, Debug)]
pub struct Panel<'a> {
    /// What stands above it.
    pub title: &'a str,
    /// What is drawn.
    pub entry: &'a Entry,
}

/// The norms of the contributions to the panels' parameters, colored by their logarithm, all on one scale; `columns` panels
/// side by side, of the same number of steps. `read` are what the network read at each step, `predicted` what each loss is the
/// prediction of; both are written along the axes where there is space. `unit` is what norms are measured in.
pub fn heatmap(
    title: &str,
    panels: &[Panel<'_>],
    columns: usize,
    read: Option<&[String]>,
    predicted: Option<&[String]>,
    unit: &str,
) -> Figure {
    let steps = panels.first().map_or(1, |panel| panel.entry.steps());
    let spelled = if (read.is_some() || predicted.is_some()) && steps <= SPELLED { 27 * steps } else { 0 };
    let pixels = if panels.len() == 1 { ALONE.max(spelled) } else { AMONG };
    let size = ((pixels + steps / 2) / steps).max(1);
    // A whole number of a PNG's pixels for every cell.
    let side = (size * steps) as f64 / f64::from(PIXELS);
    let scale = Scale::of(panels.iter().map(|panel| panel.entry));

    let (left, bottom) = (axes::space(predicted, side) + 10.0, axes::space(read, side) + 10.0);
    let top = 54.0;
    let rows = panels.len().div_ceil(columns);
    let place = |i: usize| Area {
        x: left + (i % columns) as f64 * (side + GAP),
        y: top + (i / columns) as f64 * (side + GAP + 12.0),
        width: side,
        height: side,
    };
    let last = place(rows * columns - 1);
    let (right, lowest) = (last.x + side, last.y + side);
    let mut scene = Scene::new(right + 140.0, lowest + bottom);
    axes::text(&mut scene, (f64::midpoint(left, right), 22.0), title, TITLE, Anchor::Middle);
    for (i, panel) in panels.iter().enumerate() {
        let area = place(i);
        let above = (area.x + side / 2.0, area.y - 7.0);
        axes::text(&mut scene, above, panel.title, LABEL, Anchor::Middle);
        if i % columns == 0 {
            axes::steps(&mut scene, area, Side::Left, steps, predicted, ("loss k", "predicts"));
        }
        if i + columns >= panels.len() {
            axes::steps(&mut scene, area, Side::Bottom, steps, read, ("step t", "reads"));
        }
        axes::frame(&mut scene, area);
        let raster = Raster::cells(steps, steps, size, |k, t| scale.fill(panel.entry, k, t));
        scene.add(Shape::Image { area, raster });
    }
    let legend =
        Area { x: right + 22.0, y: top + 28.0, width: 14.0, height: (lowest - top - 28.0).min(210.0) };
    scale.draw(&mut scene, legend, unit);
    states(&mut scene, panels, (legend.x, legend.y + legend.height + 34.0));
    Figure { scene, table: entries::rows_of(panels.iter().map(|panel| panel.entry)) }
}

/// A heatmap without anything around it: its width and height, and the bytes of a PNG. Each cell is a square of pixels.
///
/// # Errors
/// If it cannot be encoded.
pub fn heatmap_png(entry: &Entry) -> io::Result<((usize, usize), Vec<u8>)> {
    let (steps, scale) = (entry.steps(), Scale::of(std::iter::once(entry)));
    let raster = Raster::cells(steps, steps, (256 / steps).max(1), |k, t| scale.fill(entry, k, t));
    Ok(((raster.width, raster.height), raster.png()?))
}

/// The logarithms that the ends of the color map stand for.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: f64,
    high: f64,
    /// Whether there are values below `low`.
    clipped: bool,
}

impl Scale {
    /// From the smallest value to the largest, or [`DECADES`] below it.
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for entry in entries {
            for (k, t) in (0..entry.steps()).flat_map(|k| (0..entry.steps()).map(move |t| (k, t))) {
                if entry.state(k, t) == EntryState::Value {
                    let log10 = entry.log10_norm(k, t).expect("values have a norm");
                    (low, high) = (low.min(log10), high.max(log10));
                }
            }
        }
        if high == f64::NEG_INFINITY {
            return Self { low: -1.0, high: 0.0, clipped: false };
        }
        let clipped = low < high - DECADES;
        let low = if clipped { high - DECADES } else { low };
        // A single value has its place at the top.
        Self { low: if low == high { high - 1.0 } else { low }, high, clipped }
    }

    fn fill(&self, entry: &Entry, k: usize, t: usize) -> Fill {
        match entry.state(k, t) {
            EntryState::Value => {
                let log10 = entry.log10_norm(k, t).expect("values have a norm");
                Fill::Level((log10 - self.low) / (self.high - self.low))
            }
            state => Fill::State(state),
        }
    }

    /// The color map with its ticks, and above it what it measures.
    fn draw(&self, scene: &mut Scene, area: Area, unit: &str) {
        let Area { x, y, width, height } = area;
        for (i, words) in ["‖component (k, t)‖", &format!("({unit})")].into_iter().enumerate() {
            axes::text(scene, (x, y - 24.0 + 13.0 * i as f64), words, TICK, Anchor::Start);
        }
        axes::frame(scene, area);
        scene.add(Shape::Image { area, raster: Raster::scale() });
        let decades: Vec<f64> =
            ticks::between(self.low, self.high, 6).into_iter().filter(|tick| tick.fract() == 0.0).collect();
        // Where not even two decades are on the scale, its ends tell more.
        let marked = if decades.len() >= 2 { decades } else { vec![self.low, self.high] };
        for tick in marked {
            let at = y + height * (self.high - tick) / (self.high - self.low);
            axes::line(scene, (x + width, at), (x + width + 4.0, at));
            let name = if tick.fract() == 0.0 { power_of_ten(tick) } else { number(10f64.powf(tick)) };
            axes::text(scene, (x + width + 7.0, at + 3.6), &name, TICK, Anchor::Start);
        }
        if self.clipped {
            let at = (x, y + height + 14.0);
            axes::text(scene, at, "and all below", TICK, Anchor::Start);
        }
    }
}

/// The states that occur in the panels and are no values, with their patterns.
fn states(scene: &mut Scene, panels: &[Panel<'_>], (x, mut y): (f64, f64)) {
    let all = [
        (EntryState::Cancelled, "sequences cancel"),
        (EntryState::Underflow, "underflow"),
        (EntryState::Remainder, "in the remainder"),
        (EntryState::Zero, "exactly zero"),
        (EntryState::Cut(0), "cut off"),
        (EntryState::Masked, "no loss (masked)"),
        (EntryState::Unreached, "no path"),
    ];
    for (state, name) in all {
        let occurs = |entry: &Entry| {
            let mut pairs = (0..entry.steps()).flat_map(|k| (0..entry.steps()).map(move |t| (k, t)));
            pairs.any(|(k, t)| std::mem::discriminant(&entry.state(k, t)) == std::mem::discriminant(&state))
        };
        if panels.iter().any(|panel| occurs(panel.entry)) {
            let area = Area { x, y, width: 16.0, height: 16.0 };
            axes::frame(scene, area);
            // As many pixels a unit as in the heatmap.
            let raster = Raster::cells(1, 1, 16 * usize::from(PIXELS), |_, _| Fill::State(state));
            scene.add(Shape::Image { area, raster });
            axes::text(scene, (x + 22.0, y + 12.0), name, TICK, Anchor::Start);
            y += 24.0;
        }
    }
}
