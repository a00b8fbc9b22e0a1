//! The table of conventions: how others name and arrange the parameters of a recurrent cell, and which registered cell
//! computes what theirs does.
//!
//! Nothing else in this crate knows a framework's names, gate orders or cells. NOTATION.md has the table in prose.

use bptt::{CellId, CellSpec};

pub(crate) mod recipe;
pub(crate) mod recipes;

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

/// A convention's row of the table.
struct Row {
    title: &'static str,
    /// The names of w_ih, w_hh, b_ih and b_hh; the same one twice where there is one bias.
    names: [&'static str; 4],
    /// Whether a name ends with layer and direction: `_l0_reverse`.
    numbered: bool,
    /// Whether weights are (features, G·H), x W in place of PyTorch's x Wᵀ, with a single bias.
    transposed: bool,
    kinds: &'static [Kind],
    /// Names that its models have beside a cell's, behind the same prefix.
    beside: &'static [&'static str],
}

/// A kind of recurrent module, known by its number of gates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// For each of the cell's gates, which of the convention's blocks of H it is.
    pub order: &'static [usize],
    /// What a convention with weights (features, G·H) calls its blocks, in its order.
    pub gates: &'static str,
    /// Whether the one bias may have a second row, for the recurrent side.
    pub two_rows_of_bias: bool,
    /// The cells it may be, without a bias, with a bias of one axis, and with one of two.
    cells: [Cells; 3],
}

/// The registered cells that tensors may be of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    /// The first is meant unless another is asked for by name.
    pub names: &'static [&'static str],
    pub undecided: Undecided,
}

