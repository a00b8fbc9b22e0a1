"""Training passes in JAX."""

import common  # first: it limits the threads of what loads after it

import jax
import jax.numpy as jnp
from jax import lax

import jax_cells


class Form:
    """A jitted function of the parameters, the input and the targets."""

    def __init__(self, case):
        self.case = case
        self.params = {name: jnp.asarray(getattr(case, name)) for name in common.PARAMS}
        self.data = {"ids": jnp.asarray(case.ids), "targets": jnp.asarray(case.targets)}
        self.jitted = jax.jit(self.loss_and_grads)

    def run(self):
        return jax.block_until_ready(self.jitted(self.params, self.data))

    def check(self, result):
        return common.train_check(*result)


class Scan(Form):
    """A scan over the steps, differentiated by JAX."""

    def loss_and_grads(self, params, data):
        return jax.value_and_grad(self.loss)(params, data)

    def loss(self, w, data):
        def body(state, a):
            state, _ = jax_cells.step(self.case.cell, a, state[0] @ w["w_hh"].T + w["b_hh"], state)
            return state, state[0]

        _, h = lax.scan(body, jax_cells.start(self.case), w["w_ih"].T[data["ids"]] + w["b_ih"])
        y = jax.nn.log_softmax(h @ w["w_hy"].T + w["b_y"])
        return -jnp.take_along_axis(y, data["targets"][..., None], axis=2).mean()


class Hand(Form):
    """The backward pass as a second scan, written out.

    The gradients of the weights are one product each over all T·B rows.
    """

    def loss_and_grads(self, w, data):
        case, rows = self.case, self.case.T * self.case.B
        h_prev, h, kept = jax_cells.forward(case, w | data)
        h, h_prev = h.reshape(rows, -1), h_prev.reshape(rows, -1)

        y = jax.nn.log_softmax(h @ w["w_hy"].T + w["b_y"])
        hot = jax.nn.one_hot(data["targets"].ravel(), case.V)
        loss = -(y * hot).sum() / rows
        dy = (jnp.exp(y) - hot) / rows
        dh_out = (dy @ w["w_hy"]).reshape(case.T, case.B, -1)

        times_w_hh_t = jax_cells.product(w["w_hh"].T)

        def body(dstate, given):
            dh_out, kept = given
            da, da_n, dh, dc = jax_cells.step_back(case.cell, kept, (dstate[0] + dh_out, *dstate[1:]))
            through = times_w_hh_t(da)
            return (through if dh is None else dh + through, *dc), (da, da_n)

        _, (da, da_n) = lax.scan(body, jax_cells.start(case), (dh_out, kept), reverse=True)

        da = da.reshape(rows, -1)
        # Each row is in one of the table's rows, so that these add up to the gradient of the bias.
        table = table_hh = self.table_grad(da, data)
        if da_n is not None:
            table_n = self.table_grad(da_n.reshape(rows, -1), data)
            table = jnp.concatenate([table[:, : 2 * case.H], table_n], axis=1)
        return loss, {
            "w_ih": table.T,
            # The faster order; the barrier keeps XLA from undoing it.
            "w_hh": lax.optimization_barrier(h_prev.T @ da).T,
            "b_ih": table.sum(0),
            "b_hh": table_hh.sum(0),
            "w_hy": dy.T @ h,
            "b_y": dy.sum(0),
        }

    def table_grad(self, da, data):
        return jnp.zeros((self.case.V, da.shape[1])).at[data["ids"].ravel()].add(da)


FORMS = {"scan": Scan, "hand": Hand}
