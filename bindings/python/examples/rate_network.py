# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A rate network from neuroscience
#
# h_t = (1 - alpha) h_{t-1} + alpha tanh(W h_{t-1} + U x_t + b), with alpha = dt / tau: the unit's time constant. The smaller alpha, the
# farther gradients reach along the leak; a larger gain of W makes them reach farther along the recurrent weights, up to chaos.

# %%
import numpy as np

import bptt

rng = np.random.default_rng(0)
UNITS, STEPS = 64, 200
w, u = rng.normal(size=(UNITS, UNITS)) / np.sqrt(UNITS), rng.normal(size=(UNITS, 3))
x, seeds = rng.normal(size=(STEPS, 1, 3)), rng.normal(size=(STEPS, 1, UNITS))


def ledger(alpha: float, gain: float) -> bptt.Ledger:
    """Of losses with random gradients at every step."""
    weights = {"weight_ih_l0": u, "weight_hh_l0": gain * w}
    return bptt.Network(f"rnn_leaky:{alpha}", weights).scan(x).ledger(seeds)


# %%
for alpha in (1.0, 0.3, 0.1):
    for gain in (0.5, 1.0, 1.5):
        found = ledger(alpha, gain)
        decay = found.decay()
        print(f"alpha {alpha}, gain {gain}: horizon(0.99) {found.horizon(0.99)} steps, a factor {np.exp(decay):.3f} per step")

# %% [markdown]
# At a small gain the leak alone carries gradients: the factor is about 1 - alpha.

# %%
assert abs(np.exp(ledger(0.1, 0.1).decay()) - 0.9) < 0.02
