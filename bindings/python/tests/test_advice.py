"""The advice of a diagnosis: lines of PyTorch that run, and do what they say."""

from typing import Any

import numpy as np
import pytest

import bptt

torch = pytest.importorskip("torch")

STEPS, BATCH, INPUTS, HIDDEN = 24, 4, 3, 8


def diagnosed(rnn: Any) -> bptt.Diagnosis:
    """The diagnosis of a module with a loss at its last step, which the first one determines."""
    generator = np.random.default_rng(1)
    grad_output = np.zeros((STEPS, BATCH, HIDDEN))
    grad_output[-1] = generator.normal(size=(BATCH, HIDDEN))
    cell = {"RNN": "rnn", "LSTM": "lstm", "GRU": "gru"}[type(rnn).__name__]
    if getattr(rnn, "nonlinearity", "tanh") == "relu":
        cell = "rnn_relu"
    network = bptt.Network(cell, {name: weight.detach().double().numpy() for name, weight in rnn.named_parameters()})
    x = generator.normal(size=(STEPS, BATCH, INPUTS))
    return network.scan(x).diagnosis(grad_output, lag=STEPS - 1)


def changed(rnn: Any, advice: Any) -> Any:
    """The module after the lines of an advice."""
    torch.manual_seed(1)
    names = {"torch": torch, "rnn": rnn, "model": rnn, "optimizer": torch.optim.SGD(rnn.parameters(), lr=1.0)}
    exec("\n".join(advice.pytorch), names)
    return names["rnn"]


def weak() -> Any:
    rnn = torch.nn.RNN(INPUTS, HIDDEN)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(0.3 * torch.linalg.qr(torch.randn(HIDDEN, HIDDEN))[0])
    return rnn


def forgetful() -> Any:
    rnn = torch.nn.LSTM(INPUTS, HIDDEN)
    with torch.no_grad():
        rnn.bias_ih_l0[HIDDEN : 2 * HIDDEN] = -6.0
    return rnn


def saturated() -> Any:
    rnn = torch.nn.GRU(INPUTS, HIDDEN)
    with torch.no_grad():
        for weight in rnn.parameters():
            weight.mul_(200.0)
    return rnn


def exploding() -> Any:
    rnn = torch.nn.RNN(INPUTS, HIDDEN, nonlinearity="relu")
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(1.6 * torch.eye(HIDDEN))
    return rnn


@pytest.mark.parametrize(("make", "kind"), [(weak, "vanishes"), (forgetful, "saturated"), (saturated, "saturated"), (exploding, "explodes")])
def test_every_line_runs(make: Any, kind: str) -> None:
    torch.manual_seed(0)
    found = diagnosed(make())
    assert found.kind == kind, found.sentence
    assert any(advice.pytorch for advice in found.advice)
    for advice in found.advice:
        if advice.pytorch:
            assert changed(make(), advice) is not None
            assert advice.pytorch[0] in str(found)


def test_a_vanishing_gradient_reaches_the_dependency_after_the_advice() -> None:
    torch.manual_seed(0)
    rnn = weak()
    first = next(advice for advice in diagnosed(rnn).advice if advice.pytorch)
    after = changed(rnn, first)
    assert isinstance(after, torch.nn.LSTM)
    assert diagnosed(after).kind == "reaches", diagnosed(after).sentence


def test_an_orthogonal_start_makes_every_block_an_isometry() -> None:
    torch.manual_seed(0)
    advice = next(of for of in diagnosed(saturated()).advice if any("chunk(3)" in line for line in of.pytorch))
    rnn = changed(saturated(), advice)
    for block in rnn.weight_hh_l0.detach().chunk(3):
        assert torch.allclose(block @ block.T, torch.eye(HIDDEN), atol=1e-5)
    assert not rnn.bias_ih_l0.any() and float(rnn.weight_ih_l0.detach().abs().max()) < 2.0
