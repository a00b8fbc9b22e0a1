//! A scene as a PDF of one page. Letters are their outlines, as in a PNG, so that no font is needed to read it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::LineJoinStyle;
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref};
use tiny_skia::{Path, PathSegment, Point};

use super::axes::Area;
use super::font;
use super::raster::Raster;
use super::scene::{BLACK, Color, Pen, Scene, Shape};

/// Points, 1/72 inch, in a unit.
const POINTS: f32 = 0.75;

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const PAGE: Ref = Ref::new(3);
const CONTENT: Ref = Ref::new(4);
/// That of the first image; the others follow.
const FIRST_IMAGE: i32 = 5;

/// The bytes of a PDF; the same for the same scene.
///
/// # Errors
/// If an image cannot be compressed.
pub(super) fn pdf(scene: &Scene) -> io::Result<Vec<u8>> {
    let (width, height) = (POINTS * single(scene.width), POINTS * single(scene.height));
    let mut content = Content::new();
    // Units, with y downward from the upper left corner.
    content.transform([POINTS, 0.0, 0.0, -POINTS, 0.0, height]);
    let mut images = Vec::new();
    for shape in &scene.shapes {
        draw(&mut content, shape, &mut images);
    }

    let mut pdf = Pdf::new();
    pdf.catalog(CATALOG).pages(PAGES);
    pdf.pages(PAGES).kids([PAGE]).count(1);
    let mut page = pdf.page(PAGE);
    page.parent(PAGES).media_box(Rect::new(0.0, 0.0, width, height)).contents(CONTENT);
    let mut resources = page.resources();
    let mut named = resources.x_objects();
    for (reference, name, _) in &images {
        named.pair(Name(name.as_bytes()), *reference);
    }
    named.finish();
    resources.finish();
    page.finish();
    pdf.stream(CONTENT, &compressed(&content.finish())?).filter(Filter::FlateDecode);
    for (reference, _, raster) in images {
        let pixels = (0..raster.height).flat_map(|y| (0..raster.width).flat_map(move |x| raster.color(x, y)));
        let bytes = compressed(&pixels.collect::<Vec<u8>>())?;
        let mut image = pdf.image_xobject(reference, &bytes);
        image.filter(Filter::FlateDecode);
        image.width(count(raster.width)).height(count(raster.height));
        image.color_space().device_rgb();
        image.bits_per_component(8).interpolate(false);
    }
    Ok(pdf.finish())
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn draw<'a>(content: &mut Content, shape: &'a Shape, images: &mut Vec<(Ref, String, &'a Raster)>) {
    match shape {
        Shape::Line { points, pen } => {
            through(content, points);
            stroke(content, *pen);
        }
        Shape::Polygon { points, fill: color } => {
            through(content, points);
            content.close_path();
            fill(content, *color);
        }
        Shape::Rect { area, fill: color, border } => {
            rectangle(content, *area);
            fill(content, *color);
            if let Some((color, width)) = *border {
                rectangle(content, *area);
                stroke(content, Pen { color, width, dashes: &[] });
            }
        }
        Shape::Text { .. } => {
            if let Some(letters) = font::placed(shape) {
                along(content, &letters);
                fill(content, BLACK);
            }
        }
        Shape::Image { area, raster } => {
            let number = count(images.len());
            let (reference, name) = (Ref::new(FIRST_IMAGE + number), format!("I{number}"));
            let [x, y, width, height] = [area.x, area.y, area.width, area.height].map(single);
            content.save_state();
            // An image fills the square from 0 to 1, its first row at the top.
            content.transform([width, 0.0, 0.0, -height, x, y + height]);
            content.x_object(Name(name.as_bytes()));
            content.restore_state();
            images.push((reference, name, raster));
        }
    }
}

fn through(content: &mut Content, points: &[(f64, f64)]) {
    for (i, &(x, y)) in points.iter().enumerate() {
        let (x, y) = (single(x), single(y));
        if i == 0 {
            content.move_to(x, y)
        } else {
            content.line_to(x, y)
        };
    }
}

fn rectangle(content: &mut Content, Area { x, y, width, height }: Area) {
    content.rect(single(x), single(y), single(width), single(height));
}

/// A path; quadratic curves become cubic ones.
fn along(content: &mut Content, path: &Path) {
    let mut last = Point::zero();
    for segment in path.segments() {
        match segment {
            PathSegment::MoveTo(to) => {
                content.move_to(to.x, to.y);
                last = to;
            }
            PathSegment::LineTo(to) => {
                content.line_to(to.x, to.y);
                last = to;
            }
            PathSegment::QuadTo(by, to) => {
                let third = |end: f32, by: f32| end + (by - end) * 2.0 / 3.0;
                let (first, second) =
                    ((third(last.x, by.x), third(last.y, by.y)), (third(to.x, by.x), third(to.y, by.y)));
                content.cubic_to(first.0, first.1, second.0, second.1, to.x, to.y);
                last = to;
            }
            PathSegment::CubicTo(first, second, to) => {
                content.cubic_to(first.x, first.y, second.x, second.y, to.x, to.y);
                last = to;
            }
            PathSegment::Close => {
                content.close_path();
            }
        }
    }
}

fn fill(content: &mut Content, color: Color) {
    let [r, g, b] = color.map(channel);
    content.set_fill_rgb(r, g, b).fill_nonzero();
}

fn stroke(content: &mut Content, pen: Pen) {
    let [r, g, b] = pen.color.map(channel);
    content.set_stroke_rgb(r, g, b).set_line_width(single(pen.width)).set_line_join(LineJoinStyle::RoundJoin);
    content.set_dash_pattern(pen.dashes.iter().copied().map(f32::from), 0.0).stroke();
}

fn channel(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

#[allow(clippy::cast_possible_truncation)] // places on a picture
fn single(number: f64) -> f32 {
    number as f32
}

fn count(number: usize) -> i32 {
    i32::try_from(number).expect("a picture is smaller")
}
