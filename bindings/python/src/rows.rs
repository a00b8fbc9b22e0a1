//! The rows of a reverse scan whose steps Python differentiates.

use bptt::{OutsideRows, RowNotFinite};
use numpy::ndarray::{Array2, Array3};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray3, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::errors::NotFiniteError;

/// A row for each loss, see [`OutsideRows`].
#[pyclass(module = "bptt._bptt")]
pub struct Rows {
    of: OutsideRows,
    steps: usize,
    parameters: usize,
}

/// The numbers of an array in the order of its rows.
fn flat(array: &PyReadonlyArray2<'_, f64>) -> Vec<f64> {
    array.as_array().iter().copied().collect()
}

#[pymethods]
impl Rows {
    #[new]
    fn new(steps: usize, losses: Vec<usize>, widths: Vec<usize>, parameters: usize) -> Self {
        Self { of: OutsideRows::new(steps, losses, widths, parameters), steps, parameters }
    }

    /// The row of the loss at step `t`, and the number of the first row of a later loss.
    fn at(&self, t: usize) -> (Option<usize>, usize) {
        (self.of.own(t), self.of.later(t).start)
    }

    /// Part `part` of the state's gradient of these rows, (rows, width).
    fn part<'py>(
        &self,
        py: Python<'py>,
        part: usize,
        width: usize,
        rows: Vec<usize>,
    ) -> Bound<'py, PyArray2<f64>> {
        let numbers = self.of.part(part, &rows);
        Array2::from_shape_vec((rows.len(), width), numbers).expect("a row has its width").into_pyarray(py)
    }

    /// The powers of two of these rows.
    fn factors<'py>(&self, py: Python<'py>, rows: Vec<usize>) -> Bound<'py, PyArray1<f64>> {
        self.of.factors(&rows).into_pyarray(py)
    }

    /// Records norms and products of components, (parameters, rows) each.
    fn record(
        &mut self,
        t: usize,
        rows: Vec<usize>,
        parameters: Vec<usize>,
        norms: PyReadonlyArray2<'_, f64>,
        inner: PyReadonlyArray2<'_, f64>,
    ) -> PyResult<()> {
        let recorded = self.of.record(t, &rows, &parameters, &flat(&norms), &flat(&inner));
        recorded.map_err(|RowNotFinite { loss }| {
            NotFiniteError::new_err(format!("the components of loss {loss} at step {t} are not finite"))
        })
    }

    /// Replaces the rows by those before step `t`.
    fn keep(&mut self, t: usize, rows: Vec<usize>, before: Vec<PyReadonlyArray2<'_, f64>>) -> PyResult<()> {
        let numbers: Vec<Vec<f64>> = before.iter().map(flat).collect();
        let parts: Vec<&[f64]> = numbers.iter().map(Vec::as_slice).collect();
        self.of.keep(&rows, &parts).map_err(|RowNotFinite { loss }| {
            NotFiniteError::new_err(format!(
                "the gradient of loss {loss} with respect to the state before step {t} is not finite"
            ))
        })
    }

    /// log₁₀ of the norms of components, (parameters, losses, T); NaN where there is none.
    fn log10<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<f64>> {
        self.grid(self.of.log10_norms()).into_pyarray(py)
    }

    /// Shares of components, (parameters, losses, T), for gradients of these norms.
    fn shares<'py>(&self, py: Python<'py>, totals: PyReadonlyArray1<'_, f64>) -> Bound<'py, PyArray3<f64>> {
        let totals: Vec<f64> = totals.as_array().to_vec();
        let mut shares = self.grid(self.of.inner());
        for (mut of, total) in shares.outer_iter_mut().zip(totals) {
            of.mapv_inplace(|inner| if total > 0.0 { inner / total } else { f64::NAN });
        }
        shares.into_pyarray(py)
    }

    /// Σ ‖component‖ of each parameter.
    fn sizes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.of.sizes().into_pyarray(py)
    }

    /// log₁₀ of the norms of the rows in a part of the state, and their sum.
    fn state<'py>(
        &self,
        py: Python<'py>,
        part: usize,
    ) -> (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>) {
        (self.of.part_log10_norms(part).into_pyarray(py), self.of.part_sum(part).into_pyarray(py))
    }
}

impl Rows {
    fn grid(&self, numbers: &[f64]) -> Array3<f64> {
        let shape = (self.parameters, self.of.losses().len(), self.steps);
        Array3::from_shape_vec(shape, numbers.to_vec()).expect("a record for each of them")
    }
}
