//! Recurrent modules in a file, found by the names of their weights.

use std::collections::BTreeMap;

use bptt::{CellId, Direction};

use crate::conventions::{Convention, Parameter, SEPARATORS, recognize};
use crate::tensors::Tensors;

/// A recurrent module as the names in a file show it; its tensors are not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outline {
    /// Its name in the file; empty if the file holds its tensors alone.
    pub name: String,
    /// Whose names its tensors have.
    pub convention: Convention,
    /// The prefixes of its tensors' names, one for each direction (the same for both, except in Keras).
    pub(crate) prefixes: Vec<String>,
    /// Their suffix.
    suffix: String,
    pub(crate) layers: usize,
}

/// The recurrent modules of a file, in the order of their names.
pub fn find(tensors: &Tensors) -> Vec<Outline> {
    let mut found: BTreeMap<(&str, &str), Outline> = BTreeMap::new();
    for tensor in tensors.iter() {
        let Some(weight) = recognize(&tensor.name) else { continue };
        // Anyone may call a matrix Wh; it is CS231n's beside a Wx.
        if weight.convention == Convention::Cs231n
            && tensors.get(&format!("{}Wx{}", weight.prefix, weight.suffix)).is_none()
        {
            continue;
        }
        let outline = found.entry((weight.prefix, weight.suffix)).or_insert_with(|| Outline {
            name: weight.prefix.trim_end_matches(SEPARATORS).into(),
            convention: weight.convention,
            prefixes: vec![weight.prefix.into()],
            suffix: weight.suffix.into(),
            layers: 0,
        });
        outline.layers = outline.layers.max(weight.layer.saturating_add(1));
        if weight.reverse && outline.prefixes.len() == 1 {
            outline.prefixes.push(weight.prefix.into());
        }
    }
    let mut outlines: Vec<Outline> = found.into_values().collect();
    for outline in outlines.iter_mut().filter(|outline| outline.convention == Convention::PyTorchCell) {
        let has = |name: &str| tensors.get(&format!("{}{name}", outline.prefixes[0])).is_some();
        if has("bias") && !has("bias_ih") && !has("bias_hh") {
            outline.convention = Convention::Equinox;
        }
    }
    let layout = tensors.layout();
    for outline in &mut outlines {
        let asked = match outline.convention {
            Convention::PyTorch => {
                [Convention::Paddle, Convention::Candle].into_iter().find(|of| layout.asks_for(*of))
            }
            Convention::Keras if layout.asks_for(Convention::TensorFlowJs) => Some(Convention::TensorFlowJs),
            _ => None,
        };
        let known = tensors.rearranged(&outline.prefixes[0]).map(|module| module.convention);
        outline.convention = known.or(asked).unwrap_or(outline.convention);
    }
    outlines.retain(|outline| layout.allows(outline.convention));
    join_bidirectional(&mut outlines);
    outlines
}

/// Joins the forward and the backward layer of Keras' `Bidirectional`, which have names of their own, to one module.
fn join_bidirectional(outlines: &mut Vec<Outline>) {
    let backward: Vec<Outline> = outlines.iter().filter(|outline| outline.is_backward()).cloned().collect();
    for half in backward {
        let forward = without_numbers(&half.prefixes[0].replacen("backward", "forward", 1));
        let is_first = |outline: &&mut Outline| {
            let layer = |outline: &Outline| outline.prefixes[0].split('/').next().map(String::from);
            let alone = outline.prefixes.len() == 1 && layer(outline) == layer(&half);
            alone && without_numbers(&outline.prefixes[0]) == forward
        };
        if let Some(first) = outlines.iter_mut().find(is_first) {
            first.name = first.name.replacen("forward_", "", 1);
            first.prefixes.extend(half.prefixes.iter().cloned());
            outlines.retain(|outline| *outline != half);
        }
    }
}

/// A path without the numbers by which Keras tells layers and cells of one class: `forward_lstm/lstm_cell_1/` and
/// `backward_lstm/lstm_cell_2/` are two directions.
fn without_numbers(path: &str) -> String {
    let part = |part: &str| match part.rsplit_once('_') {
        Some((name, number)) if number.parse::<u32>().is_ok() => name.to_owned(),
        _ => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

impl Outline {
    /// Its place in a Keras model; the name of any other module.
    pub(crate) fn path(&self) -> &str {
        let prefix = &self.prefixes[0];
        let end = prefix.strip_suffix(SEPARATORS).map_or(prefix.len(), str::len);
        &prefix[..end]
    }

    /// Whether it is the backward half of a Bidirectional layer, which is a part of that layer: a layer itself may be called so.
    pub(crate) fn is_backward(&self) -> bool {
        let within = self.prefixes[0].split_once('/').map_or("", |(_, within)| within);
        self.convention.is_keras() && within.contains("backward")
    }

    pub(crate) fn cell_id(&self, index: usize) -> CellId {
        let directions = self.prefixes.len();
        let direction =
            if index.is_multiple_of(directions) { Direction::Forward } else { Direction::Reverse };
        CellId { layer: index / directions, direction }
    }

    /// The name in the file of one of the usual parameters of cell `index`.
    pub(crate) fn tensor(&self, parameter: Parameter, index: usize) -> String {
        self.parameter(self.convention.name(parameter), index)
    }

    /// The name in the file of the parameter of cell `index` that the convention calls `name`.
    pub(crate) fn parameter(&self, name: &str, index: usize) -> String {
        let prefix = &self.prefixes[index % self.prefixes.len()];
        format!("{prefix}{}{}", self.convention.numbered(name, self.cell_id(index)), self.suffix)
    }

    /// Whether a tensor of this name is one of its biases.
    pub(crate) fn is_bias(&self, name: &str) -> bool {
        (0..self.prefixes.len().min(2)).any(|d| {
            let first = self.tensor(Parameter::BiasIh, d);
            // Any layer's, so that a lone one is missed in the others.
            match self.convention {
                convention if convention.is_numbered() => ["bias_ih_l", "bias_hh_l"].iter().any(|bias| {
                    name.strip_prefix(&self.prefixes[d]).is_some_and(|rest| rest.starts_with(bias))
                }),
                _ => name == first || name == self.tensor(Parameter::BiasHh, d),
            }
        })
    }

    /// The name, or that there is none.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { "the module without a name" } else { &self.name }
    }
}
