"""Arrays as the compiled part takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _bptt

Float = NDArray[np.float64]

def floats(array: ArrayLike) -> Float:
    return np.ascontiguousarray(array, dtype=np.float64)


def as_matrix(array: ArrayLike) -> Float:
    numbers = floats(array)
    return numbers.reshape(1, -1) if numbers.ndim == 1 else numbers


def flags(array: ArrayLike, what: str) -> NDArray[np.bool_]:
    given = np.asarray(array)
    if given.dtype != np.bool_ and not np.isin(given, (0, 1)).all():
        raise ValueError(f"{what}: expected booleans, or numbers 0 and 1")
    return np.ascontiguousarray(given.astype(np.bool_))


def as_inputs(x: ArrayLike) -> Float | NDArray[np.uint32]:
    """(T, B, I), or symbols (T, B)."""
    array = np.asarray(x)
    ids = _as_ids(array, "x: symbols are numbers from 0 on")
    if ids is not None:
        return ids
    if array.ndim != 3:
        raise _bptt.ShapeError(f"x: expected (T, B, I), or integers (T, B), given shape {array.shape}")
    return floats(array)


def as_targets(targets: ArrayLike) -> Float | NDArray[np.uint32]:
    """Classes (T, B), or numbers (T, B, V)."""
    array = np.asarray(targets)
    ids = _as_ids(array, "targets: classes are numbers from 0 on (use mask where there is none)")
    if ids is not None:
        return ids
    if array.ndim != 3:
        raise _bptt.ShapeError(f"targets: expected integers (T, B), or (T, B, V), given {array.dtype} {array.shape}")
    return floats(array)


def _as_ids(array: NDArray[Any], expected: str) -> NDArray[np.uint32] | None:
    """Integers (T, B) as unsigned ones; None of another array."""
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        return None
    if array.size and (array.min() < 0 or array.max() > np.iinfo(np.uint32).max):
        raise _bptt.ShapeError(f"{expected}, given {array.min()} to {array.max()}")
    return np.ascontiguousarray(array, dtype=np.uint32)


def given_losses(
    grad_output: ArrayLike | None = None,
    present: ArrayLike | None = None,
    values: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: str = "sum",
) -> dict[str, Any]:
    """Losses by their gradients or by targets, and what belongs to either."""
    if (grad_output is None) == (targets is None):
        raise ValueError("losses: expected either grad_output or targets")
    if targets is None and (mask is not None or reduction != "sum"):
        raise ValueError("mask, reduction: they belong to targets; grad_output is taken as it is")
    if targets is not None and (present is not None or values is not None):
        raise ValueError("present, values: they belong to grad_output; targets have a mask")
    return {
        "seeds": None if grad_output is None else floats(grad_output),
        "present": None if present is None else np.ascontiguousarray(present, dtype=np.bool_),
        "values": None if values is None else floats(values),
        "targets": None if targets is None else as_targets(targets),
        "mask": None if mask is None else flags(mask, "mask"),
        "reduction": reduction,
    }
