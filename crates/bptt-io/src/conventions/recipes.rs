//! Sources whose parameters are put together before they are read: one matrix a gate, both matrices in one, interleaved
//! gates, other orders behind names of another source.
//!
//! A recipe (`recipe.rs`) is a row of the table as data; `rearrange.rs` carries it out and names the result as PyTorch does. The sources are
//! in the doc comments, with file and version.

use super::Convention;
use super::Parameter::{BiasHh, BiasIh, WeightHh, WeightIh};
use super::flax::{FLAX_GRU, FLAX_LSTM, FLAX_SIMPLE, NNX_GRU, NNX_LSTM, NNX_OPTIMIZED, NNX_SIMPLE};
use super::recipe::{Form, GRU, LSTM, Names, Part, Recipe, Stack, columns, interleaved, maybe, rows};

/// Interpolation with z and 1 − z exchanged.
const Z_REVERSED: Option<(usize, &str)> = Some((1, "its h' is (1 − z) h + z n"));

/// dm-haiku 0.0.17, _src/recurrent.py: `LSTM`, i, g, f, o of [x, h] W + b and σ(f + 1).
const HAIKU_LSTM: Recipe = Recipe {
    convention: Convention::Haiku,
    parts: &[
        Part { form: Form::Both, ..columns("linear/w", WeightHh, &[0, 2, 1, 3]) },
        rows("linear/b", BiasIh, &[0, 2, 1, 3]),
    ],
    within: "lstm",
    names: Names::Shared,
    one_added: Some(1),
    ..LSTM
};
/// dm-haiku 0.0.17, _src/recurrent.py: `GRU`, z, r, a with a = tanh(x W + (r h) W + b), h' = (1 − z) h + z a.
const HAIKU_GRU: Recipe = Recipe {
    convention: Convention::Haiku,
    cell: "gru_reset_before",
    parts: &[
        columns("w_h", WeightHh, &[1, 0, 2]),
        columns("w_i", WeightIh, &[1, 0, 2]),
        rows("b", BiasIh, &[1, 0, 2]),
    ],
    negated: Z_REVERSED,
    ..LSTM
};
/// dm-haiku 0.0.17, _src/recurrent.py: `VanillaRNN`, relu.
const HAIKU_RNN: Recipe = Recipe {
    convention: Convention::Haiku,
    cell: "rnn_relu",
    parts: &[
        columns("linear_1/w", WeightHh, &[0]),
        columns("linear/w", WeightIh, &[0]),
        rows("linear/b", BiasIh, &[0]),
        maybe(rows("linear_1/b", BiasHh, &[0])),
    ],
    within: "rnn",
    names: Names::Shared,
    ..LSTM
};

/// haste 0.4.0 and 0.5.0rc0, frameworks/pytorch/lstm.py, `LSTMScript`, and lib/lstm_forward_gpu.cu.cc, `PointwiseOperations`: Keras'
/// names, gates i, g, f, o. Its layers for TensorFlow keep one matrix (I + H, 4·H), which is not read.
const HASTE_LSTM: Recipe = Recipe {
    convention: Convention::Haste,
    parts: &[
        columns("recurrent_kernel", WeightHh, &[0, 2, 1, 3]),
        columns("kernel", WeightIh, &[0, 2, 1, 3]),
        rows("bias", BiasIh, &[0, 2, 1, 3]),
    ],
    names: Names::Asked,
    assumes: "has no zoneout, which the tensors do not tell and which changes inference, too",
    ..LSTM
};
/// haste 0.4.0 and 0.5.0rc0, frameworks/pytorch/gru.py, `GRUScript`, and lib/gru_forward_gpu.cu.cc, `PointwiseOperations`: z, r, g,
/// reset after, a bias for each side.
const HASTE_GRU: Recipe = Recipe {
    convention: Convention::Haste,
    parts: &[
        rows("recurrent_bias", BiasHh, &[1, 0, 2]),
        columns("recurrent_kernel", WeightHh, &[1, 0, 2]),
        columns("kernel", WeightIh, &[1, 0, 2]),
        rows("bias", BiasIh, &[1, 0, 2]),
    ],
    names: Names::Shared,
    cell: "gru",
    ..HASTE_LSTM
};

