//! A recurrent module that was read: its network, its description, and its tensors to be written again.

use bptt::cell::ParamKind;
use bptt::{Error, Network, Readout, Weights, cell_by_name};

use crate::conventions::{Convention, default_in_pytorch, in_pytorch};
use crate::outline::Outline;
use crate::tensor::{Dtype, Tensor};

/// A recurrent module that was read: its parameters in PyTorch's arrangement and the number types they came with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Module {
    /// Its name and whose names its tensors have.
    pub outline: Outline,
    /// The name of its cell, as [`cell_by_name`] knows it.
    pub cell: String,
    /// Its parameters; no readout.
    pub weights: Weights<f64>,
    /// For each cell the number types of its parameters, in the order in which it declares them; of biases none if the
    /// module has none.
    pub(crate) dtypes: Vec<Vec<Option<Dtype>>>,
    /// The names of its tensors in the file.
    pub(crate) sources: Vec<String>,
    /// How its tensors are arranged in the file: `"matrices (inputs, gates · H), gates in the order i, f, c, o"`.
    pub arrangement: String,
    /// What was assumed in reading it and what was computed, a sentence each.
    pub assumptions: Vec<String>,
}

impl Module {
    /// The module as a network, with the readout if one is given.
    ///
    /// # Errors
    /// If the readout does not fit.
    pub fn network(&self, readout: Option<Readout<f64>>) -> Result<Network<f64>, Error> {
        let weights = Weights { readout, ..self.weights.clone() };
        Network::new(cell_by_name(&self.cell)?, weights)
    }

    /// D·P, the width of its output.
    pub fn width(&self) -> usize {
        self.outline.prefixes.len() * self.weights.cells[0].sizes().output
    }

    /// What it was read as: `"lstm is read as Keras: matrices (inputs, gates · H), gates in the order i, f, c, o"`.
    pub fn reading(&self) -> String {
        let (title, layout) = (self.outline.title(), self.outline.convention.title());
        format!("{title} is read as {layout}: {}", self.arrangement)
    }

    /// The number types of its tensors, each once.
    pub fn dtypes(&self) -> Vec<Dtype> {
        let mut types: Vec<Dtype> = self.dtypes.iter().flatten().copied().flatten().collect();
        types.sort_unstable();
        types.dedup();
        types
    }

    /// Whether a tensor of the file is one of its own.
    pub(crate) fn owns(&self, tensor: &Tensor) -> bool {
        self.sources.contains(&tensor.name)
    }

    /// Whether it has biases.
    pub fn biased(&self) -> bool {
        let params = &self.weights.cells[0].spec().params;
        params
            .iter()
            .zip(&self.dtypes[0])
            .any(|(param, dtype)| param.kind == ParamKind::Bias && dtype.is_some())
    }

    /// Its tensors with PyTorch's names behind `prefix`, in PyTorch's arrangement, with the bits they came with.
    pub(crate) fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        let is_cell = self.outline.convention.is_cell();
        let convention = if is_cell { Convention::PyTorchCell } else { Convention::PyTorch };
        for (index, (p, dtypes)) in self.weights.cells.iter().zip(&self.dtypes).enumerate() {
            for ((param, matrix), dtype) in p.spec().params.iter().zip(p.tensors()).zip(dtypes) {
                let Some(dtype) = *dtype else { continue };
                let shape = shape_in_pytorch(param.kind, (matrix.rows(), matrix.cols()));
                let name =
                    format!("{prefix}{}", convention.numbered(param.name, self.weights.cell_id(index)));
                tensors.push(Tensor::of_floats(name, dtype, shape, matrix.data()));
            }
        }
        tensors
    }

    /// The prefix of its tensors' names in PyTorch: Keras' slashes become dots.
    pub(crate) fn pytorch_prefix(&self) -> String {
        match self.outline.convention {
            Convention::PyTorch | Convention::PyTorchCell | Convention::Equinox => {
                self.outline.prefixes[0].clone()
            }
            _ if self.outline.name.is_empty() => String::new(),
            _ => format!("{}.", self.outline.name.replace('/', ".")),
        }
    }

    /// Whether PyTorch's names and shapes alone say which cell it is.
    pub(crate) fn is_identified_by_names(&self) -> bool {
        default_in_pytorch(self.gates()) == Some(self.cell.as_str())
    }

    /// In a few words: `"lstm, 2 layers, both directions, I 5, H 4"`.
    pub fn description(&self) -> String {
        let Self { cell, weights, .. } = self;
        let layers = match self.outline.layers {
            1 => "1 layer".into(),
            layers => format!("{layers} layers"),
        };
        let directions = if weights.bidirectional { ", both directions" } else { "" };
        let sizes = weights.cells[0].sizes();
        let output =
            if sizes.output == sizes.hidden { String::new() } else { format!(", P {}", sizes.output) };
        format!("{cell}, {layers}{directions}, I {}, H {}{output}", sizes.inputs, sizes.hidden)
    }

    /// G, the number of its cell's gates.
    fn gates(&self) -> usize {
        self.weights.cells[0].sizes().gates
    }

    /// Whether PyTorch has its cell, so that [`python`](Self::python) computes what this module does.
    pub fn is_in_pytorch(&self) -> bool {
        in_pytorch(&self.cell, self.gates()).2
    }

    /// PyTorch's module that loads its weights: `"torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True)"`.
    pub fn python(&self) -> String {
        let (class, class_options, _) = in_pytorch(&self.cell, self.gates());
        let cell = if self.outline.convention.is_cell() { "Cell" } else { "" };
        let sizes = self.weights.cells[0].sizes();
        let mut options = format!("{}, {}", sizes.inputs, sizes.hidden);
        if sizes.output != sizes.hidden {
            options += &format!(", proj_size={}", sizes.output);
        }
        if self.outline.layers > 1 {
            options += &format!(", num_layers={}", self.outline.layers);
        }
        if self.weights.bidirectional {
            options += ", bidirectional=True";
        }
        options += class_options;
        if !self.biased() {
            options += ", bias=False";
        }
        format!("torch.nn.{class}{cell}({options})")
    }
}

/// PyTorch's shape of a parameter: vectors have one axis, all others both.
pub(crate) fn shape_in_pytorch(kind: ParamKind, (rows, cols): (usize, usize)) -> Vec<usize> {
    match kind {
        ParamKind::Elementwise | ParamKind::Bias => vec![cols],
        _ => vec![rows, cols],
    }
}
