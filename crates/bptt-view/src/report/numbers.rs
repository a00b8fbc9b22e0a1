//! The (k, t) numbers of ledgers as bytes that compress well.
//!
//! An array of floats is written plane by plane: the highest byte of each float, then the next ones. Neighbors have similar
//! magnitudes, so that the upper planes compress to almost nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bptt::{Direction, Entry, Ledger};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;

use crate::json::state_letter;

/// The bytes so far.
pub(super) struct Numbers {
    bytes: Vec<u8>,
    /// Bits of mantissa that are kept; the others are zero.
    bits: u32,
}

/// Bits of an f32's mantissa.
const MANTISSA: u32 = 23;

impl Numbers {
    pub(super) fn new(bits: u32) -> Self {
        Self { bytes: Vec::new(), bits }
    }

    /// Number of bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an entry: the letters of the states, log₁₀ of the norms, the shares, and log₁₀ of the norms of each gate if
    /// `gates`, each over all [`pairs`]. Absent numbers are NaN; −∞ is the logarithm of zero.
    pub(super) fn entry(&mut self, ledger: &Ledger, entry: &Entry, gates: bool) {
        self.bytes.extend(pairs(ledger).map(|(k, t)| state_letter(entry.state(k, t)) as u8));
        self.floats(pairs(ledger).map(|(k, t)| entry.log10_norm(k, t)));
        self.floats(pairs(ledger).map(|(k, t)| entry.share(k, t)));
        let names = if gates { entry.gates() } else { &[] };
        for gate in 0..names.len() {
            self.floats(pairs(ledger).map(|(k, t)| entry.gate_norm(k, t, gate).map(f64::log10)));
        }
    }

    #[allow(clippy::cast_possible_truncation)] // to f32: seven digits are enough for a figure
    fn floats(&mut self, values: impl Iterator<Item = Option<f64>>) {
        let words: Vec<[u8; 4]> =
            values.map(|v| self.rounded(v.unwrap_or(f64::NAN) as f32).to_bits().to_be_bytes()).collect();
        for plane in 0..4 {
            self.bytes.extend(words.iter().map(|word| word[plane]));
        }
    }

    /// The nearest number with `bits` bits of mantissa.
    fn rounded(&self, value: f32) -> f32 {
        let dropped = MANTISSA - self.bits;
        if dropped == 0 || !value.is_finite() {
            return value;
        }
        let half = 1 << (dropped - 1);
        f32::from_bits((value.to_bits() + half) & !((1 << dropped) - 1))
    }

    /// Everything, as zlib's format in base64; a browser's `DecompressionStream` decompresses it.
    pub(super) fn pack(&self) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        let packed = encoder.write_all(&self.bytes).and_then(|()| encoder.finish());
        base64(&packed.expect("memory can be written"))
    }
}

/// Bytes as text.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Whether no step after a loss contributes to it, as in a network that reads forward only.
pub(super) fn is_triangular(ledger: &Ledger) -> bool {
    ledger.entries().iter().all(|entry| entry.cell.direction == Direction::Forward)
}

/// The (k, t) that are written, in order.
pub(super) fn pairs(ledger: &Ledger) -> impl Iterator<Item = (usize, usize)> {
    let (steps, triangular) = (ledger.steps(), is_triangular(ledger));
    (0..steps).flat_map(move |k| (0..if triangular { k + 1 } else { steps }).map(move |t| (k, t)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_plane_by_plane() {
        let mut numbers = Numbers::new(23);
        numbers.floats([Some(1.0), Some(-2.0)].into_iter());
        // 1 is 3f 80 00 00, −2 is c0 00 00 00.
        assert_eq!(numbers.bytes, [0x3f, 0xc0, 0x80, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn fewer_bits_round_to_the_nearest() {
        let numbers = Numbers::new(10);
        assert_eq!(numbers.rounded(1.0 + 2f32.powi(-11)), 1.0 + 2f32.powi(-10));
        assert_eq!(numbers.rounded(1.0 + 2f32.powi(-12)), 1.0);
        assert_eq!(numbers.rounded(f32::NEG_INFINITY), f32::NEG_INFINITY);
        assert!(numbers.rounded(f32::NAN).is_nan());
        assert_eq!(Numbers::new(23).rounded(0.1), 0.1);
    }
}
