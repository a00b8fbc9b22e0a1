//! NumPy arrays as the library's, and back.

use bptt::{Matrix, Real, Sequence, SequenceView};
use numpy::ndarray::{Array2, Array3};
use numpy::{Element, IntoPyArray, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;

use crate::errors::to_python;

/// A (T, B, F) array, read once in its order.
pub fn sequence(array: &PyReadonlyArray3<'_, f64>) -> PyResult<Sequence<f64>> {
    let view = array.as_array();
    let (steps, batch, features) = view.dim();
    let sequence = match view.as_slice() {
        Some(numbers) => Sequence::new(steps, batch, features, numbers),
        None => Sequence::new(steps, batch, features, &view.iter().copied().collect::<Vec<f64>>()),
    };
    sequence.map_err(to_python)
}

/// A (rows, columns) array.
pub fn matrix(array: &PyReadonlyArray2<'_, f64>) -> PyResult<Matrix<f64>> {
    let view = array.as_array();
    let (rows, cols) = view.dim();
    Matrix::new(rows, cols, view.iter().copied().collect()).map_err(to_python)
}

/// A new (rows, columns) array.
pub fn from_matrix<'py>(py: Python<'py>, matrix: &Matrix<f64>) -> Bound<'py, PyArray2<f64>> {
    let shape = (matrix.rows(), matrix.cols());
    Array2::from_shape_vec(shape, matrix.data().to_vec()).expect("a matrix has its size").into_pyarray(py)
}

/// A new (rows, columns) array of these numbers.
pub fn grid<T: Element>(
    py: Python<'_>,
    rows: usize,
    cols: usize,
    of: impl Fn(usize, usize) -> T,
) -> Bound<'_, PyArray2<T>> {
    Array2::from_shape_fn((rows, cols), |(i, j)| of(i, j)).into_pyarray(py)
}

/// A new (T, B, F) array in f64.
pub fn from_sequence<'py, T: Real>(
    py: Python<'py>,
    sequence: SequenceView<'_, T>,
) -> Bound<'py, PyArray3<f64>> {
    let (steps, batch) = (sequence.steps(), sequence.batch());
    let numbers = sequence.data().iter().map(|number| number.f64()).collect();
    Array3::from_shape_vec((steps, batch, sequence.features()), numbers)
        .expect("a sequence has its size")
        .into_pyarray(py)
}
