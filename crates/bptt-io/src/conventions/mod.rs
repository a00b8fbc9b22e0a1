//! The table of conventions: how others name and arrange the parameters of a recurrent cell, and which registered cell
//! computes what theirs does.
//!
//! Nothing else in this crate knows a framework's names, gate orders or cells. NOTATION.md has the table in prose.

use bptt::{CellId, CellSpec};

mod flax;
mod names;
pub(crate) mod recipe;
pub(crate) mod recipes;
mod rows;

pub(crate) use names::{SEPARATORS, recognize};
pub(crate) use rows::{BIAS_N, Kind, Undecided};
use rows::{
    BURN, CANDLE, CHAINER, CS231N, EQUINOX, FLAX, FLAX_NNX, HAIKU, HASTE, KERAS, MLX, PADDLE, PYTORCH,
    PYTORCH_CELL, PYTORCH_SHORT, Row, TENSORFLOW_JS, TINYGRAD,
};

/// Whose names and whose arrangement a module's tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Convention {
    /// `torch.nn.LSTM` and its like: `weight_ih_l0`, …, `_reverse`.
    PyTorch,
    /// `torch.nn.LSTMCell` and its like: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    PyTorchCell,
    /// `equinox.nn.LSTMCell` and its like: `weight_ih`, `weight_hh`, `bias`, and a GRU's `bias_n`.
    Equinox,
    /// PyTorch's parameters as `w_ih`, `w_hh`, `b_ih`, `b_hh`: arrays that were written for NumPy.
    PyTorchShort,
    /// `kernel`, `recurrent_kernel`, `bias`; gates i, f, c, o and z, r, h.
    Keras,
    /// `Wx`, `Wh`, `b`; gates i, f, o, g.
    Cs231n,
    /// Keras' names and arrangement, with other activations and the reset before the product.
    TensorFlowJs,
    /// PyTorch's, each parameter twice, and linear maps (inputs, outputs).
    Paddle,
    /// PyTorch's; a lone `_reverse` reads forward.
    Candle,
    /// PyTorch's cells in a list.
    Tinygrad,
    /// `ii/kernel`, `hi/kernel`, `hi/bias`, …: one matrix a gate.
    Flax,
    /// As in linen, or `dense_i/kernel` and `dense_h/kernel`.
    FlaxNnx,
    /// `linear/w`, `linear/b`; `w_i`, `w_h`, `b`.
    Haiku,
    /// Keras' names; gates i, g, f, o.
    Haste,
    /// `Wx`, `Wh`, `bias`, `bhn`, as PyTorch arranges them.
    Mlx,
    /// `lateral/W`, `upward/W`; `0/w0`, …
    Chainer,
    /// `input_gate.input_transform.weight`, …: one matrix a gate.
    Burn,
}

/// A parameter of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    WeightIh,
    WeightHh,
    BiasIh,
    BiasHh,
}

/// A cell as PyTorch makes it: its registered name, PyTorch's class, and the options that the class needs.
const IN_PYTORCH: [(&str, &str, &str); 5] = [
    ("rnn", "RNN", ""),
    ("rnn_relu", "RNN", ", nonlinearity=\"relu\""),
    ("gru", "GRU", ""),
    ("lstm", "LSTM", ""),
    ("lstm_projected", "LSTM", ""),
];

