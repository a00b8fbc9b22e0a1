//! A file's tensors by name, read and written; `formats.rs` knows the formats.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::arrays;
use crate::conventions::Convention;
use crate::formats::{self, Contents};
use crate::keras::{self, Settings};
use crate::layout::Layout;
use crate::rearrange::{Rearranged, rearrange};
use crate::tensor::{FLOATS, Tensor, shape};
use crate::{Error, files, folders, same_names, weight_norm};

/// The one key of the metadata of this project's files; its value is JSON, because the order of several keys would not
/// be stable.
pub(crate) const STAMP: &str = "bptt";

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

    /// Whether the tensors are those that were written.
    pub fn fits(&self, tensors: &Named) -> bool {
        Self::new(&self.cell, tensors).blake3 == self.blake3
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
        if path.is_dir() {
            return Err(Error::ModelFile { path: path.into(), problem: folders::what_it_is(path) });
        }
        let contents = formats::read(&files::read(path)?, Some(path.parent().unwrap_or(Path::new(""))));
        Self::of_contents(path, contents, layout)
    }

    /// Reads a file that is in memory; errors name it by `path`. Files beside it are not looked for.
    ///
    /// # Errors
    /// If it is damaged or has no format that is known here: the message says how to save such a file.
    pub fn of_bytes(path: &Path, bytes: &[u8], layout: &Layout) -> Result<Self, Error> {
        Self::of_contents(path, formats::read(bytes, None), layout)
    }

    fn of_contents(path: &Path, contents: Result<Contents, String>, layout: &Layout) -> Result<Self, Error> {
        let Contents { mut by_name, unreadable, stamp, settings } =
            contents.map_err(|problem| Error::ModelFile { path: path.into(), problem })?;
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

/// Tensors by their names.
pub(crate) type Named = BTreeMap<String, Tensor>;

/// Writes tensors atomically in the format that the ending names (`.safetensors` or `.npz`); the same tensors give the
/// same bytes.
///
/// # Errors
/// If the ending is another, `.npz` lacks a tensor's type, or the file cannot be written.
pub(crate) fn write(path: &Path, tensors: &Named, stamp: Option<&Stamp>) -> Result<(), Error> {
    let bytes = match files::ending(path).as_deref() {
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
