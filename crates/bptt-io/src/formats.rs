//! What is in a file, whatever its format, which is told by the content.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;
use zip::ZipArchive;

use crate::keras::{self, Settings};
use crate::tensor::{Dtype, FLOATS, Tensor, shape};
use crate::tensors::{Named, STAMP, Stamp};
use crate::{arrays, msgpack, onnx, pytorch, tfjs};

const SAVE: &str =
    "from safetensors.torch import save_file; save_file(model.state_dict(), \"model.safetensors\")";

/// The tensors of a file, and what else it says.
#[derive(Default)]
pub(crate) struct Contents {
    pub by_name: Named,
    /// Arrays that hold no numbers or are damaged, and why.
    pub unreadable: BTreeMap<String, String>,
    pub stamp: Option<Stamp>,
    /// What a configuration says of its layers.
    pub settings: Settings,
}

impl From<(Named, BTreeMap<String, String>)> for Contents {
    fn from((by_name, unreadable): (Named, BTreeMap<String, String>)) -> Self {
        Self { by_name, unreadable, ..Self::default() }
    }
}

impl From<(Named, BTreeMap<String, String>, Settings)> for Contents {
    fn from((by_name, unreadable, settings): (Named, BTreeMap<String, String>, Settings)) -> Self {
        Self { by_name, unreadable, settings, stamp: None }
    }
}

/// Reads a file that is in memory; `folder` is where it was, if anywhere.
///
/// # Errors
/// If it is damaged or has no format that is known here: what it is instead, or what is wrong.
pub(crate) fn read(bytes: &[u8], folder: Option<&Path>) -> Result<Contents, String> {
    match bytes {
        bytes if tfjs::is_model(bytes) => tfjs::read(bytes, folder).map(Contents::from),
        // The header's length may look like anything; what follows is JSON.
        bytes if bytes.get(8) == Some(&b'{') => read_safetensors(bytes),
        bytes if bytes.starts_with(b"PK") => read_archive(bytes),
        bytes if bytes.starts_with(pytorch::LEGACY) => pytorch::read_legacy(bytes).map(Contents::from),
        bytes if keras::is_hdf5(bytes) => keras::read(bytes).map(Contents::from),
        bytes if msgpack::is_tree(bytes) => msgpack::read(bytes).map(Contents::from),
        bytes if onnx::is_model(bytes) => onnx::read(bytes).map(Contents::from),
        bytes => Err(what_it_is_instead(bytes)),
    }
}

/// Bytes that a member may have beyond four times the file's.
const BEYOND: u64 = 64 << 20;

/// The header of an array in an archive is within so many bytes.
const HEADER: u64 = 1 << 16;

fn read_safetensors(bytes: &[u8]) -> Result<Contents, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| explain(bytes, &error.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let tensors: Named = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.clone(), Tensor { name, dtype, shape, bytes })
        })
        .collect();
    let Some(stamp) = header.metadata().as_ref().and_then(|entries| entries.get(STAMP)) else {
        return Ok(Contents::from((tensors, BTreeMap::new())));
    };
    let stamp: Stamp = serde_json::from_str(stamp).map_err(|error| error.to_string())?;
    if !stamp.fits(&tensors) {
        return Err("its numbers are not the ones that were written (checksum)".into());
    }
    Ok(Contents { by_name: tensors, stamp: Some(stamp), ..Contents::default() })
}

/// Which tensor is why a safetensors file cannot be read; `error` where that cannot be told.
fn explain(bytes: &[u8], error: &str) -> String {
    let header = || -> Option<(usize, serde_json::Map<String, Value>)> {
        let length = usize::try_from(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?)).ok()?;
        let end = length.checked_add(8)?;
        Some((end, serde_json::from_slice(bytes.get(8..end)?).ok()?))
    };
    let Some((data, header)) = header() else {
        return format!("its header is cut off or damaged ({error}); save or copy it again");
    };
    let given = bytes.len() - data;
    let mut covered = 0;
    for (name, info) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let Some(dtype) = info["dtype"].as_str() else { continue };
        let Ok(known) = serde_json::from_value::<Dtype>(info["dtype"].clone()) else {
            return format!("tensor {name} has the type {dtype}; expected {FLOATS}");
        };
        let sizes: Option<Vec<usize>> = serde_json::from_value(info["shape"].clone()).ok();
        let offsets: Option<(usize, usize)> = serde_json::from_value(info["data_offsets"].clone()).ok();
        let (Some(sizes), Some((start, end))) = (sizes, offsets) else {
            return format!("tensor {name} has no shape or no place in its header");
        };
        let bits = sizes.iter().try_fold(known.bitsize(), |bits, &size| bits.checked_mul(size));
        let shape = shape(&sizes);
        if bits.map(|bits| bits / 8) != end.checked_sub(start) {
            let bytes = bits.map_or("too many".into(), |bits| (bits / 8).to_string());
            return format!(
                "tensor {name}: {shape} of {dtype} is {bytes} bytes, given bytes {start} to {end} of the data"
            );
        }
        covered = covered.max(end);
        if end > given {
            return format!(
                "tensor {name}: {shape} of {dtype} is bytes {start} to {end} of the data, given {given} bytes; the file \
                 is cut off, save or copy it again"
            );
        }
    }
    match given - covered {
        0 => error.into(),
        more => format!("{more} bytes of it belong to no tensor; save or copy it again"),
    }
}

