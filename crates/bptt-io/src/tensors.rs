//! A file's tensors by name: safetensors, or NumPy's `.npz`. Anything else is refused with the way to save it.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use safetensors::{SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::arrays;
use crate::tensor::{Dtype, FLOATS, Tensor, shape};
use crate::{Error, files};

/// The one key of the metadata of this project's files; its value is JSON, because the order of several keys would not
/// be stable.
const STAMP: &str = "bptt";

const SAVE: &str =
    "from safetensors.torch import save_file; save_file(model.state_dict(), \"model.safetensors\")";

/// What the tensors alone do not tell: the cell, and a checksum.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub cell: String,
    /// Of all tensor bytes in the order of their names.
    blake3: String,
}

impl Stamp {
    pub fn new(cell: &str, tensors: &BTreeMap<String, Tensor>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for tensor in tensors.values() {
            hasher.update(&tensor.bytes);
        }
        Self { cell: cell.into(), blake3: hasher.finalize().to_hex().to_string() }
    }
}

/// The tensors of a file.
#[derive(Clone, Debug)]
pub struct Tensors {
    path: PathBuf,
    by_name: BTreeMap<String, Tensor>,
    stamp: Option<Stamp>,
}

/// One axis of an expected shape.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// It has to be this long.
    Is(usize),
    /// It may be any length; this is its letter.
    Any(&'static str),
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Is(size) => write!(f, "{size}"),
            Self::Any(letter) => f.write_str(letter),
        }
    }
}

/// A shape that is asked for, as Python writes it.
pub(crate) fn expected(sizes: &[Size]) -> String {
    match sizes {
        [size] => format!("({size},)"),
        sizes => format!("({})", sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Whether a shape is what is asked for.
pub(crate) fn fits(given: &[usize], sizes: &[Size]) -> bool {
    let fits = |(&given, size): (&usize, &Size)| match size {
        Size::Is(size) => given == *size,
        Size::Any(_) => given > 0,
    };
    given.len() == sizes.len() && given.iter().zip(sizes).all(fits)
}

impl Tensors {
    /// Reads a file, whose format is recognized by its content, not its name.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is neither safetensors nor `.npz`: the message says how to save such a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = files::read(path)?;
        let read = match bytes.as_slice() {
            // The header's length may look like anything; what follows is JSON.
            bytes if bytes.get(8) == Some(&b'{') => read_safetensors(bytes),
            bytes if bytes.starts_with(b"PK") => read_archive(bytes).map(|tensors| (tensors, None)),
            bytes => Err(what_it_is_instead(bytes)),
        };
        let (by_name, stamp) = read.map_err(|problem| Error::ModelFile { path: path.into(), problem })?;
        Ok(Self { path: path.into(), by_name, stamp })
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name)
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.by_name.values()
    }

    /// The metadata that this project writes beside the tensors, if the file has it.
    pub(crate) fn stamp(&self) -> Option<&Stamp> {
        self.stamp.as_ref()
    }

    /// The file, as an error names it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// That this file cannot be used, and why.
    pub(crate) fn problem(&self, problem: impl Into<String>) -> Error {
        Error::ModelFile { path: self.path.clone(), problem: problem.into() }
    }

    /// The tensor called `name`, of this shape, and its numbers, all finite.
    pub(crate) fn floats(&self, name: &str, sizes: &[Size]) -> Result<(&Tensor, Vec<f64>), Error> {
        let expected = expected(sizes);
        let tensor = self
            .get(name)
            .ok_or_else(|| self.problem(format!("tensor {name} is missing; expected shape {expected}")))?;
        if !fits(&tensor.shape, sizes) {
            let given = shape(&tensor.shape);
            return Err(self.problem(format!("tensor {name}: expected {expected}, given {given}")));
        }
        let numbers = tensor.floats().ok_or_else(|| {
            self.problem(format!("tensor {name} has the type {}; expected {FLOATS}", tensor.dtype))
        })?;
        match tensor.not_finite(&numbers) {
            Some(place) => {
                Err(Error::TensorNotFinite { path: self.path.clone(), tensor: name.into(), place })
            }
            None => Ok((tensor, numbers)),
        }
    }
}

type Named = BTreeMap<String, Tensor>;

fn read_safetensors(bytes: &[u8]) -> Result<(Named, Option<Stamp>), String> {
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
        return Ok((tensors, None));
    };
    let stamp: Stamp = serde_json::from_str(stamp).map_err(|error| error.to_string())?;
    if Stamp::new(&stamp.cell, &tensors).blake3 != stamp.blake3 {
        return Err("its numbers are not the ones that were written (checksum)".into());
    }
    Ok((tensors, Some(stamp)))
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

fn read_archive(bytes: &[u8]) -> Result<Named, String> {
    let damaged = |error: zip::result::ZipError| format!("the archive is cut off or damaged ({error})");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let names: Result<Vec<_>, _> = archive.file_names().map(|name| Ok(name?.into_owned())).collect();
    let names: Vec<String> = names.map_err(damaged)?;
    let any = |ending: &str| names.iter().any(|name| name.ends_with(ending));
    if any("data.pkl") {
        return Err(format!(
            "it is a pickle of PyTorch's, which could run anything when opened; save the numbers alone: {SAVE}"
        ));
    }
    if any(".h5") {
        return Err(keras());
    }
    let mut tensors = Named::new();
    for (index, file) in names.iter().enumerate() {
        let name = file.strip_suffix(".npy");
        let name =
            name.ok_or_else(|| format!("it is an archive with {file:?} in it; expected .npy files"))?;
        let mut entry = archive.by_index(index).map_err(|error| format!("tensor {name}: {error}"))?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| format!("tensor {name}: {error}"))?;
        let tensor =
            arrays::parse(name.into(), &bytes).map_err(|problem| format!("tensor {name}: {problem}"))?;
        tensors.insert(name.into(), tensor);
    }
    Ok(tensors)
}

