"""Keras on JAX: a stateful LSTM in fit and predict."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from row import tell

from bptt import adapters

STEPS = 10
keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x, y = random.normal(size=(2, STEPS, 3)).astype("float32"), random.normal(size=(2, STEPS, 1)).astype("float32")


def model(stateful):
    made = keras.Sequential(
        [
            keras.Input((STEPS, 3), batch_size=2),
            keras.layers.LSTM(4, return_sequences=True, stateful=stateful),
            keras.layers.Dense(1),
        ]
    )
    made.compile(keras.optimizers.SGD(0.0), "mse")
    return made


made = model(True)
found = adapters.keras_dependence(made, x, y)
# Without learning, the second call differs from the first where the state is carried.
eager = [np.asarray(made(x)) for _ in range(2)]
predicted = [made.predict(x, batch_size=2, verbose=0) for _ in range(2)]
made.layers[0].reset_state()
losses = [made.train_on_batch(x, y) for _ in range(2)]
made.layers[0].reset_state()
fitted = made.fit(x, y, epochs=2, batch_size=2, verbose=0, shuffle=False).history["loss"]


def masked(plain):
    """The part of the loss that a target at padding changes, with a mask that is passed on, or through a plain operator."""
    given = keras.Input((STEPS, 3), batch_size=2)
    h = keras.layers.Masking()(given)
    h = keras.layers.LSTM(4, return_sequences=True)(h * 1.0 if plain else h)
    made = keras.Model(given, keras.layers.Dense(1)(h))
    made.compile(keras.optimizers.SGD(0.0), "mse")
    short, target = x.copy(), y.copy()
    short[:, 6:] = 0
    first = made.train_on_batch(short, target)
    target[:, 6:] += 1
    return "0" if abs(made.train_on_batch(short, target) - first) < 1e-7 else "counts"


def carries(first, second):
    return "carried" if np.abs(np.asarray(first) - np.asarray(second)).max() > 1e-6 else "**zeros**"


tell(
    f"Keras LSTM, stateful, JAX backend (T {STEPS})",
    "keras",
    start=f"fit {carries(*fitted)}, train_on_batch {carries(*losses)}, predict {carries(*predicted)}, called eagerly {carries(*eager)}",
    longest=str(found.farthest_lag),
    nearest=str(found.nearest_lag),
    padding=f"with a mask {masked(False)}; after a plain operator (x * 1.0) it {masked(True)}",
)
