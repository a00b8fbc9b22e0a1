"""Which past step taught a recurrent network what: exact ledgers of gradients through time.

`bptt.torch.ledger` takes a live PyTorch module; `bptt.torch.cell_ledger` and `bptt.jax.cell_ledger` take any step function;
`Network` takes NumPy arrays; `open` reads model files; `train` trains without PyTorch;
`bptt.checks` checks a student's backward functions.
"""

from __future__ import annotations

from . import _bptt
from ._bptt import (
    BalanceError,
    BpttError,
    FileError,
    NotFiniteError,
    ShapeError,
    UnknownCellError,
    UnsupportedError,
)
from ._cell_ledger import CellLedger
from ._findings import Advice, Diagnosis, GateSaturation, GateSpectrum, Lyapunov, SmallestWindow, Truncation
from ._ledger import Ledger
from ._network import Network, Scan, cells, open
from ._training import Task, TaskBatch, Training, task_batch, tasks, train

__version__: str = _bptt.__version__

__all__ = [
    "Advice",
    "BalanceError",
    "BpttError",
    "CellLedger",
    "Diagnosis",
    "FileError",
    "GateSaturation",
    "GateSpectrum",
    "Ledger",
    "Lyapunov",
    "Network",
    "NotFiniteError",
    "Scan",
    "ShapeError",
    "SmallestWindow",
    "Task",
    "TaskBatch",
    "Training",
    "Truncation",
    "UnknownCellError",
    "UnsupportedError",
    "cells",
    "open",
    "task_batch",
    "tasks",
    "train",
]
