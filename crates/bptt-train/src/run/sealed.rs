//! JSON with its own digest, and digests of files.

use std::path::Path;

use bptt_io::files;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// BLAKE3 of some bytes, in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Two lines: the value as JSON, and the digest of the first line.
pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(value).expect("numbers and names are JSON");
    Ok(files::write(path, format!("{json}\n{}\n", digest(json.as_bytes())).as_bytes())?)
}

/// Reads what [`write`] wrote.
pub(super) fn read<V: DeserializeOwned>(path: &Path) -> Result<V, Error> {
    let problem = |problem: String| Error::RunFile { path: path.into(), problem };
    let bytes = files::read(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| problem("it is not text".into()))?;
    let parts = text.strip_suffix('\n').and_then(|text| text.split_once('\n'));
    let (json, given) = parts.ok_or_else(|| problem("it is cut off".into()))?;
    if given != digest(json.as_bytes()) {
        return Err(problem("it was changed: its checksum is another".into()));
    }
    serde_json::from_str(json).map_err(|error| problem(error.to_string()))
}
