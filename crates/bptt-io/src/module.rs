//! A recurrent module that was read: as a network, in words, and written again.

use bptt::{Error, Network, Readout, Weights, cell_by_name};

use crate::conventions::{Layout, Part};
use crate::modules::Outline;
use crate::tensor::{Dtype, Tensor};

/// A recurrent module, read: its parameters in PyTorch's arrangement and what it takes to write the same bits again.
#[derive(Clone, Debug)]
pub struct Module {
    /// Where it stood.
    pub outline: Outline,
    /// The name of its cell, as [`cell_by_name`] knows it.
    pub cell: String,
    /// Its parameters; no readout.
    pub weights: Weights<f64>,
    /// The number type of w_ih, w_hh, b_ih and b_hh of each cell; of biases none if the module has none.
    pub(super) dtypes: Vec<[Option<Dtype>; 4]>,
    /// The names of its tensors in the file.
    pub(super) sources: Vec<String>,
    /// What was taken for granted in reading it, in words.
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
        self.outline.prefixes.len() * self.weights.layers[0].hidden()
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
        let layout =
            if self.outline.layout == Layout::PyTorchCell { Layout::PyTorchCell } else { Layout::PyTorch };
        for (index, (p, dtypes)) in self.weights.layers.iter().zip(&self.dtypes).enumerate() {
            let parts = [
                (Part::WeightIh, &p.w_ih),
                (Part::WeightHh, &p.w_hh),
                (Part::BiasIh, &p.b_ih),
                (Part::BiasHh, &p.b_hh),
            ];
            for ((part, matrix), dtype) in parts.into_iter().zip(dtypes) {
                let Some(dtype) = *dtype else { continue };
                let is_bias = matches!(part, Part::BiasIh | Part::BiasHh);
                let shape = if is_bias { vec![matrix.cols()] } else { vec![matrix.rows(), matrix.cols()] };
                let name = format!("{prefix}{}", layout.name(part, self.weights.place(index)));
                tensors.push(Tensor::of_floats(name, dtype, shape, matrix.data()));
            }
        }
        tensors
    }

    /// What stands before its tensors' names in PyTorch: Keras' slashes become dots.
    pub(crate) fn pytorch_prefix(&self) -> String {
        match self.outline.layout {
            Layout::PyTorch | Layout::PyTorchCell => self.outline.prefixes[0].clone(),
            _ if self.outline.name.is_empty() => String::new(),
            _ => format!("{}.", self.outline.name.replace('/', ".")),
        }
    }

    /// Whether its cell is what one would take it for by PyTorch's names alone.
    pub(super) fn is_told_by_names(&self) -> bool {
        ["rnn", "gru", "lstm"].contains(&self.cell.as_str())
    }

    /// In a few words: `"lstm, 2 layers, both directions, I 5, H 4"`.
    pub fn description(&self) -> String {
        let Self { cell, weights, .. } = self;
        let layers = match self.outline.layers {
            1 => "1 layer".into(),
            layers => format!("{layers} layers"),
        };
        let directions = if weights.bidirectional { ", both directions" } else { "" };
        let (inputs, hidden) = (weights.layers[0].inputs(), weights.layers[0].hidden());
        format!("{cell}, {layers}{directions}, I {inputs}, H {hidden}")
    }

    /// PyTorch's module of this shape: `"torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True)"`.
    pub fn python(&self) -> String {
        let kind = match self.cell.as_str() {
            "lstm" => "LSTM",
            "gru" => "GRU",
            _ => "RNN",
        };
        let cell = if self.outline.layout == Layout::PyTorchCell { "Cell" } else { "" };
        let first = &self.weights.layers[0];
        let mut options = format!("{}, {}", first.inputs(), first.hidden());
        if self.outline.layers > 1 {
            options += &format!(", num_layers={}", self.outline.layers);
        }
        let more = [
            (self.weights.bidirectional, ", bidirectional=True"),
            (self.cell == "rnn_relu", ", nonlinearity=\"relu\""),
            (!self.biased(), ", bias=False"),
        ];
        options.extend(more.into_iter().filter(|(is, _)| *is).map(|(_, option)| option));
        format!("torch.nn.{kind}{cell}({options})")
    }
}
