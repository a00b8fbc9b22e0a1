//! The parameters of a network, by name.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use super::spec::{CellSizes, CellSpec, Operand};
use crate::array::{Matrix, View};
use crate::kernel::Real;
use crate::{Error, kernel};

/// The parameters of one cell: one direction of one layer. They are those that the cell's specification declares, and are
/// read and written by name: `params["weight_hh"]`.
#[derive(Clone, Debug, PartialEq)]
pub struct CellParams<T> {
    spec: Arc<CellSpec>,
    sizes: CellSizes,
    tensors: Vec<Matrix<T>>,
}

impl<T: Real> CellParams<T> {
    /// All zeros, for I input features and H hidden units.
    ///
    /// # Panics
    /// If the specification names a state, an adjoint or an array that it does not have, see [`CellSpec::check`].
    pub fn zeros(spec: &Arc<CellSpec>, inputs: usize, hidden: usize) -> Self {
        Self::zeros_with_output(spec, inputs, hidden, hidden)
    }

    /// All zeros, for I input features, H hidden units and an output of P numbers, in a cell that projects it.
    pub fn zeros_with_output(spec: &Arc<CellSpec>, inputs: usize, hidden: usize, output: usize) -> Self {
        let sizes = CellSizes { inputs, hidden, output, gates: spec.gate_count() };
        let zeros = |index: usize| {
            let (rows, cols) = spec.shape(index, &sizes);
            Matrix::zeros(rows, cols)
        };
        Self { spec: Arc::clone(spec), sizes, tensors: (0..spec.params.len()).map(zeros).collect() }
    }

    /// From the parameters' matrices in the order of [`CellSpec::params`]; vectors are (1, n).
    ///
    /// # Errors
    /// [`Error::Specification`] if that is not possible, [`Error::Shape`] if their number or a shape does not fit it; the
    /// message names the parameter.
    pub fn new(spec: &Arc<CellSpec>, tensors: Vec<Matrix<T>>) -> Result<Self, Error> {
        spec.check()?;
        if tensors.len() != spec.params.len() {
            return Err(Error::Shape {
                what: format!("parameters of {}", spec.name),
                expected: format!("{} matrices", spec.params.len()),
                given: format!("{} matrices", tensors.len()),
            });
        }
        let input = &tensors[spec.input_weights()];
        let gates = spec.gate_count();
        let hidden = input.rows() / gates;
        let output = spec.recurrent_weights().map_or(hidden, |index| tensors[index].cols());
        let sizes = CellSizes { inputs: input.cols(), hidden, output, gates };
        let params = Self { spec: Arc::clone(spec), sizes, tensors };
        params.check("")?;
        Ok(params)
    }

    /// Refuses parameters whose shapes do not fit each other; `suffix` is what follows their names in a message.
    pub(super) fn check(&self, suffix: &str) -> Result<(), Error> {
        let CellSizes { hidden, output, gates, .. } = self.sizes;
        if let Some(index) =
            self.spec.recurrent_weights().filter(|_| output != hidden && !self.spec.projects())
        {
            let given = &self.tensors[index];
            return Err(Error::Shape {
                what: format!("{}{suffix}", self.spec.params[index].name),
                expected: format!("({}, {hidden})", gates * hidden),
                given: format!("({}, {})", given.rows(), given.cols()),
            });
        }
        for (index, (param, tensor)) in self.spec.params.iter().zip(&self.tensors).enumerate() {
            let (rows, cols) = self.spec.shape(index, &self.sizes);
            if (tensor.rows(), tensor.cols()) != (rows, cols) || rows == 0 || cols == 0 {
                return Err(Error::Shape {
                    what: format!("{}{suffix}", param.name),
                    expected: format!("({}, {})", rows.max(1), cols.max(1)),
                    given: format!("({}, {})", tensor.rows(), tensor.cols()),
                });
            }
        }
        Ok(())
    }