/// What to do where names and shapes leave the cell open and none is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undecided {
    /// Nothing else is known to have these names.
    No,
    /// The first is assumed; it has this activation.
    Assume(&'static str),
    /// The cell has to be given; this says what the module is and why.
    Ask(&'static str),
}

const RNN: Kind = Kind::any_bias(
    &[0],
    "",
    Cells { names: &["rnn", "rnn_relu", "rnn_identity"], undecided: Undecided::Assume("tanh") },
);
const LSTM: Kind = Kind::any_bias(&[0, 1, 2, 3], "i, f, c, o", LSTM_CELLS);
const LSTM_CELLS: Cells = Cells { names: &["lstm"], undecided: Undecided::No };
/// PyTorch has only the first, but this project writes the other with its names.
const GRU: Kind = Kind::any_bias(
    &[0, 1, 2],
    "r, z, n",
    Cells { names: &["gru", "gru_reset_before"], undecided: Undecided::No },
);
/// r, z, n of z, r, h. The bias has two rows exactly if `reset_after` is set; without it the reset gate multiplies h before
/// the product with W_hn.
const KERAS_GRU: Kind = Kind {
    order: &[1, 0, 2],
    gates: "z, r, h",
    two_rows_of_bias: true,
    cells: [
        Cells {
            names: &["gru", "gru_reset_before"],
            undecided: Undecided::Ask(
                "is a Keras GRU without a bias, so the file does not say whether reset_after is set; give --cell gru \
                 (reset_after=True, Keras' default) or --cell gru_reset_before",
            ),
        },
        Cells { names: &["gru_reset_before"], undecided: Undecided::No },
        Cells { names: &["gru"], undecided: Undecided::No },
    ],
};
/// i, f, g, o of i, f, o, g.
const CS231N_LSTM: Kind = Kind::any_bias(&[0, 1, 3, 2], "i, f, o, g", LSTM_CELLS);

const PYTORCH: Row = Row {
    title: "PyTorch",
    names: ["weight_ih", "weight_hh", "bias_ih", "bias_hh"],
    numbered: true,
    transposed: false,
    kinds: &[RNN, GRU, LSTM],
    beside: &[],
};
const PYTORCH_CELL: Row = Row { numbered: false, ..PYTORCH };
/// As in g2p-en 2.1.0's checkpoint20.npz, whose `grucell` has PyTorch's equations and order of gates.
const PYTORCH_SHORT: Row = Row {
    title: "PyTorch, in short names",
    names: ["w_ih", "w_hh", "b_ih", "b_hh"],
    numbered: false,
    beside: &["emb"],
    ..PYTORCH
};
/// One bias on the input side, and of a GRU, `bias_n`, the recurrent side's of its candidate (equinox 0.13.8, nn/_rnn.py).
const EQUINOX: Row = Row {
    title: "Equinox",
    names: ["weight_ih", "weight_hh", "bias", "bias"],
    numbered: false,
    transposed: false,
    kinds: &[EQUINOX_GRU, LSTM],
    beside: &[],
};
const EQUINOX_GRU: Kind =
    Kind::any_bias(&[0, 1, 2], "r, z, n", Cells { names: &["gru"], undecided: Undecided::No });
/// The recurrent bias of an Equinox GRU's candidate, (H,).
pub(crate) const BIAS_N: &str = "bias_n";
/// Its c is PyTorch's g.
const KERAS: Row = Row {
    title: "Keras",
    names: ["kernel", "recurrent_kernel", "bias", "bias"],
    numbered: false,
    transposed: true,
    kinds: &[RNN, KERAS_GRU, LSTM],
    beside: &[],
};
const CS231N: Row = Row {
    title: "CS231n",
    names: ["Wx", "Wh", "b", "b"],
    numbered: false,
    transposed: true,
    kinds: &[RNN, CS231N_LSTM],
    // Of the captioning model of assignment 3.
    beside: &["W_embed", "W_proj", "b_proj", "W_vocab", "b_vocab"],
};
/// @tensorflow/tfjs-layers 4.22.0, dist/layers/recurrent.js, `LSTMCell`, `GRUCell`: the gates' default is `hardSigmoid`, 0.2 a + 0.5
/// clipped (dist/backend/tfjs_backend.js), and a GRU resets before the product, has a bias (3·H,) and refuses `resetAfter`.
const TENSORFLOW_JS: Row = Row {
    title: "TensorFlow.js",
    kinds: &[
        RNN,
        Kind::any_bias(
            &[1, 0, 2],
            "z, r, h",
            Cells {
                names: &["gru_reset_before_with:hard_sigmoid_0.2,tanh", "gru_reset_before"],
                undecided: Undecided::Assume("the hard sigmoid in its gates"),
            },
        ),
        Kind::any_bias(
            &[0, 1, 2, 3],
            "i, f, c, o",
            Cells {
                names: &["lstm_with:hard_sigmoid_0.2,tanh", "lstm"],
                undecided: Undecided::Assume("the hard sigmoid in its gates"),
            },
        ),
    ],
    ..KERAS
};
// What `recipes.rs` puts together has PyTorch's names and arrangement from then on.
const PADDLE: Row = Row { title: "Paddle", ..PYTORCH };
const CANDLE: Row = Row { title: "candle", ..PYTORCH };
const TINYGRAD: Row = Row { title: "tinygrad", ..PYTORCH };
const FLAX: Row = Row { title: "Flax linen", ..PYTORCH };
const FLAX_NNX: Row = Row { title: "Flax nnx", ..PYTORCH };
const HAIKU: Row = Row { title: "Haiku", ..PYTORCH };
const HASTE: Row = Row { title: "Haste", ..PYTORCH };
const MLX: Row = Row { title: "MLX", ..PYTORCH };
const CHAINER: Row = Row { title: "Chainer", ..PYTORCH };
const BURN: Row = Row { title: "burn", ..PYTORCH };

/// A cell as PyTorch makes it: its registered name, PyTorch's class, and the options that the class needs.
const IN_PYTORCH: [(&str, &str, &str); 5] = [
    ("rnn", "RNN", ""),
    ("rnn_relu", "RNN", ", nonlinearity=\"relu\""),
    ("gru", "GRU", ""),
    ("lstm", "LSTM", ""),
    ("lstm_projected", "LSTM", ""),
];

impl Kind {
    /// A kind whose cells do not depend on the bias.
    const fn any_bias(order: &'static [usize], gates: &'static str, cells: Cells) -> Self {
        Self { order, gates, two_rows_of_bias: false, cells: [cells; 3] }
    }

    /// The cells it may be. `bias` is the number of the bias's axes, if there is a bias.
    pub fn cells(&self, bias: Option<usize>) -> Cells {
        self.cells[bias.unwrap_or(0).min(2)]
    }
}

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

/// What a recurrent weight's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recognized<'a> {
    pub convention: Convention,
    /// The module's prefix, separator included.
    pub prefix: &'a str,
    /// What follows the parameter's name: TensorFlow's `:0`, or nothing.
    pub suffix: &'a str,
    pub layer: usize,
    pub reverse: bool,
}

