"""Makes tinygrad.npz and tinygrad_lstm.npz (tinygrad 0.14.0 with its Python device, numpy 2.4): two LSTMCells in a list, and what they compute in
f64."""
import os

os.environ["DEV"] = "PYTHON"
import numpy
from tinygrad import Tensor, dtypes, nn

from common import H, I, Proofs, T, here, norm, numbers, seeds, x

proofs = Proofs()
array = lambda values: Tensor(values, dtype=dtypes.float64)
cells = [nn.LSTMCell(I, H), nn.LSTMCell(H, H)]
names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
weights = {}
for layer, cell in enumerate(cells):
    for n, name in enumerate(names):
        shape = getattr(cell, name).shape
        weights[f"lstm.cells.{layer}.{name}"] = numbers(2.0 + 0.37 * (4 * layer + n), int(numpy.prod(shape))).reshape(shape)
losses = []
for k in range(T):
    for layer, cell in enumerate(cells):
        for name in names:
            setattr(cell, name, array(weights[f"lstm.cells.{layer}.{name}"]))
    inputs = [array(x[t : t + 1]) for t in range(T)]
    states, ys = [None, None], []
    for t in range(T):
        read = inputs[t]
        for layer, cell in enumerate(cells):
            if states[layer] is None:
                states[layer] = (array(numpy.zeros((1, H))),) * 2
            states[layer] = cell(read, states[layer])
            read = states[layer][0]
        ys.append(read)
    y = ys[0].cat(*ys[1:], dim=0)
    own = [getattr(cells[0], name) for name in names[:3]]
    *by_own, = (y[k] * array(seeds()[k])).sum().gradient(*own, *inputs[: k + 1])
    dx = numpy.zeros((T, I))
    dx[: k + 1] = numpy.concatenate([g.numpy() for g in by_own[3:]])
    losses.append((dx, [norm(g.numpy()) for g in by_own[:3]]))
proofs.add("lstm", y.numpy(), losses)
numpy.savez(here / "tinygrad_lstm.npz", **weights)
proofs.save("tinygrad.npz")
