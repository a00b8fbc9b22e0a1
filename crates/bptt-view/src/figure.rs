//! Static figures for papers, as SVG, PDF or PNG, each with its numbers as a table.
//!
//! A figure is a scene of lines, polygons, texts and images, which becomes the text of an SVG or, with a font of its own, the
//! pixels of a PNG or the outlines of a PDF, so that no library or font of the system is needed.

mod axes;
mod chart;
mod curves;
mod font;
mod grid;
mod heatmap;
mod pdf;
mod pixels;
mod profile;
mod rainbow;
mod raster;
mod remedies;
mod scene;
mod spectrum;
mod ticks;
mod truncation;

use std::io;

use scene::Scene;

use crate::columns::Table;

pub use curves::{Curves, compare, curves};
pub use heatmap::{Panel, heatmap, heatmap_png};
pub use profile::{Profile, profile};
pub use rainbow::rainbow;
pub use remedies::{Remedied, remedies};
pub use spectrum::spectrum;
pub use truncation::{Truncated, truncation};

/// A picture and the numbers in it.
#[derive(Debug)]
pub struct Figure {
    scene: Scene,
    /// What is drawn, number by number.
    pub table: Table,
}

impl Figure {
    /// The text of an SVG.
    ///
    /// # Errors
    /// If an image cannot be encoded.
    pub fn svg(&self) -> io::Result<String> {
        self.scene.svg()
    }

    /// The bytes of a PDF, the same for the same figure.
    ///
    /// # Errors
    /// If an image cannot be compressed.
    pub fn pdf(&self) -> io::Result<Vec<u8>> {
        pdf::pdf(&self.scene)
    }

    /// The bytes of a PNG.
    ///
    /// # Errors
    /// If it is too large for an image.
    pub fn png(&self) -> io::Result<Vec<u8>> {
        pixels::png(&self.scene)
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
