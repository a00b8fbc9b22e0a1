#!/usr/bin/env bash
# A stateful recurrent layer of Keras on JAX, in fit and predict.
#
# Expected: stateful=True carries the final state of each batch to the next one, in fit and predict as in eager calls; the
#           documentation says so, and does not name a backend.
# Actual:   on the JAX backend every batch of fit, train_on_batch and predict begins with zeros, without a warning; called eagerly,
#           the layer carries its state. The state's variables are not among the model's variables, which are what the compiled
#           step takes and gives back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import keras
import numpy

print("keras", keras.__version__, "jax", jax.__version__, "numpy", numpy.__version__)
keras.utils.set_random_seed(0)
x = numpy.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
y = numpy.zeros((2, 5, 4), "float32")
layer = keras.layers.LSTM(4, return_sequences=True, stateful=True)
model = keras.Sequential([keras.Input((5, 3), batch_size=2), layer])
# Nothing is learned: a second call on the same input differs only by the state.
model.compile(keras.optimizers.SGD(0.0), "mse")


def apart(first, second):
    return float(numpy.abs(numpy.asarray(first) - numpy.asarray(second)).max())


found = {"called eagerly": apart(model(x), model(x))}
for name, call in (
    ("predict", lambda: model.predict(x, batch_size=2, verbose=0)),
    ("train_on_batch", lambda: model.train_on_batch(x, y)),
    ("fit", lambda: model.fit(x, y, batch_size=2, verbose=0, shuffle=False).history["loss"]),
):
    layer.reset_state()
    found[name] = apart(call(), call())
    print(f"state after {name}:", numpy.abs(numpy.asarray(layer.states[0])).max())
for name, difference in found.items():
    print(f"{name:15} difference of the second call from the first: {difference:.3g}")
as_described = found.pop("called eagerly") > 1e-3 and all(difference == 0 for difference in found.values())
sys.exit(0 if as_described else "the behavior has changed")
PYTHON
