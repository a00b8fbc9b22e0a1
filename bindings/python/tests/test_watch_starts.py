"""Where updates begin, what their steps belong to, and loops over cells."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

import bptt.torch

HIDDEN, INPUTS, BATCH = 6, 3, 4


class Core(nn.Module):
    def __init__(self, kind: str = "LSTM", **options: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.core = getattr(nn, kind)(INPUTS, HIDDEN, **options)
        self.head = nn.Linear(HIDDEN, 1)


def watched(model, **options):
    return bptt.torch.watch(model, every=1, out=io.StringIO(), **options)


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), 0.1)


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def rollout(model, steps: int = 24):
    """Inputs, and the states before and after each step."""
    generator = torch.Generator().manual_seed(3)
    xs, before, after = [], [], []
    lstm = isinstance(model.core, nn.LSTM)
    state = tuple(torch.zeros(1, BATCH, HIDDEN) for _ in range(1 + lstm))
    with torch.no_grad():
        for _ in range(steps):
            x = torch.randn(1, BATCH, INPUTS, generator=generator)
            before.append(state)
            _, state = model.core(x, state if lstm else state[0])
            state = as_tuple(state)
            xs.append(x)
            after.append(state)
    return xs, before, after


def update(model, optimizer, x, state) -> None:
    optimizer.zero_grad()
    model.head(model.core(x, state if isinstance(model.core, nn.LSTM) else state[0])[0]).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_stored_states_are_told_apart(kind) -> None:
    for which in ("before", "after", "neither"):
        model = Core(kind)
        optimizer = optimizer_of(model)
        with watched(model) as seen:
            xs, before, after = rollout(model)
            for first in (8, 16, 8):
                states = {"before": before, "after": after, "neither": [(*(part * 0.5 for part in of),) for of in before]}
                update(model, optimizer, torch.cat(xs[first : first + 8]), states[which][first])
        found = seen.updates[0]
        assert (found.stored_before, found.stored_after, found.stored_neither) == tuple(
            BATCH * (which == name) for name in ("before", "after", "neither")
        )
        assert found.start == "given"
        if which == "before":
            # The weights are those of the rollout, then they are not.
            assert found.output_error < 1e-5 and found.state_error < 1e-6
            assert seen.updates[1].output_error is None and seen.updates[1].state_error > 1e-4
            assert seen.alarms == []
        if which == "after":
            assert found.output_error > 1e-2
            assert any("recorded after their first input" in alarm for alarm in seen.alarms)


def test_how_stale_a_stored_state_is() -> None:
    model = Core("GRU")
    optimizer = optimizer_of(model)
    with watched(model) as seen:
        xs, before, _ = rollout(model)
        update(model, optimizer, torch.cat(xs[:8]), before[0])
        with torch.no_grad():
            x = torch.cat(xs[:8])
            fresh = type(model.core).forward(model.core, x)[1]
        update(model, optimizer, torch.cat(xs[8:16]), before[8])
    expected = ((before[8][0] - fresh).norm() / fresh.norm()).item()
    assert abs(seen.updates[1].state_error - expected) < 1e-5 * expected


def test_zeros_in_the_middle_of_what_was_recorded() -> None:
    model = Core("LSTM")
    with watched(model) as seen:
        xs, _, _ = rollout(model)
        update(model, optimizer_of(model), torch.cat(xs[8:16]), tuple(torch.zeros(1, BATCH, HIDDEN) for _ in range(2)))
    assert seen.updates[0].start == "zeros" and seen.updates[0].stored_neither == BATCH
    assert seen.updates[0].output_error > 1e-2 and seen.alarms == []


def test_a_validation_is_not_a_rollout_of_other_inputs() -> None:
    model = Core("LSTM")
    with watched(model) as seen:
        rollout(model)
        update(model, optimizer_of(model), torch.randn(8, BATCH, INPUTS), tuple(torch.zeros(1, BATCH, HIDDEN) for _ in range(2)))
    assert seen.updates[0].stored_before is None


@pytest.mark.parametrize("batch_first", [False, True])
def test_pairs_that_cross_ids(batch_first) -> None:
    model = Core("LSTM", batch_first=batch_first)
    ids = np.array([[0, 0, 0, 1, 1, 1], [2, 2, 2, 2, 2, 2]])
    x = torch.randn(6, 2, INPUTS)
    with watched(model) as seen:
        seen.annotate(ids=ids if batch_first else ids.T)
        model.head(model.core(x.transpose(0, 1) if batch_first else x)[0]).square().mean().backward()
    # 21 pairs (k, t <= k) in each sequence; 3 losses of the first one see 3 steps of the id before.
    assert (seen.updates[0].pairs, seen.updates[0].crossing) == (42, 9)
    assert seen.updates[0].longest_path == 5 and seen.updates[0].losses == 12


def test_ids_of_a_packed_sequence() -> None:
    model = Core("GRU")
    x = nn.utils.rnn.pack_padded_sequence(torch.randn(5, 3, INPUTS), torch.tensor([2, 5, 3]), enforce_sorted=False)
    ids = np.zeros((5, 3), int)
    ids[2:, 1] = 1
    with watched(model) as seen:
        seen.annotate(ids=ids)
        model.head(model.core(x)[0].data).square().mean().backward()
    assert (seen.updates[0].pairs, seen.updates[0].crossing) == (3 + 15 + 6, 6)


def test_ids_of_another_shape_are_refused_and_the_training_goes_on() -> None:
    model = Core("LSTM")
    with watched(model) as seen:
        seen.annotate(ids=np.zeros((5, 7)))
        model.head(model.core(torch.randn(6, 2, INPUTS))[0]).square().mean().backward()
    assert seen.updates == [] and any("ids: expected (6, 2)" in fact for fact in seen.facts)
    assert model.head.weight.grad is not None


def test_steps_out_of_order_are_an_alarm() -> None:
    for order, wrong in (([0, 1, 2, 3], False), ([0, 2, 4, 9], False), ([2, 0, 3, 1], True)):
        model = Core("LSTM")
        with watched(model) as seen:
            seen.annotate(times=np.array(order)[:, None].repeat(2, 1))
            model.head(model.core(torch.randn(4, 2, INPUTS))[0]).square().mean().backward()
        assert any("not in the order of time" in alarm for alarm in seen.alarms) == wrong


def test_a_carried_state_that_does_not_continue() -> None:
    for follows in (True, False):
        model, state = Core("LSTM"), None
        optimizer = optimizer_of(model)
        with watched(model) as seen:
            for i in range(4):
                first = 5 * i if follows else 5 * (3 - i)
                seen.annotate(times=(first + np.arange(5))[:, None].repeat(2, 1))
                optimizer.zero_grad()
                output, state = model.core(torch.randn(5, 2, INPUTS), state)
                state = tuple(part.detach() for part in state)
                model.head(output).square().mean().backward()
                optimizer.step()
        assert any("steps that do not follow" in alarm for alarm in seen.alarms) != follows
        assert [found.start for found in seen.updates] == ["zeros", "carried", "carried", "carried"]


class Loop(nn.Module):
    """A loop over a cell, which may do wrong."""

    def __init__(self, kind: str, detach: bool = False, reset: int | None = None, last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = getattr(nn, kind)(INPUTS, HIDDEN), nn.Linear(HIDDEN, 1)
        self._detach, self._reset, self._last = detach, reset, last

    def forward(self, xs):
        state, outputs = None, []
        for t, x in enumerate(xs):
            if state is not None and self._detach:
                state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
            if state is not None and t == self._reset:
                keep = torch.tensor([[0.0], [1.0]])
                state = tuple(keep * part for part in state) if isinstance(state, tuple) else keep * state
            state = self.cell(x, state)
            outputs.append(self.head(state[0] if isinstance(state, tuple) else state))
        return outputs[-1] if self._last else torch.stack(outputs)


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("last", [False, True])
def test_a_loop_over_a_cell_is_one_update(kind, last) -> None:
    x = torch.randn(7, 2, INPUTS, generator=torch.Generator().manual_seed(1))
    model = Loop(kind, last=last)
    with watched(model) as seen:
        model(x).square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    (found,) = seen.updates
    assert (found.calls, found.steps, found.longest_path, found.nearest_lag) == (7, 7, 6, 0)
    assert found.losses == (2 if last else 14) and found.farthest_lag == 6 and seen.alarms == []
    # The horizon is that of the ledger of the same losses, and the training is the same without it.
    losses = lambda h: model.head(h)[..., 0].square() * torch.tensor([0.0] * 6 * last + [1.0] * (1 if last else 7))[:, None]  # noqa: E731
    ledger = bptt.torch.ledger(model.cell, x, losses)
    assert found.horizon == ledger.horizon(0.99)
    if not last:
        assert abs(found.decay - ledger.decay()) < 1e-3
    again = Loop(kind, last=last)
    again(x).square().sum().backward()
    assert all(torch.equal(a, b.grad) for a, b in zip(gradients, again.parameters()))


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_a_state_that_is_reset_between_steps(kind) -> None:
    model = Loop(kind, reset=3)
    with watched(model) as seen:
        model(torch.randn(7, 2, INPUTS)).square().sum().backward()
    (found,) = seen.updates
    # The first sequence has 3 and 4 steps, the second one 7.
    assert found.pairs == 6 + 10 + 28 and found.longest_path == 6 and found.losses == 14
    assert seen.alarms == []


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_detach_at_every_step_is_an_alarm(kind) -> None:
    for detach in (True, False):
        model = Loop(kind, detach=detach)
        optimizer = optimizer_of(model)
        with watched(model) as seen:
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.randn(7, 2, INPUTS)).square().sum().backward()
                optimizer.step()
        assert any("detached before every step" in alarm for alarm in seen.alarms) == detach


def test_a_detach_between_windows_of_one_update_is_said() -> None:
    model = Core("LSTM")
    with watched(model) as seen:
        first, state = model.core(torch.randn(5, 2, INPUTS))
        second, _ = model.core(torch.randn(5, 2, INPUTS), tuple(part.detach() for part in state))
        model.head(torch.cat([first, second])).square().sum().backward()
    assert any("detached between two calls of one update" in fact for fact in seen.facts) and seen.alarms == []


def test_windows_with_a_backward_pass_each_are_not() -> None:
    model, state = Core("LSTM"), None
    with watched(model) as seen:
        for _ in range(4):
            output, state = model.core(torch.randn(5, 2, INPUTS), state)
            state = tuple(part.detach() for part in state)
            model.head(output).square().sum().backward()
    assert not any("detached" in fact for fact in seen.facts)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}])
def test_a_loss_of_the_final_state_is_seen(options) -> None:
    model = Core("GRU", **options)
    x = torch.randn(6, 2, INPUTS)
    with watched(model) as seen:
        h = model.core(x)[1]
        model.head(h[-1]).square().sum().backward()
    (found,) = seen.updates
    assert found.losses == 2 and found.farthest_lag == 5
    with watched(model) as seen:
        model.head(model.core(x)[1][0]).square().sum().backward()
    assert any("final h of a lower layer" in fact for fact in seen.facts) == (options == {"num_layers": 2})


def test_another_optimizer_clips_after_the_first_ones_step() -> None:
    actor, critic = Core("LSTM"), Core("LSTM")
    both = nn.ModuleDict({"actor": actor, "critic": critic})
    of_actor, of_critic = optimizer_of(actor), optimizer_of(critic)
    x = torch.randn(6, 2, INPUTS)
    with watched(both) as seen:
        for _ in range(3):
            losses = [model.head(model.core(x)[0]).square().mean() for model in (actor, critic)]
            for loss, model, optimizer in zip(losses, (actor, critic), (of_actor, of_critic)):
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    assert seen.alarms == []


def test_how_far_the_target_lies_ahead() -> None:
    model = Core("LSTM")
    with watched(model, ahead=6) as seen:
        model.head(model.core(torch.randn(8, 2, INPUTS))[0]).square().mean().backward()
    assert (seen.updates[0].nearest_lag, seen.updates[0].longest_path) == (6, 13)


def test_dependence_by_gradients() -> None:
    torch.manual_seed(0)
    core = nn.LSTM(1, 4)
    x = torch.randn(9, 1, 1).requires_grad_()
    # Scaled by the mean of all inputs: each loss sees those behind it.
    for scaled in (False, True):
        y = core(x / x.abs().mean() if scaled else x)[0].sum((1, 2))
        found = bptt.torch.dependence(y, x)
        assert found.nearest_lag == (-8 if scaled else 0) and found.farthest_lag == 8
        # The target of step t is the input of step t + 1.
        assert found.at_or_after(1) == (36 if scaled else 0)
    # Losses 0 to 3 see 4 + 4 + 4 + 4 inputs of another id when all are seen, the others 5 each.
    assert found.crossing([0, 0, 0, 0, 0, 1, 1, 1, 1]) == (5 * 4 + 4 * 5, 81)
    direct = bptt.torch.dependence(core(x)[0][-3:].sum((1, 2)), x, loss_steps=[9, 10, 11])
    assert (direct.nearest_lag, direct.farthest_lag) == (3, 11)


def test_whether_the_loss_adds_up_over_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 30, (24,), generator=generator).tolist()
    for reduction, text in (("sum", "adds up over outputs"), ("mean", "averaged over outputs")):
        model = Core("LSTM")
        optimizer = torch.optim.SGD(model.parameters(), 1e-4)
        with watched(model) as seen:
            for length in lengths:
                optimizer.zero_grad()
                y = model.head(model.core(torch.randn(length, 8, INPUTS, generator=generator))[0])
                target = torch.randn(y.shape, generator=generator)
                getattr(nn.functional.mse_loss(y, target, reduction="none"), reduction)().backward()
                optimizer.step()
        assert [text in fact for fact in seen.facts if "over outputs" in fact] == [True]
    # Of a constant number of outputs nothing can be known.
    model = Core("LSTM")
    with watched(model) as seen:
        for _ in range(12):
            model.head(model.core(torch.randn(5, 8, INPUTS))[0]).square().sum().backward()
    assert not any("over outputs" in fact for fact in seen.facts)
