"""Ledgers of live modules, against autograd with a copy of every weight for every step."""

from __future__ import annotations

import copy

import hard_way
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_padded_sequence

import bptt
import bptt.torch

KINDS = ["RNN", "relu", "LSTM", "GRU"]


def fingerprint(module: nn.Module) -> list[object]:
    """Everything of a module and the generator that a ledger must leave alone."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    return [state, grads, module.training, torch.get_rng_state().clone(), len(module._forward_pre_hooks)]


def same(before: list[object], after: list[object]) -> bool:
    states = all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    grads = all(a is b if a is None or b is None else torch.equal(a, b) for a, b in zip(before[1], after[1]))
    return states and grads and before[2] == after[2] and torch.equal(before[3], after[3]) and before[4] == after[4]


def compare(ledger: bptt.Ledger, norms: dict[str, np.ndarray], relative: float) -> None:
    common = {name for name in norms if name.startswith("bias_ih") and name not in ledger.parameters}
    for name, expected in norms.items():
        if name.startswith("bias_hh") and name.replace("hh", "ih") in common:
            continue
        found = np.nan_to_num(ledger.norms(name))
        scale = expected.max(initial=0.0)
        assert np.abs(found - expected).max() <= relative * scale + 1e-300, (name, np.abs(found - expected).max() / scale)


@st.composite
def problems(draw):
    kind = draw(st.sampled_from(KINDS))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    hidden = draw(st.integers(2, 5))
    if kind == "LSTM" and draw(st.booleans()):
        options["proj_size"] = draw(st.integers(1, hidden - 1))
    if options["num_layers"] > 1 and draw(st.booleans()):
        options["dropout"] = 0.4
    if kind == "relu":
        options["nonlinearity"] = "relu"
    return {
        "kind": kind,
        "options": options,
        "hidden": hidden,
        "inputs": draw(st.integers(1, 4)),
        "steps": draw(st.integers(1, 7)),
        "batch": draw(st.integers(1, 4)),
        "dtype": draw(st.sampled_from([torch.float64, torch.float64, torch.float32])),
        "seed": draw(st.integers(0, 10_000)),
        "reading": draw(st.sampled_from(["plain", "plain", "lengths", "packed", "resets", "detach"])),
        "initial": draw(st.booleans()),
        "train": draw(st.booleans()),
        "by_loss": draw(st.booleans()),
    }


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(problems())
def test_entries_are_those_of_copied_weights(problem) -> None:
    torch.manual_seed(problem["seed"])
    options, steps, batch = problem["options"], problem["steps"], problem["batch"]
    kind = "RNN" if problem["kind"] == "relu" else problem["kind"]
    module = getattr(nn, kind)(problem["inputs"], problem["hidden"], **options).to(problem["dtype"])
    module.train(problem["train"])
    directions = 2 if module.bidirectional else 1
    width = directions * (options.get("proj_size") or problem["hidden"])
    x = torch.randn(steps, batch, problem["inputs"], dtype=problem["dtype"])
    head = torch.randn(steps, batch, width, dtype=problem["dtype"])
    lengths = [steps] * batch
    resets = torch.zeros(steps, batch, dtype=torch.bool)
    detach_every = None
    given_x: object = x.transpose(0, 1) if module.batch_first else x
    arguments: dict[str, object] = {}
    if problem["reading"] in ("lengths", "packed"):
        lengths = torch.randint(1, steps + 1, (batch,)).tolist()
        lengths[0] = steps
        head = head * torch.tensor([[float(t < n) for n in lengths] for t in range(steps)])[:, :, None].to(head)
        if problem["reading"] == "lengths":
            arguments["lengths"] = lengths
    if problem["reading"] == "resets":
        resets = torch.rand(steps, batch) < 0.3
        arguments["resets"] = resets.T if module.batch_first else resets
    if problem["reading"] == "detach":
        detach_every = arguments["detach_every"] = 2
    hx = None
    if problem["initial"]:
        count = module.num_layers * directions
        hx = [torch.randn(count, batch, width // directions, dtype=problem["dtype"])]
        if kind == "LSTM":
            hx.append(torch.randn(count, batch, problem["hidden"], dtype=problem["dtype"]))
        arguments["hx"] = tuple(hx) if kind == "LSTM" else hx[0]
    if problem["reading"] == "packed":
        given_x = pack_padded_sequence(given_x, torch.tensor(lengths), batch_first=module.batch_first, enforce_sorted=False)
    given_head = head.transpose(0, 1) if module.batch_first else head
    if problem["reading"] == "packed":
        given_head = pack_padded_sequence(
            given_head, torch.tensor(lengths), batch_first=module.batch_first, enforce_sorted=False
        )
        arguments["loss"] = lambda h: (h.data * given_head.data).sum(-1)
    elif problem["by_loss"]:
        arguments["loss"] = lambda h: (h * given_head).sum(-1)
    else:
        arguments["grad_output"] = given_head
    before = fingerprint(module)
    ledger = bptt.torch.ledger(module, given_x, **arguments)
    assert same(before, fingerprint(module))

    masks = None
    if module.training and module.dropout > 0:
        masks = ledger._source[0]._problem["dropout"]
        masks = [torch.from_numpy(mask) for mask in masks]
        if problem["reading"] == "packed":
            order = given_x.sorted_indices
            masks = [mask[:, torch.argsort(order)] for mask in masks]
    norms, _ = hard_way.components(module, x.double(), head.double(), lengths, resets, detach_every, hx, masks)
    compare(ledger, norms, 1e-9)

    # Its sums are the gradient that training would have.
    if problem["reading"] in ("plain", "lengths", "packed"):
        again = bptt.torch.ledger(module, given_x, check=True, **arguments)
        assert again.balance.keys() == ledger.balance.keys()
        assert same(before, fingerprint(module))


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_cells_are_run_over_the_steps(cell) -> None:
    torch.manual_seed(0)
    module = cell(3, 4).double()
    x, head = torch.randn(6, 2, 3).double(), torch.randn(6, 2, 4).double()
    layer = getattr(nn, cell.__name__.removesuffix("Cell"))(3, 4).double()
    layer.load_state_dict({f"{name}_l0": tensor for name, tensor in module.state_dict().items()})
    found = bptt.torch.ledger(module, x, lambda h: (h * head).sum(-1), check=True)
    expected = bptt.torch.ledger(layer, x, lambda h: (h * head).sum(-1))
    for name in expected.parameters:
        np.testing.assert_array_equal(found.norms(name), expected.norms(name))


def lstm(**options) -> tuple[nn.LSTM, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return nn.LSTM(3, 4, **options).double(), torch.randn(6, 2, 3).double(), torch.randint(0, 5, (6, 2))


def test_losses_of_every_shape_are_understood() -> None:
    module, x, y = lstm()
    head = nn.Linear(4, 5).double()
    cross_entropy = nn.functional.cross_entropy
    by_step = bptt.torch.ledger(module, x, lambda h: cross_entropy(head(h).transpose(1, 2), y, reduction="none"))
    flat = bptt.torch.ledger(module, x, lambda h: cross_entropy(head(h).flatten(0, 1), y.flatten(), reduction="none"))
    sums = bptt.torch.ledger(
        module, x, lambda h: cross_entropy(head(h).flatten(0, 1), y.flatten(), reduction="none").view(6, 2).sum(1)
    )
    for other in (flat, sums):
        np.testing.assert_allclose(other.norms(), by_step.norms(), rtol=1e-12)
    last = bptt.torch.ledger(module, x, lambda h: cross_entropy(head(h[-1]), y[-1], reduction="sum"))
    assert last.loss_steps.tolist() == [5]
    np.testing.assert_allclose(last.norms()[5], by_step.norms()[5], rtol=1e-12)
    each = bptt.torch.ledger(module, x, lambda h: cross_entropy(head(h[-1]), y[-1], reduction="none"))
    np.testing.assert_allclose(each.norms()[5], by_step.norms()[5], rtol=1e-12)
    # Padding that the loss leaves out has no loss.
    padded = y.clone()
    padded[4:] = -100
    without = bptt.torch.ledger(module, x, lambda h: cross_entropy(head(h).transpose(1, 2), padded, reduction="none"))
    assert without.loss_steps.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("loss", "kind", "text"),
    [
        (lambda h: h.pow(2).mean(), bptt.ShapeError, "one loss for each step"),
        (lambda h: (h.cumsum(0) ** 2).sum(-1), bptt.UnsupportedError, "outputs of other steps"),
        (lambda h: ((h - h.mean(1, keepdim=True)) ** 2).sum(-1), bptt.UnsupportedError, "other sequences"),
        (lambda h: torch.zeros(6, 2), bptt.UnsupportedError, "does not depend"),
        (lambda h: h[:3].pow(2).sum(-1), bptt.ShapeError, r"\(T, B\) = \(6, 2\)"),
        (lambda h: h.pow(2).sum(-1) / 0, bptt.NotFiniteError, "not finite"),
        (lambda h: 3.0, TypeError, "expected a tensor"),
    ],
)
def test_losses_that_are_not_of_single_steps_are_refused(loss, kind, text) -> None:
    module, x, _ = lstm()
    with pytest.raises(kind, match=text):
        bptt.torch.ledger(module, x, loss)


def test_what_is_not_understood_is_refused_by_name() -> None:
    module, x, _ = lstm()
    loss = lambda h: h.pow(2).sum(-1)  # noqa: E731
    with pytest.raises(bptt.UnsupportedError, match="Linear is not possible; expected nn.LSTM"):
        bptt.torch.ledger(nn.Linear(3, 4), x, loss)
    with pytest.raises(bptt.ShapeError, match="x: expected floats"):
        bptt.torch.ledger(module, torch.zeros(6, 2, dtype=torch.long), loss)
    with pytest.raises(bptt.ShapeError, match="hx"):
        bptt.torch.ledger(module, x, loss, hx=torch.zeros(1, 2, 4))
    with pytest.raises(bptt.ShapeError, match="resets"):
        bptt.torch.ledger(module, x, loss, resets=torch.zeros(2, 6, dtype=torch.bool))
    with pytest.raises(bptt.NotFiniteError, match="x is not finite at step 0, sequence 0"):
        bptt.torch.ledger(module, x / 0, loss)

    class Gated(nn.LSTM):
        def forward(self, x, hx=None):
            y, state = super().forward(x, hx)
            return y * 2, state

    with pytest.raises(bptt.BalanceError, match="does not compute what its weights say"):
        bptt.torch.ledger(Gated(3, 4).double(), x, loss)


def test_computed_weights_are_read_live() -> None:
    module, x, _ = lstm()
    loss = lambda h: h.pow(2).sum(-1)  # noqa: E731
    plain = bptt.torch.ledger(copy.deepcopy(module), x, loss)
    normed = nn.utils.parametrizations.weight_norm(copy.deepcopy(module), "weight_hh_l0")
    before = fingerprint(normed)
    found = bptt.torch.ledger(normed, x, loss, check=True)
    np.testing.assert_allclose(found.norms(), plain.norms(), rtol=1e-9)
    assert same(before, fingerprint(normed))
    pruned = copy.deepcopy(module)
    prune.l1_unstructured(pruned, "weight_hh_l0", 0.5)
    found = bptt.torch.ledger(pruned, x, loss, check=True)
    again = copy.deepcopy(module)
    again.weight_hh_l0.data *= pruned.weight_hh_l0_mask
    np.testing.assert_allclose(found.norms(), bptt.torch.ledger(again, x, loss).norms(), rtol=1e-12)
    old = nn.utils.weight_norm(copy.deepcopy(module), "weight_hh_l0")
    with torch.no_grad():
        old.weight_hh_l0_g *= 2
    before = fingerprint(old)
    found = bptt.torch.ledger(old, x, loss, check=True)
    again = copy.deepcopy(module)
    again.weight_hh_l0.data *= 2
    np.testing.assert_allclose(found.norms(), bptt.torch.ledger(again, x, loss).norms(), rtol=1e-9)
    assert same(before, fingerprint(old))


def test_resets_and_cuts_are_checked_against_a_loop() -> None:
    module, x, _ = lstm()
    resets = torch.zeros(6, 2, dtype=torch.bool)
    resets[3, 0] = resets[2, 1] = True
    ledger = bptt.torch.ledger(module, x, lambda h: h.pow(2).sum(-1), resets=resets, detach_every=4, check=True)
    assert ledger.states()[5, 3] == "c"
    assert np.nan_to_num(ledger.norms())[5, :4].max() == 0.0


def test_bf16_and_unbatched_modules() -> None:
    torch.manual_seed(2)
    module = nn.GRU(3, 4).to(torch.bfloat16)
    x = torch.randn(5, 3, dtype=torch.bfloat16)
    found = bptt.torch.ledger(module, x, lambda h: h.float().pow(2).sum(-1))
    exact = bptt.torch.ledger(module.float(), x.float(), lambda h: h.pow(2).sum(-1))
    np.testing.assert_allclose(found.norms(), exact.norms(), rtol=0.05)


def test_f32_ledgers_say_how_far_they_are_off() -> None:
    torch.manual_seed(3)
    module, x = nn.LSTM(4, 16), torch.randn(512, 2, 4)
    loss = lambda h: h.pow(2).sum(-1)  # noqa: E731
    single = bptt.torch.ledger(module, x, loss, precision="f32")
    exact = bptt.torch.ledger(module, x, loss)
    errors, stated = abs(single.norms() / exact.norms() - 1), single.relative_errors()
    k, t = np.nonzero(~np.isnan(errors))
    assert (errors[k, t] <= stated[k, t]).mean() >= 0.998