/// mlx 0.32.4, nn/layers/recurrent.py: `LSTM`.
const MLX_LSTM: Recipe = Recipe {
    convention: Convention::Mlx,
    parts: &[
        rows("Wh", WeightHh, &[0, 1, 2, 3]),
        rows("Wx", WeightIh, &[0, 1, 2, 3]),
        maybe(rows("bias", BiasIh, &[0, 1, 2, 3])),
    ],
    names: Names::Shared,
    ..LSTM
};
/// mlx 0.32.4, nn/layers/recurrent.py: `GRU`, whose bias is called `b`.
const MLX_GRU: Recipe = Recipe {
    convention: Convention::Mlx,
    parts: &[
        rows("Wh", WeightHh, &[0, 1, 2]),
        rows("Wx", WeightIh, &[0, 1, 2]),
        maybe(rows("b", BiasIh, &[0, 1, 2])),
        maybe(rows("bhn", BiasHh, &[2])),
    ],
    names: Names::Shared,
    ..GRU
};
/// mlx 0.32.4, nn/layers/recurrent.py: `RNN`.
const MLX_RNN: Recipe = Recipe {
    convention: Convention::Mlx,
    cell: "rnn",
    parts: &[rows("Whh", WeightHh, &[0]), rows("Wxh", WeightIh, &[0]), maybe(rows("bias", BiasIh, &[0]))],
    names: Names::Shared,
    assumes: "has the activation tanh, the default of its class",
    ..LSTM
};
/// CS231n's names with W x in place of x W.
const MLX_VANILLA: Recipe = Recipe {
    parts: &[rows("Wh", WeightHh, &[0]), rows("Wx", WeightIh, &[0]), maybe(rows("b", BiasIh, &[0]))],
    names: Names::Asked,
    assumes: "has the activation tanh",
    ..MLX_RNN
};

