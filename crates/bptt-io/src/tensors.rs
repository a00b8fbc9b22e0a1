//! A file's tensors by name: safetensors, or NumPy's `.npz`. Anything else is refused with the way to save it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use safetensors::{SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::arrays;
use crate::conventions::Convention;
use crate::keras::{self, Settings};
use crate::layout::Layout;
use crate::rearrange::{Rearranged, rearrange};
use crate::tensor::{Dtype, FLOATS, Tensor, shape};
use crate::{Error, files, msgpack, onnx, pytorch, same_names, weight_norm};

/// The one key of the metadata of this project's files; its value is JSON, because the order of several keys would not
/// be stable.
const STAMP: &str = "bptt";

const SAVE: &str =
    "from safetensors.torch import save_file; save_file(model.state_dict(), \"model.safetensors\")";

/// Files of Orbax's in its folders.
const ORBAX: [&str; 4] = ["_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "ocdbt.process_0"];
const OF_ORBAX: &str = "it is a folder of Orbax's, which is not read; restore it and write the parameters to a file: \
                        open(\"model.msgpack\", \"wb\").write(flax.serialization.to_bytes(parameters))";

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
    /// Arrays that hold no numbers or are damaged, and why.
    unreadable: BTreeMap<String, String>,
    /// Tensors that were computed from others, and how, in a sentence.
    computed: BTreeMap<String, String>,
    /// Tensors that may stay unread.
    ignored: BTreeSet<String>,
    /// What a configuration in the file says of its layers.
    settings: Settings,
    /// How names and gates are to be read where they leave it open.
    layout: Layout,
    /// Modules whose tensors were put together, or whose source their names tell, by their prefixes.
    rearranged: BTreeMap<String, Rearranged>,
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
    /// If it cannot be read, is damaged, or has no format that is known here: the message says how to save such a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::read_as(path, &Layout::default())
    }

    /// Reads a file as [`read`](Self::read) does, with its recurrent modules as `layout` says.
    ///
    /// # Errors
    /// As those of `read`.
    pub fn read_as(path: &Path, layout: &Layout) -> Result<Self, Error> {
        if path.is_dir() && ORBAX.iter().any(|file| path.join(file).exists()) {
            return Err(Error::ModelFile { path: path.into(), problem: OF_ORBAX.into() });
        }
        Self::of_bytes(path, &files::read(path)?, layout)
    }

    /// Reads a file that is in memory; errors name it by `path`.
    ///
    /// # Errors
    /// If it is damaged or has no format that is known here: the message says how to save such a file.
    pub fn of_bytes(path: &Path, bytes: &[u8], layout: &Layout) -> Result<Self, Error> {
        let mut settings = Settings::default();
        let read = match bytes {
            // The header's length may look like anything; what follows is JSON.
            bytes if bytes.get(8) == Some(&b'{') => {
                read_safetensors(bytes).map(|(tensors, stamp)| (tensors, BTreeMap::new(), stamp))
            }
            bytes if bytes.starts_with(b"PK") => read_archive(bytes).map(|(tensors, unreadable, found)| {
                settings = found;
                (tensors, unreadable, None)
            }),
            bytes if bytes.starts_with(pytorch::LEGACY) => {
                pytorch::read_legacy(bytes).map(|(tensors, unreadable)| (tensors, unreadable, None))
            }
            bytes if keras::is_hdf5(bytes) => keras::read(bytes).map(|(tensors, unreadable, found)| {
                settings = found;
                (tensors, unreadable, None)
            }),
            bytes if msgpack::is_tree(bytes) => {
                msgpack::read(bytes).map(|(tensors, unreadable)| (tensors, unreadable, None))
            }
            bytes if onnx::is_model(bytes) => onnx::read(bytes).map(|(tensors, unreadable, found)| {
                settings = found;
                (tensors, unreadable, None)
            }),
            bytes => Err(what_it_is_instead(bytes)),
        };
        let (mut by_name, unreadable, stamp) =
            read.map_err(|problem| Error::ModelFile { path: path.into(), problem })?;
        let mut computed = weight_norm::materialize(&mut by_name);
        computed.extend(keras::rearrange(&mut by_name));
        let mut rearranged = same_names::resolve(&mut by_name, layout);
        rearranged.extend(rearrange(&mut by_name, layout));
        let (path, ignored, layout) = (path.into(), BTreeSet::new(), layout.clone());
        Ok(Self { path, by_name, stamp, unreadable, computed, ignored, settings, layout, rearranged })
    }

    /// Lets the tensor called `name` stay unread where it would be refused.
    ///
    /// # Errors
    /// If there is none.
    pub fn ignore(&mut self, name: &str) -> Result<(), Error> {
        if !self.by_name.contains_key(name) && !self.unreadable.contains_key(name) {
            return Err(Error::UnknownName {
                option: "ignore",
                given: format!("{name:?}, which is not in {},", self.path.display()),
                expected: "the name of a tensor; bptt inspect lists them".into(),
            });
        }
        self.ignored.insert(name.into());
        Ok(())
    }

    /// Whether the tensor called `name` may stay unread.
    pub(crate) fn is_ignored(&self, name: &str) -> bool {
        self.ignored.contains(name)
    }

    /// Arrays that hold no numbers or are damaged, and why.
    pub fn unreadable(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unreadable.iter().map(|(name, problem)| (name.as_str(), problem.as_str()))
    }

    /// What a configuration in the file says of its layers.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How names and gates are to be read where they leave it open.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The module with this prefix, if its tensors were put together or its source is known otherwise.
    pub(crate) fn rearranged(&self, prefix: &str) -> Option<&Rearranged> {
        self.rearranged.get(prefix)
    }

    /// Whether linear maps of this file are (inputs, outputs) under PyTorch's names.
    pub(crate) fn transposes_linear(&self) -> bool {
        let asked = [Convention::Paddle, Convention::Burn].iter().any(|row| self.layout.asks_for(*row));
        asked || self.rearranged.values().any(|module| module.convention.transposes_linear())
    }

    /// How the tensor called `name` was computed from others of the file, if it was.
    pub(crate) fn computed(&self, name: &str) -> Option<&str> {
        self.computed.get(name).map(String::as_str)
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
        let tensor = self.get(name).ok_or_else(|| {
            self.problem(match self.unreadable.get(name) {
                Some(problem) => format!("tensor {name}: {problem}"),
                None => format!("tensor {name} is missing; expected shape {expected}"),
            })
        })?;
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

/// Bytes that a member may have beyond four times the file's.
const BEYOND: u64 = 64 << 20;

/// The header of an array in an archive is within so many bytes.
const HEADER: u64 = 1 << 16;

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

/// The arrays of an `.npz`, and those that hold no numbers or are damaged, with the reason: what stands beside the weights
/// does not keep them from being read.
fn read_archive(bytes: &[u8]) -> Result<(Named, BTreeMap<String, String>, Settings), String> {
    let damaged = |error: zip::result::ZipError| format!("the archive is cut off or damaged ({error})");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let names: Result<Vec<_>, _> = archive.file_names().map(|name| Ok(name?.into_owned())).collect();
    let names: Vec<String> = names.map_err(damaged)?;
    let any = |ending: &str| names.iter().any(|name| name.ends_with(ending));
    if pytorch::is_archive(&names) {
        let (tensors, unreadable) = pytorch::read(&mut archive, &names)?;
        return Ok((tensors, unreadable, Settings::default()));
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
        _ => Ok((tensors, unreadable, Settings::default())),
    }
}

/// A `.keras` archive: weights, configuration and version, no longer than `limit` each.
fn read_keras(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    limit: u64,
) -> Result<(Named, BTreeMap<String, String>, Settings), String> {
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
    let (tensors, unreadable, _) = keras::read(&member("model.weights.h5")?)?;
    Ok((tensors, unreadable, settings))
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
