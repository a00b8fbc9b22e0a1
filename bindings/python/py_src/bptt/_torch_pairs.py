"""Pairs of a loss and a step before it, and what is said of their steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._torch_calls import Batch
from ._torch_facts import Said


class Ends(NamedTuple):
    """Ids and times of one step of each sequence, (B)."""

    ids: NDArray[Any] | None
    times: NDArray[Any] | None


def pairs_of(batch: Batch) -> tuple[int, int | None, NDArray[np.int64]]:
    """Pairs (k, t) that a path links, those that cross ids, and the longest lag of each sequence, (B)."""
    has_loss = (batch.seeds != 0).any(axis=2) & batch.reads()
    begins = batch.begins()
    steps = np.arange(len(has_loss))[:, None]
    spans = np.where(has_loss, steps - begins + 1, 0)
    longest = spans.max(axis=0) - 1
    if batch.ids is None:
        return int(spans.sum()), None, longest
    crossing = 0
    for b in range(has_loss.shape[1]):
        ids = batch.ids[:, b]
        for k in np.flatnonzero(has_loss[:, b]):
            crossing += int((ids[begins[k, b] : k + 1] != ids[k]).sum())
    return int(spans.sum()), crossing, longest


def of_times(batch: Batch) -> list[Said]:
    """Whether steps are in the order of time, where the user says their times."""
    if batch.times is None:
        return []
    linked = batch.reads()[1:] & (batch.begins()[1:] == batch.begins()[:-1])
    if batch.ids is not None:
        linked &= batch.ids[1:] == batch.ids[:-1]
    ahead = np.diff(batch.times, axis=0)[linked]
    if (ahead < 0).any():
        text = f"{int((ahead < 0).sum())} of {ahead.size} steps go back in time: they are not in the order of time"
        return [Said(text, alarm=True)]
    return []


def of_continuing(last: Ends, first: Ends, carried: NDArray[np.bool_]) -> list[Said]:
    """Whether sequences that carry a state continue those that left it, (B)."""
    if last.times is not None and first.times is not None and last.times.shape == carried.shape == first.times.shape:
        wrong = carried & np.asarray(first.times <= last.times)
        if last.ids is not None and first.ids is not None:
            wrong &= np.asarray(first.ids == last.ids)
        if wrong.any():
            count = f"{int(wrong.sum())} of {len(carried)} sequences"
            return [Said(f"the state of {count} is carried to steps that do not follow: they go back in time", alarm=True)]
    if last.ids is not None and first.ids is not None and last.ids.shape == carried.shape == first.ids.shape:
        other = carried & np.asarray(first.ids != last.ids)
        if other.any():
            return [Said("a state is carried from one id to another")]
    return []


def weights_of_steps(seeds: NDArray[np.float64]) -> tuple[int, float | None, tuple[float, float, float] | None]:
    """How many outputs (t, b) have a loss, the mean norm of their gradients, and the smallest, median and largest one by it."""
    norms = np.sqrt(np.square(seeds).sum(axis=2))
    norms = np.sort(norms[norms > 0])
    if len(norms) == 0:
        return 0, None, None
    mean = float(norms.mean())
    return len(norms), mean, (float(norms[0]) / mean, float(np.median(norms)) / mean, float(norms[-1]) / mean)


def of_unread(batch: Batch) -> list[Said]:
    """Losses that are not itemized."""
    return [Said(f"a loss reads {what}: it is not itemized") for what in batch.unread]
