"""Makes refused.keras and refused.npz (Keras 3.15 on JAX): layers that are refused beside those that the refusals ask for, of the same
weights, and their outputs; of merged directions also, for the sum of all outputs times `seeds`, the gradient by the inputs."""
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
import jax

jax.config.update("jax_enable_x64", True)
import keras
import numpy
from keras.layers import GRU, RNN, Bidirectional, GRUCell

here = Path(__file__).parent
keras.backend.set_floatx("float64")
keras.utils.set_random_seed(0)
every = {"return_sequences": True}
modes = {"joined": "concat", "summed": "sum", "averaged": "ave", "multiplied": "mul", "apart": None}
both = {name: Bidirectional(GRU(3, **every), merge_mode=mode, name=name) for name, mode in modes.items()}
both["unlike"] = Bidirectional(
    GRU(3, **every), backward_layer=GRU(3, activation="relu", go_backwards=True, **every), name="unlike"
)
# Of a backward layer of its own, which keeps its name.
both["named"] = Bidirectional(GRU(3, **every), backward_layer=GRU(3, go_backwards=True, **every), name="named")
one = {
    "plain": GRU(3, name="plain", **every),
    "backwards": GRU(3, go_backwards=True, name="backwards", **every),
    "cells": RNN(GRUCell(3), name="cells", **every),
}
relu = {"relu": GRU(3, activation="relu", name="relu", **every)}
layers = both | one | relu
inputs = keras.Input((4, 2))
outputs = {name: layer(inputs) for name, layer in layers.items()}
model = keras.Model(inputs, outputs)
weights = [keras.random.normal(weight.shape) for weight in layers["joined"].weights]
for names, part in ((both, weights), (one, weights[:3]), (relu, weights[3:])):
    for name in names:
        layers[name].set_weights(part)
random = numpy.random.default_rng(0)
x = random.normal(size=(1, 4, 2))
numbers = {"x": x, "seeds": random.normal(size=(1, 4, 3))}
variables = [variable.value for variable in model.trainable_variables]
others = [variable.value for variable in model.non_trainable_variables]
run = lambda x: model.stateless_call(variables, others, x)[0]
for name, y in run(x).items():
    numbers[name] = numpy.concatenate(y, axis=-1) if isinstance(y, (list, tuple)) else numpy.asarray(y)
    if name in ("summed", "averaged", "multiplied"):
        numbers[f"{name}.dx"] = jax.grad(lambda x: (run(x)[name] * numbers["seeds"]).sum())(x)
numpy.savez(here / "refused.npz", **numbers)
model.save(here / "refused.keras")
