//! The parameters of a network, by name.

use crate::array::Matrix;
use crate::kernel;
use crate::kernel::Real;

/// The parameters of one cell: one direction of one layer.
///
/// G is the cell's number of gates, H its hidden size, I its input size. The order of the gates is PyTorch's.
#[derive(Clone, Debug, PartialEq)]
pub struct CellParams<T> {
    /// Input weights, (G·H, I).
    pub w_ih: Matrix<T>,
    /// Recurrent weights, (G·H, H).
    pub w_hh: Matrix<T>,
    /// Bias added to the input's contribution, (1, G·H).
    pub b_ih: Matrix<T>,
    /// Bias added to the state's contribution, (1, G·H).
    pub b_hh: Matrix<T>,
}

impl<T: Real> CellParams<T> {
    /// All zeros, for `gates` gates.
    pub fn zeros(gates: usize, inputs: usize, hidden: usize) -> Self {
        Self {
            w_ih: Matrix::zeros(gates * hidden, inputs),
            w_hh: Matrix::zeros(gates * hidden, hidden),
            b_ih: Matrix::zeros(1, gates * hidden),
            b_hh: Matrix::zeros(1, gates * hidden),
        }
    }

    /// I, the number of input features.
    pub fn inputs(&self) -> usize {
        self.w_ih.cols()
    }

    /// H, the number of hidden units.
    pub fn hidden(&self) -> usize {
        self.w_hh.cols()
    }
}

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
