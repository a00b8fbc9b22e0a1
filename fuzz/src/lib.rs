//! What the fuzz targets have in common.

pub mod models;
pub mod runs;
pub mod server;

pub use models::{read, read_archive, read_behind};

use std::path::Path;
use std::sync::OnceLock;

/// Two parts, of which the first two bytes say where the second begins.
pub fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { return (bytes, &[]) };
    rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()))
}

/// Two parts with a line `----` between them.
pub fn parts(bytes: &[u8]) -> (&[u8], &[u8]) {
    const LINE: &[u8] = b"\n----\n";
    match bytes.windows(LINE.len()).position(|window| window == LINE) {
        Some(at) => (&bytes[..at], &bytes[at + LINE.len()..]),
        None => (bytes, &[]),
    }
}

/// The folder that this process writes files into.
///
/// # Panics
/// If there can be none.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder can be created")).path()
}