    /// The specification that declares them.
    pub fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    /// I, H, P and G.
    pub fn sizes(&self) -> &CellSizes {
        &self.sizes
    }

    /// I, the number of input features.
    pub fn inputs(&self) -> usize {
        self.sizes.inputs
    }

    /// H, the number of hidden units.
    pub fn hidden(&self) -> usize {
        self.sizes.hidden
    }

    /// The parameters in the order of [`CellSpec::params`].
    pub fn tensors(&self) -> &[Matrix<T>] {
        &self.tensors
    }

    /// The same, to write.
    pub fn tensors_mut(&mut self) -> &mut [Matrix<T>] {
        &mut self.tensors
    }

    /// The parameter called `name`, if the cell has one.
    pub fn get(&self, name: &str) -> Option<&Matrix<T>> {
        Some(&self.tensors[self.spec.param(name)?])
    }

    /// The same, to write.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Matrix<T>> {
        let index = self.spec.param(name)?;
        Some(&mut self.tensors[index])
    }

    /// The rows of the recurrent weights that belong to gate `gate`, (H, P); `None` in a cell without recurrent weights.
    pub fn recurrent_block(&self, gate: usize) -> Option<View<'_, T>> {
        let (hidden, recurrent) = (self.sizes.hidden, &self.tensors[self.spec.recurrent_weights()?]);
        Some(recurrent.view().some_rows(gate * hidden..(gate + 1) * hidden))
    }

    /// The input weights, (G·H, I).
    pub(crate) fn input_weights(&self) -> &Matrix<T> {
        &self.tensors[self.spec.input_weights()]
    }

    /// The sum of the biases that are added to the input's product: those whose adjoint is that of the input weights.
    pub(super) fn input_bias(&self) -> Vec<T> {
        let (spec, sizes) = (&self.spec, &self.sizes);
        let width = sizes.of(super::spec::Width::Gates);
        let mut sum: Vec<Option<T>> = vec![None; width];
        for (index, param) in spec.params.iter().enumerate() {
            for (b, block) in param.blocks.iter().enumerate() {
                if block.operand == Operand::One && block.adjoint == spec.input_adjoint() {
                    let numbers = &self.tensors[index].data()[spec.rows(index, b, sizes)];
                    for (sum, &number) in sum[spec.columns(block, sizes)].iter_mut().zip(numbers) {
                        *sum = Some(sum.map_or(number, |sum| sum + number));
                    }
                }
            }
        }
        sum.into_iter().map(|sum| sum.unwrap_or_else(T::zero)).collect()
    }

    /// The same shapes, filled with zeros.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        self.map(|m| Matrix::zeros(m.rows(), m.cols()))
    }

    fn map<U: Real>(&self, tensor: impl Fn(&Matrix<T>) -> Matrix<U>) -> CellParams<U> {
        CellParams {
            spec: Arc::clone(&self.spec),
            sizes: self.sizes,
            tensors: self.tensors.iter().map(tensor).collect(),
        }
    }
}

impl<T: Real> Index<&str> for CellParams<T> {
    type Output = Matrix<T>;

    /// # Panics
    /// If the cell has no parameter of this name.
    fn index(&self, name: &str) -> &Matrix<T> {
        self.get(name).unwrap_or_else(|| panic!("{} has no parameter {name}", self.spec.name))
    }
}

impl<T: Real> IndexMut<&str> for CellParams<T> {
    fn index_mut(&mut self, name: &str) -> &mut Matrix<T> {
        let index = self.spec.param(name);
        let index = index.unwrap_or_else(|| panic!("{} has no parameter {name}", self.spec.name));
        &mut self.tensors[index]
    }
}

/// The map from the top hidden state to the output, y = W_hy h + b_y.
#[derive(Clone, Debug, PartialEq)]
pub struct Readout<T> {
    /// W_hy, (V, D·P).
    pub w_hy: Matrix<T>,
    /// b_y, (1, V).
    pub b_y: Matrix<T>,
}

