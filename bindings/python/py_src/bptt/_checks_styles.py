"""The signatures of two courses for `bptt.checks`: CS231n's (assignment 3) and deeplearning.ai's (Sequence Models).

CS231n is batch-first, (N, T, D), and multiplies from the right; a function returns a tuple, and the cache is the
student's. deeplearning.ai is (D, N, T), multiplies from the left, and has for each gate of an LSTM a matrix (H, H + D),
whose operand is [a_prev; x], and a bias (H, 1); a function returns a dictionary, and the course fixes the cache.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ._checks_cells import GATES, NONE, Cell, Flags, Float, Problem, Saved

Style = Literal["cs231n", "deeplearning.ai"]
Function = Callable[..., Any]

SIZE_NAMES: dict[Style, tuple[str, ...]] = {
    "cs231n": ("N", "T", "D", "H"),
    "deeplearning.ai": ("m", "T_x", "n_x", "n_a"),
}
"""What the courses call the numbers of sequences, steps, inputs and units."""

DAI_WORDS = {
    "dprev_h": "da_prev",
    "dprev_c": "dc_prev",
    "dnext_h": "da_next",
    "dnext_c": "dc_next",
    "N": "m",
    "T": "T_x",
    "Wx": "Wax",
    "Wh": "Waa",
    "dh": "da",
    "h": "a",
}
"""deeplearning.ai's words for those of a sentence in CS231n's."""

LETTERS = {"i": "i", "f": "f", "o": "o", "g": "c"}
"""deeplearning.ai's name of each gate of an LSTM."""


@dataclass(frozen=True)
class Task:
    """What is checked: the cell, one step or a sequence, and whose signature."""

    cell: Cell
    step: bool
    style: Style

    @property
    def signature(self) -> str:
        """As the course has it."""
        lstm = self.cell == "lstm"
        if self.style == "cs231n":
            above = ("dnext_h, dnext_c" if lstm else "dnext_h") if self.step else "dh"
            return f"{self.cell}_{'step_' * self.step}backward({above}, cache) -> {', '.join(self.outputs)}"
        above = ("da_next, dc_next, cache" if lstm else "da_next, cache") if self.step else "da, caches"
        return f"{self.cell}_{'cell_' * self.step}backward({above}) -> {{{', '.join(self.outputs)}}}"

    def in_its_words(self, says: str) -> str:
        """A sentence about a mistake in the words of the course."""
        if self.style == "cs231n":
            return says
        words = {**DAI_WORDS, "Wx": "W[:, n_a:]", "Wh": "W[:, :n_a]"} if self.cell == "lstm" else DAI_WORDS
        return re.sub(r"[A-Za-z_0-9]+", lambda word: words.get(word[0], word[0]), says)

    def describe(self, sizes: Sequence[int]) -> str:
        """(N, T, D, H) by name; a step has no T."""
        names = SIZE_NAMES[self.style]
        pairs = zip(names, sizes, strict=True)
        return ", ".join(f"{name} = {size}" for name, size in pairs if not (self.step and name == names[1]))

    @property
    def forward_name(self) -> str:
        """The name of the course's forward function."""
        return f"{self.cell}_{('step_' if self.style == 'cs231n' else 'cell_') * self.step}forward"

    @property
    def above(self) -> list[str]:
        """The names of the gradients that a function is given."""
        names = ["dnext_h", "dnext_c"] if self.style == "cs231n" else ["da_next", "dc_next"]
        if not self.step:
            return ["dh" if self.style == "cs231n" else "da"]
        return names if self.cell == "lstm" else names[:1]

    @property
    def outputs(self) -> list[str]:
        """The names of what a function returns, in its order."""
        lstm = self.cell == "lstm"
        if self.style == "cs231n":
            states = (["dprev_h", "dprev_c"] if lstm else ["dprev_h"]) if self.step else ["dh0"]
            return ["dx", *states, "dWx", "dWh", "db"]
        states = (["da_prev", "dc_prev"] if lstm else ["da_prev"]) if self.step else ["da0"]
        weights = [f"d{kind}{LETTERS[gate]}" for gate in "figo" for kind in "Wb"] if lstm else ["dWax", "dWaa", "dba"]
        return ["dxt" if self.step else "dx", *states, *weights]


def _from_left(value: Float) -> Float:
    """A batch-first array in deeplearning.ai's layout."""
    if value.ndim == 3:
        return value.transpose(2, 0, 1)
    return value.reshape(-1, 1) if value.ndim < 2 else value.T


def adapt(task: Task, found: dict[str, Float], flags: Flags = NONE) -> dict[str, Float]:
    """Gradients of `gradients` under the names and in the layout of the task."""
    found = dict(found)
    if task.step:
        found["dx"] = found["dx"][:, 0]
    states = ["dh0", "dc0"] if task.step and task.cell == "lstm" else ["dh0"]
    if task.style == "cs231n":
        values = [found[name] for name in ("dx", *states, "dWx", "dWh", "db")]
    else:
        values = [_from_left(found[name]) for name in ("dx", *states)]
        if task.cell == "lstm":
            values += _gate_gradients(found)
        else:
            values += [_from_left(found[name]) for name in ("dWx", "dWh", "db")]
    named = dict(zip(task.outputs, values, strict=True))
    if flags.get("weights") == "transposed":
        named |= {name: value.T for name, value in named.items() if name.startswith("dW")}
    return named


