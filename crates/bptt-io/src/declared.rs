//! Reading of cells that no layout of the table has: the names and shapes of their parameters are those that they declare.

use std::sync::Arc;

use bptt::cell::{CellSizes, CellSpec, Role};
use bptt::{CellParams, Matrix, Weights, cell_by_name};

use crate::Error;
use crate::module::{Module, shape_in_pytorch};
use crate::outline::Outline;
use crate::tensor::{Dtype, shape};
use crate::tensors::{Size, Tensors};

/// What PyTorch's `proj_size` adds to an LSTM.
const PROJECTION: (&str, &str) = ("weight_hr", "lstm_projected");

impl Outline {
    /// The specification of the cell, if the table has no module with its parameters and gates: of the cell that was asked
    /// for or that the file's metadata or its graph names, or of the LSTM with projection, which its tensors tell.
    ///
    /// # Errors
    /// If the tensors are of an LSTM with projection and another cell is asked for.
    pub(crate) fn declares(
        &self,
        tensors: &Tensors,
        told: Option<&str>,
    ) -> Result<Option<Arc<CellSpec>>, Error> {
        if self.convention.transposed() {
            return Ok(None);
        }
        let (parameter, projected) = PROJECTION;
        let projection = tensors.get(&self.parameter(parameter, 0));
        let stamped = tensors.stamp().map(|stamp| stamp.cell.as_str());
        let configured = tensors.settings().cell(self.path(), self.prefixes.len()).and_then(Result::ok);
        let known = told.or(stamped).or(configured).map_or(Ok(None), |name| cell_by_name(name).map(Some))?;
        let spec = match (known, projection) {
            (None, None) => return Ok(None),
            (None, Some(_)) => Arc::clone(cell_by_name(projected)?.spec()),
            (Some(cell), _) => Arc::clone(cell.spec()),
        };
        if let Some(tensor) = projection.filter(|_| spec.param(parameter).is_none()) {
            let (name, cell) = (&tensor.name, &spec.name);
            return Err(
                tensors.problem(format!("tensor {name}: {cell} has no {parameter}; expected {projected}"))
            );
        }
        Ok((!self.convention.has(&spec)).then_some(spec))
    }

    /// The module's numbers, of the parameters that `spec` declares. Biases may be absent, all of them.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape or type, or is not finite; the message names it.
    pub(crate) fn read_declared(&self, tensors: &Tensors, spec: &Arc<CellSpec>) -> Result<Module, Error> {
        if tensors.layout().has_gates() {
            return Err(tensors.problem(format!("--gate-order is not possible for the cell {}", spec.name)));
        }
        let sizes = self.declared_sizes(tensors, spec)?;
        let (mut cells, mut dtypes, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        let directions = self.prefixes.len();
        for index in 0..self.layers.saturating_mul(directions) {
            let inputs = if index < directions { sizes.inputs } else { directions * sizes.output };
            let sizes = CellSizes { inputs, ..sizes };
            let is_bias = |role| matches!(role, Role::InputBias | Role::RecurrentBias);
            let is_there = |name| tensors.get(&self.parameter(name, index)).is_some();
            let biased = spec.params.iter().any(|param| is_bias(param.role) && is_there(param.name));
            let (mut matrices, mut types): (Vec<Matrix<f64>>, Vec<Option<Dtype>>) = (Vec::new(), Vec::new());
            for (number, param) in spec.params.iter().enumerate() {
                let (rows, cols) = spec.shape(number, &sizes);
                if is_bias(param.role) && !biased {
                    matrices.push(Matrix::zeros(rows, cols));
                    types.push(None);
                    continue;
                }
                let name = self.parameter(param.name, index);
                let expected = shape_in_pytorch(param.kind, (rows, cols));
                let expected: Vec<Size> = expected.into_iter().map(Size::Is).collect();
                let (tensor, numbers) = tensors.floats(&name, &expected)?;
                matrices.push(Matrix::new(rows, cols, numbers)?);
                types.push(Some(tensor.dtype));
                sources.push(name);
            }
            cells.push(CellParams::new(spec, matrices)?);
            dtypes.push(types);
        }
        let weights = Weights { cells, bidirectional: directions == 2, readout: None };
        let computed = sources.iter().filter_map(|name| tensors.computed(name)).map(String::from);
        let assumptions = tensors.settings().said.iter().cloned().chain(computed).collect();
        let (outline, cell) = (self.clone(), spec.name.clone());
        let arrangement = self.convention.arrangement(&spec.gate_names());
        Ok(Module { outline, cell, weights, dtypes, sources, arrangement, assumptions })
    }

    /// I, H, P and G, from the first cell's input weights and, where there are, recurrent weights.
    fn declared_sizes(&self, tensors: &Tensors, spec: &CellSpec) -> Result<CellSizes, Error> {
        let gates = spec.gate_count();
        let matrix = |role: Role, expected: &str| -> Result<Option<(usize, usize)>, Error> {
            let Some(param) = spec.params.iter().find(|param| param.role == role) else { return Ok(None) };
            let name = self.parameter(param.name, 0);
            let tensor = tensors.get(&name).ok_or_else(|| {
                tensors.problem(format!("tensor {name} is missing; expected shape {expected}"))
            })?;
            match *tensor.shape {
                [rows, cols] if rows > 0 && cols > 0 && rows % gates == 0 => Ok(Some((rows, cols))),
                _ => Err(tensors.problem(format!(
                    "tensor {name}: expected {expected} with the {gates} gates of {}, given {}",
                    spec.name,
                    shape(&tensor.shape)
                ))),
            }
        };
        let missing = || tensors.problem(format!("{} has no input weights", spec.name));
        let (rows, inputs) = matrix(Role::Input, "(G·H, I)")?.ok_or_else(missing)?;
        let hidden = rows / gates;
        let output = matrix(Role::Recurrent, "(G·H, P)")?.map_or(hidden, |(_, output)| output);
        Ok(CellSizes { inputs, hidden, output, gates })
    }
}
