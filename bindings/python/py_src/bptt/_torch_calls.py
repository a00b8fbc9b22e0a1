"""Calls of a recurrent module that a graph links: one sequence in several calls, as in a loop over a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence

from ._bptt import UnsupportedError
from ._torch_modules import Arranged, Module, numpy_of

Float = NDArray[np.float64]

ROUNDING = 1e-6
"""A difference of gradients below this fraction of them is zero."""


@dataclass
class Call:
    """One call with gradients."""

    x: Any
    """The input, detached."""
    hx: tuple[torch.Tensor, ...] | None
    """The states that it began with, detached."""
    left: tuple[torch.Tensor, ...]
    """The states that it left, detached."""
    output: torch.Tensor
    """The data of its output, detached."""
    lengths: list[int] | None = None
    """What lies behind is padding, where the module's own forward method takes that."""
    ids: NDArray[Any] | None = None
    times: NDArray[Any] | None = None
    gradient: torch.Tensor | None = None
    """At its output."""
    final: dict[int, torch.Tensor] = field(default_factory=dict)
    """At the states that it left, by their positions; with that of the next call, if there is one."""
    inner: torch.Tensor | None = None
    """The h of a cell that the next call reads, where the loss reads a view of it."""
    outer: torch.Tensor | None = None
    """That view."""
    through_next: torch.Tensor | None = None
    """The gradient at the h that the next call of a cell was given, if it was not this one's own."""


@dataclass
class Starts:
    """How the sequences of an update begin, beside what was recorded."""

    before: int = 0
    """Sequences that begin with the state that the recorded step began with."""
    after: int = 0
    """With the state that it left."""
    neither: int = 0
    state_error: float | None = None
    """|state - state by the present weights| / |that|, both as one vector of all sequences that begin with a stored state."""
    output_error: float | None = None
    """The largest difference of an output from the recorded one, relative to the largest output, before an optimizer's step."""
    found: list[tuple[int, tuple[int, int, int]]] = field(default_factory=list)
    """Sequences, and the recorded call, step and sequence at which they begin."""


@dataclass
class Chain:
    """The calls of one graph, and the weights that they used."""

    count: int
    update: int
    """Steps of optimizers before it."""
    training: bool
    weights: dict[str, torch.Tensor]
    start: str
    """ "zeros", "carried" (what the call before left, in some sequences or all) or "given"."""
    calls: list[Call] = field(default_factory=list)
    starts: Starts | None = None
    arrived: bool = False
    """A gradient of it."""
    done: bool = False
    """It was looked at."""


@dataclass
class Batch:
    """A chain as arrays."""

    arranged: Arranged
    """Of its first call; `steps` are those of all."""
    inputs: Float
    """(T, B, I)."""
    seeds: Float
    """(T, B, D*P), the gradient of all losses at the output."""
    output: Float
    """(T, B, D*P)."""
    hx: Any
    resets: NDArray[np.bool_] | None
    """(T, B): sequences that begin anew in the middle, with zeros."""
    ids: NDArray[Any] | None
    times: NDArray[Any] | None
    unread: list[str]
    """Losses that are not in `seeds`."""

    def reads(self) -> NDArray[np.bool_]:
        """(T, B): false behind a sequence's end."""
        return self.arranged.is_read()

    def begins(self) -> NDArray[np.int64]:
        """(T, B): the step at which the sequence began that a step belongs to."""
        steps, batch, _ = self.inputs.shape
        at = np.zeros((steps, batch), np.int64)
        if self.resets is not None:
            at = np.where(self.resets, np.arange(steps)[:, None], 0)
        return np.maximum.accumulate(at, axis=0)


def on_gradient(tensor: Any, hook: Callable[[torch.Tensor], None]) -> None:
    """Calls `hook` with the gradient of a tensor."""
    tensor.register_hook(hook)


def detached(value: Any) -> Any:
    """A copy without a graph."""
    if isinstance(value, PackedSequence):
        return PackedSequence(value.data.detach().clone(), *value[1:])
    if isinstance(value, tuple):
        return tuple(part.detach().clone() for part in value)
    return None if value is None else value.detach().clone()


def batch_of(chain: Chain, read: Module, annotated: bool = True) -> Batch:
    """A chain as arrays, with ids and times if `annotated`."""
    parts = [_arrays(call, read) for call in chain.calls]
    first = parts[0].arranged
    unread = list(parts[-1].unread)
    of = [("ids", [call.ids for call in chain.calls]), ("times", [call.times for call in chain.calls])]
    ids, times = (_annotated(given, parts, read, name) if annotated else None for name, given in of)
    if len(parts) == 1:
        parts[0].ids, parts[0].times = ids, times
        parts[0].hx = _state(chain.calls[0], read)
        return parts[0]
    if read.bidirectional or any(part.arranged.lengths is not None for part in parts):
        raise UnsupportedError("several calls of one graph are looked at for one direction and sequences of one length")
    resets = []
    for call, before, part in zip(chain.calls[1:], chain.calls, parts[1:]):
        resets.append(np.zeros(part.inputs.shape[:2], bool))
        resets[-1][0] = _begins_anew(call, before)
    whole = [np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "seeds", "output")]
    first.steps = len(whole[0])
    began = np.concatenate([np.zeros(parts[0].inputs.shape[:2], bool), *resets])
    hx = _state(chain.calls[0], read)
    return Batch(first, whole[0], whole[1], whole[2], hx, began if began.any() else None, ids, times, unread)


