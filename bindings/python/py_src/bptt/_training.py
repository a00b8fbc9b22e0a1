"""Tasks with known dependencies, and training in Rust."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _bptt, _plots
from ._network import Network
from ._progress import Progress

if TYPE_CHECKING:
    import matplotlib.axes

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A task whose losses depend on inputs a known number of steps back."""

    name: str
    about: str
    """What it is, what its length L means, and its source."""
    usual_length: int


@dataclass(frozen=True)
class TaskBatch:
    """Sequences of a task."""

    inputs: Float | NDArray[np.int64]
    """(T, B, I), or symbols (T, B)."""
    targets: Float | NDArray[np.int64]
    """(T, B, V), or classes (T, B)."""
    mask: NDArray[np.bool_] | None
    """(T, B), where there is a loss; None: everywhere."""
    lag: tuple[int, int]
    """Steps from the dependency to the loss, the smallest and the largest possible."""


@dataclass(frozen=True)
class Training:
    """A trained network, and how the training went."""

    network: Network
    """After the last update, with its head; after a number that is not finite, the last one with finite numbers."""
    ending: str
    """"finished", or what was not finite."""
    symbols: list[str] | None
    """The symbols of a text, by their numbers."""
    updates: dict[str, Float]
    """For each update: update, loss (nats or squared error, before it), learning_rate, norm of the gradient before and after
    clipping."""
    ledgers: dict[str, Float]
    """For each ledger on the way: update, horizon, decay of W_hh."""
    evaluations: dict[str, Float]
    """For each evaluation on held-out data: update, loss, and of a task the fraction of solved sequences."""

    def plot(self, what: str = "loss", ax: matplotlib.axes.Axes | None = None) -> matplotlib.axes.Axes:
        """"loss", "norm", "learning_rate", "horizon" or "decay" over the updates, with matplotlib."""
        return _plots.training(self, what, ax)


def tasks() -> list[Task]:
    """The tasks there are."""
    return [Task(*of) for of in _bptt.task_list()]


def task_batch(name: str, length: int | None = None, batch: int = 32, *, seed: int = 1) -> TaskBatch:
    """Sequences of a task that training with this seed does not see; `length` is its L."""
    return TaskBatch(*_bptt.task_batch(name, length, batch, seed))


def train(*, progress: bool | Callable[[float], object] | None = None, **settings: Any) -> Training:
    """Trains a new network, as `bptt train` does, without writing files.

    `settings` are those of a run's `config.toml`: `task="copying"` or `text="corpus.txt"`; `cell`, `hidden`, `layers`, `steps`
    (updates), `batch`, `window`, `optimizer`, `learning_rate`, `clip_norm`, `seed` and so on. The same settings give the
    same numbers. Ctrl-C ends it.
    """
    if (settings.get("task") is None) == (settings.get("text") is None):
        raise ValueError("train: expected either task or text")
    text = settings.get("text")
    given = json.dumps({**settings, "text": None if text is None else str(text)})
    with Progress(progress, "the training") as show:
        network, ending, symbols, updates, ledgers, evaluations = _bptt.train(given, show)
    return Training(
        Network._wrap(network),
        ending,
        symbols,
        _columns(updates, "update", "loss", "learning_rate", "norm", "clipped_norm"),
        _columns(ledgers, "update", "horizon", "decay"),
        _columns(evaluations, "update", "loss", "solved"),
    )


def _columns(rows: Float, *names: str) -> dict[str, Float]:
    return {name: np.ascontiguousarray(rows[:, column]) for column, name in enumerate(names)}
