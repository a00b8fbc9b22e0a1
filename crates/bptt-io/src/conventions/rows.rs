//! The table's rows: the names of each convention's parameters, and which cells its kinds of module may be.

/// A convention's row of the table.
pub(super) struct Row {
    pub title: &'static str,
    /// The names of w_ih, w_hh, b_ih and b_hh; the same one twice where there is one bias.
    pub names: [&'static str; 4],
    /// Whether a name ends with layer and direction: `_l0_reverse`.
    pub numbered: bool,
    /// Whether weights are (features, G·H), x W in place of PyTorch's x Wᵀ, with a single bias.
    pub transposed: bool,
    pub kinds: &'static [Kind],
    /// Names that its models have beside a cell's, behind the same prefix.
    pub beside: &'static [&'static str],
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

pub(super) const PYTORCH: Row = Row {
    title: "PyTorch",
    names: ["weight_ih", "weight_hh", "bias_ih", "bias_hh"],
    numbered: true,
    transposed: false,
    kinds: &[RNN, GRU, LSTM],
    beside: &[],
};
pub(super) const PYTORCH_CELL: Row = Row { numbered: false, ..PYTORCH };
/// As in g2p-en 2.1.0's checkpoint20.npz, whose `grucell` has PyTorch's equations and order of gates.
pub(super) const PYTORCH_SHORT: Row = Row {
    title: "PyTorch, in short names",
    names: ["w_ih", "w_hh", "b_ih", "b_hh"],
    numbered: false,
    beside: &["emb"],
    ..PYTORCH
};
/// One bias on the input side, and of a GRU, `bias_n`, the recurrent side's of its candidate (equinox 0.13.8, nn/_rnn.py).
pub(super) const EQUINOX: Row = Row {
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
pub(super) const KERAS: Row = Row {
    title: "Keras",
    names: ["kernel", "recurrent_kernel", "bias", "bias"],
    numbered: false,
    transposed: true,
    kinds: &[RNN, KERAS_GRU, LSTM],
    beside: &[],
};
pub(super) const CS231N: Row = Row {
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
pub(super) const TENSORFLOW_JS: Row = Row {
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
pub(super) const PADDLE: Row = Row { title: "Paddle", ..PYTORCH };
pub(super) const CANDLE: Row = Row { title: "candle", ..PYTORCH };
pub(super) const TINYGRAD: Row = Row { title: "tinygrad", ..PYTORCH };
pub(super) const FLAX: Row = Row { title: "Flax linen", ..PYTORCH };
pub(super) const FLAX_NNX: Row = Row { title: "Flax nnx", ..PYTORCH };
pub(super) const HAIKU: Row = Row { title: "Haiku", ..PYTORCH };
pub(super) const HASTE: Row = Row { title: "Haste", ..PYTORCH };
pub(super) const MLX: Row = Row { title: "MLX", ..PYTORCH };
pub(super) const CHAINER: Row = Row { title: "Chainer", ..PYTORCH };
pub(super) const BURN: Row = Row { title: "burn", ..PYTORCH };

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

#[cfg(test)]
mod tests {
    use bptt::cell_by_name;

    use super::*;

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
    }
}
