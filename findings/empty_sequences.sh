#!/usr/bin/env bash
# The final state of a sequence of length 0 in a padded batch.
#
# Expected: a recurrent layer that is told the lengths reads nothing of a sequence of length 0, so its final state is the state that
#           it began with, whatever the padding holds. (PyTorch refuses the length 0.)
# Actual:   Flax returns the state behind all the padding, because the index length - 1 of the last carry wraps around; the final
#           state, and a gradient through it, depend on the padding. ONNX Runtime returns zeros and drops the initial state. Both
#           accept the length without a warning, and both are right for the sequence of length 1 beside it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir flax==0.12.8 jax==0.10.2 jaxlib==0.10.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.3.5
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import flax
import jax
import jax.numpy as jnp
import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

print("flax", flax.__version__, "jax", jax.__version__, "onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
STEPS, BATCH, INPUTS, UNITS = 4, 2, 2, 3
lengths = [1, 0]
random = numpy.random.default_rng(0)
x = random.normal(size=(STEPS, BATCH, INPUTS)).astype("float32")
h0 = random.normal(size=(BATCH, UNITS)).astype("float32")
alone = x[:1, :1]

layer = flax.linen.RNN(flax.linen.GRUCell(UNITS), time_major=True, return_carry=True)
parameters = layer.init(jax.random.key(0), x)


def final(x, h0, **lengths):
    return layer.apply(parameters, x, initial_carry=jnp.asarray(h0), **lengths)[0]


of_flax = final(x, h0, seq_lengths=jnp.array(lengths))
one = final(alone, h0[:1])[0]
all_read = final(x, h0)[1]
of_padding = jax.grad(lambda x: final(x, h0, seq_lengths=jnp.array(lengths))[1].sum())(jnp.asarray(x))[:, 1]

names = ["X", "W", "R", "", "lengths", "h0"]
shapes = {"X": [None, None, INPUTS], "W": [1, 3 * UNITS, INPUTS], "R": [1, 3 * UNITS, UNITS], "lengths": [None], "h0": [1, None, UNITS]}
values = [
    helper.make_tensor_value_info(name, TensorProto.INT32 if name == "lengths" else TensorProto.FLOAT, shapes[name])
    for name in names
    if name
]
node = helper.make_node("GRU", names, ["", "Y_h"], hidden_size=UNITS)
graph = helper.make_graph([node], "gru", values, [helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [1, None, UNITS])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
onnx.checker.check_model(model)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
w, r = (random.normal(size=(1, 3 * UNITS, n)).astype("float32") for n in (INPUTS, UNITS))


def final_of_onnx(x, h0, lengths):
    inputs = {"X": x, "W": w, "R": r, "lengths": numpy.array(lengths, "int32"), "h0": h0[None]}
    return session.run(None, inputs)[0][0]


of_onnx = final_of_onnx(x, h0, lengths)
one_of_onnx = final_of_onnx(alone, h0[:1], [1])[0]

print("initial state                                     ", h0[1])
print("final state of length 0, flax                     ", of_flax[1])
print("flax, all", STEPS, "steps read                            ", all_read)
print("gradient of flax' final state by the padding, norm", float(jnp.linalg.norm(of_padding)))
print("final state of length 0, onnxruntime              ", of_onnx[1])
as_described = (
    numpy.allclose(of_flax[0], one, atol=1e-6)
    and numpy.allclose(of_flax[1], all_read, atol=1e-6)
    and not numpy.allclose(of_flax[1], h0[1], atol=1e-2)
    and numpy.linalg.norm(of_padding) > 1e-2
    and numpy.allclose(of_onnx[0], one_of_onnx, atol=1e-6)
    and not of_onnx[1].any()
)
sys.exit(0 if as_described else "the behavior has changed")
PYTHON
