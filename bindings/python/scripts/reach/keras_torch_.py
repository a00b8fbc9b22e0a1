"""Keras on torch: a stateful LSTM, GRU and SimpleRNN in fit."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
from row import tell

from bptt import adapters

STEPS = 10
random = np.random.default_rng(0)
x, y = random.normal(size=(4, STEPS, 3)).astype("float32"), random.normal(size=(4, STEPS, 1)).astype("float32")
for kind in ("LSTM", "GRU", "SimpleRNN"):
    keras.utils.set_random_seed(0)
    stateless = keras.Sequential(
        [keras.Input((STEPS, 3)), getattr(keras.layers, kind)(4, return_sequences=True), keras.layers.Dense(1)]
    )
    found = adapters.keras_dependence(stateless, x[:2], y[:2])
    layer = getattr(keras.layers, kind)(4, return_sequences=True, stateful=True)
    made = keras.Sequential([keras.Input((STEPS, 3), batch_size=2), layer, keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    try:
        made.fit(x, y, batch_size=2, verbose=0, shuffle=False)
        fit = "fit runs"
    except RuntimeError as error:
        fit = f"**fit raises**: {str(error).splitlines()[0].split(':')[0]}"
    tell(
        f"Keras {kind}, stateful, torch backend (T {STEPS})",
        "keras",
        start=fit,
        longest=f"{found.farthest_lag} without stateful",
        nearest=str(found.nearest_lag),
    )
