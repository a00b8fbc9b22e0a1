"""Recurrent cells in JAX: a step, and its backward pass.

Leading axes of the gradients, such as one for losses, pass through.
"""

import common  # noqa: F401  (first: it limits the threads of what loads after it)

import jax
import jax.numpy as jnp
from jax import lax

STATES = {"rnn": 1, "lstm": 2, "gru": 1}


def step(cell, a, a_hh, state):
    """The next state, and what the backward pass needs, from the pre-activations (B, G·H) of both sides."""
    if cell == "rnn":
        h = jnp.tanh(a + a_hh)
        return (h,), (h,)
    if cell == "lstm":
        (i, f, g, o), (_, c_prev) = jnp.split(a + a_hh, 4, axis=1), state
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c = f * c_prev + i * g
        tanh_c = jnp.tanh(c)
        return (o * tanh_c, c), (i, f, g, o, tanh_c, c_prev)
    (r, z, n), (r_hh, z_hh, q), (h_prev,) = jnp.split(a, 3, axis=1), jnp.split(a_hh, 3, axis=1), state
    r, z = jax.nn.sigmoid(r + r_hh), jax.nn.sigmoid(z + z_hh)
    n = jnp.tanh(n + r * q)
    return ((1 - z) * n + z * h_prev,), (r, z, n, q, h_prev)


def step_back(cell, kept, dstate):
    """da (…, B, G·H) as the recurrent side sees it, and da_n of a GRU's input side; then what does not go
    through W_hh, a GRU's part of dh and an LSTM's dc."""
    if cell == "rnn":
        (h,), (dh,) = kept, dstate
        return dh * (1 - h * h), None, None, ()
    if cell == "lstm":
        (i, f, g, o, tanh_c, c_prev), (dh, dc) = kept, dstate
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        das = dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g * g), dh * tanh_c * o * (1 - o)
        return jnp.concatenate(das, axis=-1), None, None, (dc * f,)
    (r, z, n, q, h_prev), (dh,) = kept, dstate
    da_n = dh * (1 - z) * (1 - n * n)
    das = da_n * q * r * (1 - r), dh * (h_prev - n) * z * (1 - z), da_n * r
    return jnp.concatenate(das, axis=-1), da_n, dh * z, ()


def product(w):
    """The function x → x wᵀ, for a loop.

    XLA multiplies fastest with a large matrix on the left, (w xᵀ)ᵀ, and with a small one that was transposed
    beforehand. The barriers keep it from undoing either.
    """
    barrier = lax.optimization_barrier
    if min(w.shape) >= 512:
        return lambda x: barrier(w @ barrier(x.T)).T
    w_t = barrier(w.T)
    return lambda x: x @ w_t


def start(case):
    return tuple(jnp.zeros((case.B, case.H)) for _ in range(STATES[case.cell]))


def forward(case, w):
    """h before and after every step, and what the backward pass needs of each."""
    table, times_w_hh = w["w_ih"].T + w["b_ih"], product(w["w_hh"])

    def body(state, ids):
        after, kept = step(case.cell, table[ids], times_w_hh(state[0]) + w["b_hh"], state)
        return after, (state[0], after[0], kept)

    return lax.scan(body, start(case), w["ids"])[1]
