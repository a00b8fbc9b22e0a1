//! The letters of figures: DejaVu Sans, which has the mathematical signs and most scripts.

use std::sync::LazyLock;

use tiny_skia::{Path, PathBuilder, Transform};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

use super::scene::{Anchor, Shape};

static FACE: LazyLock<Face<'static>> =
    LazyLock::new(|| Face::parse(dejavu::sans::regular(), 0).expect("the crate's font is a font"));

/// How wide a text is in letters of a size.
pub(super) fn width(text: &str, size: u8) -> f64 {
    f64::from(glyphs(text).map(|(_, advance)| advance).sum::<f32>()) * f64::from(size)
        / f64::from(FACE.units_per_em())
}

/// The outline of a text where it stands in its scene; nothing if there is nothing to see.
pub(super) fn placed(text: &Shape) -> Option<Path> {
    let Shape::Text { at: (x, y), words, size, anchor, upward } = text else { return None };
    let wide = width(words, *size);
    let start = match anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -wide / 2.0,
        Anchor::End => -wide,
    };
    #[allow(clippy::cast_possible_truncation)] // places on a picture
    let [x, y, start] = [*x, *y, start].map(|number| number as f32);
    let turn = if *upward { Transform::from_rotate(-90.0) } else { Transform::identity() };
    let place = Transform::from_translate(x, y).pre_concat(turn).pre_translate(start, 0.0);
    outline(words, *size)?.transform(place)
}

/// The outline of a text that begins at the origin, its baseline along the x axis, with y downward. Nothing if there is
/// nothing to see.
fn outline(text: &str, size: u8) -> Option<Path> {
    let mut path = PathBuilder::new();
    let mut pen = 0.0;
    for (glyph, advance) in glyphs(text) {
        FACE.outline_glyph(glyph, &mut Moved(&mut path, pen));
        pen += advance;
    }
    let scale = f32::from(size) / f32::from(FACE.units_per_em());
    path.finish()?.transform(Transform::from_scale(scale, -scale))
}

/// The signs of a text with how far each takes the next one, in the font's units.
fn glyphs(text: &str) -> impl Iterator<Item = (GlyphId, f32)> {
    text.chars().map(|letter| {
        // The first glyph is the box that stands for what a font has no sign for.
        let glyph = FACE.glyph_index(letter).unwrap_or(GlyphId(0));
        (glyph, f32::from(FACE.glyph_hor_advance(glyph).unwrap_or(0)))
    })
}

/// Draws a glyph at x.
struct Moved<'a>(&'a mut PathBuilder, f32);

impl OutlineBuilder for Moved<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(self.1 + x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(self.1 + x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.0.quad_to(self.1 + x1, y1, self.1 + x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.0.cubic_to(self.1 + x1, y1, self.1 + x2, y2, self.1 + x, y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_the_signs_that_figures_write() {
        for letter in "‖Σₖτλσ−|≤⁰¹²³⁴⁵⁶⁷⁸⁹⁻…⏎“”%ü".chars() {
            assert!(FACE.glyph_index(letter).is_some(), "{letter}");
        }
        assert!(outline("‖", 10).is_some() && outline(" ", 10).is_none());
    }

    #[test]
    fn widths_add_up() {
        assert!((width("ab", 10) - width("a", 10) - width("b", 10)).abs() < 1e-5);
        assert!((width("a", 20) - 2.0 * width("a", 10)).abs() < 1e-5);
    }
}
