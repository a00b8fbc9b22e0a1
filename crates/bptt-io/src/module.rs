//! A recurrent module that was read: its network, its description, and its tensors to be written again.

use bptt::{Error, Network, Readout, Weights, cell_by_name};

use crate::conventions::{Convention, Parameter, default_in_pytorch, in_pytorch};
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
    /// The number type of w_ih, w_hh, b_ih and b_hh of each cell; of biases none if the module has none.
    pub(crate) dtypes: Vec<[Option<Dtype>; 4]>,
    /// The names of its tensors in the file.
    pub(crate) sources: Vec<String>,
    /// What was assumed in reading it, in a sentence.
    pub assumed: Option<String>,
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

    /// D·H, the width of its output.
    pub fn width(&self) -> usize {
        self.outline.prefixes.len() * self.weights.cells[0].hidden()
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
        self.dtypes[0][2].is_some()
    }

    /// Its tensors with PyTorch's names behind `prefix`, in PyTorch's arrangement, with the bits they came with.
    pub(crate) fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        let convention = if self.outline.convention == Convention::PyTorchCell {
            Convention::PyTorchCell
        } else {
            Convention::PyTorch
        };
        for (index, (p, dtypes)) in self.weights.cells.iter().zip(&self.dtypes).enumerate() {
            let parameters = [
                (Parameter::WeightIh, &p["weight_ih"]),
                (Parameter::WeightHh, &p["weight_hh"]),
                (Parameter::BiasIh, &p["bias_ih"]),
                (Parameter::BiasHh, &p["bias_hh"]),
            ];
            for ((parameter, matrix), dtype) in parameters.into_iter().zip(dtypes) {
                let Some(dtype) = *dtype else { continue };
                let is_bias = matches!(parameter, Parameter::BiasIh | Parameter::BiasHh);
                let shape = if is_bias { vec![matrix.cols()] } else { vec![matrix.rows(), matrix.cols()] };
                let name = format!("{prefix}{}", convention.name(parameter, self.weights.cell_id(index)));
                tensors.push(Tensor::of_floats(name, dtype, shape, matrix.data()));
            }
        }
        tensors
    }

    /// The prefix of its tensors' names in PyTorch: Keras' slashes become dots.
    pub(crate) fn pytorch_prefix(&self) -> String {
        match self.outline.convention {
            Convention::PyTorch | Convention::PyTorchCell => self.outline.prefixes[0].clone(),
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
        let (inputs, hidden) = (weights.cells[0].inputs(), weights.cells[0].hidden());
        format!("{cell}, {layers}{directions}, I {inputs}, H {hidden}")
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
        let cell = if self.outline.convention == Convention::PyTorchCell { "Cell" } else { "" };
        let first = &self.weights.cells[0];
        let mut options = format!("{}, {}", first.inputs(), first.hidden());
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
