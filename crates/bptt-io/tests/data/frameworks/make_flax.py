"""Makes flax_*.msgpack and flax.npz (flax 0.12.8, jax 0.10.2, numpy 2.4): cells of linen and nnx as flax.serialization writes them, and
what they compute in f64."""
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import numpy

jax.config.update("jax_enable_x64", True)
import flax
import flax.linen as nn
from flax import nnx
from flax.traverse_util import flatten_dict

from common import H, I, Proofs, drawn, here, jax_case, x

proofs = Proofs()
f64 = {"param_dtype": jax.numpy.float64}


def groups(gradient):
    flat = flatten_dict(gradient, sep="/")
    pick = lambda test: [value for path, value in flat.items() if test(path)]
    kernels = pick(lambda p: p.endswith("kernel") and p.split("/")[-2][0] == "i" or p.endswith("dense_i/kernel"))
    recurrent = pick(lambda p: p.endswith("kernel") and p.split("/")[-2][0] == "h" or p.endswith("dense_h/kernel"))
    return kernels, recurrent, pick(lambda p: p.endswith("bias") and p.split("/")[-2] != "hn")


def linen(case, module):
    parameters = drawn(module.init(jax.random.key(0), x[None]))
    run = lambda p, x: module.apply(p, x[None])[0]
    jax_case(proofs, case, run, parameters, groups)
    (here / f"flax_{case}.msgpack").write_bytes(flax.serialization.to_bytes(parameters))


def of_nnx(case, module):
    zero = jax.numpy.zeros((1, H))
    carry = (zero, zero) if "lstm" in case or "optimized" in case else zero

    graph, state, rest = nnx.split(module, nnx.Param, ...)
    parameters = drawn(nnx.to_pure_dict(state))

    def run(p, x):
        nnx.replace_by_pure_dict(state, p)
        return nnx.merge(graph, state, rest)(x[None], initial_carry=carry)[0]

    jax_case(proofs, case, run, parameters, groups)
    (here / f"flax_{case}.msgpack").write_bytes(flax.serialization.to_bytes(parameters))


linen("lstm", nn.RNN(nn.LSTMCell(H, **f64)))
linen("optimized", nn.RNN(nn.OptimizedLSTMCell(H, **f64)))
linen("gru", nn.RNN(nn.GRUCell(H, **f64)))
linen("simple", nn.RNN(nn.SimpleCell(H, **f64)))
linen("both", nn.Bidirectional(nn.RNN(nn.GRUCell(H, **f64)), nn.RNN(nn.GRUCell(H, **f64))))
linen("mgu", nn.RNN(nn.MGUCell(H, **f64)))
rngs = nnx.Rngs(0)
of_nnx("nnx_lstm", nnx.RNN(nnx.LSTMCell(I, H, rngs=rngs, **f64), rngs=rngs))
of_nnx("nnx_optimized", nnx.RNN(nnx.OptimizedLSTMCell(I, H, rngs=rngs, **f64), rngs=rngs))
of_nnx("nnx_gru", nnx.RNN(nnx.GRUCell(I, H, rngs=rngs, **f64), rngs=rngs))
of_nnx("nnx_simple", nnx.RNN(nnx.SimpleCell(I, H, rngs=rngs, dtype=jax.numpy.float64, **f64), rngs=rngs))
proofs.save("flax.npz")
