"""Which past step taught a recurrent network what: exact ledgers of gradients through time.

`bptt.torch.ledger` takes a live PyTorch module; `bptt.torch.cell_ledger` and `bptt.jax.cell_ledger` take any step function;
`Network` takes NumPy arrays; `open` reads model files;
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
from ._ledger import Ledger
from ._network import Network, Scan, cells, open

__version__: str = _bptt.__version__

__all__ = [
    "BalanceError",
    "BpttError",
    "CellLedger",
    "FileError",
    "Ledger",
    "Network",
    "NotFiniteError",
    "Scan",
    "ShapeError",
    "UnknownCellError",
    "UnsupportedError",
    "cells",
    "open",
]
