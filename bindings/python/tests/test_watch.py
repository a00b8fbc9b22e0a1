"""Training loops with planted mistakes, and clean ones."""

from __future__ import annotations

import io
import json

import pytest
import torch
from torch import nn

import bptt.torch

STEPS, BATCH, SYMBOLS, HIDDEN = 12, 4, 6, 8


class Model(nn.Module):
    def __init__(self, kind: str = "LSTM", **options: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(SYMBOLS, 5)
        self.core = getattr(nn, kind)(5, HIDDEN, **options)
        self.head = nn.Linear(HIDDEN, SYMBOLS)

    def forward(self, x, state=None):
        h, state = self.core(self.embedding(x), state)
        return self.head(h), state


def batches(count: int = 30):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randint(0, SYMBOLS, (STEPS + 1, BATCH), generator=generator)
        yield x[:-1], x[1:]


def cross_entropy(y, target):
    return nn.functional.cross_entropy(y.flatten(0, 1), target.flatten())


def detached(state):
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def clean(model, optimizer) -> None:
    for x, y in batches():
        optimizer.zero_grad()
        cross_entropy(model(x)[0], y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def carried(model, optimizer) -> None:
    state = None
    for i, (x, y) in enumerate(batches()):
        if i % 10 == 0:
            state = None
        optimizer.zero_grad()
        out, state = model(x, None if state is None else detached(state))
        cross_entropy(out, y).backward()
        optimizer.step()


def last_output(model, optimizer) -> None:
    for x, y in batches():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x)[0][-1], y[-1]).backward()
        optimizer.step()


def two_halves(model, optimizer) -> None:
    """One update through two calls: the state between them is not to be detached."""
    for x, y in batches():
        optimizer.zero_grad()
        first, state = model(x[:6])
        second, _ = model(x[6:], state)
        cross_entropy(torch.cat([first, second]), y).backward()
        optimizer.step()


def validated(model, optimizer) -> None:
    for i, (x, y) in enumerate(batches()):
        optimizer.zero_grad()
        cross_entropy(model(x)[0], y).backward()
        optimizer.step()
        if i % 10 == 9:
            model.eval()
            with torch.no_grad():
                model(x)
            model.train()


CLEAN = [clean, carried, last_output, two_halves, validated]


def watched(loop, model, optimizer, **options):
    out = io.StringIO()
    with bptt.torch.watch(model, every=5, out=out, **options) as seen:
        loop(model, optimizer)
    assert out.getvalue().count("\n") == len(seen.facts)
    return seen


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("loop", CLEAN)
def test_clean_loops_raise_no_alarm(loop, kind) -> None:
    model = Model(kind)
    seen = watched(loop, model, torch.optim.Adam(model.parameters(), 1e-2))
    assert seen.alarms == []
    assert len(seen.updates) >= 6 and all(update.horizon is not None for update in seen.updates)
    # The loop is the same without it.
    again = Model(kind)
    loop(again, torch.optim.Adam(again.parameters(), 1e-2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))


def test_what_is_seen_of_an_update() -> None:
    model = Model()
    seen = watched(last_output, model, torch.optim.SGD(model.parameters(), 0.1))
    assert seen.updates[0].nearest_lag == 0 and seen.updates[0].farthest_lag == STEPS - 1
    assert any("horizon(0.99) over" in fact for fact in seen.facts)
    # The horizon is that of a ledger of the same update.
    model = Model()
    x, y = next(batches())

    def loss(h):
        return nn.functional.cross_entropy(model.head(h).transpose(1, 2), y, reduction="none") / y.numel()

    ledger = bptt.torch.ledger(model.core, model.embedding(x).detach(), loss)
    seen = watched(clean, model, torch.optim.SGD(model.parameters(), 0.1), sequences=BATCH)
    assert seen.updates[0].horizon == ledger.horizon(0.99)
    assert abs(seen.updates[0].decay - ledger.decay()) < 1e-3


def test_a_log_and_a_callback(tmp_path) -> None:
    model, called = Model(), []
    log = tmp_path / "watch.jsonl"
    seen = watched(clean, model, torch.optim.SGD(model.parameters(), 0.1), log=log, callback=called.append)
    assert called == seen.updates
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["horizon"] for line in lines] == [update.horizon for update in seen.updates]


def undetached(model, optimizer) -> None:
    state = None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        for x, y in batches():
            optimizer.zero_grad()
            out, state = model(x, state)
            cross_entropy(out, y).backward(retain_graph=True)
            optimizer.step()


