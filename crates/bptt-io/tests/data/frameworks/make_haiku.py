"""Makes haiku_*.npz and haiku.npz (dm-haiku 0.0.17, jax 0.10.2, numpy 2.4): cores of Haiku, their parameters as arrays MODULE/NAME, and what
they compute in f64."""
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import numpy

jax.config.update("jax_enable_x64", True)
import haiku

from common import H, I, Proofs, drawn, here, jax_case, x

proofs = Proofs()


def case(name, core, groups):
    def run(x):
        made = core()
        return haiku.static_unroll(made, x, made.initial_state(None))[0]

    module = haiku.without_apply_rng(haiku.transform(run))
    parameters = drawn(module.init(jax.random.key(0), x))
    jax_case(proofs, name, module.apply, parameters, groups)
    arrays = {f"{path}/{key}": value for path, own in parameters.items() for key, value in own.items()}
    numpy.savez(here / f"haiku_{name}.npz", **arrays)


case("lstm", lambda: haiku.LSTM(H), lambda g: ([g["lstm/linear"]["w"][:I]], [g["lstm/linear"]["w"][I:]], [g["lstm/linear"]["b"]]))
case("gru", lambda: haiku.GRU(H), lambda g: ([g["gru"]["w_i"]], [g["gru"]["w_h"]], [g["gru"]["b"]]))
linear = lambda g, n: g[f"vanilla_rnn/linear{n}"]
case("rnn", lambda: haiku.VanillaRNN(H), lambda g: ([linear(g, "")["w"]], [linear(g, "_1")["w"]], [linear(g, "")["b"]]))
proofs.save("haiku.npz")
