"""Ledgers of step functions, against autograd with a copy of every parameter for every step."""

from __future__ import annotations

import collections
import pickle

import hard_way
import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

import bptt
import bptt.torch

STEPS, BATCH, SIZE = 9, 2, 4


def randn(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def first(output):
    return output[0] if isinstance(output, tuple) else output


def parts(output):
    """Of an output that may be complex, real numbers."""
    output = first(output)
    return torch.view_as_real(output) if output.is_complex() else output


def losses(output):
    """(T, ...) of the outputs of all steps."""
    out = parts(output)
    return 0.5 * (out - randn(*out.shape, seed=5).to(out)) ** 2


def losses_of_list(outputs):
    stacked = torch.stack([parts(output) for output in outputs])
    return losses(stacked).reshape(len(outputs), -1).sum(1)


def assert_hard_way(ledger, step, params, xs, state, allowed=1e-8):
    expected = hard_way.components_of_step(step, params, xs, state, losses_of_list)
    assert ledger.parameters == list(expected)
    for name, norms in expected.items():
        found = np.nan_to_num(ledger.norms(name))
        assert np.abs(found - norms).max() <= allowed * norms.max() + 1e-300, name
        # Each by itself, too, as far as rounding lets the hard way know it.
        np.testing.assert_allclose(found, norms, rtol=allowed, atol=1e-14 * norms.max(initial=1e-280))
        if norms.max() > 0:
            assert np.nansum(ledger.shares(name)) == pytest.approx(1.0, abs=1e-9)
    assert max(ledger.balance.values()) < 1e-12


def pairs(**shapes):
    return {name: 0.6 * randn(*shape, seed=i + 1) for i, (name, shape) in enumerate(shapes.items())}


def mingru():
    def step(p, x, h):
        z, new = torch.sigmoid(x @ p["w_z"].T + p["b_z"]), x @ p["w_h"].T
        h = (1 - z) * h + z * new
        return h @ p["w_y"].T, h

    params = pairs(w_z=(SIZE, 3), b_z=(SIZE,), w_h=(SIZE, 3), w_y=(2, SIZE))
    return step, params, torch.zeros(BATCH, SIZE, dtype=torch.float64)


def lru():
    def step(p, x, h):
        decay = torch.exp(torch.complex(-torch.exp(p["nu"]), torch.exp(p["theta"])))
        h = decay * h + torch.exp(p["gamma"]) * (x.to(h.dtype) @ p["b"].T)
        return (h @ p["c"].T).real + x @ p["d"].T, h

    params = pairs(nu=(SIZE,), theta=(SIZE,), gamma=(SIZE,), d=(2, 3))
    params |= {"b": randn(SIZE, 3, dtype=torch.complex128, seed=8), "c": randn(2, SIZE, dtype=torch.complex128, seed=9)}
    return step, params, torch.zeros(BATCH, SIZE, dtype=torch.complex128)


def mlstm():
    def step(p, x, state):
        c, n, m = state["c"], state["n"], state["m"]
        q, k, v = x @ p["w_q"].T, x @ p["w_k"].T / SIZE**0.5, x @ p["w_v"].T
        i, f = x @ p["w_i"], torch.nn.functional.logsigmoid(x @ p["w_f"] + 1)
        new_m = torch.maximum(f + m, i)
        i, f = torch.exp(i - new_m)[:, None], torch.exp(f + m - new_m)[:, None]
        c = f[..., None] * c + i[..., None] * v[:, :, None] * k[:, None, :]
        n = f * n + i * k
        least = torch.maximum((n * q).sum(-1).abs(), torch.exp(-new_m))
        h = torch.sigmoid(x @ p["w_o"].T) * torch.einsum("bij,bj->bi", c, q) / least[:, None]
        return h, {"c": c, "n": n, "m": new_m}

    params = pairs(w_q=(SIZE, 3), w_k=(SIZE, 3), w_v=(SIZE, 3), w_o=(SIZE, 3), w_i=(3,), w_f=(3,))
    zero = {"c": (BATCH, SIZE, SIZE), "n": (BATCH, SIZE), "m": (BATCH,)}
    return step, params, {name: torch.zeros(shape, dtype=torch.float64) for name, shape in zero.items()}


def linear_attention():
    """An mLSTM without normalization: its state is a matrix, its Jacobian diagonal, its gates common to all units."""

    def step(p, x, c):
        q, k, v = x @ p["w_q"].T, x @ p["w_k"].T, x @ p["w_v"].T
        c = torch.sigmoid(x @ p["w_f"])[:, None, None] * c + v[:, :, None] * k[:, None, :]
        return torch.einsum("bij,bj->bi", c, q), c

    params = pairs(w_q=(SIZE, 3), w_k=(SIZE, 3), w_v=(SIZE, 3), w_f=(3,))
    return step, params, torch.zeros(BATCH, SIZE, SIZE, dtype=torch.float64)


def leaky_rate():
    def step(p, x, h):
        # The output is the rate, the state the current.
        h = 0.8 * h + 0.2 * (torch.tanh(h) @ p["w_rec"].T + x @ p["w_in"].T + p["bias"])
        return torch.tanh(h), h

    return step, pairs(w_rec=(SIZE, SIZE), w_in=(SIZE, 3), bias=(SIZE,)), randn(BATCH, SIZE, seed=7)


def unbatched_mamba():
    """A selective state space with a state (channels, N) and no axis of sequences."""

    def step(p, x, h):
        delta = nn.functional.softplus(x @ p["w_delta"].T)[:, None]
        h = torch.exp(-delta * torch.exp(p["log_a"])) * h + delta * (p["w_b"] @ x)[None, :] * x[:, None]
        return h @ (p["w_c"] @ x), h

    params = pairs(w_delta=(3, 3), log_a=(3, SIZE), w_b=(SIZE, 3), w_c=(SIZE, 3))
    return step, params, torch.zeros(3, SIZE, dtype=torch.float64)


@pytest.mark.parametrize(
    ("made", "diagonal", "owned"),
    [
        (mingru, True, "w_z, b_z, w_h, w_y"),
        (lru, True, "nu, theta, gamma, d, b, c"),
        (mlstm, False, None),
        (linear_attention, True, "w_q"),
        (leaky_rate, False, None),
        (unbatched_mamba, True, "log_a, w_b, w_c"),
    ],
)
def test_components_are_those_of_copied_parameters(made, diagonal, owned) -> None:
    step, params, state = made()
    xs = randn(STEPS, 3) if made is unbatched_mamba else randn(STEPS, BATCH, 3)
    found = bptt.torch.cell_ledger(step, params, xs, state, losses)
    assert_hard_way(found, step, params, xs, state)
    assert found.diagonal == diagonal
    text = " ".join(found.assumptions)
    assert ("diagonal" in text) == diagonal
    if owned is not None:
        assert f"and so do the components of {owned} " in f"{text.split('only the state')[0]}"


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_modules_are_steps_and_agree_with_their_ledger(cell, batched) -> None:
    torch.manual_seed(3)
    module = cell(3, SIZE).double()
    xs = randn(STEPS, BATCH, 3) if batched else randn(STEPS, 3)
    zero = torch.zeros(*xs.shape[1:-1], SIZE, dtype=torch.float64)
    state = (zero, zero) if cell is nn.LSTMCell else zero
    found = bptt.torch.cell_ledger(module, None, xs, state, losses)

    def step(p, x, s):
        new = functional_call(module, p, (x, s))
        return first(new), new

    params = dict(module.named_parameters())
    assert_hard_way(found, step, params, xs, state)
    expected = bptt.torch.ledger(module, xs, lambda h: losses(h).sum(-1))
    for name in params:
        theirs = f"{name}_l0"
        np.testing.assert_allclose(found.norms(name), expected.norms(theirs), rtol=1e-9)
        np.testing.assert_allclose(found.log10_norms(name), expected.log10_norms(theirs), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.shares(name), expected.shares(theirs), rtol=1e-7, atol=1e-12)
        np.testing.assert_array_equal(found.states(name), expected.states(theirs))
        for q in (0.5, 0.9, 0.99, 1.0):
            assert found.horizon(q, name) == expected.horizon(q, theirs)
            assert found.horizon(q, name, loss=5) == expected.horizon(q, theirs, loss=5)
        assert found.decay(name) == pytest.approx(expected.decay(theirs), rel=1e-9)
        lags, log10 = found.profile(name)
        np.testing.assert_array_equal(lags, expected.profile(theirs)[0])
        np.testing.assert_allclose(log10, expected.profile(theirs)[1], rtol=1e-9, atol=1e-9)
        assert found.total_norm(name) == pytest.approx(expected.total_norm(theirs))
        assert found.cancellation(name) == pytest.approx(expected.cancellation(theirs))


def test_few_losses_read_as_in_a_ledger() -> None:
    module, xs = nn.LSTMCell(3, SIZE).double(), randn(STEPS, BATCH, 3)
    zero = torch.zeros(BATCH, SIZE, dtype=torch.float64)
    some = torch.tensor([0, 0, 1, 0, 0, 1, 1, 0, 0.0])
    found = bptt.torch.cell_ledger(module, None, xs, (zero, zero), lambda s: losses(s).sum((1, 2)) * some)
    expected = bptt.torch.ledger(module, xs, lambda h: losses(h).sum(-1) * some[:, None])
    assert found.loss_steps.tolist() == expected.loss_steps.tolist() == [2, 5, 6]
    for one, other in (("weight_hh", "weight_hh_l0"), ("bias_ih", "bias_l0")):
        np.testing.assert_array_equal(found.states(one), expected.states(other))
        np.testing.assert_allclose(found.norms(one), expected.norms(other), rtol=1e-9)
        np.testing.assert_allclose(found.profile(one)[1], expected.profile(other)[1], rtol=1e-9, atol=1e-9)
        assert found.decay(one) == pytest.approx(expected.decay(other))
        assert found.horizon(0.99, one) == expected.horizon(0.99, other)
    assert found.horizon(0.9, "weight_hh", loss=3) is None
    last = bptt.torch.cell_ledger(module, None, xs, (zero, zero), lambda s: losses(s[0])[-1].sum())
    assert last.loss_steps.tolist() == [8]
    for name, theirs in zip(("0", "1"), expected.per_loss):
        np.testing.assert_allclose(found.per_loss[name], expected.per_loss[theirs], rtol=1e-9)


def test_all_parameters_are_one_vector() -> None:
    step, params, state = mingru()
    found = bptt.torch.cell_ledger(step, params, randn(STEPS, BATCH, 3), state, losses)
    squares = sum(found.norms(name) ** 2 for name in params)
    np.testing.assert_allclose(found.norms(), np.sqrt(squares), rtol=1e-12)
    assert found.total_norm() == pytest.approx(np.sqrt(sum(found.total_norm(name) ** 2 for name in params)))
    assert np.nansum(found.shares()) == pytest.approx(1.0)


def test_there_may_be_no_state_and_no_loss() -> None:
    params, xs = pairs(w=(SIZE, 3)), randn(STEPS, BATCH, 3)
    found = bptt.torch.cell_ledger(lambda p, x, s: (torch.tanh(x @ p["w"].T), s), params, xs, (), losses)
    norms = found.norms("w")
    assert (np.diag(norms) > 0).all() and np.nansum(norms) == np.trace(norms) and found.horizon(1.0) == 0
    step, params, state = mingru()
    none = bptt.torch.cell_ledger(step, params, xs, state, grad_output=torch.zeros(STEPS, BATCH, 2))
    assert none.loss_steps.tolist() == [] and none.horizon() is None and none.decay() is None
    assert np.isnan(none.norms()).all() and (none.states() == "m").all() and "every component is zero" in repr(none)


def test_rows_are_taken_in_parts(monkeypatch) -> None:
    step, params, state = leaky_rate()
    xs = randn(STEPS, BATCH, 3)
    whole = bptt.torch.cell_ledger(step, params, xs, state, losses)
    monkeypatch.setattr("bptt._cells.NUMBERS", 100)
    parts = bptt.torch.cell_ledger(step, params, xs, state, losses)
    np.testing.assert_allclose(parts.norms(), whole.norms(), rtol=1e-13)
    # Recurrences that are found to be diagonal, too.
    step, params, state = linear_attention()
    parts = bptt.torch.cell_ledger(step, params, xs, state, losses)
    assert_hard_way(parts, step, params, xs, state)


try:
    import torchrecurrent
except ImportError:
    torchrecurrent = None
CELLS = [name for name in getattr(torchrecurrent, "__all__", []) if name.endswith("Cell")]


@pytest.mark.skipif(torchrecurrent is None, reason="torchrecurrent is not installed")
@pytest.mark.parametrize("name", CELLS)
def test_cells_of_torchrecurrent(name) -> None:
    torch.manual_seed(4)
    module = getattr(torchrecurrent, name)(SIZE, SIZE).double()
    xs, zero = randn(STEPS, BATCH, SIZE), torch.zeros(BATCH, SIZE, dtype=torch.float64)
    params = {parameter: value.detach() for parameter, value in module.named_parameters()}
    if name == "tauGRUCell":
        # What it is given besides its state is the state of two steps ago.
        def call(p, x, s):
            h = functional_call(module, p, (x, s[0], s[2]))
            return h, (h, s[0], s[1])

        state = (zero, zero, zero)
        found = bptt.torch.cell_ledger(call, params, xs, state, losses)
    else:

        def call(p, x, s):
            new = functional_call(module, p, (x, s))
            # Some have an output that is no part of the state.
            decoupled = isinstance(new, tuple) and isinstance(new[1], tuple) == isinstance(s, tuple)
            return new if decoupled else (first(new), new)

        state = (zero, zero) if module.uses_double_state() else zero
        found = bptt.torch.cell_ledger(module, None, xs, state, losses)
    assert_hard_way(found, call, params, xs, state)
    assert len(found.loss_steps) == STEPS


@pytest.mark.parametrize("made", [mingru, leaky_rate])
def test_numbers_below_the_range_of_floats_have_logarithms(made) -> None:
    step, params, state = made()
    params = {name: p * (1e-3 if name in ("w_rec", "w_z") else 1) for name, p in params.items()}
    xs = randn(300, 1, 3)

    def vanishing(p, x, h):
        _, h = step(p, x, 1e-2 * h)
        return h, h

    found = bptt.torch.cell_ledger(vanishing, params, xs, state[:1], losses)
    name = list(params)[0]
    log10 = found.log10_norms(name)
    assert log10[299, 0] < -400 or found.states(name)[299, 0] == "0"
    assert np.isfinite(log10[299, 100]) and found.states(name)[299, 100] == "u"
    assert found.decay(name) < -4


def test_a_jacobian_that_is_nearly_diagonal_is_not() -> None:
    def step(p, x, h):
        h = torch.sigmoid(x @ p["w"].T) * h + x @ p["w"].T
        return h, h + torch.roll(h, 1, -1) * 1e-9

    params = pairs(w=(SIZE, 3))
    state = torch.zeros(BATCH, SIZE, dtype=torch.float64)
    xs = randn(STEPS, BATCH, 3)
    found = bptt.torch.cell_ledger(step, params, xs, state, losses)
    assert not found.diagonal
    assert_hard_way(found, step, params, xs, state)

    # Diagonal in the last steps alone.
    def late(p, x, state):
        h, t = state
        h = torch.sigmoid(x @ p["w"].T) * (h if t > 4 else h.flip(-1)) + x @ p["w"].T
        return h, (h, t + 1)

    found = bptt.torch.cell_ledger(late, params, xs, (state, torch.tensor(0)), losses)
    assert not found.diagonal
    assert_hard_way(found, late, params, xs, (state, torch.tensor(0)))


def test_sequences_that_cancel_are_exact() -> None:
    step, params, state = mingru()
    xs = randn(STEPS, 1, 3).repeat(1, 2, 1)
    sign = torch.tensor([1.0, -1.0 - 1e-7]).double()[:, None]

    def read(outputs):
        return outputs * sign * randn(2, seed=3)

    def read_list(outputs):
        return read(torch.stack(outputs)).sum((1, 2))

    found = bptt.torch.cell_ledger(step, params, xs, state, read)
    expected = hard_way.components_of_step(step, params, xs, state, read_list)
    for name, norms in expected.items():
        np.testing.assert_allclose(np.nan_to_num(found.norms(name)), norms, rtol=1e-6)


def test_what_pytorch_cannot_batch_is_done_row_by_row() -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return torch.from_numpy(3 * x.detach().numpy() ** 2 * grad.detach().numpy())

    def step(p, x, h):
        h = Cube.apply(0.5 * h + x @ p["w"].T)
        return h, torch.tanh(h)

    params, state, xs = pairs(w=(SIZE, 3)), torch.zeros(BATCH, SIZE, dtype=torch.float64), randn(STEPS, BATCH, 3)
    found = bptt.torch.cell_ledger(step, params, xs, state, losses)
    assert_hard_way(found, step, params, xs, state)
    assert any("one by one" in text for text in found.assumptions)


def test_half_precision_modules_are_itemized_in_full() -> None:
    module, head = nn.GRUCell(3, SIZE).to(torch.bfloat16), nn.Linear(SIZE, 2).to(torch.bfloat16)
    xs, state = randn(STEPS, BATCH, 3).to(torch.bfloat16), torch.zeros(BATCH, SIZE, dtype=torch.bfloat16)
    found = bptt.torch.cell_ledger(module, None, xs, state, lambda h: head(h).pow(2).sum(-1))
    module, head = module.double(), head.double()
    exact = bptt.torch.cell_ledger(module, None, xs, state, lambda h: head(h).pow(2).sum(-1))
    np.testing.assert_allclose(found.norms(), exact.norms(), rtol=0.05)


@pytest.mark.parametrize("steps", [1, 2, STEPS])
def test_states_of_every_shape(steps) -> None:
    """Scalars, an axis of sequences in some parts only, parameters that nothing reads."""

    def step(p, x, state):
        a, b, c = state
        a = torch.tanh(p["s"] * a + x.sum())
        b = p["u"] * b + a * x[:, 0]
        c = p["v"] * c + b[:, None] * x
        return (c + a, b), (a, b, c)

    params = pairs(s=(), u=(), v=(3,), unused=(2, 2))
    state = (torch.tensor(0.3).double(), torch.zeros(BATCH).double(), torch.zeros(BATCH, 3).double())
    xs = randn(steps, BATCH, 3)
    found = bptt.torch.cell_ledger(step, params, xs, state, losses)
    assert_hard_way(found, step, params, xs, state)
    assert found.total_norm("unused") == 0.0 and np.isnan(found.shares("unused")).all()

    def scalar(p, x, h):
        h = p["s"] * h + p["u"] * x.sum()
        return h, h

    params = pairs(s=(), u=())
    found = bptt.torch.cell_ledger(scalar, params, xs, state[0], lambda h: 0.5 * h**2)
    assert found.diagonal == (steps > 1)
    expected = hard_way.components_of_step(scalar, params, xs, state[0], lambda h: 0.5 * torch.stack(h) ** 2)
    for name, norms in expected.items():
        np.testing.assert_allclose(np.nan_to_num(found.norms(name)), norms, rtol=1e-9)


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell])
def test_single_precision_is_close(cell) -> None:
    module, xs = cell(3, SIZE), randn(STEPS, BATCH, 3)
    state = (torch.zeros(BATCH, SIZE),) * 2 if cell is nn.LSTMCell else torch.zeros(BATCH, SIZE)
    exact = bptt.torch.cell_ledger(module, None, xs, state, losses)
    single = bptt.torch.cell_ledger(module, None, xs, state, losses, precision="f32")
    np.testing.assert_allclose(single.norms(), exact.norms(), rtol=1e-3)