def h_without_c(model, optimizer) -> None:
    h = None
    for x, y in batches():
        optimizer.zero_grad()
        out, state = model(x, None if h is None else (h, torch.zeros_like(h)))
        h = state[0].detach()
        cross_entropy(out, y).backward()
        optimizer.step()


def never_reset(model, optimizer) -> None:
    state = None
    for x, y in batches():
        optimizer.zero_grad()
        out, state = model(x, None if state is None else detached(state))
        cross_entropy(out, y).backward()
        optimizer.step()


def padded():
    for x, y in batches():
        lengths = torch.tensor([STEPS, 9, 7, 4])
        behind = torch.arange(STEPS)[:, None] >= lengths
        yield x.clamp(min=1).masked_fill(behind, 0), y, lengths, behind


def padding_counted(model, optimizer) -> None:
    for x, y, _, _ in padded():
        optimizer.zero_grad()
        cross_entropy(model(x)[0], y).backward()
        optimizer.step()


def padding_masked(model, optimizer) -> None:
    for x, y, _, behind in padded():
        optimizer.zero_grad()
        cross_entropy(model(x)[0], y.masked_fill(behind, -100)).backward()
        optimizer.step()


def last_at_padding(model, optimizer) -> None:
    for x, y, _, _ in padded():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x)[0][-1], y[-1]).backward()
        optimizer.step()


def clipped_after(model, optimizer) -> None:
    for x, y in batches():
        optimizer.zero_grad()
        cross_entropy(model(x)[0], y).backward()
        optimizer.step()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)


def eval_forgotten(model, optimizer) -> None:
    for i, (x, y) in enumerate(batches()):
        if i == 10:
            model.eval()
        optimizer.zero_grad()
        cross_entropy(model(x)[0], y).backward()
        optimizer.step()


def axes_exchanged(model, optimizer) -> None:
    for x, y in batches():
        optimizer.zero_grad()
        # (B, T) into a module that reads (T, B), and the "last step" of it.
        nn.functional.cross_entropy(model(x.T)[0][:, -1], y[-1]).backward()
        optimizer.step()


def half_optimized(model, optimizer) -> None:
    clean(model, torch.optim.SGD([*model.head.parameters(), *model.embedding.parameters()], 0.1))


def double_bias(model, optimizer) -> None:
    clean(model, optimizer)


MISTAKES = [
    (undetached, "not detached", True),
    (h_without_c, "h is carried from the call before, c is not", True),
    (never_reset, "never reset", False),
    (padding_counted, "padding has a loss", True),
    (last_at_padding, "last output is taken at padding", True),
    (clipped_after, "clipped after the optimizer's step", True),
    (eval_forgotten, "eval mode", True),
    (axes_exchanged, "time and batch are exchanged", True),
    (half_optimized, "no optimizer has", True),
]


@pytest.mark.parametrize(("loop", "text", "alarm"), MISTAKES)
def test_planted_mistakes_are_named(loop, text, alarm) -> None:
    model = Model()
    seen = watched(loop, model, torch.optim.SGD(model.parameters(), 0.1))
    assert any(text in fact for fact in (seen.alarms if alarm else seen.facts)), seen.facts
    others = [fact for fact in seen.alarms if text not in fact and "no optimizer" not in fact]
    assert others == []


def test_a_doubled_forget_bias_is_said() -> None:
    model = Model()
    for name in ("bias_ih_l0", "bias_hh_l0"):
        getattr(model.core, name).data[HIDDEN : 2 * HIDDEN] = 1.0
    seen = watched(clean, model, torch.optim.SGD(model.parameters(), 0.1))
    assert any("forget gate's bias is 1 in bias_ih and 1 in bias_hh: 2 in all" in fact for fact in seen.facts)


def test_masked_padding_is_no_alarm() -> None:
    model = Model()
    assert watched(padding_masked, model, torch.optim.SGD(model.parameters(), 0.1)).alarms == []


def test_a_learned_initial_state_is_no_alarm() -> None:
    model = Model("GRU")
    model.start = nn.Parameter(torch.randn(1, 1, HIDDEN))

    def loop(model, optimizer) -> None:
        for x, y in batches():
            optimizer.zero_grad()
            cross_entropy(model(x, model.start.expand(1, BATCH, HIDDEN).contiguous())[0], y).backward()
            optimizer.step()

    assert watched(loop, model, torch.optim.Adam(model.parameters(), 1e-2)).alarms == []


def test_without_a_recurrent_module_there_is_nothing_to_watch() -> None:
    with pytest.raises(ValueError, match="has no nn.RNN, nn.LSTM or nn.GRU"):
        bptt.torch.watch(nn.Linear(2, 2))