def _gate_gradients(found: dict[str, Float]) -> list[Float]:
    """dWf, dbf, dWi, dbi, dWc, dbc, dWo, dbo."""
    gates, values = GATES["lstm"], []
    weights = dict(zip(gates, np.split(np.vstack([found["dWh"], found["dWx"]]), 4, axis=1), strict=True))
    biases = np.split(found["db"], 4, axis=-1)
    for gate in "figo":
        values += [weights[gate].T, _from_left(biases[gates.index(gate)])]
    return values


def parameters(task: Task, p: Problem, rng: np.random.Generator) -> dict[str, Float]:
    """deeplearning.ai's dictionary of parameters, with a head of two classes that no gradient comes from."""
    h = p.h0.shape[1]
    head = rng.normal(size=(2, h)), rng.normal(size=(2, 1))
    if task.cell != "lstm":
        return {"Wax": p.wx.T.copy(), "Waa": p.wh.T.copy(), "ba": p.b.reshape(-1, 1), "Wya": head[0], "by": head[1]}
    made = {"Wy": head[0], "by": head[1]}
    weights, biases = np.split(np.vstack([p.wh, p.wx]), 4, axis=1), np.split(p.b, 4)
    for k, gate in enumerate(GATES["lstm"]):
        made[f"W{LETTERS[gate]}"] = weights[k].T.copy()
        made[f"b{LETTERS[gate]}"] = biases[k].reshape(-1, 1)
    return made


def upstream(task: Task, p: Problem) -> list[Float]:
    """The gradients that a function is given, in the layout of the task."""
    values = [p.dh[:, 0], p.dc][: len(task.above)] if task.step else [p.dh]
    return [(_from_left(value) if task.style == "deeplearning.ai" else value).copy() for value in values]


def forward_arguments(task: Task, p: Problem, rng: np.random.Generator) -> dict[str, Any]:
    """The arguments of the task's forward function by name, copies."""
    x = p.x[:, 0] if task.step else p.x
    if task.style == "cs231n":
        states = {"prev_h": p.h0, "prev_c": p.c0} if task.cell == "lstm" else {"prev_h": p.h0}
        named = {"x": x, **(states if task.step else {"h0": p.h0}), "Wx": p.wx, "Wh": p.wh, "b": p.b}
        return {name: value.copy() for name, value in named.items()}
    states = {"a_prev": p.h0, "c_prev": p.c0} if task.cell == "lstm" else {"a_prev": p.h0}
    named = {"xt" if task.step else "x": x, **(states if task.step else {"a0": p.h0})}
    return {**{name: _from_left(value).copy() for name, value in named.items()}, "parameters": parameters(task, p, rng)}


def forward_outputs(task: Task, steps: list[Saved]) -> dict[str, Float]:
    """What the task's forward function has to return beside its cache."""
    h = steps[0].next_h if task.step else np.stack([step.next_h for step in steps], axis=1)
    c = steps[0].next_c if task.step else np.stack([step.next_c for step in steps], axis=1)
    values = [h, c] if task.style == "cs231n" else [_from_left(h), _from_left(c)]
    return dict(zip(forward_outputs_names(task), values, strict=False))


def pick_forward_outputs(task: Task, returned: Sequence[Any]) -> tuple[dict[str, Any], Any] | None:
    """The outputs that are compared, and the cache. None if their number is wrong."""
    names = forward_outputs_names(task)
    if task.style == "cs231n":
        return (dict(zip(names, returned, strict=False)), returned[-1]) if len(returned) == len(names) + 1 else None
    if len(returned) != len(names) + 2:
        return None
    # a_next, c_next, yt_pred, cache; but for a sequence a, y, c, caches.
    places = [0, 2 if not task.step else 1][: len(names)]
    return {name: returned[place] for name, place in zip(names, places, strict=True)}, returned[-1]


def forward_outputs_names(task: Task) -> list[str]:
    """The names of what is compared of a forward function."""
    if task.style == "cs231n":
        return ["next_h", "next_c"] if task.step and task.cell == "lstm" else ["next_h" if task.step else "h"]
    names = ["a_next", "c_next"] if task.step else ["a", "c"]
    return names if task.cell == "lstm" else names[:1]


def course_cache(task: Task, arguments: dict[str, Any], steps: list[Saved]) -> Any:
    """deeplearning.ai's cache of a step, or its (caches, x) of a sequence."""

    def one(s: Saved, xt: Float, h: Float, c: Float, a_next: Float, c_next: Float) -> tuple[Any, ...]:
        if task.cell != "lstm":
            return a_next, h, xt, arguments["parameters"]
        f, i, g, o = (_from_left(s.act[gate]).copy() for gate in "figo")
        return a_next, c_next, h, c, f, i, g, o, xt, arguments["parameters"]

    caches: list[tuple[Any, ...]] = []
    h, c = _from_left(steps[0].h).copy(), _from_left(steps[0].c).copy()
    for t, s in enumerate(steps):
        a_next, c_next = _from_left(s.next_h).copy(), _from_left(s.next_c).copy()
        xt = arguments["xt"] if task.step else arguments["x"][:, :, t]
        caches.append(one(s, xt, h, c, a_next, c_next))
        h, c = a_next, c_next
    return caches[0] if task.step else (caches, arguments["x"])