def test_dropout_is_that_of_the_generator_and_everything_is_left_as_found() -> None:
    module, xs = nn.GRUCell(3, SIZE).double(), randn(STEPS, BATCH, 3)
    state = torch.zeros(BATCH, SIZE, dtype=torch.float64)

    def step(p, x, h):
        return functional_call(module, p, (nn.functional.dropout(x, 0.5), h))

    params = dict(module.named_parameters())
    torch.manual_seed(11)
    before = torch.get_rng_state()
    found = bptt.torch.cell_ledger(step, params, xs, state, losses)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None and p.requires_grad for p in params.values())
    assert not xs.requires_grad and not state.requires_grad
    # The masks are drawn in the order of the steps.
    masks = [nn.functional.dropout(torch.ones_like(x), 0.5) for x in xs]
    masked = torch.stack([x * mask for x, mask in zip(xs, masks)])
    expected = bptt.torch.cell_ledger(module, None, masked, state, losses)
    np.testing.assert_allclose(found.norms(), expected.norms(), rtol=1e-12)


def test_grad_output_is_the_gradient_of_the_losses() -> None:
    module, xs = nn.GRUCell(3, SIZE).double(), randn(STEPS, BATCH, 3)
    state = torch.zeros(BATCH, SIZE, dtype=torch.float64)
    head = randn(STEPS, BATCH, SIZE, seed=2)
    by_loss = bptt.torch.cell_ledger(module, None, xs, state, lambda h: (h * head).sum(-1))
    given = bptt.torch.cell_ledger(module, None, xs, state, grad_output=head)
    flat = bptt.torch.cell_ledger(module, None, xs, state, lambda h: (h * head).sum(-1).flatten())
    for other in (given, flat):
        np.testing.assert_array_equal(other.norms(), by_loss.norms())
    with pytest.raises(bptt.ShapeError, match="grad_output"):
        bptt.torch.cell_ledger(module, None, xs, state, grad_output=head[1:])
    with pytest.raises(ValueError, match="and not both"):
        bptt.torch.cell_ledger(module, None, xs, state)