fn keras() -> String {
    "it is a file of Keras'; save the weights by name: numpy.savez(\"model.npz\", **{w.path: w.numpy() for w in \
     model.weights})"
        .into()
}

/// Of bytes that are neither safetensors nor an archive, what they probably are and what to do.
fn what_it_is_instead(bytes: &[u8]) -> String {
    if bytes.starts_with(b"\x89HDF") {
        return keras();
    }
    if bytes.starts_with(b"\x93NUMPY") {
        return "it is a lone array; expected the weights by name: numpy.savez(\"model.npz\", **{name: array, …})"
            .into();
    }
    if matches!(bytes, [0x80, 2..=5, ..]) {
        return format!(
            "it is a pickle, which could run anything when opened; save the numbers alone: {SAVE}"
        );
    }
    format!("it is neither safetensors nor .npz, or its beginning is damaged; in PyTorch, save with: {SAVE}")
}

/// Writes tensors atomically in the format that the ending names (`.safetensors` or `.npz`); the same tensors give the
/// same bytes.
///
/// # Errors
/// If the ending is another, `.npz` lacks a tensor's type, or the file cannot be written.
pub(crate) fn write(path: &Path, tensors: &Named, stamp: Option<&Stamp>) -> Result<(), Error> {
    let bytes = match path.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => safetensors_bytes(tensors, stamp),
        Some("npz") => {
            archive_bytes(tensors).map_err(|problem| Error::ModelFile { path: path.into(), problem })?
        }
        _ => {
            return Err(Error::UnknownEnding { path: path.into(), expected: ".safetensors or .npz" });
        }
    };
    files::write(path, &bytes)
}

fn safetensors_bytes(tensors: &Named, stamp: Option<&Stamp>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (name.as_str(), view.expect("a tensor has the bytes of its shape"))
    });
    let metadata = match stamp {
        Some(stamp) => (STAMP.to_owned(), serde_json::to_string(stamp).expect("names and digests are JSON")),
        // What safetensors.torch writes, and some readers ask for.
        None => ("format".to_owned(), "pt".to_owned()),
    };
    safetensors::serialize(views, Some(HashMap::from([metadata]))).expect("names are unique and shapes fit")
}

fn archive_bytes(tensors: &Named) -> Result<Vec<u8>, String> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, tensor) in tensors {
        let array = arrays::encode(tensor).ok_or_else(|| {
            format!("NumPy has no {}, the type of tensor {name}; write .safetensors instead", tensor.dtype)
        })?;
        let file = format!("{name}.npy");
        let written = archive.start_file(file, stored).map_err(|error| error.to_string());
        written.and_then(|()| archive.write_all(&array).map_err(|error| error.to_string()))?;
    }
    archive.finish().map(Cursor::into_inner).map_err(|error| error.to_string())
}