impl<T: Real> Readout<T> {
    /// All zeros, for `outputs` output features.
    pub fn zeros(features: usize, outputs: usize) -> Self {
        Self { w_hy: Matrix::zeros(outputs, features), b_y: Matrix::zeros(1, outputs) }
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
    pub cells: Vec<CellParams<T>>,
    /// Whether each layer reads in both directions.
    pub bidirectional: bool,
    /// The readout; absent where losses act on the hidden state itself.
    pub readout: Option<Readout<T>>,
}

impl<T: Real> Weights<T> {
    /// Every parameter with its name in PyTorch's manner: `weight_ih_l0`, …, `head.weight`, `head.bias`.
    pub fn tensors(&self) -> Vec<(String, &Matrix<T>)> {
        let mut tensors = Vec::new();
        for (index, params) in self.cells.iter().enumerate() {
            let suffix = self.cell_id(index).suffix();
            let named = params.spec.params.iter().zip(&params.tensors);
            tensors.extend(named.map(|(param, tensor)| (format!("{}_{suffix}", param.name), tensor)));
        }
        if let Some(readout) = &self.readout {
            tensors.push(("head.weight".into(), &readout.w_hy));
            tensors.push(("head.bias".into(), &readout.b_y));
        }
        tensors
    }

    /// Layer and direction of cell `index` of [`Weights::cells`].
    pub fn cell_id(&self, index: usize) -> CellId {
        let directions = if self.bidirectional { 2 } else { 1 };
        let direction =
            if index.is_multiple_of(directions) { Direction::Forward } else { Direction::Reverse };
        CellId { layer: index / directions, direction }
    }

    /// The parameters to write, in the order of [`Weights::tensors`].
    pub fn tensors_mut(&mut self) -> Vec<&mut Matrix<T>> {
        let mut tensors: Vec<_> = self.cells.iter_mut().flat_map(|params| &mut params.tensors).collect();
        if let Some(readout) = &mut self.readout {
            tensors.extend([&mut readout.w_hy, &mut readout.b_y]);
        }
        tensors
    }

    /// Whether every parameter has the shape that it has in `other`.
    pub(crate) fn has_shape_of(&self, other: &Self) -> bool {
        let shape = |m: &Matrix<T>| (m.rows(), m.cols());
        let same_cell = |(a, b): (&CellParams<T>, &CellParams<T>)| {
            (Arc::ptr_eq(&a.spec, &b.spec) || a.spec == b.spec) && a.sizes == b.sizes
        };
        self.bidirectional == other.bidirectional
            && self.cells.len() == other.cells.len()
            && self.cells.iter().zip(&other.cells).all(same_cell)
            && self.readout.as_ref().map(|r| shape(&r.w_hy)) == other.readout.as_ref().map(|r| shape(&r.w_hy))
    }

    /// The same shapes, filled with zeros.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        let zeros = |m: &Matrix<T>| Matrix::zeros(m.rows(), m.cols());
        Self {
            cells: self.cells.iter().map(CellParams::zeros_like).collect(),
            bidirectional: self.bidirectional,
            readout: self.readout.as_ref().map(|r| Readout { w_hy: zeros(&r.w_hy), b_y: zeros(&r.b_y) }),
        }
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
            cells: self.cells.iter().map(|params| params.map(Matrix::cast)).collect(),
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

/// Which cell of a network: its layer and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellId {
    /// The layer, from the input up.
    pub layer: usize,
    /// The direction in which it reads.
    pub direction: Direction,
}

impl CellId {
    /// What PyTorch puts behind a parameter's name: `l0`, `l0_reverse`, ….
    pub fn suffix(self) -> String {
        match self.direction {
            Direction::Forward => format!("l{}", self.layer),
            Direction::Reverse => format!("l{}_reverse", self.layer),
        }
    }
}
