//! A network: cell layers and a readout, with named parameters.

use super::cell::Cell;
use super::packed_weights::Layouts;
use super::params::{CellParams, Direction, Place, Weights};
use super::registry::cell_by_name;
use super::state::State;
use crate::Error;
use crate::array::Matrix;
use crate::kernel::Real;

/// Recurrent layers of one kind of cell, and a readout.
#[derive(Debug)]
pub struct Network<T: Real> {
    cell: &'static dyn Cell<T>,
    weights: Weights<T>,
    layouts: Layouts<T>,
}

impl<T: Real> Clone for Network<T> {
    fn clone(&self) -> Self {
        let (cell, weights) = (self.cell, self.weights.clone());
        Self { cell, layouts: Layouts::new(weights.layers.len()), weights }
    }
}

impl<T: Real> Network<T> {
    /// A network of `cell` with these parameters.
    ///
    /// # Errors
    /// If there is no layer, or a parameter's shape does not fit the others; the message names it with both shapes.
    pub fn new(cell: &'static dyn Cell<T>, weights: Weights<T>) -> Result<Self, Error> {
        let directions = if weights.bidirectional { 2 } else { 1 };
        if weights.layers.is_empty() || !weights.layers.len().is_multiple_of(directions) {
            return Err(Error::Option {
                option: "layers".into(),
                given: format!("{} cells", weights.layers.len()),
                expected: format!("{directions} for each layer, at least one layer"),
            });
        }
        let hidden = weights.layers[0].hidden();
        let inputs = weights.layers[0].inputs();
        let rows = cell.gates().len() * hidden;
        let mut expected = Vec::new();
        for index in 0..weights.layers.len() {
            let inputs = if index < directions { inputs } else { directions * hidden };
            expected.extend([(rows, inputs), (rows, hidden), (1, rows), (1, rows)]);
        }
        if let Some(readout) = &weights.readout {
            expected.extend([(readout.outputs(), directions * hidden), (1, readout.outputs())]);
        }
        for ((name, tensor), (rows, cols)) in weights.tensors().into_iter().zip(expected) {
            if (tensor.rows(), tensor.cols()) != (rows, cols) || rows == 0 || cols == 0 {
                return Err(Error::Shape {
                    what: name,
                    expected: format!("({}, {})", rows.max(1), cols.max(1)),
                    given: format!("({}, {})", tensor.rows(), tensor.cols()),
                });
            }
        }
        Ok(Self { cell, layouts: Layouts::new(weights.layers.len()), weights })
    }

    /// The kind of cell.
    pub fn cell(&self) -> &'static dyn Cell<T> {
        self.cell
    }

    /// The parameters.
    pub fn weights(&self) -> &Weights<T> {
        &self.weights
    }

    /// The parameters' matrices in the order of [`Weights::tensors`], to write; their shapes stay.
    pub fn tensors_mut(&mut self) -> Vec<&mut Matrix<T>> {
        self.layouts.outdate();
        self.weights.tensors_mut()
    }

    /// Lays the parameters out for scans over one-hot inputs, forward and backward, on two threads of the caller's rayon
    /// pool. It is done without asking when they are needed; several that need them at once would wait for the first.
    pub fn prepare(&self) {
        let cells = || self.weights.layers.iter().enumerate();
        let forward = || {
            for (index, params) in cells() {
                self.layouts.recurrent(index, params, self.cell);
                if index < self.directions() {
                    self.layouts.table(index, params, self.cell);
                } else {
                    self.layouts.inputs(index, params, self.cell);
                }
            }
            if let Some(readout) = &self.weights.readout {
                self.layouts.readout(readout);
            }
        };
        let backward = || {
            for (index, params) in cells() {
                self.layouts.recurrent_back(index, params, self.cell);
                if index >= self.directions() {
                    self.layouts.inputs_back(index, params);
                }
            }
            if let Some(readout) = &self.weights.readout {
                self.layouts.readout_back(readout, self.directions(), 0);
            }
        };
        rayon::join(forward, backward);
    }

    /// The parameters, laid out for the scans.
    pub(crate) fn layouts(&self) -> &Layouts<T> {
        &self.layouts
    }

    /// I, the number of input features (symbols, for one-hot input).
    pub fn inputs(&self) -> usize {
        self.weights.layers[0].inputs()
    }

    /// H, the number of hidden units of one direction.
    pub fn hidden(&self) -> usize {
        self.weights.layers[0].hidden()
    }

    /// D, 2 if the layers read in both directions, otherwise 1.
    pub fn directions(&self) -> usize {
        if self.weights.bidirectional { 2 } else { 1 }
    }

    /// The number of layers.
    pub fn depth(&self) -> usize {
        self.weights.layers.len() / self.directions()
    }

    /// The steps from which a path leads through cell `index` to loss k.
    pub(crate) fn span(&self, index: usize, k: usize, steps: usize) -> std::ops::Range<usize> {
        let Place { layer, direction } = self.weights.place(index);
        match direction {
            // Below the top of a bidirectional stack the layers above lead everywhere.
            _ if self.weights.bidirectional && layer + 1 < self.depth() => 0..steps,
            Direction::Forward => 0..k + 1,
            Direction::Reverse => k..steps,
        }
    }

    /// The initial state h0 = 0 for a batch of `batch` sequences.
    pub fn zero_state(&self, batch: usize) -> State<T> {
        let layers = &self.weights.layers;
        let zeros = |width: fn(&CellParams<T>) -> usize| {
            layers.iter().map(|p| Matrix::zeros(batch, width(p))).collect()
        };
        let width = if self.cell.has_memory() { CellParams::hidden } else { |_: &CellParams<T>| 0 };
        State { h: zeros(CellParams::hidden), c: zeros(width) }
    }

    /// The same network in another precision.
    ///
    /// # Errors
    /// Never for the cells of this library, which exist in every precision.
    pub fn cast<U: Real>(&self) -> Result<Network<U>, Error> {
        Network::new(cell_by_name(self.cell.name())?, self.weights.cast())
    }
}
