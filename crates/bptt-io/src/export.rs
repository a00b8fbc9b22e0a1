//! A file's weights with PyTorch's names.

use std::collections::{BTreeMap, btree_map::Entry};
use std::path::Path;

use crate::choose::all;
use crate::module::Module;
use crate::tensors::{Stamp, Tensors, write};
use crate::{Error, linear};

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
        [only] if !only.is_identified_by_names() => Some(Stamp::new(&only.cell, &named)),
        _ => tensors.stamp().filter(|_| module.is_none()).cloned(),
    };
    write(to, &named, stamp.as_ref())
}
