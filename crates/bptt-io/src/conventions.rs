//! How others name and arrange the parameters of a recurrent cell: the one mapping to and from PyTorch's.
//!
//! NOTATION.md has it as a table.

use bptt::Place;

/// Whose names and whose arrangement a module's tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `torch.nn.LSTM` and its like: `weight_ih_l0`, …, `_reverse`.
    PyTorch,
    /// `torch.nn.LSTMCell` and its like: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    PyTorchCell,
    /// `kernel`, `recurrent_kernel`, `bias`; gates i, f, c, o and z, r, h.
    Keras,
    /// `Wx`, `Wh`, `b`; gates i, f, o, g.
    Cs231n,
}

/// A parameter of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    WeightIh,
    WeightHh,
    BiasIh,
    BiasHh,
}

/// What a recurrent weight's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recognized<'a> {
    pub layout: Layout,
    /// What stands before, separator included.
    pub prefix: &'a str,
    /// What stands behind: TensorFlow's `:0`, or nothing.
    pub tail: &'a str,
    pub layer: usize,
    pub reverse: bool,
}

/// What separates a module's name from its parameter's.
pub(crate) const SEPARATORS: [char; 3] = ['.', '/', '_'];

/// The name as one of a recurrent module's weights, if it is one.
pub(crate) fn recognize(name: &str) -> Option<Recognized<'_>> {
    pytorch(name).or_else(|| {
        let (name, tail) = name.strip_suffix(":0").map_or((name, ""), |short| (short, ":0"));
        let layouts = [("recurrent_kernel", Layout::Keras), ("Wh", Layout::Cs231n)];
        layouts.into_iter().find_map(|(weight, layout)| {
            let prefix = name.strip_suffix(weight)?;
            let whole = prefix.is_empty() || prefix.ends_with(SEPARATORS);
            whole.then_some(Recognized { layout, prefix, tail, layer: 0, reverse: false })
        })
    })
}

fn pytorch(name: &str) -> Option<Recognized<'_>> {
    let weight = ["weight_hh", "weight_ih"].into_iter().find_map(|weight| name.rfind(weight))?;
    let prefix = &name[..weight];
    let suffix = &name[weight + "weight_hh".len()..];
    if suffix.is_empty() {
        let layout = Layout::PyTorchCell;
        return Some(Recognized { layout, prefix, tail: "", layer: 0, reverse: false });
    }
    let place = suffix.strip_prefix("_l")?;
    let (layer, reverse) = place.strip_suffix("_reverse").map_or((place, false), |layer| (layer, true));
    let layer = layer.parse().ok()?;
    Some(Recognized { layout: Layout::PyTorch, prefix, tail: "", layer, reverse })
}

impl Layout {
    /// The name of a parameter, without what stands before and behind. Where there is one bias, it is `bias_ih`.
    pub(crate) fn name(self, part: Part, place: Place) -> String {
        let pytorch = match part {
            Part::WeightIh => "weight_ih",
            Part::WeightHh => "weight_hh",
            Part::BiasIh => "bias_ih",
            Part::BiasHh => "bias_hh",
        };
        match (self, part) {
            (Self::PyTorch, _) => format!("{pytorch}_{}", place.suffix()),
            (Self::PyTorchCell, _) => pytorch.into(),
            (Self::Keras, Part::WeightIh) => "kernel".into(),
            (Self::Keras, Part::WeightHh) => "recurrent_kernel".into(),
            (Self::Keras, _) => "bias".into(),
            (Self::Cs231n, Part::WeightIh) => "Wx".into(),
            (Self::Cs231n, Part::WeightHh) => "Wh".into(),
            (Self::Cs231n, _) => "b".into(),
        }
    }

    /// Whether weights stand as (features, G·H) and biases alone: x W in place of PyTorch's x Wᵀ.
    pub(crate) fn transposed(self) -> bool {
        matches!(self, Self::Keras | Self::Cs231n)
    }

