"""Makes keras2.h5 and keras2.npz (Keras 3.15 on JAX, h5py 3, and saving.py of Keras 2.2.4 from PyPI): weights without a configuration as
Keras 2.2 wrote them, of layers with its default activations and of CuDNN's, an input and the outputs. How CuDNN's weights become those
of LSTM and GRU is computed by Keras 2.2.4's own function.
"""
import ast
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
import jax

jax.config.update("jax_enable_x64", True)
import h5py
import keras
import numpy

here = Path(__file__).parent
random = numpy.random.default_rng(0)
keras.backend.set_floatx("float64")
I, H = 2, 3


def converter():
    """_convert_rnn_weights of Keras 2.2.4, whose package needs an old TensorFlow to be imported."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "keras==2.2.4"]
        subprocess.run(command, check=True)
        wheel = next(Path(folder).glob("*.whl"))
        tree = ast.parse(zipfile.ZipFile(wheel).read("keras/engine/saving.py"))
    function = next(node for node in tree.body if getattr(node, "name", "") == "_convert_rnn_weights")
    names = {"np": numpy}
    exec(compile(ast.Module([function], []), "saving.py", "exec"), names)
    return names["_convert_rnn_weights"]


def hard_sigmoid(a):
    """As up to Keras 2."""
    return jax.numpy.clip(0.2 * a + 0.5, 0, 1)


def target(kind):
    """An object whose class has the name that the converter looks at."""
    made = type(kind, (), {})()
    made.reset_after = True
    return made


options = {"return_sequences": True}
hard = {"recurrent_activation": hard_sigmoid}
layers = {
    "lstm_1": (keras.layers.LSTM(H, **options, **hard), (4 * H,), None),
    "gru_1": (keras.layers.GRU(H, reset_after=False, **options, **hard), (3 * H,), None),
    "cu_dnnlstm_1": (keras.layers.LSTM(H, **options), (8 * H,), "LSTM"),
    "cu_dnngru_1": (keras.layers.GRU(H, **options), (6 * H,), "GRU"),
}
x = random.normal(size=(1, 4, I))
convert, outputs = converter(), {}
with h5py.File(here / "keras2.h5", "w") as file:
    file.attrs["keras_version"] = numpy.bytes_("2.2.4")
    file.attrs["backend"] = numpy.bytes_("tensorflow")
    for name, (layer, bias, kind) in layers.items():
        columns = (4 if "lstm" in name else 3) * H
        shapes = {"kernel": (I, columns), "recurrent_kernel": (H, columns), "bias": bias}
        # Short numbers: those of a file are f32.
        weights = [random.normal(size=shape).astype(numpy.float32) for shape in shapes.values()]
        for variable, array in zip(shapes, weights):
            file[f"{name}/{name}/{variable}:0"] = array
        layer.build(x.shape)
        layer.set_weights(convert(target(kind), weights) if kind else weights)
        outputs[name] = numpy.asarray(layer(x))
numpy.savez(here / "keras2.npz", x=x, **outputs)
