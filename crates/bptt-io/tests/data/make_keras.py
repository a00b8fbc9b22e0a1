"""Makes keras.h5, keras.keras, keras.weights.h5 and keras.npz (Keras 3.15 on JAX, h5py 3): a model in the formats of Keras 2 and 3, its input
and the outputs of its layers."""
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
import jax

jax.config.update("jax_enable_x64", True)
import keras
import numpy

here = Path(__file__).parent
keras.backend.set_floatx("float64")
keras.utils.set_random_seed(0)
layers = [
    keras.layers.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True, name="hard"),
    keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True), name="both"),
    keras.layers.GRU(3, return_sequences=True, name="after"),
    keras.layers.GRU(3, reset_after=False, activation="relu", return_sequences=True, name="before"),
    keras.layers.SimpleRNN(3, activation="relu", return_sequences=True, name="vanilla"),
]
inputs = keras.Input((4, 2))
model = keras.Model(inputs, [layer(inputs) for layer in layers])
for weight in model.weights:
    weight.assign(keras.random.normal(weight.shape))
x = numpy.random.default_rng(0).normal(size=(1, 4, 2))
outputs = dict(zip([layer.name for layer in layers], model.predict(x, verbose=0)))
numpy.savez(here / "keras.npz", x=x, **outputs)
model.save(here / "keras.h5")
model.save(here / "keras.keras")
model.save_weights(here / "keras.weights.h5")
