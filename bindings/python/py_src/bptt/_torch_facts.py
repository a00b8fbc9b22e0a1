"""Facts about updates that arrays tell: start states, weights of steps, padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ._torch_modules import Arranged
from ._torch_update import Update

Float = NDArray[np.float64]

NEVER = 20
"""Calls with a carried state, without a reset, that are worth a sentence."""


class Said(NamedTuple):
    """A sentence, and whether what it says is a mistake in itself."""

    text: str
    alarm: bool = False


WHOLE = [
    ("horizon", "horizon(0.99)", " steps"),
    ("farthest_lag", "the farthest lag", " steps"),
    ("state_error", "difference of stored states from those by the present weights", ""),
]
"""What is told of all updates together."""

LINKS = 64
"""Calls that continue others of their graph whose states are looked at."""

NODES = 10_000
"""Operations of a graph that are looked through for an earlier call, at most."""


VARIED = 10
"""Updates from which the loss's reduction is told."""

FOLLOWED = 200
"""Calls that are followed to their gradients, to see which are reached together."""


@dataclass
class Followed:
    """A call that may get a gradient."""

    before: Followed | None = None
    """The one whose detached state it began with."""
    behind: Followed | None = None
    arrived: bool = False


@dataclass
class Facts:
    """What is remembered of a module between its calls."""

    calls: int = 0
    last: tuple[torch.Tensor, ...] | None = None
    """The states that its last call left, with their graph."""
    node: Any = None
    """The operation that made them."""
    steps: int = 0
    """The optimizers' steps before it."""
    started: tuple[torch.Tensor, ...] | None = None
    """The states that its last call began with."""
    carried: int = 0
    """Calls that began with the state that the one before left."""
    in_training: bool = False
    """Whether a backward pass came in train mode."""
    resets: int = 0
    """Calls that began with zeros, in some sequence, after one that did not."""
    followed: Followed | None = None
    followed_calls: int = 0
    linked: bool = False
    """Whether a call was ever linked to the one before."""
    cut: bool = False
    """Whether a state was detached between two calls that one backward pass reaches."""
    is_cell: bool = False

    looked_links: int = 0

    def known(self, unwatched: bool) -> bool:
        """Whether a call that continues another one tells nothing new."""
        return unwatched and self.looked_links >= LINKS and self.followed_calls >= FOLLOWED

    def remember(self, left: tuple[torch.Tensor, ...], steps: int) -> None:
        """The states that a call left."""
        self.last, self.node, self.steps = left, left[0].grad_fn, steps

    def at_end(self, updates: list[Update]) -> list[Said]:
        """What the whole tells."""
        facts = []
        if self.cut and self.is_cell and not self.linked:
            text = "the state is detached before every step: no gradient reaches an earlier step"
            facts.append(Said(text, alarm=True))
        elif self.cut:
            facts.append(Said("the state is detached between two calls of one update: no gradient passes there"))
        if self.carried >= NEVER and self.carried == self.calls - 1 and self.resets == 0:
            text = f"the state was carried from each of {self.calls} calls to the next and never reset, in any sequence"
            facts.append(Said(text))
        for key, what, unit in WHOLE:
            known = sorted(value for update in updates if (value := getattr(update, key)) is not None)
            if not known:
                continue
            three = known[0], known[len(known) // 2], known[-1]
            low, middle, high = (f"{value:.2g}" if unit == "" else str(value) for value in three)
            facts.append(Said(f"{what} over {len(known)} updates: {low} to {high}{unit}, median {middle}"))
        facts += of_reduction(updates)
        pairs, crossing = (sum(getattr(update, key) or 0 for update in updates) for key in ("pairs", "crossing"))
        if any(update.crossing is not None for update in updates):
            facts.append(Said(f"{crossing} of {pairs} pairs of a loss and a step before it cross from one id to another"))
        return facts

    def follow(self, data: Any, linked: bool, carried: bool, one_step: bool) -> None:
        """Remembers whether one backward pass reaches two calls, the second of which began with the first's detached state."""
        self.linked |= linked
        self.is_cell = one_step
        if self.followed_calls >= FOLLOWED:
            return
        self.followed_calls += 1
        last = self.followed
        this = self.followed = Followed(last if carried and not linked and last is not None and not last.arrived else None)

        def arrived(gradient: torch.Tensor) -> None:
            this.arrived = True
            before, this.before = this.before, None
            if before is not None:
                before.behind = this
            if (before is not None and before.arrived) or (this.behind is not None and this.behind.arrived):
                self.cut = True

        data.register_hook(arrived)


def of_reduction(updates: list[Update]) -> list[Said]:
    """Whether the loss is a sum or a mean over steps, where their number varies enough to tell: gradients of single outputs go
    with n^0 or n^-1."""
    known = [(update.losses, update.gradient) for update in updates if update.gradient]
    if len(known) < VARIED or max(n for n, _ in known) < 2 * min(n for n, _ in known):
        return []
    n, gradient = np.log(np.array(known, float)).T
    spread = np.square(n - n.mean()).sum()
    slope = float(((n - n.mean()) * gradient).sum() / spread)
    rest = gradient - gradient.mean() - slope * (n - n.mean())
    error = float(np.sqrt(np.square(rest).sum() / (len(n) - 2) / spread))
    if error > 0.1 or min(abs(slope), abs(slope + 1)) > 0.25:
        return []
    if abs(slope) < 0.5:
        return [Said("the loss adds up over outputs: an update with more of them weighs more")]
    return [Said("the loss is averaged over outputs: each weighs less in an update with more of them")]


def of_weights(module: nn.Module) -> list[Said]:
    """What the weights say before the first update."""
    if not isinstance(module, nn.LSTM) or not module.bias:
        return []
    hidden = module.hidden_size
    both = [getattr(module, name)[hidden : 2 * hidden].detach() for name in ("bias_ih_l0", "bias_hh_l0")]
    if all(bool((bias == bias[0]).all()) and float(bias[0]) > 0 for bias in both):
        total = float(both[0][0] + both[1][0])
        halves = " and ".join(f"{float(bias[0]):g} in {name}" for bias, name in zip(both, ("bias_ih", "bias_hh")))
        return [Said(f"the forget gate's bias is {halves}: {total:g} in all")]
    return []


def start_of(state: Facts, hx: tuple[torch.Tensor, ...] | None) -> str:
    """ "zeros", "carried" or "given"."""
    if hx is None or not any(bool(part.detach().any()) for part in hx):
        return "zeros"
    if state.last is not None and all(_same(part.detach(), last.detach()) for part, last in zip(hx, state.last)):
        return "carried"
    return "given"


def links(state: Facts, hx: tuple[torch.Tensor, ...] | None, steps: int) -> bool:
    """Whether a call's states are made from those that the last one left, in the same update."""
    if hx is None or state.steps != steps:
        return False
    node = hx[0].grad_fn
    if node is not None and (node is state.node or any(before is state.node for before, _ in node.next_functions)):
        return state.node is not None
    return any(leads_to(part.grad_fn, state.node) for part in hx)


def of_start(
    state: Facts, module: nn.Module, given: tuple[torch.Tensor, ...] | None, left: Any, steps: int, linked: bool
) -> list[Said]:
    """The states that a call begins with, after so many steps of optimizers; remembers those that it leaves."""
    facts: list[Said] = []
    after = tuple(left) if isinstance(left, tuple) else (left,)
    if linked and state.looked_links >= LINKS:
        state.remember(after, steps)
        return []
    state.looked_links += linked
    counts = state.carried, state.resets
    if given is not None and state.last is not None:
        if steps > state.steps and any(leads_to(part.grad_fn, state.node) for part in given):
            text = "it begins with a state that is not detached: the graph reaches into calls before the last update"
            facts.append(Said(text, alarm=True))
        facts += _carried(state, given)
    if given is None or not any(bool(part.detach().any()) for part in given):
        state.resets += state.carried > 0
    if linked:
        # A part of the sequence before, not a new one.
        state.carried, state.resets = counts
    state.started = None if given is None else tuple(part.detach().clone() for part in given)
    state.remember(after, steps)
    return facts


def leads_to(node: Any, wanted: Any) -> bool:
    """Whether a graph has the operation `wanted` among its first nodes."""
    if node is None or wanted is None:
        return False
    found, waiting = {node}, [node]
    while waiting and len(found) < NODES:
        current = waiting.pop()
        if current is wanted:
            return True
        new = {source for source, _ in current.next_functions if source is not None} - found
        found |= new
        waiting.extend(new)
    return False


def _carried(state: Facts, given: tuple[torch.Tensor, ...]) -> list[Said]:
    """Whether the states that are given are those that the call before left."""
    assert state.last is not None
    same = [_same(part.detach(), last.detach()) for part, last in zip(given, state.last)]
    zero = [not bool(part.detach().any()) for part in given]
    if len(same) == 2 and zero != [True, True]:
        for kept, lost, names in ((0, 1, ("h", "c")), (1, 0, ("c", "h"))):
            if same[kept] and zero[lost]:
                return [Said(f"{names[0]} is carried from the call before, {names[1]} is not: it is zero", alarm=True)]
    if same[0]:
        state.carried += 1
        h = given[0].detach()
        state.resets += bool((h.double().pow(2).sum((0, 2) if h.ndim == 3 else (0, 1)) == 0).any())
        return []
    started = None if state.started is None else state.started[0]
    h = given[0].detach()
    learned = given[0].requires_grad
    if not learned and started is not None and started.shape == h.shape and bool(h.any()) and torch.equal(started, h):
        return [Said("two calls begin with the same state that is not zero")]
    return []


def _same(h: torch.Tensor, last: torch.Tensor) -> bool:
    """Whether each sequence's state is the last one's, or zero, and some sequence's is the last one's."""
    if h.shape != last.shape:
        return False
    axes = (0, 2) if h.ndim == 3 else (0, 1)
    size = last.double().pow(2).sum(axes)
    same = ((h.double() - last.double()).pow(2).sum(axes) <= 1e-12 * size) & (size > 0)
    return bool((same | (h.double().pow(2).sum(axes) == 0)).all() and same.any())


def of_steps(seeds: Float, arranged: Arranged) -> list[Said]:
    """What the loss weighs: (T, B, D*P) gradients of all losses at the output."""
    weighed = (seeds != 0).any(axis=2)
    steps, batch = weighed.shape
    if batch > 1 and steps > 1 and weighed[:, -1].all() and not weighed[:, :-1].any():
        text = f"only the last of {batch} sequences has a loss, and at every step: time and batch are exchanged"
        return [Said(f"{text} (batch_first is {arranged.batch_first})", alarm=True)]
    return []


def of_padding(inputs: Float, seeds: Float, arranged: Arranged) -> tuple[float | None, list[Said]]:
    """The part of the squared gradient that is at padding, None where no padding is recognized."""
    if arranged.lengths is not None:
        return None, []
    steps, batch, _ = inputs.shape
    # The same vector to the end of at least two sequences, for different times, and nowhere else, is padding.
    last = inputs[-1]
    filled = (inputs == last[None]).all(axis=2)
    lengths = steps - np.argmin(filled[::-1], axis=0)
    lengths[filled.all(axis=0)] = 0
    short = lengths < steps - 1
    alike = short.sum() >= 2 and len(np.unique(lengths[short])) >= 2 and (last[short] == last[short][0]).all()
    if not alike:
        return None, []
    behind = np.arange(steps)[:, None] >= lengths[None, :]
    if ((inputs == last[short][0]).all(axis=2) & ~behind).any():
        return None, []
    behind &= short[None, :]
    weight = np.square(seeds).sum(axis=2)
    part = float(weight[behind].sum() / max(weight.sum(), 1e-300))
    if part == 0:
        return part, []
    weighed = (weight > 0) & short[None, :]
    if (weighed[-1] == weighed.any(axis=0)).all() and not weighed[:-1].any():
        text = "the last output is taken at padding: sequences that end before it have their loss behind their end"
        return part, [Said(text, alarm=True)]
    text = f"padding has a loss: {part:.0%} of the squared gradient at the output is behind the sequences' last inputs"
    return part, [Said(text, alarm=True)]
