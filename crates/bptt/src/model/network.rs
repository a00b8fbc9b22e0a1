//! A network: layers of cells of one kind, and a readout.

use std::sync::Arc;

use super::cell::{Cell, CellKind, in_precision};
use super::packed_weights::PackedWeights;
use super::params::{CellId, Direction, Weights};
use super::spec::CellSpec;
use super::state::State;
use crate::Error;
use crate::array::Matrix;
use crate::kernel::Real;

/// Recurrent layers of one kind of cell, and a readout.
#[derive(Debug)]
pub struct Network<T: Real> {
    kind: Arc<dyn CellKind>,
    cell: Arc<dyn Cell<T>>,
    weights: Weights<T>,
    packed: PackedWeights<T>,
}

impl<T: Real> Clone for Network<T> {
    fn clone(&self) -> Self {
        Self {
            kind: Arc::clone(&self.kind),
            cell: Arc::clone(&self.cell),
            weights: self.weights.clone(),
            packed: PackedWeights::new(&self.weights.cells),
        }
    }
}

impl<T: Real> Network<T> {
    /// A network of cells of this kind with these parameters.
    ///
    /// # Errors
    /// If the cell's specification is not possible, there is no layer, the parameters are those of another kind of cell, or a parameter's shape does not fit the
    /// others; the message names it with both shapes.
    pub fn new(kind: Arc<dyn CellKind>, weights: Weights<T>) -> Result<Self, Error> {
        kind.spec().check()?;
        let directions = if weights.bidirectional { 2 } else { 1 };
        if weights.cells.is_empty() || !weights.cells.len().is_multiple_of(directions) {
            return Err(Error::Value {
                option: "layers".into(),
                given: format!("{} cells", weights.cells.len()),
                expected: format!("{directions} for each layer, at least one layer"),
            });
        }
        let sizes = *weights.cells[0].sizes();
        for (index, params) in weights.cells.iter().enumerate() {
            if params.spec() != kind.spec() {
                return Err(Error::Value {
                    option: "cell".into(),
                    given: format!("parameters of {}", params.spec().name),
                    expected: format!("parameters of {}", kind.spec().name),
                });
            }
            let suffix = format!("_{}", weights.cell_id(index).suffix());
            params.check(&suffix)?;
            let inputs = if index < directions { sizes.inputs } else { directions * sizes.output };
            let found = params.sizes();
            if (found.inputs, found.hidden, found.output) != (inputs, sizes.hidden, sizes.output) {
                let expected = super::spec::CellSizes { inputs, ..sizes };
                let spec = kind.spec();
                let differs = (0..spec.params.len())
                    .map(|param| (param, spec.shape(param, &expected), spec.shape(param, found)))
                    .find(|(_, expected, given)| expected != given);
                let (param, expected, given) = differs.unwrap_or((0, (0, 0), (0, 0)));
                return Err(Error::Shape {
                    what: format!("{}{suffix}", spec.params[param].name),
                    expected: format!("({}, {})", expected.0, expected.1),
                    given: format!("({}, {})", given.0, given.1),
                });
            }
        }
        if let Some(readout) = &weights.readout {
            let outputs = readout.outputs();
            let shapes = [
                ("head.weight", &readout.w_hy, (outputs, directions * sizes.output)),
                ("head.bias", &readout.b_y, (1, outputs)),
            ];
            for (name, tensor, (rows, cols)) in shapes {
                if (tensor.rows(), tensor.cols()) != (rows, cols) || rows == 0 || cols == 0 {
                    return Err(Error::Shape {
                        what: name.into(),
                        expected: format!("({}, {})", rows.max(1), cols.max(1)),
                        given: format!("({}, {})", tensor.rows(), tensor.cols()),
                    });
                }
            }
        }
        let cell = in_precision::<T>(&*kind);
        Ok(Self { cell, kind, packed: PackedWeights::new(&weights.cells), weights })
    }

