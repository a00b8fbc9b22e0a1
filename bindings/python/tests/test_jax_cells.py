"""Ledgers of step functions in JAX, against its gradients with a copy of every parameter for every step."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import bptt  # noqa: E402
import bptt.jax  # noqa: E402

STEPS, BATCH, SIZE = 9, 2, 4


def randn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@jax.jit
def losses(output):
    """(T, ...) of the outputs of all steps."""
    target = randn(*output.shape, seed=5)
    return 0.5 * jnp.abs(output - target) ** 2


def hard_way(step, params, xs, state, losses=losses):
    """Norms of dL_k/d(parameter at step t), (T, T), by path."""
    with bptt.jax._wide(True):
        # On the host: arrays that were made in 32 bits stay so.
        params, state, xs = jax.tree.map(wide, (params, state, xs))
        steps = len(jax.tree.leaves(xs)[0])
        copies = jax.tree.map(lambda w: np.stack([w] * steps), params)

        def every(copies):
            def body(state, at):
                output, state = step(at[0], at[1], state)
                return state, output

            _, outputs = jax.lax.scan(body, state, (copies, xs))
            return losses(outputs).reshape(steps, -1).sum(1)

        gradients = jax.jit(lambda copies: jax.lax.map(jax.vjp(every, copies)[1], jnp.eye(steps))[0])(copies)
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(gradients)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
        found[name] = np.linalg.norm(np.asarray(leaf).reshape(steps, steps, -1), axis=2)
    return found


def wide(leaf):
    leaf = np.asarray(leaf)
    if not np.issubdtype(leaf.dtype, np.inexact):
        return leaf
    return leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)


def exact(cell):
    """A cell with parameters in 64 bits, so that the loss has them, too."""
    step, params = cell
    return step, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def assert_hard_way(ledger, step, params, xs, state, losses=losses):
    expected = hard_way(step, params, xs, state, losses)
    assert ledger.parameters == list(expected)
    for name, norms in expected.items():
        found = np.nan_to_num(ledger.norms(name))
        np.testing.assert_allclose(found, norms, rtol=1e-8, atol=1e-14 * norms.max(initial=1e-280))
        if norms.max() > 0:
            assert np.nansum(ledger.shares(name)) == pytest.approx(1.0, abs=1e-9)
    assert max(ledger.balance.values()) < 1e-12


def pairs(**shapes):
    return {name: 0.6 * randn(*shape, seed=i + 1) for i, (name, shape) in enumerate(sorted(shapes.items()))}


def mingru():
    def step(p, x, h):
        z = jax.nn.sigmoid(x @ p["w_z"].T + p["b_z"])
        h = (1 - z) * h + z * (x @ p["w_h"].T)
        return h @ p["w_y"].T, h

    return step, pairs(w_z=(SIZE, 3), b_z=(SIZE,), w_h=(SIZE, 3), w_y=(2, SIZE)), np.zeros((BATCH, SIZE))


def lru():
    def step(p, x, h):
        h = jnp.exp(-jnp.exp(p["nu"]) + 1j * jnp.exp(p["theta"])) * h + jnp.exp(p["gamma"]) * (x @ p["b"].T)
        return (h @ p["c"].T).real, h

    params = pairs(nu=(SIZE,), theta=(SIZE,), gamma=(SIZE,))
    params |= {name: randn(*shape, seed=8) + 1j * randn(*shape, seed=9) for name, shape in (("b", (SIZE, 3)), ("c", (2, SIZE)))}
    return step, params, np.zeros((BATCH, SIZE), complex)


def mlstm():
    def step(p, x, state):
        q, k, v = x @ p["w_q"].T, x @ p["w_k"].T / SIZE**0.5, x @ p["w_v"].T
        i, f = x @ p["w_i"], jax.nn.log_sigmoid(x @ p["w_f"] + 1)
        m = jnp.maximum(f + state["m"], i)
        i, f = jnp.exp(i - m)[:, None], jnp.exp(f + state["m"] - m)[:, None]
        c = f[..., None] * state["c"] + i[..., None] * v[:, :, None] * k[:, None, :]
        n = f * state["n"] + i * k
        h = jnp.einsum("bij,bj->bi", c, q) / jnp.maximum(jnp.abs((n * q).sum(-1)), jnp.exp(-m))[:, None]
        return h, {"c": c, "n": n, "m": m}

    params = pairs(w_q=(SIZE, 3), w_k=(SIZE, 3), w_v=(SIZE, 3), w_i=(3,), w_f=(3,))
    return step, params, {"c": np.zeros((BATCH, SIZE, SIZE)), "n": np.zeros((BATCH, SIZE)), "m": np.zeros(BATCH)}


def counting_rate():
    """A leaky rate network whose state has an integer in it."""

    def step(p, x, state):
        h, t = state
        h = 0.8 * h + 0.2 * (jnp.tanh(h) @ p["w_rec"].T + x @ p["w_in"].T) * jnp.where(t % 2 == 0, 1.0, 0.5)
        return jnp.tanh(h), (h, t + 1)

    return step, pairs(w_rec=(SIZE, SIZE), w_in=(SIZE, 3)), (randn(BATCH, SIZE, seed=7), np.int32(0))


@pytest.mark.parametrize(
    ("made", "owned"),
    [(mingru, "b_z, w_h, w_y, w_z"), (lru, "b, c, gamma, nu, theta"), (mlstm, None), (counting_rate, None)],
)
def test_components_are_those_of_copied_parameters(made, owned) -> None:
    step, params, state = made()
    xs = randn(STEPS, BATCH, 3)
    found = bptt.jax.cell_ledger(step, params, xs, state, losses)
    assert_hard_way(found, step, params, xs, state)
    assert found.diagonal == (owned is not None)
    if owned is not None:
        assert any(text.endswith(f"and so do the components of {owned}") for text in found.assumptions)
    assert not jax.config.jax_enable_x64


def test_it_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    import bptt.torch

    cell = torch.nn.GRUCell(3, SIZE).double()
    weights = {name: p.detach().numpy() for name, p in cell.named_parameters()}

    def step(p, x, h):
        gi, gh = x @ p["weight_ih"].T + p["bias_ih"], h @ p["weight_hh"].T + p["bias_hh"]
        (ir, iz, inn), (hr, hz, hn) = jnp.split(gi, 3, -1), jnp.split(gh, 3, -1)
        z = jax.nn.sigmoid(iz + hz)
        return (1 - z) * jnp.tanh(inn + jax.nn.sigmoid(ir + hr) * hn) + z * h

    xs, head, state = randn(STEPS, BATCH, 3), randn(STEPS, BATCH, SIZE, seed=1), np.zeros((BATCH, SIZE))
    ours = bptt.jax.cell_ledger(step, weights, xs, state, grad_output=head)
    theirs = bptt.torch.ledger(cell, torch.from_numpy(xs), grad_output=torch.from_numpy(head))
    for name in weights:
        np.testing.assert_allclose(ours.norms(name), theirs.norms(f"{name}_l0"), rtol=1e-9)
        assert ours.horizon(0.99, name) == theirs.horizon(0.99, f"{name}_l0")
        assert ours.decay(name) == pytest.approx(theirs.decay(f"{name}_l0"))


def test_cells_of_flax_and_equinox() -> None:
    xs = randn(STEPS, BATCH, 3)
    zero = np.zeros((BATCH, SIZE))
    tried = 0
    try:
        from flax import linen, nnx
    except ImportError:
        pass
    else:
        step, params = exact(bptt.jax.nnx_cell(nnx.GRUCell(3, SIZE, rngs=nnx.Rngs(0))))
        assert_hard_way(bptt.jax.cell_ledger(step, params, xs, zero, losses), step, params, xs, zero)
        module, state = linen.LSTMCell(SIZE), (zero, zero)
        step, params = exact(bptt.jax.linen_cell(module, module.init(jax.random.key(0), state, xs[0])))
        assert_hard_way(bptt.jax.cell_ledger(step, params, xs, state, losses), step, params, xs, state)
        tried += 1
    try:
        import equinox
    except ImportError:
        pass
    else:
        key = jax.random.key(0)
        # A cell of Equinox takes one sequence.
        step, params = exact(bptt.jax.equinox_cell(equinox.nn.GRUCell(3, SIZE, key=key)))
        found = bptt.jax.cell_ledger(step, params, xs[:, 0], zero[0], losses)
        assert_hard_way(found, lambda p, x, s: (step(p, x, s),) * 2, params, xs[:, 0], zero[0])
        step, params = exact(bptt.jax.equinox_cell(equinox.nn.LSTMCell(3, SIZE, key=key)))
        found = bptt.jax.cell_ledger(step, params, xs, (zero, zero), lambda s: losses(s[0]))
        assert_hard_way(
            found, lambda p, x, s: (step(p, x, s),) * 2, params, xs, (zero, zero), lambda s: losses(s[0])
        )
        tried += 1
    if not tried:
        pytest.skip("neither Flax nor Equinox is installed")


def test_cells_of_haiku() -> None:
    haiku = pytest.importorskip("haiku")
    xs, state = randn(STEPS, BATCH, 3), np.zeros((BATCH, SIZE))
    core = haiku.without_apply_rng(haiku.transform(lambda x, s: haiku.VanillaRNN(SIZE)(x, s)))
    _, params = exact((None, core.init(jax.random.key(0), xs[0], state)))
    found = bptt.jax.cell_ledger(core.apply, params, xs, state, losses)
    assert_hard_way(found, core.apply, params, xs, state)


def test_what_jax_cannot_batch_is_done_row_by_row() -> None:
    @jax.custom_vjp
    def cube(x):
        return x**3

    def back(x, grad):
        shape = jax.ShapeDtypeStruct(grad.shape, grad.dtype)
        return (jax.pure_callback(lambda a, b: np.asarray(3 * a**2 * b), shape, x, grad),)

    cube.defvjp(lambda x: (x**3, x), back)

    def step(p, x, h):
        h = cube(0.5 * h + x @ p["w"].T)
        return h, jnp.tanh(h)

    params, xs, state = pairs(w=(SIZE, 3)), randn(STEPS, BATCH, 3), np.zeros((BATCH, SIZE))
    found = bptt.jax.cell_ledger(step, params, xs, state, losses)
    assert_hard_way(found, step, params, xs, state)
    assert any("one by one" in text for text in found.assumptions)


def test_single_precision_is_close() -> None:
    step, params, state = lru()
    xs = randn(STEPS, BATCH, 3)
    exact = bptt.jax.cell_ledger(step, params, xs, state, losses)
    single = bptt.jax.cell_ledger(step, params, xs, state, losses, precision="f32")
    np.testing.assert_allclose(single.norms(), exact.norms(), rtol=1e-3)


@pytest.mark.parametrize(
    ("loss", "kind", "text"),
    [
        (lambda h: (h**2).mean(), bptt.ShapeError, "one loss for each step"),
        (lambda h: (jnp.cumsum(h, 0) ** 2).sum(-1), bptt.UnsupportedError, "outputs of other steps"),
        (lambda h: (h**2).sum(-1).T, bptt.ShapeError, r"\(T\) = \(9,\)"),
        (lambda h: jnp.zeros(9), bptt.UnsupportedError, "does not depend"),
        (lambda h: h / 0, bptt.NotFiniteError, "not finite"),
        (lambda h: (h, h), TypeError, "expected an array"),
    ],
)
def test_losses_that_are_not_of_single_steps_are_refused(loss, kind, text) -> None:
    step, params, state = mingru()
    with pytest.raises(kind, match=text):
        bptt.jax.cell_ledger(step, params, randn(STEPS, BATCH, 3), state, loss)


def test_steps_that_are_none_are_refused_by_name() -> None:
    _, params, state = mingru()
    xs = randn(STEPS, BATCH, 3)
    cases = [
        (lambda p, x, h: (h, h, h), state, bptt.ShapeError, "expected .output, new state."),
        (lambda p, x, h: (h, h[:1]), state, bptt.ShapeError, "expected the new state as the old"),
        (lambda p, x, h: h + x @ p["w_h"].T, state * np.nan, bptt.NotFiniteError, "not finite"),
    ]
    for step, initial, kind, text in cases:
        with pytest.raises(kind, match=text):
            bptt.jax.cell_ledger(step, params, xs, initial, losses)
    with pytest.raises(bptt.ShapeError, match="xs: expected"):
        bptt.jax.cell_ledger(lambda p, x, h: h, params, xs[:0], state, losses)

    @jax.custom_vjp
    def wrong(x):
        return x

    # A derivative that is not linear in the gradient it is given.
    wrong.defvjp(lambda x: (x, None), lambda _, grad: (grad * (1 + 1e-5 * jnp.abs(grad)),))
    with pytest.raises(bptt.BalanceError, match="do not add up"):
        bptt.jax.cell_ledger(lambda p, x, h: wrong(0.5 * h + x @ p["w_h"].T), params, xs, state, losses)