def _state(call: Call, read: Module) -> Any:
    if call.hx is None:
        return None
    parts = tuple(part[None] for part in call.hx) if call.hx[0].ndim == 1 else call.hx
    return parts if read.cell.startswith("lstm") else parts[0]


def _arrays(call: Call, read: Module) -> Batch:
    of_cell = read.is_cell
    # A cell reads one step: (B, I), or (I).
    x = call.x[None] if of_cell else call.x
    if of_cell and call.x.ndim == 1:
        x = call.x[None, None]
    lengths = call.lengths
    if lengths is not None:
        longest = max(lengths)
        x = x[:, :longest] if read.batch_first else x[:longest]
        lengths = None if min(lengths) == longest else lengths
    arranged = Arranged.of(read, x, lengths, None)

    def numbers(tensor: torch.Tensor | None) -> Float:
        if tensor is None:
            return np.zeros((arranged.steps, arranged.batch, read.width))
        return arranged.leaf_numbers(tensor.reshape(arranged.leading + tensor.shape[-1:]) if of_cell else tensor)

    seeds, unread = numbers(_of_losses(call)), []
    if call.final and not of_cell:
        unread = _add_final(seeds, call, read, arranged)
    elif of_cell and 1 in call.final and bool(call.final[1].any()):
        unread = ["c"]
    return Batch(arranged, arranged.numbers(), seeds, numbers(call.output), None, None, None, None, unread)


def _of_losses(call: Call) -> torch.Tensor | None:
    """The gradient at an output, without what came through the state that the next call of a cell was given."""
    if call.gradient is None or call.through_next is None:
        return call.gradient
    own = call.gradient - call.through_next
    scale = torch.maximum(call.gradient.abs().max(), call.through_next.abs().max())
    return torch.where(own.abs() > ROUNDING * scale, own, torch.zeros_like(own))


def _add_final(seeds: Float, call: Call, read: Module, arranged: Arranged) -> list[str]:
    """Adds what losses have at the last layer's final h; names what lies elsewhere."""
    unread = []
    c = call.final.get(1)
    if c is not None and bool(c.any()):
        unread.append("the final c")
    h = call.final.get(0)
    if h is None:
        return unread
    states = numpy_of(h).reshape(read.layers, read.directions, -1, h.shape[-1])
    states = arranged.sorted(states, 2)
    if states[:-1].any():
        unread.append("the final h of a lower layer")
    lengths = np.full(arranged.batch, arranged.steps) if arranged.lengths is None else np.array(arranged.lengths)
    width = states.shape[-1]
    seeds[lengths - 1, np.arange(arranged.batch), :width] += states[-1, 0]
    if read.bidirectional:
        seeds[0, :, width:] += states[-1, 1]
    return unread


def _begins_anew(call: Call, before: Call) -> NDArray[np.bool_]:
    """Sequences that begin with zeros, (B); the others continue."""
    assert call.hx is not None
    anew: NDArray[np.bool_] | None = None
    for given, left in zip(call.hx, before.left):
        ours, theirs = rows_of(given), rows_of(left)
        if ours.shape != theirs.shape:
            raise UnsupportedError("the batch changes between calls of one graph")
        zero = ~ours.any(axis=1)
        if not (zero | (ours == theirs).all(axis=1)).all():
            raise UnsupportedError("the state is changed between two calls of one graph: it is neither that before nor zero")
        zero &= theirs.any(axis=1)
        anew = np.asarray(zero if anew is None else anew & zero)
    assert anew is not None
    return anew


def rows_of(state: torch.Tensor) -> Float:
    """(B, ...) of a state (L, B, H), (B, H) or (H)."""
    array = numpy_of(state)
    if array.ndim == 3:
        return np.ascontiguousarray(np.swapaxes(array, 0, 1)).reshape(array.shape[1], -1)
    return array.reshape(-1, array.shape[-1])


def _annotated(given: list[NDArray[Any] | None], parts: list[Batch], read: Module, name: str) -> NDArray[Any] | None:
    """(T, B) of what was said of a chain's steps: of each call, or once of all."""
    first = given[0]
    if first is None:
        return None
    total = (sum(part.arranged.steps for part in parts), parts[0].arranged.batch)
    whole = total[::-1] if read.batch_first else total
    if len(parts) > 1 and all(of is first for of in given) and first.shape == whole:
        return first.T if read.batch_first else first
    if any(of is None for of in given):
        return None
    return np.concatenate([_arranged(of, part.arranged, read, name) for of, part in zip(given, parts) if of is not None])


def _arranged(of: NDArray[Any], arranged: Arranged, read: Module, name: str) -> NDArray[Any]:
    """(T, B) of what was said of a call's steps."""
    if arranged.packed is not None:
        data = (len(arranged.packed.data),)
        if of.shape == data:
            padded = np.zeros((arranged.steps, arranged.batch), of.dtype)
            padded[arranged.is_read()] = of
            return padded
        expected = (arranged.batch, arranged.steps) if read.batch_first else (arranged.steps, arranged.batch)
        if of.shape != expected:
            raise UnsupportedError(f"{name}: expected {expected}, or {data} as the data of the PackedSequence, given {of.shape}")
        return np.asarray(arranged.sorted(of.T if read.batch_first else of, 1))
    if of.size != arranged.steps * arranged.batch or of.shape not in (arranged.leading, arranged.leading[1:]):
        raise UnsupportedError(f"{name}: expected {arranged.leading} as the leading axes of the input, given {of.shape}")
    of = of.reshape(arranged.leading)
    if not arranged.batched:
        return of[:, None]
    return np.swapaxes(of, 0, 1) if arranged.batch_first else of