    /// The kind of cell.
    pub fn kind(&self) -> &Arc<dyn CellKind> {
        &self.kind
    }

    /// What the cell declares of itself.
    pub fn spec(&self) -> &Arc<CellSpec> {
        self.cell.spec()
    }

    /// The cell.
    pub fn cell(&self) -> &dyn Cell<T> {
        &*self.cell
    }

    /// The parameters.
    pub fn weights(&self) -> &Weights<T> {
        &self.weights
    }

    /// The parameters' matrices in the order of [`Weights::tensors`], to write; their shapes stay.
    pub fn tensors_mut(&mut self) -> Vec<&mut Matrix<T>> {
        self.packed.invalidate();
        self.weights.tensors_mut()
    }

    /// Packs the parameters for scans over one-hot inputs, forward and backward, on two threads of the caller's rayon
    /// pool. It is done without asking when they are needed; several that need them at once would wait for the first.
    pub fn prepare(&self) {
        let cells = || self.weights.cells.iter().enumerate();
        let forward = || {
            for (index, params) in cells() {
                self.packed.step(index, params);
                if index < self.directions() {
                    self.packed.table(index, params);
                } else {
                    self.packed.inputs(index, params);
                }
            }
            if let Some(readout) = &self.weights.readout {
                self.packed.readout(readout);
            }
        };
        let backward = || {
            for (index, params) in cells() {
                self.packed.back(index, params);
                if index >= self.directions() {
                    self.packed.inputs_back(index, params);
                }
            }
            if let Some(readout) = &self.weights.readout {
                self.packed.readout_back(readout, self.directions(), 0);
            }
        };
        rayon::join(forward, backward);
    }

    /// The parameters, packed for the scans.
    pub(crate) fn packed(&self) -> &PackedWeights<T> {
        &self.packed
    }

    /// I, the number of input features (symbols, for one-hot input).
    pub fn inputs(&self) -> usize {
        self.weights.cells[0].inputs()
    }

    /// H, the number of hidden units of one direction.
    pub fn hidden(&self) -> usize {
        self.weights.cells[0].hidden()
    }

    /// P, the width of h of one direction: H, unless the cell projects its output.
    pub fn output_width(&self) -> usize {
        self.weights.cells[0].sizes().output
    }

    /// N, the numbers of all states of one cell.
    pub fn state_width(&self) -> usize {
        self.spec().state_width(self.weights.cells[0].sizes())
    }

    /// D, 2 if the layers read in both directions, otherwise 1.
    pub fn directions(&self) -> usize {
        if self.weights.bidirectional { 2 } else { 1 }
    }

    /// The number of layers.
    pub fn depth(&self) -> usize {
        self.weights.cells.len() / self.directions()
    }

    /// The steps from which a path leads through cell `index` to loss k.
    pub(crate) fn span(&self, index: usize, k: usize, steps: usize) -> std::ops::Range<usize> {
        let CellId { layer, direction } = self.weights.cell_id(index);
        match direction {
            // Below the top of a bidirectional stack the layers above lead everywhere.
            _ if self.weights.bidirectional && layer + 1 < self.depth() => 0..steps,
            Direction::Forward => 0..k + 1,
            Direction::Reverse => k..steps,
        }
    }

    /// The initial state 0 for a batch of `batch` sequences.
    pub fn zero_state(&self, batch: usize) -> State<T> {
        let states = &self.spec().states;
        let of_cell = |params: &super::params::CellParams<T>| {
            states.iter().map(|state| Matrix::zeros(batch, params.sizes().of(state.width))).collect()
        };
        State { cells: self.weights.cells.iter().map(of_cell).collect() }
    }

    /// The same network in another precision.
    ///
    /// # Errors
    /// Never: a kind of cell exists in both.
    pub fn cast<U: Real>(&self) -> Result<Network<U>, Error> {
        Network::new(Arc::clone(&self.kind), self.weights.cast())
    }
}
