//! Words and lines that all figures have, and axes of steps with their symbols.

use super::font;
use super::scene::{Anchor, BLACK, Pen, Scene, Shape};
use super::ticks;

/// Sizes of letters, in units.
pub(super) const TITLE: u8 = 14;
pub(super) const LABEL: u8 = 12;
pub(super) const TICK: u8 = 10;

/// Symbols narrower than this, in units, are not written.
const NARROWEST: f64 = 9.0;

/// Which side of a rectangle an axis is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Bottom,
}

/// A rectangle on a figure, in units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// A text.
pub(super) fn text(scene: &mut Scene, at: (f64, f64), words: &str, size: u8, anchor: Anchor) {
    if !words.is_empty() {
        scene.add(Shape::Text { at, words: words.into(), size, anchor, upward: false });
    }
}

/// A text that is read from below.
pub(super) fn upward(scene: &mut Scene, at: (f64, f64), words: &str, size: u8, anchor: Anchor) {
    scene.add(Shape::Text { at, words: words.into(), size, anchor, upward: true });
}

/// The pen of axes and frames.
pub(super) fn thin() -> Pen {
    Pen { color: BLACK, width: 0.8, dashes: &[] }
}

/// A thin black line.
pub(super) fn line(scene: &mut Scene, from: (f64, f64), to: (f64, f64)) {
    scene.add(Shape::Line { points: vec![from, to], pen: thin() });
}

/// Whether `symbols` have the space to be written along `length` units.
pub(super) fn fit(symbols: &[String], length: f64) -> bool {
    length / symbols.len() as f64 >= NARROWEST
}

/// How much space, in units, [`steps`] needs outside of the rectangle.
pub(super) fn space(symbols: Option<&[String]>, length: f64) -> f64 {
    let widest = match symbols.filter(|symbols| fit(symbols, length)) {
        Some(symbols) => symbols.iter().map(|symbol| font::width(symbol, TICK)).fold(8.0, f64::max),
        None => 24.0,
    };
    widest + 8.0 + 1.6 * f64::from(LABEL)
}

/// An axis of `count` steps along a side of `area`, each in the middle of its cell: with its symbol where there is space,
/// otherwise with round numbers. The `label`, and what the symbols are, go outside.
pub(super) fn steps(
    scene: &mut Scene,
    area: Area,
    side: Side,
    count: usize,
    symbols: Option<&[String]>,
    (label, verb): (&str, &str),
) {
    let length = if side == Side::Bottom { area.width } else { area.height };
    let middle = |i: f64| (i + 0.5) * length / count as f64;
    let symbols = symbols.filter(|symbols| fit(symbols, length));
    let ticks: Vec<(f64, String)> = if let Some(symbols) = symbols {
        symbols.iter().enumerate().map(|(i, symbol)| (i as f64, symbol.clone())).collect()
    } else {
        let last = (count - 1) as f64;
        let whole = ticks::between(0.0, last.max(1.0), 8).into_iter();
        let whole = whole.filter(|tick| tick.fract() == 0.0 && *tick <= last);
        whole.map(|tick| (tick, format!("{tick}"))).collect()
    };
    let upright = symbols
        .is_none_or(|symbols| symbols.iter().all(|s| font::width(s, TICK) + 3.0 < length / count as f64));
    for (i, name) in ticks {
        match side {
            Side::Left => {
                let y = area.y + middle(i);
                line(scene, (area.x - 4.0, y), (area.x, y));
                text(scene, (area.x - 6.0, y + 0.36 * f64::from(TICK)), &name, TICK, Anchor::End);
            }
            Side::Bottom => {
                let (x, y) = (area.x + middle(i), area.y + area.height);
                line(scene, (x, y), (x, y + 4.0));
                if upright {
                    text(scene, (x, y + 15.0), &name, TICK, Anchor::Middle);
                } else {
                    upward(scene, (x + 0.36 * f64::from(TICK), y + 7.0), &name, TICK, Anchor::End);
                }
            }
        }
    }
    let label = &if symbols.is_some() { format!("{label} ({verb} …)") } else { format!("{label} (steps)") };
    let outside = space(symbols, length) - 0.4 * f64::from(LABEL);
    match side {
        Side::Left => {
            let at = (area.x - outside + 0.4 * f64::from(LABEL), area.y + area.height / 2.0);
            upward(scene, at, label, LABEL, Anchor::Middle);
        }
        Side::Bottom => {
            let lower = if upright { 34.0 } else { outside };
            let at = (area.x + area.width / 2.0, area.y + area.height + lower);
            text(scene, at, label, LABEL, Anchor::Middle);
        }
    }
}

/// The rectangle itself.
pub(super) fn frame(scene: &mut Scene, Area { x, y, width, height }: Area) {
    let (right, bottom) = (x + width, y + height);
    // Begun half a line's width before the corner, so that the corner is filled.
    let points = vec![(x - thin().width / 2.0, y), (right, y), (right, bottom), (x, bottom), (x, y)];
    scene.add(Shape::Line { points, pen: thin() });
}
