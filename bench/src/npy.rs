//! Arrays as `.npy` files.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use npyz::WriterBuilder;

/// Writes an array in C order.
pub fn save<N: npyz::AutoSerialize>(
    file: &Path,
    shape: &[usize],
    numbers: impl IntoIterator<Item = N>,
) -> Result<(), Box<dyn Error>> {
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    let file = BufWriter::new(File::create(file)?);
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
    writer.extend(numbers)?;
    Ok(writer.finish()?)
}
