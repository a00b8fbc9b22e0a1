"""The norms of what every step contributed to every loss's gradient, in JAX.

Most forms take da, the gradients of the pre-activations, by way of taps: zeros that are added there. The
norms then need no matrix: ‖Σ_b da_b x_bᵀ‖² = Σ_{b,c} (da_b · da_c) (x_b · x_c).
"""

import common  # first: it limits the threads of what loads after it

import jax
import jax.numpy as jnp
from jax import lax

import jax_cells

MEMORY = 9e9  # bytes that a form may take
LOSSES = 32  # at most, that the written-out form takes back together


def dots(rows):
    """The scalar products of a batch's rows, (…, B, F) → (…, B, B)."""
    if rows.shape[-2] == 1:
        return (rows * rows).sum(-1, keepdims=True)
    return rows @ jnp.swapaxes(rows, -1, -2)


def norms(da, da_hh, ids, h_prev):
    """The norms for W_ih, W_hh and the bias from the dots of da [k, t] as both sides see it."""
    same = (ids[:, :, None] == ids[:, None, :]).astype(jnp.float32)
    squares = (da * same).sum((2, 3)), (da_hh * dots(h_prev)).sum((2, 3)), da.sum((2, 3))
    return [jnp.sqrt(jnp.maximum(square, 0)) for square in squares]


class Form:
    """A jitted function of the weights, the input and the seeds."""

    def __init__(self, case):
        self.case = case
        names = ("w_ih", "w_hh", "b_ih", "b_hh", "ids", "seeds")
        self.given = {name: jnp.asarray(getattr(case, name)) for name in names}
        self.compiled = jax.jit(self.itemize).lower(self.given).compile()
        needed = self.compiled.memory_analysis().temp_size_in_bytes
        if needed > MEMORY:
            raise common.Impossible(f"would take {needed / 1e9:.1f} GB")

    def run(self):
        return jax.block_until_ready(self.compiled(self.given))

    def check(self, norms):
        return common.itemize_check(*norms)


class Jacrev(Form):
    """jax.jacrev of the vector of losses with respect to the taps."""

    def itemize(self, w):
        das, h_prev = jax.jacrev(lambda taps: self.losses(w, taps), has_aux=True)(self.taps())
        return norms(dots(das[0]), dots(das[-1]), w["ids"], h_prev)

    def taps(self):
        """Zeros for every pre-activation and, in a GRU, for its recurrent side."""
        shape = self.case.T, self.case.B, self.case.G * self.case.H
        return (jnp.zeros(shape),) * (2 if self.case.cell == "gru" else 1)

    def losses(self, w, taps):
        """The losses (T), and h before every step."""

        def body(state, given):
            a, *tap_hh = given
            a_hh = sum(tap_hh, state[0] @ w["w_hh"].T + w["b_hh"])
            after, _ = jax_cells.step(self.case.cell, a, a_hh, state)
            return after, (after[0], state[0])

        a = w["w_ih"].T[w["ids"]] + w["b_ih"] + taps[0]
        _, (h, h_prev) = lax.scan(body, jax_cells.start(self.case), (a, *taps[1:]))
        return (w["seeds"] * h).sum((1, 2)), h_prev


class Vmap(Jacrev):
    """jax.vmap of the vjp of all losses with respect to the taps, over unit vectors."""

    def itemize(self, w):
        _, vjp, h_prev = jax.vjp(lambda taps: self.losses(w, taps), self.taps(), has_aux=True)
        (das,) = jax.vmap(vjp)(jnp.eye(self.case.T))
        return norms(dots(das[0]), dots(das[-1]), w["ids"], h_prev)


class Copies(Form):
    """The straightforward way: a copy of the weights for every step, and jax.jacrev for all copies."""

    def itemize(self, w):
        weights = w["w_ih"], w["w_hh"], w["b_ih"]
        copies = tuple(jnp.broadcast_to(weight, (self.case.T, *weight.shape)) for weight in weights)
        grads = jax.jacrev(lambda copies: self.losses(w, copies))(copies)
        return [jnp.sqrt((grad * grad).sum(range(2, grad.ndim))) for grad in grads]

    def losses(self, w, copies):
        def body(state, given):
            x, (w_ih, w_hh, b_ih) = given
            a, a_hh = x @ w_ih.T + b_ih, state[0] @ w_hh.T + w["b_hh"]
            after, _ = jax_cells.step(self.case.cell, a, a_hh, state)
            return after, after[0]

        x = jax.nn.one_hot(w["ids"], self.case.V)
        _, h = lax.scan(body, jax_cells.start(self.case), (x, copies))
        return (w["seeds"] * h).sum((1, 2))


class Hand(Form):
    """Reverse scans, written out, that carry a row of dh for every loss and sequence.

    All shapes are fixed: the rows of losses that have not come yet are zero. So that there are fewer of
    these, the losses go back in blocks.
    """

    def itemize(self, w):
        T = self.case.T
        h_prev, _, kept = jax_cells.forward(self.case, w)
        times_w_hh_t = jax_cells.product(w["w_hh"].T)
        count = -(-T // LOSSES)
        bounds = [T * block // count for block in range(count + 1)]
        ends = zip(bounds, bounds[1:])
        blocks = [self.block(slice(*pair), kept, times_w_hh_t, w["seeds"]) for pair in ends]
        da, da_hh = (jnp.concatenate(side) for side in zip(*blocks))
        return norms(da, da_hh, w["ids"], h_prev)

    def block(self, losses, kept, times_w_hh_t, seeds):
        """The dots of da as both sides see it, [k, t], of a block of losses."""
        n, B, H = losses.stop - losses.start, self.case.B, self.case.H
        seeds, ks = seeds[losses], jnp.arange(losses.start, losses.stop)

        def body(dstate, given):
            t, kept = given
            dh = dstate[0] + jnp.where((ks == t)[:, None, None], seeds, 0)
            da_hh, da_n, dh, dc = jax_cells.step_back(self.case.cell, kept, (dh, *dstate[1:]))
            through = times_w_hh_t(da_hh.reshape(n * B, -1)).reshape(n, B, H)
            squares = squares_hh = dots(da_hh)
            if da_n is not None:
                squares = dots(jnp.concatenate([da_hh[..., : 2 * H], da_n], axis=-1))
            return (through if dh is None else dh + through, *dc), (squares, squares_hh)

        start = (jnp.zeros((n, B, H)),) * jax_cells.STATES[self.case.cell]
        before = jax.tree.map(lambda array: array[: losses.stop], (jnp.arange(self.case.T), kept))
        _, sides = lax.scan(body, start, before, reverse=True)
        later = (0, 0), (0, self.case.T - losses.stop), (0, 0), (0, 0)
        return [jnp.pad(jnp.swapaxes(side, 0, 1), later) for side in sides]


FORMS = {"jacrev": Jacrev, "vmap": Vmap, "copies": Copies, "hand": Hand}
