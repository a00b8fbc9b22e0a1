"""Calls without gradients that are remembered, and what they say about the states that a training begins with."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ._torch_calls import Batch, Starts, rows_of
from ._torch_facts import Said
from ._torch_modules import Module

Float = NDArray[np.float64]

BYTES = 64 << 20
"""Of inputs, states and outputs that are remembered of a module, at most."""

CONTEXT = 8
"""Inputs in a row by which a sequence is found."""

SAME = 1e-5
"""A relative difference below which inputs, or states, are the same."""

RUN_AGAIN = 4096
"""Calls that are run again with the present weights, at most."""


@dataclass
class Call:
    """A call without gradients. What it was given and gave is not copied but for its input, which may be a NumPy array's."""

    number: int
    x: torch.Tensor
    hx: tuple[torch.Tensor, ...] | None
    output: torch.Tensor
    update: int
    """Steps of optimizers before it."""
    training: bool
    layout: tuple[bool, bool]
    """Whether it is a cell's, and whether the module is batch_first."""
    versions: tuple[int, ...]
    """Of the states and the output: who writes to them in place makes them useless."""
    arrays: tuple[Float, Float, Float] | None = None

    def numbers(self) -> tuple[Float, Float, Float]:
        """x (T, B, I), the last layer's h before it (B, P) and the output (T, B, P); not numbers if they were written to."""
        if self.arrays is None:
            x, output = (_time_major(part, *self.layout) for part in (self.x, self.output))
            h = np.zeros(output.shape[1:])
            if self.hx is not None:
                last = self.hx[0] if self.layout[0] or self.hx[0].ndim == 1 else self.hx[0][-1]
                h = last.reshape(-1, last.shape[-1]).to("cpu", torch.float64).numpy().copy()
            if self.versions and self.versions != _versions(self.hx, self.output):
                x = np.full_like(x, np.nan)
            self.arrays = x, h, output
        return self.arrays

    @property
    def steps(self) -> int:
        """T."""
        return len(self.numbers()[0])

    def input(self) -> torch.Tensor:
        """(T, B, I)."""
        return _arranged(self.x, *self.layout)


def _arranged(part: torch.Tensor, is_cell: bool, batch_first: bool) -> torch.Tensor:
    if is_cell:
        return part.reshape(1, -1, part.shape[-1])
    return part[:, None] if part.ndim == 2 else part.transpose(0, 1) if batch_first else part


def _time_major(part: torch.Tensor, is_cell: bool, batch_first: bool) -> Float:
    return np.array(_arranged(part, is_cell, batch_first).to("cpu", torch.float64).numpy())


def _versions(hx: tuple[torch.Tensor, ...] | None, output: torch.Tensor) -> tuple[int, ...]:
    return (output._version, *[part._version for part in hx or ()])


class At(NamedTuple):
    """A recorded step."""

    call: int
    step: int
    sequence: int


