//! What a figure consists of, in units of 1/96 inch from the upper left corner, and its text as an SVG.

use std::io;

use super::axes::Area;
use super::raster::Raster;

/// Red, green, blue.
pub(super) type Color = [u8; 3];

pub(super) const BLACK: Color = [0; 3];
pub(super) const GRAY: Color = [0x77; 3];
pub(super) const WHITE: Color = [255; 3];

/// Which point of a text stands where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line's color and width, and the lengths that are drawn and left out in turn, none for a solid line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pen {
    pub color: Color,
    pub width: f64,
    pub dashes: &'static [u8],
}

/// One element; later ones cover earlier ones.
#[derive(Debug)]
pub(super) enum Shape {
    /// A line through points.
    Line { points: Vec<(f64, f64)>, pen: Pen },
    /// A filled polygon.
    Polygon { points: Vec<(f64, f64)>, fill: Color },
    /// A filled rectangle, with a border of this color and width.
    Rect { area: Area, fill: Color, border: Option<(Color, f64)> },
    /// A text whose baseline begins, ends or has its middle at a point; `upward` is turned to the left.
    Text { at: (f64, f64), words: String, size: u8, anchor: Anchor, upward: bool },
    /// An image that fills a rectangle.
    Image { area: Area, raster: Raster },
}

/// A figure's size and its elements.
#[derive(Debug)]
pub(super) struct Scene {
    pub width: f64,
    pub height: f64,
    pub shapes: Vec<Shape>,
}

impl Scene {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width: width.ceil(), height: height.ceil(), shapes: Vec::new() }
    }

    pub fn add(&mut self, shape: Shape) {
        self.shapes.push(shape);
    }

    /// The text of an SVG, a line for each element.
    ///
    /// # Errors
    /// If an image cannot be encoded.
    pub fn svg(&self) -> io::Result<String> {
        let (width, height) = (self.width, self.height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"DejaVu Sans, Verdana, sans-serif\">\n  <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        for shape in &self.shapes {
            svg.push_str("  ");
            svg.push_str(&shape.svg()?);
            svg.push('\n');
        }
        Ok(svg + "</svg>\n")
    }
}

impl Shape {
    fn svg(&self) -> io::Result<String> {
        Ok(match self {
            Self::Line { points, pen } => {
                let dashes = pen.dashes.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
                let dashes =
                    if dashes.is_empty() { dashes } else { format!(" stroke-dasharray=\"{dashes}\"") };
                format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"{dashes}/>",
                    list(points),
                    hex(pen.color),
                    pen.width
                )
            }
            Self::Polygon { points, fill } => {
                format!("<polygon points=\"{}\" fill=\"{}\"/>", list(points), hex(*fill))
            }
            Self::Rect { area, fill, border } => {
                let border = border.map_or(String::new(), |(color, width)| {
                    format!(" stroke=\"{}\" stroke-width=\"{width}\"", hex(color))
                });
                format!("<rect {} fill=\"{}\"{border}/>", place(area), hex(*fill))
            }
            Self::Text { at: (x, y), words, size, anchor, upward } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                let (x, y) = (short(*x), short(*y));
                let turn =
                    if *upward { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
                format!(
                    "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\"{turn}>{}</text>",
                    escaped(words)
                )
            }
            Self::Image { area, raster } => format!(
                "<image {} preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" href=\"{}\"/>",
                place(area),
                raster.data_uri()?
            ),
        })
    }
}

/// A color as SVG spells it.
pub(super) fn hex([r, g, b]: Color) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// A number with the three digits after the point that can be seen.
fn short(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn list(points: &[(f64, f64)]) -> String {
    points.iter().map(|&(x, y)| format!("{},{}", short(x), short(y))).collect::<Vec<_>>().join(" ")
}

fn place(&Area { x, y, width, height }: &Area) -> String {
    format!("x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", short(x), short(y), short(width), short(height))
}

/// Text for an SVG. Control characters, which XML has none of, become a replacement character.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace(|c: char| c.is_control(), "\u{fffd}")
}
