"""A row of the table "How far X backpropagates", of what `bptt.torch.watch` saw."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

from bptt.torch import watch


_end = watch.__exit__


def _with_alarms(self: watch, *arguments: Any) -> None:
    _end(self, *arguments)
    print("WATCHED")
    for alarm in self.alarms:
        print("ALARM " + alarm)


watch.__exit__ = _with_alarms


def version(package: str) -> str:
    return importlib.metadata.version(package)


def spread(values: Iterable[Any], form: Callable[[Any], str] = str) -> str:
    """One number if all are equal, else the smallest, the median and the largest."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "–"
    low, middle, high = known[0], known[len(known) // 2], known[-1]
    return form(low) if low == high else f"{form(low)}, {form(middle)}, {form(high)}"


def percent(value: float) -> str:
    return f"{value:.1%}"


def start(updates: list[Any]) -> str:
    """From where sequences start."""
    kinds = sorted({update.start for update in updates})
    text = " or ".join(kinds)
    found = [update for update in updates if update.stored_before is not None]
    if found and kinds != ["zeros"]:
        before, after, neither = (sum(getattr(u, f"stored_{which}") for u in found) for which in ("before", "after", "neither"))
        total = before + after + neither
        if after or neither:
            parts = [(before, "before"), (after, "**after**"), (neither, "neither before nor after")]
            text = "of the rollout: " + ", ".join(f"{count} of {total} {what} x_t" for count, what in parts if count)
        else:
            text = "of the rollout, before x_t"
        errors = [update.state_error for update in found if update.state_error is not None]
        if errors:
            text += f"; off by {spread(errors, percent)} of that by the present weights"
    outputs = [update.output_error for update in found if update.output_error is not None]
    if outputs and max(outputs) > 1e-3:
        text += f"; before the first step outputs are off by up to {max(outputs):.2g} of the largest"
    return text


def crosses(updates: list[Any]) -> str:
    """Pairs that cross ids."""
    known = [update for update in updates if update.crossing is not None]
    if not known:
        return "–"
    crossing, pairs = (sum(getattr(update, key) for update in known) for key in ("crossing", "pairs"))
    return f"{crossing:,} of {pairs:,} pairs" if crossing else "nothing"


def padding(updates: list[Any]) -> str:
    known = [update.padding for update in updates if update.padding is not None]
    return "–" if not known else percent(max(known)) if max(known) > 0 else "0"


def watched(library: str, package: str, updates: list[Any], **columns: str) -> None:
    """Prints the row of these updates, but for the columns that are given."""
    if not updates:
        raise SystemExit(f"{library}: no update was seen")
    seen = {
        "start": start(updates),
        "longest": spread(update.longest_path for update in updates),
        "nearest": spread(update.nearest_lag for update in updates),
        "crosses": crosses(updates),
        "padding": padding(updates),
    }
    tell(library, package, **{**seen, **columns})


def tell(library: str, package: str, **columns: str) -> None:
    print("ROW " + json.dumps({"library": f"{library} ({package} {version(package)})", **columns}))
    sys.stdout.flush()
