//! The choice of one of a file's recurrent modules.

use crate::Error;
use crate::conventions::recognize;
use crate::module::Module;
use crate::outline::{Outline, find};
use crate::stack::stack;
use crate::tensors::Tensors;

/// Reads the module called `name`, or the only one; names with commas between them are the layers of one network, the lowest first. `cell` is the cell's name where the file leaves it open.
///
/// # Errors
/// If there is none, there are several and no name chooses, or the module cannot be read.
pub fn choose(tensors: &Tensors, name: Option<&str>, cell: Option<&str>) -> Result<Module, Error> {
    let outlines = find(tensors);
    if let Some(name) = name {
        let called = |name: &str| outlines.iter().find(|outline| outline.name == name);
        if let Some(outline) = called(name) {
            return outline.read(tensors, cell);
        }
        let read = |name: &str| match called(name) {
            Some(outline) => outline.read(tensors, cell),
            None => Err(Error::UnknownName {
                option: "module",
                given: format!("{name:?}, which is not in {},", tensors.path().display()),
                expected: if outlines.is_empty() {
                    "a file with recurrent modules".into()
                } else {
                    names(&outlines)
                },
            }),
        };
        return stack(tensors, name.split(',').map(read).collect::<Result<_, _>>()?);
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

/// Whose names there are, if a source is asked for that has none.
fn find_others(tensors: &Tensors) -> String {
    let hint = |name: &str| recognize(name).map(|weight| weight.convention.title());
    match tensors.iter().find_map(|tensor| hint(&tensor.name)) {
        Some(title) => format!("; its names are those of {title}"),
        None => String::new(),
    }
}

/// Every recurrent module of a file.
pub(crate) fn all(tensors: &Tensors, cell: Option<&str>) -> Result<Vec<Module>, Error> {
    find(tensors).iter().map(|outline| outline.read(tensors, cell)).collect()
}

fn names(outlines: &[Outline]) -> String {
    outlines.iter().map(|outline| format!("{:?}", outline.name)).collect::<Vec<_>>().join(" or ")
}

/// A module in one line: its description, or why it cannot be used.
fn line(tensors: &Tensors, outline: &Outline, cell: Option<&str>) -> String {
    let description = match outline.read(tensors, cell) {
        Ok(module) => module.description(),
        Err(Error::ModelFile { problem, .. }) => problem,
        Err(error) => error.to_string(),
    };
    let name = if outline.name.is_empty() { "\"\"" } else { &outline.name };
    format!("{name}  {description}")
}

pub(crate) fn none_found(tensors: &Tensors) -> String {
    if let Some(source) = tensors.layout().source() {
        let others = find_others(tensors);
        return format!("it holds no recurrent module with the names of --layout {source}{others}");
    }
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
