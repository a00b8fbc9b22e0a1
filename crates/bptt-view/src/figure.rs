//! Static figures for papers, as SVG or PNG, each with its numbers as a table.
//!
//! kuva draws axes, lines, bands and legends, writes the SVG, and rasters the PNG with a font of its own, so that no library
//! or font of the system is needed. What it has no primitive for are images: heatmaps, which come here.

mod axes;
mod chart;
mod curves;
mod dashes;
mod heatmap;
mod profile;
mod rainbow;
mod raster;
mod spectrum;
mod truncation;

use std::io::{self, Cursor};

use kuva::PngBackend;
use kuva::backend::svg::SvgBackend;
use kuva::render::render::Scene;

use crate::columns::Table;

pub use curves::{Curves, compare, curves};
pub use heatmap::{Panel, heatmap, heatmap_png};
pub use profile::{Profile, profile};
pub use rainbow::rainbow;
pub use spectrum::spectrum;
pub use truncation::{Truncated, truncation};

/// How many pixels of a PNG a unit of the SVG gets; at the usual 96 units an inch, 288 an inch.
const PIXELS: u8 = 3;

/// A picture and the numbers in it.
#[derive(Debug)]
pub struct Figure {
    scene: Scene,
    /// Images on top of everything else.
    images: Vec<Image>,
    /// What is drawn, number by number.
    pub table: Table,
}

/// An image in its place on a figure, in units.
#[derive(Debug)]
struct Image {
    raster: raster::Raster,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Figure {
    /// The text of an SVG.
    ///
    /// # Errors
    /// If an image cannot be encoded.
    pub fn svg(&self) -> io::Result<String> {
        let svg = SvgBackend::new().with_pretty(true).render_scene(&self.scene);
        let mut images = String::new();
        for Image { raster, x, y, width, height } in &self.images {
            let data = raster.data_uri()?;
            images.push_str(&format!(
                "  <image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
                 style=\"image-rendering:pixelated\" href=\"{data}\"/>\n"
            ));
        }
        let end = svg.rfind("</svg>").ok_or_else(|| io::Error::other("an SVG without an end"))?;
        Ok(format!("{}{images}{}", &svg[..end], &svg[end..]))
    }

    /// The bytes of a PNG.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn png(&self) -> io::Result<Vec<u8>> {
        let backend = PngBackend::new().with_scale(f32::from(PIXELS));
        let drawn = backend.render_scene(&dashes::cut(&self.scene)).map_err(io::Error::other)?;
        let mut reader = png::Decoder::new(Cursor::new(drawn)).read_info()?;
        let mut canvas = vec![0; reader.output_buffer_size().ok_or(io::ErrorKind::OutOfMemory)?];
        let frame = reader.next_frame(&mut canvas)?;
        for image in &self.images {
            image.paste(&mut canvas, frame.width as usize);
        }
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, frame.width, frame.height);
        encoder.set_color(frame.color_type);
        encoder.set_depth(frame.bit_depth);
        encoder.set_pixel_dims(Some(png::PixelDimensions {
            xppu: u32::from(PIXELS) * 3780, // 96 units an inch, in a meter
            yppu: u32::from(PIXELS) * 3780,
            unit: png::Unit::Meter,
        }));
        encoder.write_header()?.write_image_data(&canvas)?;
        Ok(bytes)
    }
}

impl Image {
    /// Puts every pixel in its place on an RGBA canvas, the nearest one where sizes differ.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // places on the canvas
    fn paste(&self, canvas: &mut [u8], canvas_width: usize) {
        let pixels = |units: f64| (units * f64::from(PIXELS)).round() as usize;
        let (left, top) = (pixels(self.x), pixels(self.y));
        let (width, height) = (pixels(self.x + self.width) - left, pixels(self.y + self.height) - top);
        for y in 0..height {
            for x in 0..width {
                let of = |at: usize, size: usize, of: usize| (2 * at + 1) * of / (2 * size);
                let color =
                    self.raster.color(of(x, width, self.raster.width), of(y, height, self.raster.height));
                let at = 4 * ((top + y) * canvas_width + left + x);
                canvas[at..at + 3].copy_from_slice(&color);
            }
        }
    }
}

/// A power of ten as it is printed.
fn power_of_ten(exponent: f64) -> String {
    let digit = |c: char| match c.to_digit(10) {
        Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
        None => '⁻',
    };
    if exponent.fract() == 0.0 {
        format!("10{}", format!("{exponent:.0}").chars().map(digit).collect::<String>())
    } else {
        format!("{:.1}", 10f64.powf(exponent))
    }
}
