//! The ledger as NumPy arrays in one `.npz` archive.

use std::io::{self, Cursor, Write};

use bptt::Ledger;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The bytes of an archive with, for every layer l and parameter p, `p_norm_l{l}`, `p_log10_norm_l{l}` and `p_share_l{l}`:
/// (T, T) arrays indexed \[k, t\], NaN where t > k, step k has no loss or the component is in the remainder; (T) arrays for
/// parameters with one number per loss. With a tolerance also `p_remainder_norm_l{l}` and so on, (T) arrays indexed by t.
///
/// # Errors
/// If the encoder fails; the archive is made in memory.
pub fn ledger(ledger: &Ledger) -> io::Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let steps = ledger.steps();
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, shape: &[usize], numbers: Vec<f64>| -> io::Result<()> {
        archive.start_file(format!("{name}.npy"), stored)?;
        archive.write_all(&npy(shape, &numbers))
    };
    let size = steps;
    for entry in ledger.entries() {
        let pairs = || (0..steps).flat_map(|k| (0..steps).map(move |t| (k, t)));
        let grid = |number: &dyn Fn(usize, usize) -> Option<f64>| -> Vec<f64> {
            pairs().map(|(k, t)| number(k, t).unwrap_or(f64::NAN)).collect()
        };
        let name = |what: &str| format!("{}_{what}_{}", entry.parameter.as_str(), entry.cell.suffix());
        add(&name("norm"), &[size, size], grid(&|k, t| entry.norm(k, t)))?;
        add(&name("log10_norm"), &[size, size], grid(&|k, t| entry.log10_norm(k, t)))?;
        add(&name("share"), &[size, size], grid(&|k, t| entry.share(k, t)))?;
        if ledger.tolerance().is_some() {
            let row = |number: &dyn Fn(usize) -> Option<f64>| -> Vec<f64> {
                (0..steps).map(|t| number(t).unwrap_or(f64::NAN)).collect()
            };
            add(&name("remainder_norm"), &[size], row(&|t| entry.remainder_norm(t)))?;
            add(&name("remainder_log10_norm"), &[size], row(&|t| entry.remainder_log10_norm(t)))?;
            add(&name("remainder_share"), &[size], row(&|t| entry.remainder_share(t)))?;
        }
    }
    for measured in ledger.per_loss() {
        let numbers = |values: Vec<Option<f64>>| values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        let suffix = measured.cell.map(|place| format!("_{}", place.suffix())).unwrap_or_default();
        let name = |what: &str| format!("{}_{what}{suffix}", measured.parameter.as_str());
        add(&name("norm"), &[size], numbers(measured.norm.clone()))?;
        add(&name("log10_norm"), &[size], numbers(measured.log10_norm.clone()))?;
        add(&name("share"), &[size], numbers((0..steps).map(|k| measured.share(k)).collect()))?;
    }
    Ok(archive.finish()?.into_inner())
}

/// An array as a `.npy` file, format 1.0: a header that says type, order and shape, then the numbers in C order.
fn npy(shape: &[usize], numbers: &[f64]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}), }}", sizes.trim_end());
    // The numbers begin at a multiple of 64 bytes; before them come 10 bytes, the header, spaces, and a newline.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(length).expect("a shape has few sizes").to_le_bytes());
    file.extend(format!("{header:<0$}\n", length - 1).into_bytes());
    file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    file
}