/// chainer 7.8.1, links/rnn/lstm.py and functions/rnn/lstm.py, `_extract_gates`: a, i, f, o of every unit beside each other.
const CHAINER_LSTM: Recipe = Recipe {
    convention: Convention::Chainer,
    parts: &[
        interleaved("lateral/W", WeightHh, &[2, 0, 1, 3]),
        interleaved("upward/W", WeightIh, &[2, 0, 1, 3]),
        maybe(interleaved("upward/b", BiasIh, &[2, 0, 1, 3])),
    ],
    ..LSTM
};
/// chainer 7.8.1, links/rnn/gru.py, `StatelessGRU.forward`: h' = (1 − z) h + z h̄ with h̄ = tanh(W x + U (r h)).
const CHAINER_GRU: Recipe = Recipe {
    convention: Convention::Chainer,
    cell: "gru_reset_before",
    parts: &[
        rows("U_z/W", WeightHh, &[1]),
        rows("U_r/W", WeightHh, &[0]),
        rows("U/W", WeightHh, &[2]),
        rows("W_r/W", WeightIh, &[0]),
        rows("W_z/W", WeightIh, &[1]),
        rows("W/W", WeightIh, &[2]),
        maybe(rows("W_r/b", BiasIh, &[0])),
        maybe(rows("W_z/b", BiasIh, &[1])),
        maybe(rows("W/b", BiasIh, &[2])),
        maybe(rows("U_r/b", BiasHh, &[0])),
        maybe(rows("U_z/b", BiasHh, &[1])),
        maybe(rows("U/b", BiasHh, &[2])),
    ],
    negated: Z_REVERSED,
    assumes: "adds the biases of U at every step; a StatefulGRU of Chainer does not at the first one, where it has no h",
    ..LSTM
};
/// chainer 7.8.1, functions/rnn/n_step_lstm.py, `_lstm`: one matrix a gate, i, f, a, o.
const CHAINER_N_STEP_LSTM: Recipe = Recipe {
    convention: Convention::Chainer,
    parts: &[
        rows("w7", WeightHh, &[3]),
        rows("w4", WeightHh, &[0]),
        rows("w5", WeightHh, &[1]),
        rows("w6", WeightHh, &[2]),
        rows("w0", WeightIh, &[0]),
        rows("w1", WeightIh, &[1]),
        rows("w2", WeightIh, &[2]),
        rows("w3", WeightIh, &[3]),
        rows("b0", BiasIh, &[0]),
        rows("b1", BiasIh, &[1]),
        rows("b2", BiasIh, &[2]),
        rows("b3", BiasIh, &[3]),
        rows("b4", BiasHh, &[0]),
        rows("b5", BiasHh, &[1]),
        rows("b6", BiasHh, &[2]),
        rows("b7", BiasHh, &[3]),
    ],
    names: Names::Shared,
    stack: Stack::Links,
    ..LSTM
};
/// chainer 7.8.1, functions/rnn/n_step_gru.py, `_gru`: r, z, h̄ as in PyTorch.
const CHAINER_N_STEP_GRU: Recipe = Recipe {
    convention: Convention::Chainer,
    parts: &[
        rows("w5", WeightHh, &[2]),
        rows("w3", WeightHh, &[0]),
        rows("w4", WeightHh, &[1]),
        rows("w0", WeightIh, &[0]),
        rows("w1", WeightIh, &[1]),
        rows("w2", WeightIh, &[2]),
        rows("b0", BiasIh, &[0]),
        rows("b1", BiasIh, &[1]),
        rows("b2", BiasIh, &[2]),
        rows("b3", BiasHh, &[0]),
        rows("b4", BiasHh, &[1]),
        rows("b5", BiasHh, &[2]),
    ],
    names: Names::Shared,
    stack: Stack::Links,
    ..GRU
};

const BURN_OPTIONS: &str = "has none of reverse, clip and input_forget and the default activations of its configuration, which the \
                            tensors do not tell";
const BURN_DIRECTIONS: Stack = Stack::Directions(["forward", "reverse"]);

/// burn-nn 0.20.0 to 0.22.1, src/modules/rnn: `GateController`, one linear layer (inputs, H) a gate and side, and
/// `Lstm::forward_iter`. Up to 0.21.0 the file of an LSTM with `input_forget` has a forget gate, too, which it does not use.
const BURN_LSTM: Recipe = Recipe {
    convention: Convention::Burn,
    parts: &[
        columns("input_gate/hidden_transform/weight", WeightHh, &[0]),
        columns("forget_gate/hidden_transform/weight", WeightHh, &[1]),
        columns("cell_gate/hidden_transform/weight", WeightHh, &[2]),
        columns("output_gate/hidden_transform/weight", WeightHh, &[3]),
        columns("input_gate/input_transform/weight", WeightIh, &[0]),
        columns("forget_gate/input_transform/weight", WeightIh, &[1]),
        columns("cell_gate/input_transform/weight", WeightIh, &[2]),
        columns("output_gate/input_transform/weight", WeightIh, &[3]),
        maybe(rows("input_gate/input_transform/bias", BiasIh, &[0])),
        maybe(rows("forget_gate/input_transform/bias", BiasIh, &[1])),
        maybe(rows("cell_gate/input_transform/bias", BiasIh, &[2])),
        maybe(rows("output_gate/input_transform/bias", BiasIh, &[3])),
        maybe(rows("input_gate/hidden_transform/bias", BiasHh, &[0])),
        maybe(rows("forget_gate/hidden_transform/bias", BiasHh, &[1])),
        maybe(rows("cell_gate/hidden_transform/bias", BiasHh, &[2])),
        maybe(rows("output_gate/hidden_transform/bias", BiasHh, &[3])),
    ],
    stack: BURN_DIRECTIONS,
    assumes: BURN_OPTIONS,
    ..LSTM
};
/// burn-nn 0.20.0 to 0.22.1, src/modules/rnn/gru.rs, `Gru::gate_product` with `reset_after`, its default: r (W_hn h + b_hn). Clip and
/// other activations exist from 0.21.0 on.
const BURN_GRU: Recipe = Recipe {
    convention: Convention::Burn,
    cell: "gru",
    parts: &[
        columns("new_gate/hidden_transform/weight", WeightHh, &[2]),
        columns("reset_gate/hidden_transform/weight", WeightHh, &[0]),
        columns("update_gate/hidden_transform/weight", WeightHh, &[1]),
        columns("reset_gate/input_transform/weight", WeightIh, &[0]),
        columns("update_gate/input_transform/weight", WeightIh, &[1]),
        columns("new_gate/input_transform/weight", WeightIh, &[2]),
        maybe(rows("reset_gate/input_transform/bias", BiasIh, &[0])),
        maybe(rows("update_gate/input_transform/bias", BiasIh, &[1])),
        maybe(rows("new_gate/input_transform/bias", BiasIh, &[2])),
        maybe(rows("reset_gate/hidden_transform/bias", BiasHh, &[0])),
        maybe(rows("update_gate/hidden_transform/bias", BiasHh, &[1])),
        maybe(rows("new_gate/hidden_transform/bias", BiasHh, &[2])),
    ],
    assumes: "has reset_after, no clip and the default activations of its configuration, which the tensors do not tell \
              (without reset_after: --cell gru_reset_before)",
    ..BURN_LSTM
};

