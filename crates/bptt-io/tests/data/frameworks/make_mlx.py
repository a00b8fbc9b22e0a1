"""Makes mlx_*.npz and mlx.npz (mlx 0.32.4 on the CPU, numpy 2.4): layers of MLX with their parameters by name, and what they compute in
f64."""
import mlx.core as mx
import mlx.nn as nn
import numpy
from mlx.utils import tree_flatten, tree_unflatten

from common import H, I, Proofs, T, here, norm, numbers, seeds, x

mx.set_default_device(mx.cpu)
proofs = Proofs()
s = mx.array(seeds(), dtype=mx.float64)


def array(values):
    return mx.array(values, dtype=mx.float64)


def case(name, layer, *names):
    """`names`: of input weights, recurrent weights and, if it has one, the bias."""
    flat = tree_flatten(layer.parameters())
    layer.update(tree_unflatten([(key, array(numbers(2.0 + 0.37 * n, a.size).reshape(a.shape))) for n, (key, a) in enumerate(flat)]))
    outputs = lambda x: layer(x[None])[0] if name == "lstm" else layer(x[None])
    run = lambda x: outputs(x)[0] if name == "lstm" else outputs(x)[0]

    def of(parameters, x, k):
        layer.update(parameters)
        return (run(x)[k] * s[k]).sum()

    y, losses = numpy.array(run(array(x))), []
    for k in range(T):
        by_p, by_x = mx.grad(of, argnums=(0, 1))(layer.parameters(), array(x), k)
        g = {key: numpy.array(a) for key, a in tree_flatten(by_p)}
        losses.append((numpy.array(by_x), [norm(g[name]) for name in names]))
    proofs.add(name, y, losses)
    numpy.savez(here / f"mlx_{name}.npz", **{f"layer.{key}": numpy.array(a) for key, a in tree_flatten(layer.parameters())})


case("lstm", nn.LSTM(I, H), "Wx", "Wh", "bias")
case("gru", nn.GRU(I, H), "Wx", "Wh", "b")
case("rnn", nn.RNN(I, H), "Wxh", "Whh", "bias")
case("unbiased", nn.RNN(I, H, bias=False), "Wxh", "Whh")
proofs.save("mlx.npz")
