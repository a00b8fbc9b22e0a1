//! The errors of the library as Python's exceptions. Their texts are the library's.

use bptt::Error;
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

create_exception!(bptt, BpttError, PyValueError, "An error of bptt.");
create_exception!(bptt, ShapeError, BpttError, "An array has another shape than the place it was given to.");
create_exception!(
    bptt,
    NotFiniteError,
    BpttError,
    "A number that had to be finite is not, or a gradient explodes."
);
create_exception!(bptt, UnknownCellError, BpttError, "No cell has this name.");
create_exception!(bptt, UnsupportedError, BpttError, "The network lacks a property that something needs.");
create_exception!(bptt, BalanceError, BpttError, "The components do not add up to the ordinary gradient.");
create_exception!(bptt, FileError, BpttError, "A file cannot be read, or holds what is not understood.");

/// The exception for an error of the core.
pub fn to_python(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Shape { .. } => ShapeError::new_err(text),
        Error::NotFinite { .. } | Error::Exploded { .. } => NotFiniteError::new_err(text),
        Error::UnknownCell { .. } => UnknownCellError::new_err(text),
        Error::Unsupported { .. } => UnsupportedError::new_err(text),
        Error::Balance { .. } => BalanceError::new_err(text),
        _ => BpttError::new_err(text),
    }
}

/// The exception for an error with a file.
pub fn of_file(error: bptt_io::Error) -> PyErr {
    match error {
        bptt_io::Error::Model(error) => to_python(error),
        error => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            FileError::new_err(format!("{error}{}", source.unwrap_or_default()))
        }
    }
}

/// The exception for an error of settings, texts, tasks and trainings.
pub fn of_training(error: bptt_train::Error) -> PyErr {
    match error {
        bptt_train::Error::Model(error) => to_python(error),
        error => BpttError::new_err(error.to_string()),
    }
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add("BpttError", py.get_type::<BpttError>())?;
    m.add("ShapeError", py.get_type::<ShapeError>())?;
    m.add("NotFiniteError", py.get_type::<NotFiniteError>())?;
    m.add("UnknownCellError", py.get_type::<UnknownCellError>())?;
    m.add("UnsupportedError", py.get_type::<UnsupportedError>())?;
    m.add("BalanceError", py.get_type::<BalanceError>())?;
    m.add("FileError", py.get_type::<FileError>())
}