    /// For each of PyTorch's gates, which of the layout's blocks of H it is; `None` if it has no such cell.
    pub(crate) fn gate_order(self, gates: usize) -> Option<&'static [usize]> {
        match (self, gates) {
            (_, 1) => Some(&[0]),
            (Self::Cs231n, 4) => Some(&[0, 1, 3, 2]), // i, f, g, o of i, f, o, g
            (_, 4) => Some(&[0, 1, 2, 3]),            // i, f, g, o; Keras' c is g
            (Self::Keras, 3) => Some(&[1, 0, 2]),     // r, z, n of z, r, h
            (Self::Cs231n, 3) => None,
            (_, 3) => Some(&[0, 1, 2]),
            _ => None,
        }
    }
}

/// The cell of a Keras GRU with `reset_after=False`: its reset gate multiplies h before the product with W_hn.
pub(crate) const RESET_BEFORE: &str = "gru_reset_before";

/// The cells that tensors of `gates` gates may be of; the first is meant unless one is asked for by name. `bias` is the
/// rank of the bias, if there is one: Keras' GRU has two rows of it exactly if `reset_after` is set.
///
/// For a GRU of Keras' without a bias nothing says which of the two it is. PyTorch has only `gru`, but the other may have
/// been written with its names.
pub(crate) fn cells(layout: Layout, gates: usize, bias: Option<usize>) -> &'static [&'static str] {
    match (gates, layout, bias) {
        (1, _, _) => &["rnn", "rnn_relu", "rnn_identity"],
        (4, _, _) => &["lstm"],
        (3, Layout::Keras, Some(1)) => &[RESET_BEFORE],
        (3, Layout::Keras, Some(_)) => &["gru"],
        _ => &["gru", RESET_BEFORE],
    }
}

/// The blocks of H in the order of `order`: of a (width, G·H) matrix, transposed to (G·H, width); of a bias, (1, G·H),
/// in its place.
pub(crate) fn to_pytorch(numbers: &[f64], hidden: usize, order: &[usize], transposed: bool) -> Vec<f64> {
    let rows = order.len() * hidden;
    let width = numbers.len() / rows;
    let source = |gate: usize, unit: usize, column: usize| {
        let row = order[gate] * hidden + unit;
        numbers[if transposed { column * rows + row } else { row * width + column }]
    };
    (0..rows).flat_map(|row| (0..width).map(move |i| source(row / hidden, row % hidden, i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_the_names_of_their_weights() {
        let cases = [
            ("weight_hh_l0", Layout::PyTorch, "", "", 0, false),
            ("net.actor.weight_ih_l12_reverse", Layout::PyTorch, "net.actor.", "", 12, true),
            ("cells.0.weight_hh", Layout::PyTorchCell, "cells.0.", "", 0, false),
            ("lstm/lstm_cell/recurrent_kernel:0", Layout::Keras, "lstm/lstm_cell/", ":0", 0, false),
            ("gru_recurrent_kernel", Layout::Keras, "gru_", "", 0, false),
            ("Wh", Layout::Cs231n, "", "", 0, false),
        ];
        for (name, layout, prefix, tail, layer, reverse) in cases {
            assert_eq!(recognize(name), Some(Recognized { layout, prefix, tail, layer, reverse }), "{name}");
        }
        for name in ["head.weight", "weight_hh_l", "weight_hh_lx", "weight_hh_l0_backward", "kernel", "myWh"]
        {
            assert_eq!(recognize(name), None, "{name}");
        }
    }

    #[test]
    fn blocks_are_put_in_pytorchs_order() {
        // One input, one unit: the blocks of i, f, o, g are 1 to 4.
        let order = Layout::Cs231n.gate_order(4).unwrap();
        assert_eq!(to_pytorch(&[1.0, 2.0, 3.0, 4.0], 1, order, true), [1.0, 2.0, 4.0, 3.0]);
        // Two inputs, two units: z, r, h, each with two columns.
        let kernel: Vec<f64> = (0..12).map(f64::from).collect();
        let order = Layout::Keras.gate_order(3).unwrap();
        assert_eq!(
            to_pytorch(&kernel, 2, order, true),
            [2.0, 8.0, 3.0, 9.0, 0.0, 6.0, 1.0, 7.0, 4.0, 10.0, 5.0, 11.0]
        );
    }
}
