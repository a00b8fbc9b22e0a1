//! The recipes of Flax' cells; `recipes.rs` says what a recipe is.

use super::Convention;
use super::Parameter::{BiasHh, BiasIh, WeightHh, WeightIh};
use super::recipe::{GRU, LSTM, Names, Recipe, Stack, columns, rows};

const FLAX_ACTIVATIONS: &str = "has the default activations of its class";
const BOTH_DIRECTIONS: Stack = Stack::Directions(["forward_rnn/cell", "backward_rnn/cell"]);

/// flax 0.12.8, linen/recurrent.py: `LSTMCell`, `OptimizedLSTMCell`.
pub(super) const FLAX_LSTM: Recipe = Recipe {
    convention: Convention::Flax,
    parts: &[
        columns("hi/kernel", WeightHh, &[0]),
        columns("hf/kernel", WeightHh, &[1]),
        columns("hg/kernel", WeightHh, &[2]),
        columns("ho/kernel", WeightHh, &[3]),
        columns("ii/kernel", WeightIh, &[0]),
        columns("if/kernel", WeightIh, &[1]),
        columns("ig/kernel", WeightIh, &[2]),
        columns("io/kernel", WeightIh, &[3]),
        rows("hi/bias", BiasHh, &[0]),
        rows("hf/bias", BiasHh, &[1]),
        rows("hg/bias", BiasHh, &[2]),
        rows("ho/bias", BiasHh, &[3]),
    ],
    stack: BOTH_DIRECTIONS,
    assumes: FLAX_ACTIVATIONS,
    ..LSTM
};
/// flax 0.12.8, linen/recurrent.py: `GRUCell`; the biases of r and z are the input side's alone.
pub(super) const FLAX_GRU: Recipe = Recipe {
    convention: Convention::Flax,
    parts: &[
        columns("hn/kernel", WeightHh, &[2]),
        columns("hr/kernel", WeightHh, &[0]),
        columns("hz/kernel", WeightHh, &[1]),
        columns("ir/kernel", WeightIh, &[0]),
        columns("iz/kernel", WeightIh, &[1]),
        columns("in/kernel", WeightIh, &[2]),
        rows("ir/bias", BiasIh, &[0]),
        rows("iz/bias", BiasIh, &[1]),
        rows("in/bias", BiasIh, &[2]),
        rows("hn/bias", BiasHh, &[2]),
    ],
    stack: BOTH_DIRECTIONS,
    assumes: FLAX_ACTIVATIONS,
    ..GRU
};
/// flax 0.12.8, linen/recurrent.py: `SimpleCell` without `residual`.
pub(super) const FLAX_SIMPLE: Recipe = Recipe {
    convention: Convention::Flax,
    cell: "rnn",
    parts: &[
        columns("h/kernel", WeightHh, &[0]),
        columns("i/kernel", WeightIh, &[0]),
        rows("i/bias", BiasIh, &[0]),
    ],
    names: Names::Shared,
    stack: BOTH_DIRECTIONS,
    assumes: "has the activation tanh and no residual connection, the defaults of its class",
    ..LSTM
};
/// flax 0.12.8, nnx/nn/recurrent.py: `LSTMCell`, linen's with another name for one kernel.
pub(super) const NNX_LSTM: Recipe = Recipe {
    convention: Convention::FlaxNnx,
    parts: &[
        columns("hi/kernel", WeightHh, &[0]),
        columns("hf/kernel", WeightHh, &[1]),
        columns("hg/kernel", WeightHh, &[2]),
        columns("ho/kernel", WeightHh, &[3]),
        columns("ii/kernel", WeightIh, &[0]),
        columns("if_/kernel", WeightIh, &[1]),
        columns("ig/kernel", WeightIh, &[2]),
        columns("io/kernel", WeightIh, &[3]),
        rows("hi/bias", BiasHh, &[0]),
        rows("hf/bias", BiasHh, &[1]),
        rows("hg/bias", BiasHh, &[2]),
        rows("ho/bias", BiasHh, &[3]),
    ],
    ..FLAX_LSTM
};
/// flax 0.12.8, nnx/nn/recurrent.py: `OptimizedLSTMCell`.
pub(super) const NNX_OPTIMIZED: Recipe = Recipe {
    convention: Convention::FlaxNnx,
    parts: &[
        columns("dense_h/kernel", WeightHh, &[0, 1, 2, 3]),
        columns("dense_i/kernel", WeightIh, &[0, 1, 2, 3]),
        rows("dense_h/bias", BiasHh, &[0, 1, 2, 3]),
    ],
    ..FLAX_LSTM
};
/// flax 0.12.8, nnx/nn/recurrent.py: `GRUCell`, which has no b_hn.
pub(super) const NNX_GRU: Recipe = Recipe {
    convention: Convention::FlaxNnx,
    parts: &[
        columns("dense_h/kernel", WeightHh, &[0, 1, 2]),
        columns("dense_i/kernel", WeightIh, &[0, 1, 2]),
        rows("dense_i/bias", BiasIh, &[0, 1, 2]),
    ],
    ..FLAX_GRU
};
/// flax 0.12.8, nnx/nn/recurrent.py: `SimpleCell` without `residual`.
pub(super) const NNX_SIMPLE: Recipe = Recipe {
    convention: Convention::FlaxNnx,
    parts: &[
        columns("dense_h/kernel", WeightHh, &[0]),
        columns("dense_i/kernel", WeightIh, &[0]),
        rows("dense_i/bias", BiasIh, &[0]),
    ],
    names: Names::Alone,
    ..FLAX_SIMPLE
};