/// The arrays of an `.npz`, and those that hold no numbers or are damaged, with the reason: what stands beside the weights
/// does not keep them from being read.
fn read_archive(bytes: &[u8]) -> Result<Contents, String> {
    let damaged = |error: zip::result::ZipError| format!("the archive is cut off or damaged ({error})");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let names: Result<Vec<_>, _> = archive.file_names().map(|name| Ok(name?.into_owned())).collect();
    let names: Vec<String> = names.map_err(damaged)?;
    let any = |ending: &str| names.iter().any(|name| name.ends_with(ending));
    if pytorch::is_archive(&names) {
        return pytorch::read(&mut archive, &names).map(Contents::from);
    }
    if any("model.weights.h5") {
        return read_keras(&mut archive, 4 * bytes.len() as u64 + BEYOND);
    }
    let (mut tensors, mut unreadable) = (Named::new(), BTreeMap::new());
    for (index, file) in names.iter().enumerate() {
        let name = file.strip_suffix(".npy").unwrap_or(file);
        let mut read = || -> Result<Tensor, String> {
            if name == file {
                return Err("it is no .npy file".into());
            }
            let mut entry = archive.by_index(index).map_err(|error| error.to_string())?;
            let (mut bytes, problem) = (Vec::new(), |error: std::io::Error| error.to_string());
            entry.by_ref().take(HEADER).read_to_end(&mut bytes).map_err(problem)?;
            // However much is packed into it, no more than its header declares; one byte more shows that there is more.
            let rest = arrays::whole_length(&bytes)?.saturating_sub(bytes.len()) as u64 + 1;
            entry.take(rest).read_to_end(&mut bytes).map_err(problem)?;
            arrays::parse(name.into(), &bytes)
        };
        match read() {
            Ok(tensor) => drop(tensors.insert(name.into(), tensor)),
            Err(problem) => drop(unreadable.insert(name.into(), problem)),
        }
    }
    match unreadable.iter().next() {
        Some((name, problem)) if tensors.is_empty() => Err(format!("tensor {name}: {problem}")),
        _ => Ok(Contents::from((tensors, unreadable))),
    }
}

/// A `.keras` archive: weights, configuration and version, no longer than `limit` each.
fn read_keras(archive: &mut ZipArchive<Cursor<&[u8]>>, limit: u64) -> Result<Contents, String> {
    let mut member = |name: &str| -> Result<Vec<u8>, String> {
        let problem = |error: &dyn std::fmt::Display| {
            format!("it is a file of Keras' without a usable {name} ({error})")
        };
        let entry = archive.by_name(name).map_err(|error| problem(&error))?;
        let mut bytes = Vec::new();
        entry.take(limit).read_to_end(&mut bytes).map_err(|error| problem(&error))?;
        Ok(bytes)
    };
    let (config, metadata) = (member("config.json")?, member("metadata.json")?);
    let metadata: Value =
        serde_json::from_slice(&metadata).map_err(|error| format!("its metadata: {error}"))?;
    let version = metadata["keras_version"].as_str().unwrap_or_default();
    let settings = keras::settings(&String::from_utf8_lossy(&config), version)?;
    let (by_name, unreadable, _) = keras::read(&member("model.weights.h5")?)?;
    Ok(Contents { by_name, unreadable, settings, stamp: None })
}

/// Of bytes that are neither safetensors nor an archive, what they probably are and what to do.
fn what_it_is_instead(bytes: &[u8]) -> String {
    if bytes.starts_with(b"\x93NUMPY") {
        return "it is a lone array; expected the weights by name: numpy.savez(\"model.npz\", **{name: array, …})"
            .into();
    }
    let beginning = &bytes[..bytes.len().min(8)];
    let program = match beginning {
        [0x80, 2..=5, ..] => "it is a pickle, but not PyTorch's; nothing in it is run",
        [b'G', b'G', b'U', b'F', ..] => "it is a GGUF file, which is not read",
        [_, _, _, _, b'T', b'F', b'L', b'3'] => "it is a TensorFlow Lite model, which is not read",
        [b'#', b'P' | b'L', b'a' | b'o', ..] => "it is a text file of DyNet's parameters, which is not read",
        _ => "",
    };
    if !program.is_empty() {
        return format!(
            "{program}; in the program that it comes from, save the arrays by name, with the names of PyTorch, Keras or \
             Equinox: numpy.savez(\"model.npz\", **{{name: array, …}})"
        );
    }
    format!(
        "it is neither safetensors, .npz nor a file of PyTorch's, or its beginning is damaged; in PyTorch, save with: {SAVE}"
    )
}
