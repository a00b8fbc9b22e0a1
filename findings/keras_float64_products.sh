#!/usr/bin/env bash
# A Keras 3 layer with dtype float64.
#
# Expected: weights, inputs and output of the layer are float64, so it computes in float64 and agrees with its equations to about
#           1e-16.
# Actual:   keras.ops.matmul and keras.ops.add of two float64 arrays return float32, because Keras' result type of float64 with
#           float64 is float32. An LSTM whose weights, input and output all say float64 is off by about 1e-8, which is what a
#           finite-difference check of such a layer finds.
#
# Shown on the NumPy backend, which imports JAX and SciPy, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.3.5 scipy==1.17.1
KERAS_BACKEND=numpy KERAS_HOME="$folder" "$folder/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy

print("keras", keras.__version__, "on numpy", numpy.__version__)
random = numpy.random.default_rng(0)
steps, units = 6, 4
layer = keras.layers.LSTM(units, dtype="float64")
x = random.standard_normal((2, steps, 3))
output = layer(x)
kernel, recurrent_kernel, bias = (numpy.asarray(weight.value) for weight in layer.weights)


def sigmoid(a):
    return 1 / (1 + numpy.exp(-a))


def lstm(dtype):
    h = c = numpy.zeros((2, units))
    for t in range(steps):
        products = [a.astype(dtype) @ b.astype(dtype) for a, b in ((x[:, t], kernel), (h, recurrent_kernel))]
        i, f, g, o = numpy.split(products[0] + products[1] + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(g)
        h = sigmoid(o) * numpy.tanh(c)
    return h


product = keras.ops.matmul(x[0], kernel)
total = keras.ops.add(x[0], x[1])
difference = numpy.abs(output - lstm("float64")).max()
print("dtypes of weights, input and output      ", {str(w.dtype) for w in layer.weights}, x.dtype, output.dtype)
print("dtype of keras.ops.add of float64        ", total.dtype)
print("dtype of keras.ops.matmul of float64     ", product.dtype)
print("keras.backend.result_type of both        ", keras.backend.result_type("float64", "float64"))
print("difference from the equations in float64 ", difference)

float64 = {str(w.dtype) for w in layer.weights} == {"float64"} and output.dtype == x.dtype == "float64"
as_described = float64 and total.dtype == product.dtype == "float32" and 1e-10 < difference < 1e-6
sys.exit(0 if as_described else "the behavior has changed")
PYTHON
