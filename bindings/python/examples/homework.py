# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A homework
#
# The backward step of a tanh RNN, as CS231n's third assignment asks for it, with a mistake that many make.

# %%
import numpy as np

from bptt import checks


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - np.tanh(next_h) ** 2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(axis=0)


# %%
check = checks.check_rnn_step_backward(rnn_step_backward)
print(check)
assert not check.ok

# %% [markdown]
# next_h is already the tanh.


# %%
def rnn_step_backward(dnext_h, cache):  # noqa: F811
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h**2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(axis=0)


# %%
checks.check_rnn_step_backward(rnn_step_backward).raise_if_wrong()