@dataclass
class Rollouts:
    """The calls of one module without gradients, the last ones."""

    calls: deque[Call] = field(default_factory=deque)
    sizes: deque[int] = field(default_factory=deque)
    """Their bytes."""
    used: int = 0
    count: int = 0
    _found: dict[bytes, list[At]] = field(default_factory=dict)
    _indexed: int = 0

    def add(self, module: Any, x: Any, hx: tuple[torch.Tensor, ...] | None, output: torch.Tensor, update: int) -> None:
        """Remembers a call."""
        if not isinstance(x, torch.Tensor) or getattr(module, "bidirectional", False) or not x.is_floating_point():
            return
        size = x.element_size() * (x.numel() + output.numel() * (1 if hx is None else 1 + len(hx)))
        if size > BYTES or (hx is not None and hx[0].shape[-1] != output.shape[-1]):
            return
        layout = isinstance(module, torch.nn.RNNCellBase), getattr(module, "batch_first", False)
        # Tensors of inference mode have no versions.
        if output.is_inference() or any(part.is_inference() for part in hx or ()):
            output, hx = output.clone(), None if hx is None else tuple(part.clone() for part in hx)
            versions: tuple[int, ...] = ()
        else:
            output, hx = _without_graph(output), None if hx is None else tuple([_without_graph(part) for part in hx])
            versions = _versions(hx, output)
        self.calls.append(Call(self.count, x.detach().clone(), hx, output, update, module.training, layout, versions))
        self.sizes.append(size)
        self.count += 1
        self.used += size
        while self.used > BYTES:
            self.used -= self.sizes.popleft()
            self.calls.popleft()

    def compare(self, module: Any, read: Module, batch: Batch, given: tuple[torch.Tensor, ...] | None) -> Starts | None:
        """The first inputs of an update's sequences, among those recorded; None if none is found."""
        if not self.calls or read.bidirectional:
            return None
        self._index()
        starts, stored = Starts(), []
        lengths = batch.reads().sum(axis=0)
        if batch.resets is not None:
            lengths = np.where(batch.resets.any(axis=0), np.minimum(lengths, batch.resets.argmax(axis=0)), lengths)
        states = np.zeros((batch.arranged.batch, read.width)) if given is None else self._last_layer(given, read, batch)
        for b, length in enumerate(lengths):
            found = self._find(batch.inputs[: min(length, CONTEXT), b])
            before = [at for at in found if _same(self._state(at), states[b])]
            if not before and len(found) != 1:
                continue
            at = (before or found)[-1]
            if before:
                starts.before += 1
            elif _same(self._get(at).numbers()[2][at.step, at.sequence], states[b]):
                starts.after += 1
            else:
                starts.neither += 1
            if before and states[b].any():
                stored.append((at, states[b]))
            starts.found.append((b, (at.call, at.step, at.sequence)))
        if starts.before + starts.after + starts.neither == 0:
            return None
        starts.state_error = self._stale(module, read, stored)
        return starts

    def _get(self, at: At) -> Call:
        return self.calls[at.call - self.calls[0].number]

    @staticmethod
    def _last_layer(given: tuple[torch.Tensor, ...], read: Module, batch: Batch) -> Float:
        h = rows_of(given[0] if given[0].ndim == 3 or read.is_cell else given[0][:, None])[:, -read.width :]
        return batch.arranged.sorted(h, 0)

    def _index(self) -> None:
        for call in self.calls:
            if call.number < self._indexed:
                continue
            for step, row in enumerate(call.numbers()[0]):
                for b, x in enumerate(row):
                    self._found.setdefault(_key(x), []).append(At(call.number, step, b))
        self._indexed = self.count
        if len(self._found) > 4 * sum(call.steps * call.numbers()[0].shape[1] for call in self.calls):
            self._found, self._indexed = {}, self.calls[0].number
            self._index()

    def _next(self, at: At) -> At | None:
        """The step behind, in the same stream."""
        call = self._get(at)
        if at.step + 1 < call.steps:
            return At(at.call, at.step + 1, at.sequence)
        follows = At(at.call + 1, 0, at.sequence)
        if follows.call > self.calls[-1].number or at.sequence >= self._get(follows).numbers()[0].shape[1]:
            return None
        return follows

    def _find(self, inputs: Float) -> list[At]:
        """The recorded steps with these inputs in a row."""
        found = []
        for first in self._found.get(_key(inputs[0]), []) if len(inputs) else []:
            at: At | None = first if first.call >= self.calls[0].number else None
            for x in inputs:
                if at is None or not _same(self._get(at).numbers()[0][at.step, at.sequence], x):
                    break
                at = self._next(at)
            else:
                found.append(first)
        return found

    def _state(self, at: At) -> Float:
        """The last layer's h before a recorded step."""
        _, h, output = self._get(at).numbers()
        return np.asarray(output[at.step - 1, at.sequence] if at.step > 0 else h[at.sequence])

    def output_error(self, starts: Starts, batch: Batch, module: Any, read: Module, update: int) -> float | None:
        """The largest difference of an output from the recorded one of the same inputs, relative to the largest output, if the
        weights and the mode are those of then."""
        if not self.calls or read.drops():
            return None
        largest = max(float(np.abs(batch.output).max(initial=0.0)), 1e-30)
        errors = []
        for b, found in starts.found:
            at: At | None = At(*found)
            for x, y in zip(batch.inputs[:, b], batch.output[:, b]):
                if at is None or at.call < self.calls[0].number:
                    break
                call = self._get(at)
                theirs, _, output = call.numbers()
                if call.update != update or call.training != module.training or not _same(theirs[at.step, at.sequence], x):
                    break
                errors.append(float(np.abs(output[at.step, at.sequence] - y).max(initial=0.0)) / largest)
                at = self._next(at)
        return max(errors) if errors else None

    def _stale(self, module: Any, read: Module, stored: list[tuple[At, Float]]) -> float | None:
        """How far the stored states are from those that the present weights give from the recorded beginning."""
        stored = [(at, given) for at, given in stored if at.step == 0]
        if not stored or read.drops():
            return None
        wanted: dict[int, list[tuple[int, Float]]] = {}
        for at, given in stored:
            wanted.setdefault(at.call, []).append((at.sequence, given))
        last = max(wanted)
        first = max(self.calls[0].number, last - RUN_AGAIN)
        state: tuple[torch.Tensor, ...] | None = None
        left: Float | None = None
        apart = norm = 0.0
        with torch.no_grad():
            for number in range(first, last + 1):
                call = self._get(At(number, 0, 0))
                state = self._begins(call, state, left)
                for b, given in wanted.get(number, []):
                    fresh = np.zeros_like(given) if state is None else self._h(state, read)[b]
                    apart += float(np.square(given - fresh).sum())
                    norm += float(np.square(fresh).sum())
                _, state = self._run(module, read, call, state)
                left = call.numbers()[2][-1]
        return float(np.sqrt(apart / norm)) if norm > 0 else None

    @staticmethod
    def _h(state: tuple[torch.Tensor, ...], read: Module) -> Float:
        return rows_of(state[0])[:, -read.width :]

    @staticmethod
    def _begins(call: Call, state: tuple[torch.Tensor, ...] | None, left: Float | None) -> tuple[torch.Tensor, ...] | None:
        """The present weights' state where the recorded one continues, and the recorded one where it does not."""
        if call.hx is None:
            return None
        recorded = call.hx
        if state is None or left is None or state[0].shape != recorded[0].shape:
            return recorded
        continues = (np.abs(call.numbers()[1] - left) <= SAME * np.abs(left).max(initial=1e-30)).all(axis=1)
        keep = torch.as_tensor(continues, device=recorded[0].device)
        shape = (1, -1, 1) if recorded[0].ndim == 3 else (-1, 1)
        return tuple(torch.where(keep.reshape(shape), ours, theirs) for ours, theirs in zip(state, recorded))

    @staticmethod
    def _run(
        module: Any, read: Module, call: Call, state: tuple[torch.Tensor, ...] | None
    ) -> tuple[Any, tuple[torch.Tensor, ...]]:
        """The module's own numbers, past its hooks."""
        is_lstm = read.cell.startswith("lstm")
        hx: Any = state if state is None or is_lstm else state[0]
        if read.is_cell:
            after = module.forward(call.input()[0], hx)
            after = after if isinstance(after, tuple) else (after,)
            return after[0][None], after
        x = call.input()
        if hx is not None and (hx[0] if is_lstm else hx).ndim == 2:
            x = x[:, 0]
        elif read.batch_first:
            x = x.transpose(0, 1)
        output, after = module.forward(x, hx)
        return output, after if isinstance(after, tuple) else (after,)


def _without_graph(part: torch.Tensor) -> torch.Tensor:
    return part.detach() if part.requires_grad else part


def _key(x: Float) -> bytes:
    """Equal for inputs that are nearly so; those at an edge of rounding are not found."""
    with np.errstate(over="ignore"):
        return (x.astype(np.float16) + np.float16(0)).tobytes()


def _same(a: Float, b: Float) -> bool:
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
    return a.shape == b.shape and float(np.abs(a - b).max(initial=0.0)) <= SAME * scale


def of_starts(starts: Starts) -> list[Said]:
    """What is said of them."""
    found = starts.before + starts.after + starts.neither
    facts = []
    if starts.after > 1 and starts.after > starts.before:
        text = f"{starts.after} of {found} sequences begin with the state recorded after their first input, not before it"
        facts.append(Said(text, alarm=True))
    if starts.neither > 0:
        text = f"{starts.neither} of {found} sequences begin with another state than that recorded before their first input"
        facts.append(Said(text))
    if starts.output_error is not None and starts.output_error > 1e-3:
        text = f"outputs differ from those recorded by {starts.output_error:.2g} of the largest, before any step of an optimizer"
        facts.append(Said(text))
    return facts
