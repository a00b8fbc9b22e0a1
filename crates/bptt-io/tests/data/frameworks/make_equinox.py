"""Makes equinox_*.npz and equinox.npz (Equinox 0.13.8, jax 0.10.2, numpy 2.4): its two cells, their parameters by name, and what they compute
in f64."""
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import numpy

jax.config.update("jax_enable_x64", True)
import equinox

from common import H, I, Proofs, drawn, here, jax_case, x

proofs = Proofs()


def case(name, cell, initial):
    def run(cell, x):
        state, ys = initial, []
        for row in x:
            state = cell(row, state)
            ys.append(state[0] if isinstance(state, tuple) else state)
        return jax.numpy.stack(ys)

    arrays, rest = equinox.partition(cell, equinox.is_array)
    arrays = drawn(arrays)
    apply = lambda arrays, x: run(equinox.combine(arrays, rest), x)
    jax_case(proofs, name, apply, arrays, lambda g: ([g.weight_ih], [g.weight_hh], [g.bias]))
    names = [n for n in ("weight_ih", "weight_hh", "bias", "bias_n") if getattr(arrays, n, None) is not None]
    numpy.savez(here / f"equinox_{name}.npz", **{f"cell.{n}": getattr(arrays, n) for n in names})


zero, key = jax.numpy.zeros(H), jax.random.key(0)
case("lstm", equinox.nn.LSTMCell(I, H, key=key), (zero, zero))
case("gru", equinox.nn.GRUCell(I, H, key=key), zero)
proofs.save("equinox.npz")
