"""Running a student's function for `bptt.checks`: exceptions with their line, what is returned, what is overwritten."""

from __future__ import annotations

import inspect
import linecache
import os
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._checks_cells import Float, Problem, Saved
from ._checks_styles import Function, Task, course_cache, forward_arguments, forward_outputs_names, pick_forward_outputs


@dataclass(frozen=True)
class Trouble:
    """Why there are no outputs: a name of `MISTAKES` and a sentence."""

    mistake: str
    says: str
    briefly: str = ""
    """An exception without its text."""


@dataclass
class Run:
    """A call of the student's function with one problem."""

    outputs: dict[str, Float] = field(default_factory=dict)
    single: bool = False
    """Whether an output is of float32 or float16."""
    trouble: Trouble | None = None
    changed: list[str] = field(default_factory=list)
    """Arguments and parts of the cache that it overwrote."""


def name_of(fn: Function) -> str:
    """The function's name."""
    return str(getattr(fn, "__name__", type(fn).__name__))


def where(error: BaseException, fn: Function) -> str:
    """Says which line of the student's own code an exception passed last."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    here = os.path.dirname(os.path.abspath(__file__))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.dirname(f.filename) != here]
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename] or frames
    if not own:
        return ""
    line = own[-1].line or linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f" in line {own[-1].lineno} of {own[-1].name}" + (f": `{line}`" if line else "")


def raised(error: Exception, fn: Function) -> Trouble:
    """An exception of the student's code as a trouble."""
    text = str(error).strip().split("\n")[0]
    briefly = f"it raises {type(error).__name__}{where(error, fn)}"
    return Trouble("exception", f"{briefly} ({text})" if text else briefly, briefly)


def arrays_in(value: Any, label: str, seen: set[int] | None = None) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The arrays of a cache however it is nested, each once, with what to call it."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        yield label, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from arrays_in(part, f"{label}[{key!r}]", seen)
    elif isinstance(value, list | tuple):
        for k, part in enumerate(value):
            yield from arrays_in(part, f"{label}[{k}]", seen)
    elif hasattr(value, "__dict__") and not callable(value) and not inspect.ismodule(value):
        for key, part in vars(value).items():
            yield from arrays_in(part, f"{label}.{key}", seen)


def watched(named: Mapping[str, Any]) -> list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The arrays in `named`, each with a copy of what it holds now."""
    seen: set[int] = set()
    return [(label, a, a.copy()) for name, value in named.items() for label, a in arrays_in(value, name, seen)]


def changed(before: list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> list[str]:
    """The names of those that hold something else now."""
    return [label for label, now, then in before if now.shape != then.shape or now.tobytes() != then.tobytes()]


@dataclass
class Forward:
    """What a backward function is called with beside the gradients from above."""

    arguments: dict[str, Any]
    cache: Any = None
    outputs: dict[str, Float] = field(default_factory=dict)
    trouble: Trouble | None = None


def run_forward(task: Task, p: Problem, steps: list[Saved], forward: Function | None) -> Forward:
    """The student's forward function, or the cache as the course fixes it."""
    made = Forward(forward_arguments(task, p, np.random.default_rng(0)))
    if forward is None:
        made.cache = course_cache(task, made.arguments, steps)
        return made
    before = watched(made.arguments)
    try:
        with np.errstate(all="ignore"):
            returned = forward(*made.arguments.values())
    except Exception as error:
        made.trouble = raised(error, forward)
        return made
    if over := changed(before):
        made.trouble = Trouble("overwrites_inputs", f"{name_of(forward)} changes {', '.join(over)} in place")
        return made
    picked = pick_forward_outputs(task, returned) if isinstance(returned, tuple | list) else None
    if picked is None:
        names = ", ".join(forward_outputs_names(task))
        names += ", cache" if task.style == "cs231n" else " …, cache, with the predictions among them"
        none = returned is None
        says = "returns None" if none else f"has to return {names}"
        made.trouble = Trouble("not_implemented" if none else "wrong_number_of_outputs", f"{name_of(forward)} {says}")
        return made
    read = _read(picked[0])
    if isinstance(read, Trouble):
        made.trouble = Trouble(read.mistake, f"{name_of(forward)}: {read.says}")
        return made
    made.outputs, made.cache = read, picked[1]
    return made


def run_backward(fn: Function, task: Task, above: list[Float], forward: Forward) -> Run:
    """The student's function on copies of the gradients from above."""
    run = Run()
    given = dict(zip(task.above, above, strict=True))
    before = watched({**given, **forward.arguments, "cache": forward.cache})
    try:
        with np.errstate(all="ignore"):
            returned = fn(*above, forward.cache)
    except Exception as error:
        run.trouble = raised(error, fn)
        run.changed = changed(before)
        return run
    named = _name(task, returned)
    read = named if isinstance(named, Trouble) else _read(named)
    if isinstance(read, Trouble):
        run.trouble = read
    else:
        run.outputs = read
    if not isinstance(named, Trouble):
        run.single = any(np.asarray(value).dtype in (np.float32, np.float16) for value in named.values())
    run.changed = changed(before)
    return run


def line_that_overwrites(fn: Function, above: list[Float], forward: Forward, labels: list[str], task: Task) -> str:
    """Says in which line, found by a second call with read-only arrays; empty if that does not find it."""
    given = dict(zip(task.above, above, strict=True))
    for label, array, _ in watched({**given, **forward.arguments, "cache": forward.cache}):
        if label in labels:
            array.flags.writeable = False
    try:
        with np.errstate(all="ignore"):
            fn(*above, forward.cache)
    except ValueError as error:
        return where(error, fn) if "read-only" in str(error) else ""
    except Exception:
        return ""
    return ""


def _name(task: Task, returned: Any) -> dict[str, Any] | Trouble:
    """What is returned, by name."""
    names = task.outputs
    wanted = f"it has to return {', '.join(names)}"
    if returned is None:
        return Trouble("not_implemented", f"it returns None; {wanted}")
    if task.style == "deeplearning.ai":
        if not isinstance(returned, Mapping):
            says = f"it returns no dictionary; {wanted} in one, or is to be checked with style='cs231n'"
            return Trouble("wrong_number_of_outputs", says)
        missing = [name for name in names if name not in returned]
        if missing:
            return Trouble("wrong_number_of_outputs", f"{', '.join(missing)} is missing in what it returns; {wanted}")
        return {name: returned[name] for name in names}
    if not isinstance(returned, tuple | list):
        says = f"it returns one {type(returned).__name__}; {wanted}"
        if isinstance(returned, Mapping):
            says += ", or is to be checked with style='deeplearning.ai'"
        return Trouble("wrong_number_of_outputs", says)
    if len(returned) != len(names):
        return Trouble("wrong_number_of_outputs", f"it returns {len(returned)} outputs; {wanted}")
    return dict(zip(names, returned, strict=True))


def _read(named: Mapping[str, Any]) -> dict[str, Float] | Trouble:
    """Copies in f64."""
    if missing := [name for name, value in named.items() if value is None]:
        return Trouble("not_implemented", f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} None")
    found = {}
    for name, value in named.items():
        try:
            array = np.asarray(value)
        except ValueError:
            array = np.asarray(None)
        if array.dtype.kind not in "fiub":
            return Trouble("not_numbers", f"{name} is no array of real numbers but {type(value).__name__}")
        found[name] = np.array(array, dtype=np.float64)
    return found
