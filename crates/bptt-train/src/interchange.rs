//! Weights from elsewhere and to elsewhere: safetensors and `.npz` with PyTorch's names, read also in Keras' and
//! CS231n's arrangement.
//!
//! A file is read as [`Tensors`], which keep every bit; [`find`] tells which recurrent modules are in it by the names of
//! their weights, and [`choose`] reads one of them.

pub mod arrays;
pub mod batch;
mod inspect;
mod layout;
mod linear;
mod module;
mod modules;
mod tensor;
mod tensors;

use std::collections::{BTreeMap, btree_map::Entry};
use std::path::Path;

pub use inspect::{Block, ModuleReport, Other, Report, inspect};
pub use layout::Layout;
pub use linear::{embedding, head};
pub use module::Module;
pub use modules::{Outline, find};
pub use tensor::{Dtype, Tensor};
pub use tensors::Tensors;
pub(crate) use tensors::{Stamp, write};

use crate::Error;

/// Reads the module called `name`, or the only one. `cell` is the cell's name where the file leaves it open.
///
/// # Errors
/// If there is none, there are several and no name chooses, or the module cannot be read.
pub fn choose(tensors: &Tensors, name: Option<&str>, cell: Option<&str>) -> Result<Module, Error> {
    let outlines = find(tensors);
    if let Some(name) = name {
        let outline = outlines.iter().find(|outline| outline.name == name).ok_or_else(|| Error::Option {
            option: "module".into(),
            given: format!("{name:?}, which is not in {},", tensors.path().display()),
            expected: if outlines.is_empty() {
                "a file with recurrent modules".into()
            } else {
                names(&outlines)
            },
        })?;
        return outline.read(tensors, cell);
    }
    match outlines.as_slice() {
        [only] => only.read(tensors, cell),
        [] => Err(tensors.problem(none_found(tensors))),
        several => Err(Error::Choice {
            path: tensors.path().into(),
            what: format!("{} recurrent modules", several.len()),
            option: "module",
            choices: several.iter().map(|outline| line(tensors, outline, cell)).collect(),
        }),
    }
}

/// Every recurrent module of a file.
fn all(tensors: &Tensors, cell: Option<&str>) -> Result<Vec<Module>, Error> {
    find(tensors).iter().map(|outline| outline.read(tensors, cell)).collect()
}

fn names(outlines: &[Outline]) -> String {
    outlines.iter().map(|outline| format!("{:?}", outline.name)).collect::<Vec<_>>().join(" or ")
}

/// A module in one line: what it is, or why it cannot be used.
fn line(tensors: &Tensors, outline: &Outline, cell: Option<&str>) -> String {
    let description = match outline.read(tensors, cell) {
        Ok(module) => module.description(),
        Err(Error::ModelFile { problem, .. }) => problem,
        Err(error) => error.to_string(),
    };
    let name = if outline.name.is_empty() { "\"\"" } else { &outline.name };
    format!("{name}  {description}")
}

fn none_found(tensors: &Tensors) -> String {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let more = names.len().saturating_sub(6);
    names.truncate(6);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "it holds no recurrent module; expected a weight_hh_l0 or weight_hh (PyTorch), recurrent_kernel (Keras) or Wh \
         (CS231n), given {}{more}",
        if names.is_empty() { "no tensor".into() } else { names.join(", ") }
    )
}

/// Writes the tensors of a file to another: recurrent modules, and Keras' dense layers and embeddings, with PyTorch's
/// names and in its arrangement, everything else as it is. Of a module alone, if one is given, its tensors without its
/// name. `cell` is the cell's name where the file leaves it open.
///
/// # Errors
/// If a module cannot be read, two tensors would get the same name, the ending of `to` is neither `.safetensors` nor
/// `.npz`, or the file cannot be written.
pub fn export(
    tensors: &Tensors,
    module: Option<&Module>,
    cell: Option<&str>,
    to: &Path,
) -> Result<(), Error> {
    let modules = match module {
        Some(module) => vec![module.clone()],
        None => all(tensors, cell)?,
    };
    let others = tensors.iter().filter(|tensor| !modules.iter().any(|module| module.owns(tensor)));
    let others = others.filter(|_| module.is_none()).map(|tensor| linear::to_pytorch(tensors, tensor));
    let prefix = |own: &Module| if module.is_some() { String::new() } else { own.pytorch_prefix() };
    let recurrent = modules.iter().flat_map(|own| own.tensors(&prefix(own)));
    let mut named = BTreeMap::new();
    for tensor in recurrent.chain(others) {
        match named.entry(tensor.name.clone()) {
            Entry::Vacant(place) => place.insert(tensor),
            Entry::Occupied(_) => {
                let problem = format!("two tensors would be called {} in PyTorch", tensor.name);
                return Err(tensors.problem(problem));
            }
        };
    }
    let stamp = match modules.as_slice() {
        // What its tensors do not tell, the file's metadata has to.
        [only] if !only.is_told_by_names() => Some(Stamp::new(&only.cell, &named)),
        _ => tensors.stamp().filter(|_| module.is_none()).cloned(),
    };
    write(to, &named, stamp.as_ref())
}
