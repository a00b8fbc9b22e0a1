"""Watching a training loop: what its updates really backpropagate."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from ._ledger import Ledger
from ._torch_facts import Facts, Said, of_padding, of_start, of_steps, of_weights
from ._torch_modules import Arranged, Module
from ._torch_order import Order

STEPS = 512
"""Steps of a sequence that are itemized, the last ones."""


@dataclass
class Update:
    """What was seen of one update of one module."""

    module: str
    count: int
    """How many times the module had been called in training."""
    horizon: int | None
    decay: float | None
    nearest_lag: int | None
    """Steps between a loss and the nearest input that it sees; 0 where each step has a loss of its own."""
    farthest_lag: int
    facts: list[str] = field(default_factory=list)


class watch:
    """Looks at the updates of a training loop, and says once, in words, what it finds.

        with bptt.torch.watch(model, every=100) as seen:
            for x, y in batches: ...
        seen.updates; seen.facts

    Every `every`-th call of each `nn.RNN`, `nn.LSTM` and `nn.GRU` of `model` in training is looked at when its backward pass
    arrives: its start state, the weight that the loss gives to each step, and the ledger of `sequences` sequences in f32.
    The gradient at the module's output is that of all losses together: the ledger holds if the loss of each step depends on
    the output of that step alone. The loop computes what it would without this.

    `out` is where sentences go (default: stderr), `log` a file with a line of JSON for each update, `callback` a function
    that is called with each `Update`, `writer` a TensorBoard SummaryWriter. It measures; what to do about it is the
    reader's to say.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = 100,
        *,
        sequences: int = 2,
        out: IO[str] | None = None,
        log: str | Path | None = None,
        callback: Callable[[Update], object] | None = None,
        writer: Any = None,
    ) -> None:
        if every < 1 or sequences < 1:
            raise ValueError("every, sequences: expected 1 or more")
        found = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.RNNBase)]
        if not found:
            raise ValueError(f"{type(model).__name__} has no nn.RNN, nn.LSTM or nn.GRU")
        self.updates: list[Update] = []
        """What was seen of each update that was looked at."""
        self.facts: list[str] = []
        """What was found, each once."""
        self.alarms: list[str] = []
        """Those of them that are mistakes in themselves."""
        self.seconds = 0.0
        """What looking took."""
        self._every, self._sequences = every, sequences
        self._out, self._callback, self._writer = out, callback, writer
        self._log = None if log is None else Path(log)
        self._modules = {name or type(part).__name__: part for name, part in found}
        self._state = {name: Facts() for name in self._modules}
        self._order = Order(model, lambda text: self._say("training", [Said(text, alarm=True)]))
        self._handles: list[Any] = []

    def __enter__(self) -> watch:
        for name, part in self._modules.items():
            self._say(name, of_weights(part))
            self._handles.append(part.register_forward_hook(self._hook(name), with_kwargs=True))
        self._order.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._order.end()
        for name, facts in self._state.items():
            self._say(name, facts.at_end())

    def _say(self, name: str, facts: list[Said]) -> None:
        for said in facts:
            text = f"{name}: {said.text}"
            if text not in self.facts:
                self.facts.append(text)
                if said.alarm:
                    self.alarms.append(text)
                print(f"bptt: {text}", file=self._out or sys.stderr)

    def _hook(self, name: str) -> Callable[..., None]:
        def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            data = output[0].data if isinstance(output[0], PackedSequence) else output[0]
            if not torch.is_grad_enabled() or not data.requires_grad:
                return
            started = time.perf_counter()
            x = args[0] if args else kwargs["input"]
            hx = args[1] if len(args) > 1 else kwargs.get("hx")
            state = self._state[name]
            count = state.calls
            self._say(name, of_start(state, module, hx, output[1], self._order.steps))
            state.calls += 1
            if count % self._every == 0:
                kept = _detached(x), _detached(hx)
                weights = {key: tensor.detach().clone() for key, tensor in Module.read(module).weights.items()}

                looked: list[int] = []

                def arrived(gradient: torch.Tensor | None) -> None:
                    # Once: a graph that is kept passes here again.
                    if gradient is None or looked:
                        return
                    looked.append(count)
                    began = time.perf_counter()
                    if state.in_training and not module.training:
                        self._say(name, [Said("it is in eval mode since some call: dropout is off", alarm=True)])
                    state.in_training |= module.training
                    self._look(name, module, count, kept, weights, gradient)
                    self.seconds += time.perf_counter() - began

                data.register_hook(arrived)
            self.seconds += time.perf_counter() - started

        return seen

    def _look(
        self,
        name: str,
        module: nn.Module,
        count: int,
        kept: tuple[Any, Any],
        weights: dict[str, torch.Tensor],
        gradient: torch.Tensor,
    ) -> None:
        x, hx = kept
        read = Module.read(module)
        read.weights = weights
        arranged = Arranged.of(read, x, None, None)
        inputs = arranged.numbers()
        seeds = arranged.leaf_numbers(gradient)
        self._say(name, [*of_steps(seeds, arranged), *of_padding(inputs, seeds, arranged)])
        initial = read.initial(hx, arranged)
        ledger = self._ledger(read, arranged, inputs, seeds, initial)
        if ledger is None:
            self._say(name, [Said("no loss sends a gradient into its output")])
            return
        norms = np.nan_to_num(ledger.norms("bias_ih_l0"))
        k, t = np.nonzero(norms > 1e-12 * norms.max(initial=0.0))
        lags = abs(k - t)
        recurrent = ledger.parameters[ledger._of.recurrent(0) or 0]
        update = Update(
            name,
            count,
            ledger.horizon(0.99, recurrent),
            ledger.decay(recurrent),
            int(lags.min(initial=0)) if len(lags) else None,
            int(lags.max(initial=0)),
        )
        update.facts = [fact for fact in self.facts if fact.startswith(f"{name}: ")]
        self._state[name].horizons.append(update.horizon)
        self.updates.append(update)
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(json.dumps(vars(update)) + "\n")
        if self._callback is not None:
            self._callback(update)
        if self._writer is not None and update.horizon is not None:
            self._writer.add_scalar(f"bptt/{name}/horizon", update.horizon, count)
            if update.decay is not None:
                self._writer.add_scalar(f"bptt/{name}/decay", update.decay, count)

    def _ledger(
        self, read: Module, arranged: Arranged, inputs: Any, seeds: Any, initial: list[list[Any]] | None
    ) -> Ledger | None:
        """Of the sequences that the loss weighs most."""
        weight = np.square(seeds).sum(axis=(0, 2))
        chosen = np.sort(np.argsort(-weight, kind="stable")[: self._sequences])
        chosen = chosen[weight[chosen] > 0]
        if len(chosen) == 0:
            return None
        first = 0 if read.bidirectional else max(0, arranged.steps - STEPS)
        state = None if initial is None else [[part[chosen] for part in cell] for cell in initial]
        network = read.network()
        if first > 0:
            state = network.scan(inputs[:first, chosen], hx=state, precision="f32").final_states
        lengths = None
        if arranged.lengths is not None:
            lengths = np.maximum(np.array(arranged.lengths)[chosen] - first, 1)
        scan = network.scan(inputs[first:, chosen], hx=state, lengths=lengths, precision="f32")
        part = seeds[first:, chosen]
        present = (part != 0).any(axis=(1, 2))
        if not present.any():
            return None
        return scan.ledger(part, present=present, inputs=False, estimate_errors=False, progress=False)


def _detached(value: Any) -> Any:
    if isinstance(value, tuple) and not isinstance(value, PackedSequence):
        return tuple(part.detach().clone() for part in value)
    if isinstance(value, PackedSequence):
        return PackedSequence(value.data.detach().clone(), *value[1:])
    return None if value is None else value.detach().clone()
