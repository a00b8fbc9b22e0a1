//! A scene as a PNG.

use std::io;

use tiny_skia::{
    Color as Rgba, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform,
};

use super::axes::Area;
use super::font;
use super::raster::Raster;
use super::scene::{BLACK, Color, Pen, Scene, Shape};

/// How many pixels a unit gets: 288 an inch.
pub(super) const PIXELS: u8 = 3;

/// The bytes of a PNG.
///
/// # Errors
/// If the scene is too large for an image.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // sizes of a picture
pub(super) fn png(scene: &Scene) -> io::Result<Vec<u8>> {
    let size = |units: f64| (units * f64::from(PIXELS)).round() as u32;
    let (width, height) = (size(scene.width), size(scene.height));
    let mut canvas = Pixmap::new(width, height).ok_or(io::ErrorKind::OutOfMemory)?;
    canvas.fill(Rgba::WHITE);
    scene.shapes.iter().for_each(|shape| draw(&mut canvas, shape));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: u32::from(PIXELS) * 3780, // 96 units an inch, in a meter
        yppu: u32::from(PIXELS) * 3780,
        unit: png::Unit::Meter,
    }));
    // Nothing shines through, so that tiny-skia's premultiplied colors are those of a PNG.
    encoder.write_header()?.write_image_data(canvas.data())?;
    Ok(bytes)
}

fn draw(canvas: &mut Pixmap, shape: &Shape) {
    let scale = Transform::from_scale(f32::from(PIXELS), f32::from(PIXELS));
    let mut fill = |path: Option<Path>, color: Color, transform: Transform| {
        if let Some(path) = path {
            canvas.fill_path(&path, &paint(color), FillRule::Winding, transform, None);
        }
    };
    match shape {
        Shape::Line { points, pen } => line(canvas, through(points, false), pen, scale),
        Shape::Polygon { points, fill: color } => fill(through(points, true), *color, scale),
        Shape::Rect { area, fill: color, border } => {
            let path = rectangle(*area);
            fill(path.clone(), *color, scale);
            if let Some((color, width)) = *border {
                line(canvas, path, &Pen { color, width, dashes: &[] }, scale);
            }
        }
        Shape::Text { .. } => fill(font::placed(shape), BLACK, scale),
        Shape::Image { area, raster } => paste(canvas, *area, raster),
    }
}

fn line(canvas: &mut Pixmap, path: Option<Path>, pen: &Pen, transform: Transform) {
    let dashes = pen.dashes.iter().copied().map(f32::from).collect();
    let stroke = Stroke {
        width: single(pen.width),
        line_join: LineJoin::Round,
        dash: StrokeDash::new(dashes, 0.0), // none of none
        ..Stroke::default()
    };
    if let Some(path) = path {
        canvas.stroke_path(&path, &paint(pen.color), &stroke, transform, None);
    }
}

fn paint([r, g, b]: Color) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, 255);
    paint
}

fn through(points: &[(f64, f64)], closed: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        if i == 0 { path.move_to(single(x), single(y)) } else { path.line_to(single(x), single(y)) }
    }
    if closed {
        path.close();
    }
    path.finish()
}

fn rectangle(Area { x, y, width, height }: Area) -> Option<Path> {
    Some(PathBuilder::from_rect(Rect::from_xywh(single(x), single(y), single(width), single(height))?))
}

#[allow(clippy::cast_possible_truncation)] // places on a picture
fn single(number: f64) -> f32 {
    number as f32
}

/// Puts every pixel of an image in its place, the nearest one where sizes differ.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // places on the canvas
fn paste(canvas: &mut Pixmap, area: Area, raster: &Raster) {
    let pixels = |units: f64| (units * f64::from(PIXELS)).round() as usize;
    let (left, top) = (pixels(area.x), pixels(area.y));
    let (width, height) = (pixels(area.x + area.width) - left, pixels(area.y + area.height) - top);
    let line = canvas.width() as usize;
    for y in 0..height {
        for x in 0..width {
            let of = |at: usize, size: usize, of: usize| (2 * at + 1) * of / (2 * size);
            let color = raster.color(of(x, width, raster.width), of(y, height, raster.height));
            let at = 4 * ((top + y) * line + left + x);
            canvas.data_mut()[at..at + 3].copy_from_slice(&color);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::scene::{Anchor, WHITE};

    /// The gray of each pixel along a horizontal line of a scene of one shape.
    fn row(shape: &Shape, y: u32) -> Vec<u8> {
        let mut canvas = Pixmap::new(36, 36).unwrap();
        canvas.fill(Rgba::WHITE);
        draw(&mut canvas, shape);
        (0..36).map(|x| canvas.pixel(x, y).unwrap().red()).collect()
    }

    #[test]
    fn lines_have_their_width_and_their_dashes() {
        let pen = Pen { color: BLACK, width: 1.0, dashes: &[2, 1] };
        let drawn = row(&Shape::Line { points: vec![(0.0, 6.5), (12.0, 6.5)], pen }, 19);
        // Two units drawn and one left out, three pixels each.
        for (x, &gray) in drawn.iter().enumerate() {
            assert_eq!(gray, if x % 9 < 6 { 0 } else { 255 }, "{x}");
        }
    }

    #[test]
    fn shapes_are_filled_and_texts_are_put_where_they_belong() {
        let area = Area { x: 2.0, y: 0.0, width: 4.0, height: 12.0 };
        let filled = row(&Shape::Rect { area, fill: BLACK, border: None }, 9);
        assert!(filled[..6].iter().chain(&filled[18..]).all(|&gray| gray == WHITE[0]));
        assert!(filled[6..18].iter().all(|&gray| gray == 0));
        let text = |anchor| Shape::Text { at: (6.0, 9.0), words: "|".into(), size: 9, anchor, upward: false };
        let middle = |anchor| {
            let drawn = row(&text(anchor), 20);
            let dark: Vec<usize> = (0..36).filter(|&x| drawn[x] < 128).collect();
            assert!(!dark.is_empty());
            dark.iter().sum::<usize>() / dark.len()
        };
        assert!(
            middle(Anchor::End) < middle(Anchor::Middle) && middle(Anchor::Middle) < middle(Anchor::Start)
        );
        assert!(middle(Anchor::Middle).abs_diff(18) <= 1);
    }
}
