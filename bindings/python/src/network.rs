//! Networks of weights by name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bptt::{CellParams, Error, Matrix, Readout, Weights, cell_by_name};
use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::arrays::{from_matrix, matrix};
use crate::errors::{ShapeError, of_file, to_python};

/// The names of the cells there are.
#[pyfunction]
pub fn cells() -> Vec<&'static str> {
    bptt::cells()
}

/// A recurrent network with fixed weights in f64.
#[pyclass(frozen, module = "bptt._bptt")]
pub struct Network {
    pub of: Arc<bptt::Network<f64>>,
    /// What was assumed in reading it, a sentence each.
    #[pyo3(get)]
    assumptions: Vec<String>,
}

impl Network {
    pub fn wrap(of: bptt::Network<f64>, assumptions: Vec<String>) -> Self {
        Self { of: Arc::new(of), assumptions }
    }
}

#[pymethods]
impl Network {
    /// A network of the cell called `cell`. `weights` has its parameters by PyTorch's names, "weight_ih_l0" to
    /// "bias_hh_l1_reverse", in PyTorch's arrangement, vectors as (1, n); biases that are missing are zero. `head` is the weight (V, D·P) and the bias (1, V) of
    /// a readout.
    #[new]
    #[pyo3(signature = (cell, weights, head = None))]
    fn new(
        cell: &str,
        weights: HashMap<String, PyReadonlyArray2<'_, f64>>,
        head: Option<(PyReadonlyArray2<'_, f64>, PyReadonlyArray2<'_, f64>)>,
    ) -> PyResult<Self> {
        let kind = cell_by_name(cell).map_err(to_python)?;
        let spec = Arc::clone(kind.spec());
        let bidirectional = weights.keys().any(|name| name.ends_with("_reverse"));
        let mut left: Vec<&String> = weights.keys().collect();
        let mut cells = Vec::new();
        let input = spec.params[spec.input_weights()].name;
        for layer in 0.. {
            for suffix in
                [format!("l{layer}"), format!("l{layer}_reverse")].iter().take(1 + usize::from(bidirectional))
            {
                let of = |name: &str| weights.get(&format!("{name}_{suffix}"));
                let Some(first) = of(input) else { break };
                let sizes = first.as_array().dim();
                let hidden = sizes.0 / spec.gate_count();
                let output = spec.recurrent_weights().and_then(|index| of(spec.params[index].name));
                let output = output.map_or(hidden, |w| w.as_array().dim().1);
                let zeros = CellParams::zeros_with_output(&spec, sizes.1, hidden, output);
                let tensor = |(param, zeros): (&bptt::cell::ParamSpec, &Matrix<f64>)| match of(param.name) {
                    Some(array) => matrix(array),
                    None if param.kind == bptt::cell::ParamKind::Bias => Ok(zeros.clone()),
                    None => Err(ShapeError::new_err(format!("{}_{suffix} is missing", param.name))),
                };
                let tensors = spec.params.iter().zip(zeros.tensors()).map(tensor).collect::<PyResult<_>>()?;
                cells.push(
                    CellParams::new(&spec, tensors).map_err(|error| to_python(in_cell(error, suffix)))?,
                );
                left.retain(|name| {
                    let param = name.strip_suffix(suffix.as_str()).and_then(|name| name.strip_suffix('_'));
                    !param.is_some_and(|name| spec.params.iter().any(|param| param.name == name))
                });
            }
            if cells.len() < (layer + 1) * (1 + usize::from(bidirectional)) {
                break;
            }
        }
        if let Some(name) = left.iter().min() {
            return Err(ShapeError::new_err(format!(
                "{name} is no parameter of a network of the cell {cell} with {} layers",
                cells.len() / (1 + usize::from(bidirectional))
            )));
        }
        let readout = head
            .map(|(w_hy, b_y)| Ok::<_, PyErr>(Readout { w_hy: matrix(&w_hy)?, b_y: matrix(&b_y)? }))
            .transpose()?;
        let weights = Weights { cells, bidirectional, readout };
        Ok(Self::wrap(bptt::Network::new(kind, weights).map_err(to_python)?, Vec::new()))
    }

    /// The cell's name.
    #[getter]
    fn cell(&self) -> String {
        self.of.spec().name.clone()
    }

    /// (inputs I, units H, output width D·P, layers, directions D).
    #[getter]
    fn sizes(&self) -> (usize, usize, usize, usize, usize) {
        let of = &self.of;
        (of.inputs(), of.hidden(), of.directions() * of.output_width(), of.depth(), of.directions())
    }

    /// The names of the cell's states: "h", and "c" where there is one.
    #[getter]
    fn states(&self) -> Vec<&'static str> {
        self.of.spec().states.iter().map(|state| state.name).collect()
    }

    /// The parameters by name, vectors as (1, n).
    fn weights<'py>(&self, py: Python<'py>) -> Vec<(String, Bound<'py, PyArray2<f64>>)> {
        self.of
            .weights()
            .tensors()
            .into_iter()
            .map(|(name, tensor)| (name, from_matrix(py, tensor)))
            .collect()
    }
}

/// The error with the name that the parameter has in the network.
fn in_cell(error: Error, suffix: &str) -> Error {
    match error {
        Error::Shape { what, expected, given } => {
            Error::Shape { what: format!("{what}_{suffix}"), expected, given }
        }
        error => error,
    }
}

/// The recurrent module of a file, in every format that the command reads.
#[pyfunction]
#[pyo3(signature = (path, module = None, cell = None))]
pub fn open_file(path: PathBuf, module: Option<&str>, cell: Option<&str>) -> PyResult<Network> {
    let tensors = bptt_io::Tensors::read(&path).map_err(of_file)?;
    let module = bptt_io::choose(&tensors, module, cell).map_err(of_file)?;
    let network = module.network(None).map_err(to_python)?;
    Ok(Network::wrap(network, module.assumptions))
}
