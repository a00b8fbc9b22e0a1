"""Makes chainer_*.npz and chainer.npz (chainer 7.8.1, numpy 1.23.5): links of Chainer as its save_npz names them, and what they compute in
f64."""
import warnings

import numpy

warnings.simplefilter("ignore")
import chainer
from chainer import functions as F
from chainer import links as L

from common import H, I, Proofs, T, here, norm, numbers, seeds, x

chainer.global_config.dtype = numpy.float64
proofs = Proofs()


def case(name, link, run, groups):
    parameters = sorted(link.namedparams())
    for n, (_, parameter) in enumerate(parameters):
        parameter.array = numbers(2.0 + 0.37 * n, parameter.size).reshape(parameter.shape)
    losses = []
    for k in range(T):
        inputs = chainer.Variable(x.copy())
        y = run(link, inputs)
        link.cleargrads()
        F.sum(y[k] * seeds(y.shape[1])[k]).backward()
        g = {path[1:]: 0.0 if parameter.grad is None else parameter.grad for path, parameter in parameters}
        losses.append((inputs.grad, [norm(*[g[path] for path in group]) for group in groups]))
    proofs.add(name, y.array, losses)
    numpy.savez(here / f"chainer_{name}.npz", **{f"link/{path[1:]}": parameter.array for path, parameter in parameters})


def lstm(link, x):
    c, h, ys = None, None, []
    for t in range(T):
        c, h = link(c, h, x[t : t + 1])
        ys.append(h)
    return F.concat(ys, axis=0)


def gru(link, x):
    h, ys = numpy.zeros((1, H)), []
    for t in range(T):
        h = link(h, x[t : t + 1])
        ys.append(h)
    return F.concat(ys, axis=0)


case("lstm", L.StatelessLSTM(I, H), lstm, [["upward/W"], ["lateral/W"], ["upward/b"]])
case("gru", L.StatelessGRU(I, H), gru, [["W_r/W", "W_z/W", "W/W"], ["U_r/W", "U_z/W", "U/W"], ["W_r/b", "W_z/b", "W/b"]])
steps = lambda gates: [[f"0/w{n}" for n in range(gates)], [f"0/w{n}" for n in range(gates, 2 * gates)], [f"0/b{n}" for n in range(gates)]]
case("steps_lstm", L.NStepLSTM(2, I, H, 0.0), lambda link, x: link(None, None, [x])[2][0], steps(4))
case("steps_bigru", L.NStepBiGRU(1, I, H, 0.0), lambda link, x: link(None, [x])[1][0], steps(3))
proofs.save("chainer.npz")
