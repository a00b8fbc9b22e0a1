"""A line of progress for what takes over two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

PATIENCE = 2.0
"""Seconds before the line appears."""


class Progress:
    """Calls the user's function, or writes a line to stderr if it is a terminal; `False` does neither."""

    def __init__(self, progress: bool | Callable[[float], object] | None, what: str = "the ledger") -> None:
        self._what = what
        self._call = progress if callable(progress) else None
        self._line = progress is True or (progress is None and sys.stderr.isatty())
        self._started = time.monotonic()
        self._shown = False

    def __enter__(self) -> Callable[[float], object] | None:
        if self._call is not None:
            return self._call
        return self._show if self._line else None

    def _show(self, done: float) -> None:
        if time.monotonic() - self._started >= PATIENCE:
            self._shown = True
            print(f"\rbptt: {done:4.0%} of {self._what}", end="", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:
            print("\r" + " " * 30 + "\r", end="", file=sys.stderr, flush=True)
