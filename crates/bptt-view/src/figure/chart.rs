//! One look for all charts of lines: two axes, and below them what the lines are.

use super::axes::{Area, LABEL, TICK, text, thin};
use super::font;
use super::power_of_ten;
use super::scene::{Anchor, BLACK, Color, Pen, Scene, Shape};
use super::ticks;

/// Colors that people with any kind of color vision tell apart (M. Okabe and K. Ito 2008), black last.
pub(super) const COLORS: [Color; 8] = [
    [0x00, 0x72, 0xb2],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0xe6, 0x9f, 0x00],
    [0x56, 0xb4, 0xe9],
    [0xf0, 0xe4, 0x42],
    BLACK,
];

/// Between the lines of a legend, and between its columns.
const LEADING: f64 = 17.0;
const GUTTER: f64 = 22.0;

/// How wide the sample before a name in a legend is, with the space after it.
const SAMPLE: f64 = 36.0;

/// A color, and the dashes by which a line is told from others in gray too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stroke(pub Color, pub &'static [u8]);

impl Stroke {
    /// That of the `i`-th line of several.
    pub fn of(i: usize) -> Self {
        const DASHES: [&[u8]; 4] = [&[], &[8, 4], &[2, 4], &[10, 4, 2, 4]];
        Self(COLORS[i % COLORS.len()], DASHES[i % DASHES.len()])
    }

    fn pen(self) -> Pen {
        Pen { color: self.0, width: 1.6, dashes: self.1 }
    }
}

/// An axis: what it measures, its ends, and its ticks with their names.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    label: String,
    ends: (f64, f64),
    ticks: Vec<(f64, String)>,
    logarithmic: bool,
}

impl Axis {
    /// Numbers from `low` to `high`.
    pub fn linear(label: &str, (low, high): (f64, f64)) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let ticks = ticks::between(low, high, 6).into_iter().map(|tick| (tick, ticks::shown(tick)));
        Self { label: label.into(), ends: (low, high), ticks: ticks.collect(), logarithmic: false }
    }

    /// Names, the first at the high end, each in the middle of a unit.
    pub fn names(names: &[&str]) -> Self {
        let count = names.len() as f64;
        let ticks = names.iter().enumerate().map(|(i, name)| (count - i as f64 - 0.5, (*name).to_owned()));
        Self { label: String::new(), ends: (0.0, count), ticks: ticks.collect(), logarithmic: false }
    }

    /// The same axis without the names of its ticks.
    pub fn unnamed(mut self) -> Self {
        self.ticks.iter_mut().for_each(|(_, name)| name.clear());
        self
    }

    /// Where the `i`-th of the [`names`](Self::names) stands.
    pub fn of_name(&self, i: usize) -> f64 {
        self.ticks[i].0
    }

    /// From 0 to `last`, in whole numbers.
    pub fn whole(label: &str, last: f64) -> Self {
        let last = last.max(1.0);
        let step = ticks::distance(0.0, last, 8).ceil();
        let ticks = (0..).map(|i| f64::from(i) * step).take_while(|&tick| tick <= last);
        let ticks = ticks.map(|tick| (tick, ticks::shown(tick))).collect();
        Self { label: label.into(), ends: (0.0, last), ticks, logarithmic: false }
    }

    /// Powers of ten, for logarithms; their ends and their step, as [`decades`] gives them.
    pub fn decades(label: &str, (low, high, step): (f64, f64, f64)) -> Self {
        let ticks = (0..).map(|i| low + f64::from(i) * step).take_while(|&tick| tick <= high);
        let ticks = ticks.map(|tick| (tick, power_of_ten(tick))).collect();
        Self { label: label.into(), ends: (low, high), ticks, logarithmic: false }
    }

    /// Positive numbers from `low` to `high`, equally far apart where they have the same ratio.
    pub fn logarithmic(label: &str, low: f64, high: f64) -> Self {
        let high = if high > low { high } else { 10.0 * low };
        let ticks = ticks::logarithmic(low, high).into_iter().map(|tick| (tick, ticks::shown(tick)));
        Self { label: label.into(), ends: (low, high), ticks: ticks.collect(), logarithmic: true }
    }

    /// Where a number is on the axis: 0 at the low end, 1 at the high one.
    fn at(&self, number: f64) -> f64 {
        let of = |number: f64| if self.logarithmic { number.ln() } else { number };
        (of(number) - of(self.ends.0)) / (of(self.ends.1) - of(self.ends.0))
    }
}

/// Ends and step of an axis of powers of ten that has the logarithms `low` and `high` on it.
pub(super) fn decades((low, high): (f64, f64)) -> (f64, f64, f64) {
    let (low, high) = if low > high { (-1.0, 0.0) } else { (low, high) };
    let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    // As few as are read easily: every decade, every second, fifth, tenth, …
    let mut steps = (0..3).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    let step = steps.find(|step| (high - low) / step <= 9.0).unwrap_or(1000.0);
    ((low / step).floor() * step, (high / step).ceil() * step, step)
}

/// What a name in a legend stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sample {
    Line(Pen),
    Band(Color),
    Dot(Color),
}