/// burn-nn 0.21.0 to 0.22.1, src/modules/rnn/basic.rs, `Rnn::forward_iter`: one gate.
const BURN_RNN: Recipe = Recipe {
    cell: "rnn",
    parts: &[
        columns("gate/hidden_transform/weight", WeightHh, &[0]),
        columns("gate/input_transform/weight", WeightIh, &[0]),
        maybe(rows("gate/input_transform/bias", BiasIh, &[0])),
        maybe(rows("gate/hidden_transform/bias", BiasHh, &[0])),
    ],
    assumes: "has the activation tanh and none of reverse and clip, the defaults of its configuration, which the tensors do not \
              tell (another activation: --cell rnn_relu or rnn_identity)",
    ..BURN_LSTM
};

/// tinygrad 0.14.0, nn/__init__.py: `LSTMCell`, with PyTorch's names and order; a list of them is a stack.
const TINYGRAD: Recipe = Recipe {
    convention: Convention::Tinygrad,
    parts: &[
        rows("weight_hh", WeightHh, &[0, 1, 2, 3]),
        rows("weight_ih", WeightIh, &[0, 1, 2, 3]),
        maybe(rows("bias_ih", BiasIh, &[0, 1, 2, 3])),
        maybe(rows("bias_hh", BiasHh, &[0, 1, 2, 3])),
    ],
    names: Names::Asked,
    stack: Stack::Cells,
    assumes: "is a stack of LSTMCell, each reading the one before",
    ..LSTM
};

/// All recipes; of those with the same first part the first that fits is taken.
pub(crate) const RECIPES: [Recipe; 24] = [
    FLAX_LSTM,
    NNX_LSTM,
    FLAX_GRU,
    FLAX_SIMPLE,
    NNX_OPTIMIZED,
    NNX_GRU,
    NNX_SIMPLE,
    HAIKU_LSTM,
    HAIKU_GRU,
    HAIKU_RNN,
    HASTE_GRU,
    HASTE_LSTM,
    MLX_LSTM,
    MLX_GRU,
    MLX_RNN,
    MLX_VANILLA,
    CHAINER_LSTM,
    CHAINER_GRU,
    CHAINER_N_STEP_LSTM,
    CHAINER_N_STEP_GRU,
    BURN_LSTM,
    BURN_GRU,
    BURN_RNN,
    TINYGRAD,
];
