# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # The article in ten lines
#
# "Backpropagation and Vanishing Gradient Problem in RNN (Part 1)" (A. Kravets, Towards AI, 2023) takes the gradient of each loss of a
# tanh RNN apart into the contributions of each step, by hand. Its numbers are the first standard normals of NumPy's legacy generator.

# %%
import numpy as np

import bptt

rng = np.random.RandomState(1)
x, h0, Wx, Wh, b, dh = (rng.normal(size=shape) for shape in [(1, 3, 3), (1, 4), (3, 4), (4, 4), 4, (1, 3, 4)])
network = bptt.Network("rnn", {"weight_ih_l0": Wx.T, "weight_hh_l0": Wh.T, "bias_ih_l0": b})
ledger = network.scan(x.swapaxes(0, 1), hx=[[h0]]).ledger(dh.swapaxes(0, 1))
norms = ledger.norms("weight_ih_l0")

# %% [markdown]
# Row k has the contributions of the steps t to the gradient of loss k with respect to Wx.

# %%
print(norms.round(8))

# %% [markdown]
# The article prints those of the last loss: 1.42 of the last step, 0.061 and 0.031 of those before. The gradient does not vanish, its far
# terms do.

# %%
printed = [0.03087853793900866, 0.06058764108583098, 1.4225029296044476]
np.testing.assert_allclose(norms[2], printed, rtol=1e-12)
assert ledger.balance["weight_ih_l0"] < 1e-14