/// Names with samples of what they stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Legend(Vec<(Sample, String)>);

impl Legend {
    /// How many names stand side by side in `width` units, and how far apart.
    fn columns(&self, width: f64) -> (usize, f64) {
        let widest = self.0.iter().map(|(_, name)| font::width(name, TICK)).fold(0.0, f64::max);
        let each = SAMPLE + widest + GUTTER;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small number
        let fit = ((width + GUTTER) / each) as usize;
        (fit.clamp(1, self.0.len().max(1)), each)
    }

    /// The space it takes below something `width` units wide.
    pub fn height(&self, width: f64) -> f64 {
        if self.0.is_empty() {
            0.0
        } else {
            10.0 + LEADING * self.0.len().div_ceil(self.columns(width).0) as f64
        }
    }

    /// Draws it in the middle of `width` units, from `y` downward.
    pub fn draw(&self, scene: &mut Scene, (x, y): (f64, f64), width: f64) {
        let (columns, each) = self.columns(width);
        let x = x + (width - (each * columns as f64 - GUTTER)) / 2.0;
        for (i, (sample, name)) in self.0.iter().enumerate() {
            let x = x + (i % columns) as f64 * each;
            let y = y + 14.0 + LEADING * (i / columns) as f64;
            match *sample {
                Sample::Line(pen) => {
                    let points = vec![(x, y), (x + SAMPLE - 8.0, y)];
                    scene.add(Shape::Line { points, pen });
                }
                Sample::Band(fill) => {
                    let area = Area { x, y: y - 5.0, width: SAMPLE - 8.0, height: 10.0 };
                    scene.add(Shape::Rect { area, fill, border: None });
                }
                Sample::Dot(color) => dot(scene, (x + (SAMPLE - 8.0) / 2.0, y), color),
            }
            text(scene, (x + SAMPLE, y + 3.6), name, TICK, Anchor::Start);
        }
    }
}

/// A line, or what lies between two.
#[derive(Debug)]
enum Plot {
    Line(Vec<(f64, f64)>, Pen),
    Band(Vec<(f64, f64, f64)>, Color),
    Dots(Vec<(f64, f64)>, Color),
}

/// What is drawn in one pair of axes, and its legend.
#[derive(Debug)]
pub(super) struct Chart {
    plots: Vec<Plot>,
    pub legend: Legend,
    pub x: Axis,
    pub y: Axis,
    /// How wide and high the rectangle of the axes is.
    pub size: (f64, f64),
}

impl Chart {
    pub fn new(x: Axis, y: Axis, size: (f64, f64)) -> Self {
        Self { plots: Vec::new(), legend: Legend::default(), x, y, size }
    }

    /// A line through points, called `name` in the legend if that is not empty; a dot if there is only one. Points that are not
    /// finite are left out.
    pub fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, stroke: Stroke, name: &str) {
        let points: Vec<(f64, f64)> =
            points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        if points.is_empty() {
            return;
        }
        self.plots.push(Plot::Line(points, stroke.pen()));
        self.enter(name, Sample::Line(stroke.pen()));
    }

    /// A dot at each point. Points that are not finite are left out.
    pub fn dots(&mut self, points: impl IntoIterator<Item = (f64, f64)>, color: Color, name: &str) {
        let points: Vec<(f64, f64)> =
            points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        if !points.is_empty() {
            self.plots.push(Plot::Dots(points, color));
            self.enter(name, Sample::Dot(color));
        }
    }

    /// What lies between two lines, given as (x, low, high). `tint` (0 to 1) is how much of the color there is on white.
    pub fn band(&mut self, points: Vec<(f64, f64, f64)>, color: Color, tint: f64, name: &str) {
        if points.is_empty() {
            return;
        }
        let color = tinted(color, tint);
        self.plots.push(Plot::Band(points, color));
        self.enter(name, Sample::Band(color));
    }

    fn enter(&mut self, name: &str, sample: Sample) {
        if !name.is_empty() {
            self.legend.0.push((sample, name.into()));
        }
    }

    /// The space that is needed to the left of the rectangle and below it, legend included.
    pub fn margins(&self) -> (f64, f64) {
        let widest = self.y.ticks.iter().map(|(_, name)| font::width(name, TICK)).fold(0.0, f64::max);
        let label = if self.x.label.is_empty() { 0.0 } else { 20.0 };
        (widest + 36.0, 20.0 + label + self.legend.height(self.size.0))
    }

    /// Draws it with the rectangle's upper left corner at a place.
    pub fn draw(&self, scene: &mut Scene, (left, top): (f64, f64)) {
        let (width, height) = self.size;
        let at = |(x, y): (f64, f64)| (left + width * self.x.at(x), top + height * (1.0 - self.y.at(y)));
        for plot in &self.plots {
            match plot {
                Plot::Line(points, pen) => {
                    let points: Vec<_> = points.iter().map(|&point| at(point)).collect();
                    for points in within(&points, (top, top + height)) {
                        match points[..] {
                            [only] => dot(scene, only, pen.color),
                            _ => scene.add(Shape::Line { points, pen: *pen }),
                        }
                    }
                }
                Plot::Dots(points, color) => {
                    for &point in points {
                        dot(scene, at(point), *color);
                    }
                }
                Plot::Band(points, fill) => {
                    let upper = points.iter().map(|&(x, _, high)| at((x, high)));
                    let lower = points.iter().rev().map(|&(x, low, _)| at((x, low)));
                    let points = upper.chain(lower).map(|(x, y)| (x, y.clamp(top, top + height))).collect();
                    scene.add(Shape::Polygon { points, fill: *fill });
                }
            }
        }
        let (right, bottom) = (left + width, top + height);
        scene.add(Shape::Line { points: vec![(left, top), (left, bottom), (right, bottom)], pen: thin() });
        for (tick, name) in &self.x.ticks {
            let x = left + width * self.x.at(*tick);
            scene.add(Shape::Line { points: vec![(x, bottom), (x, bottom + 4.0)], pen: thin() });
            text(scene, (x, bottom + 15.0), name, TICK, Anchor::Middle);
        }
        for (tick, name) in &self.y.ticks {
            let y = top + height * (1.0 - self.y.at(*tick));
            scene.add(Shape::Line { points: vec![(left - 4.0, y), (left, y)], pen: thin() });
            text(scene, (left - 7.0, y + 3.6), name, TICK, Anchor::End);
        }
        text(scene, (left + width / 2.0, bottom + 34.0), &self.x.label, LABEL, Anchor::Middle);
        let place = (left - self.margins().0 + 14.0, top + height / 2.0);
        super::axes::upward(scene, place, &self.y.label, LABEL, Anchor::Middle);
        let label = if self.x.label.is_empty() { 20.0 } else { 40.0 };
        self.legend.draw(scene, (left, bottom + label), width);
    }
}