impl Convention {
    fn row(self) -> &'static Row {
        match self {
            Self::PyTorch => &PYTORCH,
            Self::PyTorchCell => &PYTORCH_CELL,
            Self::PyTorchShort => &PYTORCH_SHORT,
            Self::Equinox => &EQUINOX,
            Self::Keras => &KERAS,
            Self::Cs231n => &CS231N,
            Self::TensorFlowJs => &TENSORFLOW_JS,
            Self::Paddle => &PADDLE,
            Self::Candle => &CANDLE,
            Self::Tinygrad => &TINYGRAD,
            Self::Flax => &FLAX,
            Self::FlaxNnx => &FLAX_NNX,
            Self::Haiku => &HAIKU,
            Self::Haste => &HASTE,
            Self::Mlx => &MLX,
            Self::Chainer => &CHAINER,
            Self::Burn => &BURN,
        }
    }

    /// Whether a name ends with layer and direction.
    pub(crate) fn is_numbered(self) -> bool {
        self.row().numbered
    }

    /// The names by which its modules are known, behind their prefixes.
    pub(crate) fn known(self) -> Vec<&'static str> {
        let own = recipes::RECIPES.iter().filter(|recipe| recipe.convention == self);
        let mut names: Vec<&str> = own.flat_map(|recipe| recipe.parts).map(|part| part.name).collect();
        if names.is_empty() {
            return self.names();
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether its modules are Keras' layers.
    pub(crate) fn is_keras(self) -> bool {
        matches!(self, Self::Keras | Self::TensorFlowJs)
    }

    /// Whether its linear maps have matrices (inputs, outputs) under PyTorch's name for (outputs, inputs).
    pub(crate) fn transposes_linear(self) -> bool {
        matches!(self, Self::Paddle | Self::Burn)
    }

    /// Whether its modules are single cells with PyTorch's names for weights.
    pub(crate) fn is_cell(self) -> bool {
        matches!(self, Self::PyTorchCell | Self::Equinox)
    }

    /// What it calls a parameter. Where there is one bias, it is b_ih.
    pub(crate) fn name(self, parameter: Parameter) -> &'static str {
        self.row().names[parameter as usize]
    }

    /// The name of a parameter of one cell, without the module's prefix and suffix.
    pub(crate) fn numbered(self, name: &str, place: CellId) -> String {
        if self.row().numbered { format!("{name}_{}", place.suffix()) } else { name.into() }
    }

    /// The names of its parameters, each once.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let mut names = self.row().names.to_vec();
        names.dedup();
        names
    }

    /// Names that its models have beside a cell's, behind the same prefix.
    pub(crate) fn beside(self) -> &'static [&'static str] {
        self.row().beside
    }

    /// Its name in a sentence.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// How its tensors are arranged, for a module whose cell has these gates, in PyTorch's order:
    /// `"matrices (gates · H, inputs), gates in the order i, f, g, o"`.
    pub fn arrangement(self, gates: &[&str]) -> String {
        let order = match self.kind(gates.len()) {
            Some(kind) if self.transposed() => kind.gates.split(", ").collect(),
            _ => gates.to_vec(),
        };
        self.arranged(&order)
    }

    /// How its tensors are arranged, with blocks in this order.
    pub(crate) fn arranged(self, gates: &[&str]) -> String {
        let matrices =
            if self.transposed() { "matrices (inputs, gates · H)" } else { "matrices (gates · H, inputs)" };
        let order = gates.join(", ");
        if gates.len() > 1 { format!("{matrices}, gates in the order {order}") } else { matrices.into() }
    }

    /// Whether weights are (features, G·H) and there is one bias: x W in place of PyTorch's x Wᵀ.
    pub(crate) fn transposed(self) -> bool {
        self.row().transposed
    }

    /// Whether it has modules with the parameters and gates of a cell, by its own names for them.
    pub(crate) fn has(self, spec: &CellSpec) -> bool {
        let names = spec.params.iter().map(|param| param.name);
        names.eq(self.row().names) && self.kind(spec.gate_count()).is_some()
    }

    /// Its kind of module with so many gates, if it has one.
    pub(crate) fn kind(self, gates: usize) -> Option<&'static Kind> {
        self.row().kinds.iter().find(|kind| kind.order.len() == gates)
    }
}

/// PyTorch's class for a cell of so many gates and the options it needs, and whether it computes what the cell does; if
/// not, it has parameters of the same shapes.
pub(crate) fn in_pytorch(cell: &str, gates: usize) -> (&'static str, &'static str, bool) {
    let find = |name: &str| IN_PYTORCH.iter().find(|(known, ..)| *known == name);
    if let Some((_, class, options)) = find(cell) {
        return (class, options, true);
    }
    let like = default_in_pytorch(gates).and_then(find);
    like.map_or(("RNN", "", false), |(_, class, options)| (class, options, false))
}

/// The cell that PyTorch's names stand for where nothing else is said.
pub(crate) fn default_in_pytorch(gates: usize) -> Option<&'static str> {
    Convention::PyTorch.kind(gates).map(|kind| kind.cells(None).names[0])
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
    use bptt::cell_by_name;

    use super::*;

    #[test]
    fn blocks_are_put_in_pytorchs_order() {
        // One input, one unit: the blocks of i, f, o, g are 1 to 4.
        let order = Convention::Cs231n.kind(4).unwrap().order;
        assert_eq!(to_pytorch(&[1.0, 2.0, 3.0, 4.0], 1, order, true), [1.0, 2.0, 4.0, 3.0]);
        // Two inputs, two units: z, r, h, each with two columns.
        let kernel: Vec<f64> = (0..12).map(f64::from).collect();
        let order = Convention::Keras.kind(3).unwrap().order;
        assert_eq!(
            to_pytorch(&kernel, 2, order, true),
            [2.0, 8.0, 3.0, 9.0, 0.0, 6.0, 1.0, 7.0, 4.0, 10.0, 5.0, 11.0]
        );
    }

    #[test]
    fn pytorchs_classes_are_those_of_the_cells_gates() {
        for (cell, class, _) in IN_PYTORCH {
            let gates = cell_by_name(cell).unwrap().spec().gate_count();
            assert_eq!(in_pytorch(cell, gates).0, class);
        }
    }

    #[test]
    fn a_cell_that_pytorch_lacks_is_written_for_a_class_of_the_same_shapes() {
        assert_eq!(in_pytorch("rnn_relu", 1), ("RNN", ", nonlinearity=\"relu\"", true));
        assert_eq!(in_pytorch("rnn_identity", 1), ("RNN", "", false));
        assert_eq!(in_pytorch("gru_reset_before", 3), ("GRU", "", false));
        assert_eq!(in_pytorch("lstm_1997", 3), ("GRU", "", false));
    }
}
