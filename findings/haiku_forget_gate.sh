#!/usr/bin/env bash
# The bias of hk.LSTM's forget gate.
#
# Expected: Haiku's documentation says that 1 is added to the bias of the forget gate after initialization. So a fresh bias is 1
#           there, and weights copied into another library's LSTM (gates reordered) give the same outputs.
# Actual:   a fresh bias is 0 everywhere. The 1 is added in the forward pass, at every step, also to trained weights: with all
#           parameters 0 the forget gate is sigmoid(1) = 0.731, not 0.5. Copied weights need 1 added to the bias. Flax' LSTM on
#           the same all-zero parameters has 0.5.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir dm-haiku==0.0.17 flax==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.3.5
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import math
import sys

import flax
import haiku
import jax
import jax.numpy as jnp

print("haiku", haiku.__version__, "flax", flax.__version__, "jax", jax.__version__)
x, h, c = jnp.zeros((1, 2)), jnp.zeros((1, 3)), jnp.ones((1, 3))


def step(x, h, c):
    _, state = haiku.LSTM(3)(x, haiku.LSTMState(hidden=h, cell=c))
    return state.cell


lstm = haiku.without_apply_rng(haiku.transform(step))
fresh = lstm.init(jax.random.key(0), x, h, c)
bias = fresh["lstm/linear"]["b"]
zero = jax.tree.map(jnp.zeros_like, fresh)
# c' = f c + i g with c = 1 and g = tanh(0) = 0: the new cell state is the forget gate.
of_haiku = float(lstm.apply(zero, x, h, c)[0, 0])

cell = flax.linen.LSTMCell(3)
parameters = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), (c, h), x))
of_flax = float(cell.apply(parameters, (c, h), x)[0][0][0, 0])

print("fresh bias of hk.LSTM, gates i g f o      ", bias.tolist())
print("forget gate with all parameters 0: haiku  ", of_haiku, "flax", of_flax)
sigmoid_of_1 = 1 / (1 + math.exp(-1))
as_described = not bias.any() and abs(of_haiku - sigmoid_of_1) < 1e-6 and of_flax == 0.5
sys.exit(0 if as_described else "the behavior has changed")
PYTHON