/// What separates a module's name from its parameter's.
pub(crate) const SEPARATORS: [char; 3] = ['.', '/', '_'];

/// The name as one of a recurrent module's weights, if it is one.
pub(crate) fn recognize(name: &str) -> Option<Recognized<'_>> {
    pytorch(name).or_else(|| {
        let (name, suffix) = name.strip_suffix(":0").map_or((name, ""), |short| (short, ":0"));
        [Convention::PyTorchShort, Convention::Keras, Convention::Cs231n].into_iter().find_map(|convention| {
            let prefix = name.strip_suffix(convention.row().names[Parameter::WeightHh as usize])?;
            let whole = prefix.is_empty() || prefix.ends_with(SEPARATORS);
            whole.then_some(Recognized { convention, prefix, suffix, layer: 0, reverse: false })
        })
    })
}

fn pytorch(name: &str) -> Option<Recognized<'_>> {
    let weight = ["weight_hh", "weight_ih"].into_iter().find_map(|weight| name.rfind(weight))?;
    let prefix = &name[..weight];
    let rest = &name[weight + "weight_hh".len()..];
    if rest.is_empty() {
        let convention = Convention::PyTorchCell;
        return Some(Recognized { convention, prefix, suffix: "", layer: 0, reverse: false });
    }
    let place = rest.strip_prefix("_l")?;
    let (layer, reverse) = place.strip_suffix("_reverse").map_or((place, false), |layer| (layer, true));
    let layer = layer.parse().ok()?;
    Some(Recognized { convention: Convention::PyTorch, prefix, suffix: "", layer, reverse })
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
    fn modules_are_known_by_the_names_of_their_weights() {
        let cases = [
            ("weight_hh_l0", Convention::PyTorch, "", "", 0, false),
            ("net.actor.weight_ih_l12_reverse", Convention::PyTorch, "net.actor.", "", 12, true),
            ("cells.0.weight_hh", Convention::PyTorchCell, "cells.0.", "", 0, false),
            ("lstm/lstm_cell/recurrent_kernel:0", Convention::Keras, "lstm/lstm_cell/", ":0", 0, false),
            ("gru_recurrent_kernel", Convention::Keras, "gru_", "", 0, false),
            ("Wh", Convention::Cs231n, "", "", 0, false),
            ("enc_w_hh", Convention::PyTorchShort, "enc_", "", 0, false),
        ];
        for (name, convention, prefix, suffix, layer, reverse) in cases {
            assert_eq!(
                recognize(name),
                Some(Recognized { convention, prefix, suffix, layer, reverse }),
                "{name}"
            );
        }
        for name in ["head.weight", "weight_hh_l", "weight_hh_lx", "weight_hh_l0_backward", "kernel", "myWh"]
        {
            assert_eq!(recognize(name), None, "{name}");
        }
    }

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
    fn every_cell_of_the_table_is_registered_with_its_number_of_gates() {
        for row in [PYTORCH, PYTORCH_SHORT, EQUINOX, KERAS, CS231N] {
            for kind in row.kinds {
                for name in kind.cells.iter().flat_map(|cells| cells.names) {
                    let cell = cell_by_name(name).unwrap();
                    assert_eq!(cell.spec().gate_count(), kind.order.len(), "{name}");
                }
            }
        }
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