/// A dot around a point.
fn dot(scene: &mut Scene, (x, y): (f64, f64), fill: Color) {
    const RADIUS: f64 = 3.0;
    let corner = |i: u8| (std::f64::consts::TAU * f64::from(i) / 16.0).sin_cos();
    let points = (0..16).map(corner).map(|(sin, cos)| (x + RADIUS * cos, y + RADIUS * sin)).collect();
    scene.add(Shape::Polygon { points, fill });
}

/// The pieces of a line through points that lie between two heights.
fn within(points: &[(f64, f64)], (top, bottom): (f64, f64)) -> Vec<Vec<(f64, f64)>> {
    if let [only] = points {
        return if (top..=bottom).contains(&only.1) { vec![vec![*only]] } else { Vec::new() };
    }
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    for ends in points.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let rise = to.1 - from.1;
        // How far along the segment it enters and leaves.
        let mut along = (0.0f64, 1.0f64);
        if rise == 0.0 {
            if !(top..=bottom).contains(&from.1) {
                along = (1.0, 0.0);
            }
        } else {
            let crossings = [(top - from.1) / rise, (bottom - from.1) / rise];
            along.0 = along.0.max(crossings[0].min(crossings[1]));
            along.1 = along.1.min(crossings[0].max(crossings[1]));
        }
        if along.0 >= along.1 {
            continue;
        }
        let at = |share: f64| match share {
            0.0 => from,
            1.0 => to,
            share => (from.0 + share * (to.0 - from.0), from.1 + share * rise),
        };
        match pieces.last_mut().filter(|piece| along.0 == 0.0 && piece.last() == Some(&from)) {
            Some(piece) => piece.push(at(along.1)),
            None => pieces.push(vec![at(along.0), at(along.1)]),
        }
    }
    pieces
}

/// A color thinned with white.
fn tinted(color: Color, tint: f64) -> Color {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between two channels
    color.map(|own| (255.0 - tint * (255.0 - f64::from(own))).round() as u8)
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
        assert_eq!([tinted(COLORS[0], 0.0), tinted(COLORS[0], 1.0)], [[255; 3], COLORS[0]]);
        assert_eq!(tinted(BLACK, 0.2), [0xcc; 3]);
    }

    #[test]
    fn lines_are_cut_where_the_axes_end() {
        let points = [(0.0, 5.0), (1.0, -5.0), (2.0, 5.0), (3.0, 10.0), (4.0, 20.0)];
        let expected = [vec![(0.0, 5.0), (0.5, 0.0)], vec![(1.5, 0.0), (2.0, 5.0), (3.0, 10.0)]];
        let pieces = within(&points, (0.0, 10.0));
        assert_eq!(pieces, expected);
        assert!(within(&[(0.0, 11.0), (1.0, 11.0)], (0.0, 10.0)).is_empty());
    }

    #[test]
    fn numbers_have_their_place_on_an_axis() {
        assert_eq!(Axis::linear("", (-1.0, 3.0)).at(0.0), 0.25);
        assert!((Axis::logarithmic("", 1.0, 100.0).at(10.0) - 0.5).abs() < 1e-15);
        assert_eq!(Axis::whole("", 29.0).ticks.last().unwrap(), &(25.0, "25".to_owned()));
        assert_eq!(Axis::decades("", (-6.0, 0.0, 2.0)).ticks[1], (-4.0, "10⁻⁴".to_owned()));
    }
}
