//! What every fuzz target does with a file.

use std::io::{Cursor, Write};
use std::path::Path;

use bptt_io::{Layout, Tensors, find, inspect};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Reads a file of any format, as `bptt inspect` does, and every module in it.
///
/// # Panics
/// If its tensors hold more than 64 MiB and four times the file's bytes.
pub fn read(bytes: &[u8]) {
    let Ok(tensors) = Tensors::of_bytes(Path::new("fuzzed"), bytes, &Layout::default()) else { return };
    let held: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    assert!(held <= 4 * bytes.len() + (64 << 20), "{held} bytes of {}", bytes.len());
    for outline in find(&tensors) {
        drop(outline.read(&tensors, None));
    }
    drop(inspect(&tensors, None));
}

/// Reads `bytes` with the beginning that tells their format.
pub fn read_behind(beginning: &[u8], bytes: &[u8]) {
    read(&[beginning, bytes].concat());
}

/// Reads an archive of stored members, whose checksums are right whatever is in them.
///
/// # Panics
/// If an archive of this size cannot be written.
pub fn read_archive(members: &[(&str, &[u8])]) {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in members {
        archive.start_file(*name, stored).expect("a member can be added");
        archive.write_all(bytes).expect("there is memory");
    }
    read(archive.finish().expect("there is memory").get_ref());
}

/// Two parts, of which the first two bytes say where the second begins.
pub fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { return (bytes, &[]) };
    rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()))
}
