"""What the scripts beside this file share: inputs, losses, and what is kept of them. Every loss L_k = s_k · y_k, with the state 0 before
the first step, has outputs y, dL_k/dx_t, and the norms of its gradients by the input weights, the recurrent weights and the input side's
bias (or the only one)."""
from pathlib import Path

import numpy

I, H, T = 2, 3, 4
here = Path(__file__).parent


def numbers(seed, count):
    return numpy.sin(seed + 1.7 * numpy.arange(count)) * 0.8


x = numbers(0.3, T * I).reshape(T, I)


def seeds(width=H):
    return numbers(0.9, T * width).reshape(T, width)


class Proofs:
    def __init__(self):
        self.arrays = {}

    def add(self, case, y, losses):
        """`losses`: for each k the gradient by x, (T, I), and the three norms."""
        self.arrays[f"{case}.y"] = numpy.asarray(y, "float64")
        self.arrays[f"{case}.dx"] = numpy.asarray([dx for dx, _ in losses], "float64")
        self.arrays[f"{case}.norms"] = numpy.asarray([norms for _, norms in losses], "float64")

    def save(self, name):
        numpy.savez(here / name, **self.arrays)


def norm(*arrays):
    return float(numpy.sqrt(sum((numpy.asarray(a, "float64") ** 2).sum() for a in arrays)))


def jax_case(proofs, case, run, parameters, groups):
    """`run(parameters, x)`: y; `groups(gradient)`: arrays of input weights, recurrent weights, bias."""
    import jax

    y = numpy.asarray(run(parameters, x))
    s = seeds(y.shape[1])
    losses = []
    for k in range(T):
        of = lambda p, x: (run(p, x)[k] * s[k]).sum()
        by_p, by_x = jax.grad(of, argnums=(0, 1))(parameters, x)
        losses.append((by_x, [norm(*group) for group in groups(by_p)]))
    proofs.add(case, y, losses)


def drawn(tree):
    """The same tree with numbers in place of the initial ones, so that no bias is zero."""
    import jax

    leaves, kind = jax.tree.flatten(tree)
    seeds = range(len(leaves))
    return jax.tree.unflatten(kind, [jax.numpy.asarray(numbers(2.0 + 0.37 * n, leaf.size).reshape(leaf.shape)) for n, leaf in zip(seeds, leaves)])
