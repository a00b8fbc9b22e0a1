//! A network: cell layers and a readout, with named parameters.

use crate::cell::{Cell, CellParams, cell_by_name};
use crate::layout::Layouts;
use crate::sequence::{Matrix, View};
use crate::{Error, Real, kernel};

/// The map from the top hidden state to the output, y = W_hy h + b_y.
#[derive(Clone, Debug, PartialEq)]
pub struct Readout<T> {
    /// W_hy, (V, H).
    pub w_hy: Matrix<T>,
    /// b_y, (1, V).
    pub b_y: Matrix<T>,
}

impl<T: Real> Readout<T> {
    /// All zeros, for `outputs` output features.
    pub fn zeros(hidden: usize, outputs: usize) -> Self {
        Self { w_hy: Matrix::zeros(outputs, hidden), b_y: Matrix::zeros(1, outputs) }
    }

    /// V, the number of output features.
    pub fn outputs(&self) -> usize {
        self.w_hy.rows()
    }
}

/// Every parameter of a network; also the shape of its gradient and of an update.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights<T> {
    /// The cells from the input up; of a bidirectional layer the forward one and then the reverse one (PyTorch's order).
    pub layers: Vec<CellParams<T>>,
    /// Whether each layer reads in both directions.
    pub bidirectional: bool,
    /// The readout; absent where losses act on the hidden state itself.
    pub readout: Option<Readout<T>>,
}

impl<T: Real> Weights<T> {
    /// Every parameter with its name in PyTorch's manner: `weight_ih_l0`, …, `head.weight`, `head.bias`.
    pub fn tensors(&self) -> Vec<(String, &Matrix<T>)> {
        let mut tensors = Vec::new();
        for (index, p) in self.layers.iter().enumerate() {
            let suffix = self.place(index).suffix();
            tensors.push((format!("weight_ih_{suffix}"), &p.w_ih));
            tensors.push((format!("weight_hh_{suffix}"), &p.w_hh));
            tensors.push((format!("bias_ih_{suffix}"), &p.b_ih));
            tensors.push((format!("bias_hh_{suffix}"), &p.b_hh));
        }
        if let Some(readout) = &self.readout {
            tensors.push(("head.weight".into(), &readout.w_hy));
            tensors.push(("head.bias".into(), &readout.b_y));
        }
        tensors
    }

    /// Where cell `index` of [`Weights::layers`] stands.
    pub fn place(&self, index: usize) -> Place {
        let directions = if self.bidirectional { 2 } else { 1 };
        let direction =
            if index.is_multiple_of(directions) { Direction::Forward } else { Direction::Reverse };
        Place { layer: index / directions, direction }
    }

    /// The parameters to write, in the order of [`Weights::tensors`].
    pub fn tensors_mut(&mut self) -> Vec<&mut Matrix<T>> {
        let mut tensors = Vec::new();
        for p in &mut self.layers {
            tensors.extend([&mut p.w_ih, &mut p.w_hh, &mut p.b_ih, &mut p.b_hh]);
        }
        if let Some(readout) = &mut self.readout {
            tensors.extend([&mut readout.w_hy, &mut readout.b_y]);
        }
        tensors
    }

    /// Whether every parameter has the shape that it has in `other`.
    pub(crate) fn has_shape_of(&self, other: &Self) -> bool {
        let shape = |m: &Matrix<T>| (m.rows(), m.cols());
        let of_cell = |p: &CellParams<T>| (shape(&p.w_ih), shape(&p.w_hh));
        self.bidirectional == other.bidirectional
            && self.layers.iter().map(of_cell).eq(other.layers.iter().map(of_cell))
            && self.readout.as_ref().map(|r| shape(&r.w_hy)) == other.readout.as_ref().map(|r| shape(&r.w_hy))
    }

    /// The same shapes, filled with zeros.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        for tensor in zeros.tensors_mut() {
            tensor.data_mut().fill(T::zero());
        }
        zeros
    }

    /// Adds `other`, whose shapes are the same, number by number.
    ///
    /// # Panics
    /// If a shape differs.
    pub fn add(&mut self, other: &Self) {
        assert!(self.has_shape_of(other), "weights to add must have the same shapes");
        for (sum, (_, other)) in self.tensors_mut().into_iter().zip(other.tensors()) {
            kernel::add_scaled(sum.data_mut(), T::one(), other.data());
        }
    }

    /// The same numbers in another precision.
    pub fn cast<U: Real>(&self) -> Weights<U> {
        Weights {
            layers: self
                .layers
                .iter()
                .map(|p| CellParams {
                    w_ih: p.w_ih.cast(),
                    w_hh: p.w_hh.cast(),
                    b_ih: p.b_ih.cast(),
                    b_hh: p.b_hh.cast(),
                })
                .collect(),
            bidirectional: self.bidirectional,
            readout: self.readout.as_ref().map(|r| Readout { w_hy: r.w_hy.cast(), b_y: r.b_y.cast() }),
        }
    }
}

/// Which way a cell reads its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From step 0 on.
    #[default]
    Forward,
    /// From step T − 1 back.
    Reverse,
}

impl Direction {
    /// `"forward"` or `"reverse"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }
}

/// Where a cell stands in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which layer, from the input up.
    pub layer: usize,
    /// Which direction.
    pub direction: Direction,
}

impl Place {
    /// What PyTorch puts behind a parameter's name: `l0`, `l0_reverse`, ….
    pub fn suffix(self) -> String {
        match self.direction {
            Direction::Forward => format!("l{}", self.layer),
            Direction::Reverse => format!("l{}_reverse", self.layer),
        }
    }
}

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

/// The recurrent state of every layer between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T> {
    /// h of each cell in the order of [`Weights::layers`], (B, H).
    pub h: Vec<Matrix<T>>,
    /// c of each cell, (B, H); (B, 0) where the cell has none.
    pub c: Vec<Matrix<T>>,
}

impl<T: Real> State<T> {
    /// A state of cells that have h alone.
    pub fn of_h(h: Vec<Matrix<T>>) -> Self {
        let c = h.iter().map(|h| Matrix::zeros(h.rows(), 0)).collect();
        Self { h, c }
    }

    /// The state of sequence `b` alone.
    #[must_use]
    pub fn sequence(&self, b: usize) -> Self {
        let row = |m: &Matrix<T>| View::new(1, m.cols(), m.row(b)).to_matrix();
        Self { h: self.h.iter().map(row).collect(), c: self.c.iter().map(row).collect() }
    }

    /// The same state in another precision.
    pub fn cast<U: Real>(&self) -> State<U> {
        State { h: self.h.iter().map(Matrix::cast).collect(), c: self.c.iter().map(Matrix::cast).collect() }
    }
}
