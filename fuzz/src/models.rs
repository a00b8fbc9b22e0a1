//! Files of models and arrays.

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
    check(&tensors, bytes.len());
}

/// Reads every module of some tensors, which a file of `length` bytes held.
///
/// # Panics
/// If they hold more than 64 MiB and four times the file's bytes.
pub fn check(tensors: &Tensors, length: usize) {
    let held: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    assert!(held <= 4 * length + (64 << 20), "{held} bytes of {length}");
    for outline in find(tensors) {
        drop(outline.read(tensors, None));
    }
    drop(inspect(tensors, None));
}

/// Reads `bytes` with the beginning that tells their format, unless they have it.
pub fn read_behind(beginning: &[u8], bytes: &[u8]) {
    if bytes.starts_with(beginning) {
        read(bytes);
    } else {
        read(&[beginning, bytes].concat());
    }
}

/// Reads an archive of stored members, whose checksums are right whatever is in them.
pub fn read_archive(members: &[(&str, &[u8])]) {
    read(&archive(members));
}

/// An archive of stored members.
///
/// # Panics
/// If an archive of this size cannot be written.
pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in members {
        archive.start_file(*name, stored).expect("a member can be added");
        archive.write_all(bytes).expect("there is memory");
    }
    archive.finish().expect("there is memory").into_inner()
}

/// A safetensors file of this header, without its first brace, and these numbers.
pub fn safetensors(header: &[u8], numbers: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64 + 1).to_le_bytes();
    [&length, &b"{"[..], header, numbers].concat()
}
