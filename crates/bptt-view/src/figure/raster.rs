//! Images of at most 256 colors: the color map, and patterns for what has no place on it.

use std::io;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bptt::EntryState;

/// How many of a palette's colors are the color map's; the last ones are grays.
const LEVELS: u8 = 252;
const WHITE: u8 = LEVELS;
const LIGHT: u8 = LEVELS + 1;
const MIDDLE: u8 = LEVELS + 2;
const DARK: u8 = LEVELS + 3;

/// The colors: viridis from its light end, whose lightness changes evenly, so that it is read in gray and with any kind of color
/// blindness, and whose large numbers stand out from white paper; then four grays.
static PALETTE: LazyLock<[[u8; 3]; 256]> = LazyLock::new(|| {
    std::array::from_fn(|i| match u8::try_from(i).expect("256 colors") {
        WHITE => [255; 3],
        LIGHT => [222; 3],
        MIDDLE => [150; 3],
        DARK => [70; 3],
        level => color(f64::from(level) / f64::from(LEVELS - 1)),
    })
});

/// The color of a fraction (0 to 1) of the scale, as on the light page: small numbers are paler than viridis has them.
pub(super) fn color(fraction: f64) -> [u8; 3] {
    let small = 1.0 - fraction.clamp(0.0, 1.0);
    let white = PALE * small * small;
    let channels = colorous::VIRIDIS.eval_continuous(LIGHT_END * small).into_array();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 255
    channels.map(|channel| (f64::from(channel) + (255.0 - f64::from(channel)) * white).round() as u8)
}

/// Where on viridis the smallest number lies, and how much of its color is white.
const LIGHT_END: f64 = 0.9;
const PALE: f64 = 0.4;

/// What a cell is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fill {
    /// A fraction (0 to 1) of the scale.
    Level(f64),
    /// The pattern of a state that is no ordinary number.
    State(EntryState),
}

impl Fill {
    /// The index into the palette of pixel (x, y). Patterns run through neighboring cells, so they stay distinct however
    /// small the cells are.
    fn at(self, x: usize, y: usize) -> u8 {
        let (rising, falling) = ((x + y) % 8 < 2, (x + 8 - y % 8).is_multiple_of(8));
        match self {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and LEVELS − 1
            Self::Level(fraction) => (fraction.clamp(0.0, 1.0) * f64::from(LEVELS - 1)).round() as u8,
            Self::State(EntryState::Masked) => {
                if rising {
                    MIDDLE
                } else {
                    LIGHT
                }
            }
            Self::State(EntryState::Cut(_)) => {
                if rising || falling {
                    DARK
                } else {
                    WHITE
                }
            }
            Self::State(EntryState::Zero) => {
                if x % 6 < 2 && y % 6 < 2 {
                    DARK
                } else {
                    LIGHT
                }
            }
            Self::State(EntryState::Underflow) => {
                if y % 6 < 2 {
                    WHITE
                } else {
                    DARK
                }
            }
            Self::State(EntryState::Cancelled) => {
                if (x + y).is_multiple_of(4) && x.is_multiple_of(2) {
                    DARK
                } else {
                    MIDDLE
                }
            }
            Self::State(EntryState::Remainder) => {
                if x % 6 < 2 {
                    MIDDLE
                } else {
                    LIGHT
                }
            }
            Self::State(EntryState::Value | EntryState::Unreached) => WHITE,
        }
    }
}

/// Pixels, row by row from the top, as indexes into the palette.
#[derive(Debug)]
pub(super) struct Raster {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u8>,
}

impl Raster {
    /// `rows` by `columns` cells of `size` by `size` pixels.
    pub fn cells(rows: usize, columns: usize, size: usize, fill: impl Fn(usize, usize) -> Fill) -> Self {
        let (width, height) = (columns * size, rows * size);
        let mut pixels = vec![WHITE; width * height];
        for (row, lines) in pixels.chunks_mut(width * size).enumerate() {
            for column in 0..columns {
                let fill = fill(row, column);
                for y in 0..size {
                    for x in column * size..(column + 1) * size {
                        lines[y * width + x] = fill.at(x, row * size + y);
                    }
                }
            }
        }
        Self { width, height, pixels }
    }

    /// The whole scale, largest at the top.
    pub fn scale() -> Self {
        let height = usize::from(LEVELS);
        Self::cells(height, 1, 1, |row, _| Fill::Level(1.0 - row as f64 / (height - 1) as f64))
    }

    /// The color of a pixel.
    pub fn color(&self, x: usize, y: usize) -> [u8; 3] {
        PALETTE[usize::from(self.pixels[y * self.width + x])]
    }

    /// The bytes of a PNG.
    ///
    /// # Errors
    /// If there are no pixels.
    pub fn png(&self) -> io::Result<Vec<u8>> {
        let size = |n: usize| u32::try_from(n).map_err(io::Error::other);
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, size(self.width)?, size(self.height)?);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(PALETTE.concat());
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(bytes)
    }

    /// The PNG as an SVG embeds it.
    ///
    /// # Errors
    /// As [`Raster::png`].
    pub fn data_uri(&self) -> io::Result<String> {
        Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(self.png()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lightness as a gray printer has it (Rec. 709).
    fn gray([r, g, b]: [u8; 3]) -> f64 {
        0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
    }

    #[test]
    fn the_scale_gets_darker_from_end_to_end() {
        let grays: Vec<f64> = PALETTE[..usize::from(LEVELS)].iter().map(|&color| gray(color)).collect();
        assert!(grays.windows(8).all(|w| w[7] < w[0]));
        assert!(grays[0] > 200.0 && grays[usize::from(LEVELS) - 1] < 30.0);
    }

    #[test]
    fn patterns_differ_in_every_small_square() {
        use EntryState::{Cancelled, Cut, Masked, Remainder, Underflow, Unreached, Zero};
        let pattern = |state| -> Vec<u8> { (0..64).map(|i| Fill::State(state).at(i % 8, i / 8)).collect() };
        let all = [Cancelled, Cut(3), Masked, Remainder, Underflow, Unreached, Zero].map(pattern);
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| one.iter().zip(other).filter(|(a, b)| a != b).count() >= 12));
        }
    }

    #[test]
    fn a_png_has_the_cells_colors() {
        let raster = Raster::cells(2, 2, 3, |row, column| Fill::Level((2 * row + column) as f64 / 3.0));
        let mut reader = png::Decoder::new(io::Cursor::new(raster.png().unwrap()));
        reader.set_transformations(png::Transformations::EXPAND);
        let mut reader = reader.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (6, 6));
        let pixel = |x: usize, y: usize| &pixels[3 * (6 * y + x)..][..3];
        // The dark end of viridis, as its makers print it: #440154.
        assert_eq!((pixel(0, 0), pixel(5, 5)), (&color(0.0)[..], &[0x44, 0x01, 0x54][..]));
        assert!(pixel(0, 0).iter().all(|&channel| channel > 120), "{:?}", pixel(0, 0));
        assert_eq!(pixel(3, 2), color(1.0 / 3.0));
    }
}