@pytest.mark.parametrize(
    ("loss", "kind", "text"),
    [
        (lambda h: h.pow(2).mean(), bptt.ShapeError, "one loss for each step"),
        (lambda h: (h.cumsum(0) ** 2).sum(-1), bptt.UnsupportedError, "outputs of other steps"),
        (lambda h: h.pow(2).sum(-1).T, bptt.ShapeError, r"\(T\) = \(9,\)"),
        (lambda h: h.pow(2).sum(-1).T.flatten(), bptt.UnsupportedError, "first axis of the losses is not time"),
        (lambda h: torch.zeros(9), bptt.UnsupportedError, "does not depend"),
        (lambda h: h.pow(2) / 0, bptt.NotFiniteError, "not finite"),
        (lambda h: 3.0, TypeError, "expected a tensor"),
    ],
)
def test_losses_that_are_not_of_single_steps_are_refused(loss, kind, text) -> None:
    module, xs = nn.GRUCell(3, SIZE).double(), randn(STEPS, BATCH, 3)
    with pytest.raises(kind, match=text):
        bptt.torch.cell_ledger(module, None, xs, torch.zeros(BATCH, SIZE).double(), loss)


def test_steps_that_are_none_are_refused_by_name() -> None:
    params, xs, state = pairs(w=(SIZE, 3)), randn(STEPS, BATCH, 3), torch.zeros(BATCH, SIZE, dtype=torch.float64)
    kept = [0.0]

    def counts(p, x, h):
        kept[0] += 1
        return h + x @ p["w"].T * kept[0]

    cases = [
        (counts, state, bptt.UnsupportedError, "another one when it is run again"),
        (lambda p, x, h: (h, h, h), state, bptt.ShapeError, "expected .output, new state."),
        (lambda p, x, h: (h, h[:1]), state, bptt.ShapeError, "expected the new state as the old"),
        (lambda p, x, h: h + x @ p["w"].T, state / 0, bptt.NotFiniteError, "not finite"),
    ]
    for step, initial, kind, text in cases:
        with pytest.raises(kind, match=text):
            bptt.torch.cell_ledger(step, params, xs, initial, losses)
    with pytest.raises(bptt.ShapeError, match="params: expected tensors"):
        bptt.torch.cell_ledger(lambda p, x, h: h, {}, xs, state, losses)
    with pytest.raises(bptt.UnsupportedError, match="state: expected tensors, or dicts"):
        bptt.torch.cell_ledger(lambda p, x, h: h, params, xs, collections.deque([state]), losses)
    with pytest.raises(bptt.ShapeError, match="xs: expected"):
        bptt.torch.cell_ledger(lambda p, x, h: h, params, xs[:0], state, losses)

    # A derivative that depends on who asks for it, so that components do not add up.
    class Wrong(torch.autograd.Function):
        calls = 0

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            Wrong.calls += 1
            return grad * (1 + 1e-6 * Wrong.calls)

    with pytest.raises(bptt.BalanceError, match="do not add up"):
        bptt.torch.cell_ledger(lambda p, x, h: Wrong.apply(0.5 * h + x @ p["w"].T), params, xs, state, losses)


def test_it_reads_shows_and_pickles_as_a_ledger() -> None:
    step, params, state = mingru()
    nested = {"cell": params}
    found = bptt.torch.cell_ledger(lambda p, x, s: step(p["cell"], x, s), nested, randn(STEPS, BATCH, 3), state, losses)
    assert found.parameters == [f"cell.{name}" for name in params]
    text = repr(found)
    assert "Ledger of 9 losses over 9 steps" in text and "cell.w_z" in text and "add up" in text
    html = found._repr_html_()
    assert "data:image/png;base64" in html and len(html) < 300_000
    frame = found.to_pandas()
    assert list(frame.columns) == ["parameter", "loss_step", "past_step", "lag", "norm", "log10_norm", "share", "state"]
    assert len(frame) == 4 * 45 and frame["share"].sum() == pytest.approx(4.0)
    data = found.to_xarray()
    assert data["norm"].dims == ("parameter", "loss_step", "past_step")
    np.testing.assert_array_equal(data["norm"].sel(parameter="cell.w_h"), found.norms("cell.w_h"))
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.norms(), found.norms())
    with pytest.raises(KeyError, match="expected one of cell.w_z"):
        found.norms("w_z")
