"""Networks and scans on NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _bptt
from ._ledger import Ledger
from ._progress import Progress

Float = NDArray[np.float64]


def cells() -> list[str]:
    """The names of the cells there are; "rnn_leaky:0.1" and its like take numbers."""
    return _bptt.cells()


class Network:
    """A recurrent network with fixed weights.

    `weights` has arrays by PyTorch's names ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", ..., "_reverse"), in
    PyTorch's arrangement: matrices (G*H, I), gates i, f, g, o or r, z, n. Biases that are missing are zero.
    """

    def __init__(self, cell: str, weights: Mapping[str, ArrayLike]) -> None:
        self._of = _bptt.Network(cell, {name: _matrix(array) for name, array in weights.items()})

    @classmethod
    def _wrap(cls, of: _bptt.Network) -> Network:
        network = cls.__new__(cls)
        network._of = of
        return network

    @property
    def cell(self) -> str:
        """The cell's name."""
        return self._of.cell

    @property
    def assumptions(self) -> list[str]:
        """What was assumed in reading it from a file, a sentence each."""
        return self._of.assumptions

    @property
    def weights(self) -> dict[str, Float]:
        """The parameters by name; vectors as (1, n)."""
        return dict(self._of.weights())

    def scan(
        self,
        x: ArrayLike,
        *,
        hx: Sequence[Sequence[ArrayLike]] | None = None,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        detach_every: int | None = None,
        burn_in: int = 0,
        dropout: Sequence[ArrayLike] = (),
        precision: str = "f64",
    ) -> Scan:
        """Runs the network over `x`, (T, B, I), or integers (T, B) that stand for one-hot vectors.

        `hx` has the initial states of each cell (layer after layer, forward before reverse), a list of (B, H) arrays
        each: h, and c where there is one; zeros by default. `lengths` (B): what lies behind is padding. `resets`
        (T, B): true where an episode begins. `detach_every`: the state is detached before every so many steps.
        """
        problem: dict[str, Any] = {
            "x": _inputs(x),
            "initial": None if hx is None else [[_matrix(state) for state in cell] for cell in hx],
            "lengths": None if lengths is None else [int(length) for length in np.asarray(lengths)],
            "resets": None if resets is None else _flags(resets),
            "detach": [],
            "burn_in": burn_in,
            "dropout": [_floats(mask) for mask in dropout],
            "precision": precision,
        }
        if detach_every is not None:
            if detach_every < 1:
                raise ValueError(f"detach_every: {detach_every} is not possible; expected 1 or more")
            problem["detach"] = list(range(detach_every, problem["x"].shape[0], detach_every))
        return Scan(self, problem)

    def __reduce__(self) -> tuple[Any, ...]:
        return Network, (self.cell, self.weights)

    def __repr__(self) -> str:
        inputs, hidden, width, layers, directions = self._of.sizes
        both = ", both directions" if directions == 2 else ""
        output = f", output {width}" if width != hidden * directions else ""
        return f"Network({self.cell}, {layers} layer{'s' * (layers > 1)}{both}, I {inputs}, H {hidden}{output})"


class Scan:
    """A forward scan of a network: its outputs, gradients and ledgers. Made by `Network.scan`."""

    def __init__(self, network: Network, problem: dict[str, Any]) -> None:
        self.network = network
        self._problem = problem
        arguments = dict(problem)
        self._of = _bptt.Scan(network._of, arguments.pop("x"), **arguments)

    @property
    def output(self) -> Float:
        """The output of the last layer, (T, B, D*H)."""
        return self._of.output()

    @property
    def final_states(self) -> list[list[Float]]:
        """The states of each cell after the last step it read, (B, H) each."""
        return self._of.final_states()

    def gradient(self, grad_output: ArrayLike) -> dict[str, Float]:
        """The ordinary gradient by parameter, for losses with these dL_k/dh_k, (T, B, D*H)."""
        return dict(self._of.gradient(_floats(grad_output)))

    def ledger(
        self,
        grad_output: ArrayLike,
        *,
        present: ArrayLike | None = None,
        values: ArrayLike | None = None,
        gates: bool = False,
        sequences: bool = False,
        inputs: bool = True,
        tolerance: float | None = None,
        estimate_errors: bool = True,
        progress: bool | Callable[[float], object] | None = None,
    ) -> Ledger:
        """The ledger of losses with these dL_k/dh_k, (T, B, D*H).

        `present` (T) says which steps have a loss (default: all); `values` (T, B) what the losses are. `gates` and
        `sequences` keep the norms of single gates and sequences, too. With `tolerance`, components smaller than this
        fraction are added to a remainder. In f32, `estimate_errors` estimates the error of every norm. `progress`:
        a function that is called with the part that is done; by default a line on a terminal after two seconds.
        """
        arguments: dict[str, Any] = {
            "seeds": _floats(grad_output),
            "present": None if present is None else np.ascontiguousarray(present, dtype=np.bool_),
            "values": None if values is None else _floats(values),
            "gates": gates,
            "sequences": sequences,
            "inputs": inputs,
            "tolerance": tolerance,
            "estimate_errors": estimate_errors,
        }
        with Progress(progress) as show:
            of = self._of.ledger(**arguments, progress=show)
        provenance = {"cell": self.network.cell, "precision": self._problem["precision"]}
        return Ledger(of, provenance, list(self.network.assumptions), (self, arguments))

    def __reduce__(self) -> tuple[Any, ...]:
        return Scan, (self.network, self._problem)


def open(path: str | os.PathLike[str], module: str | None = None, cell: str | None = None) -> Network:
    """The recurrent module of a model file, in every format that the command reads.

    `module` names it where there are several, `cell` says which cell it is where the file leaves that open. What was
    assumed is in `Network.assumptions`.
    """
    return Network._wrap(_bptt.open_file(os.fspath(path), module, cell))


def _floats(array: ArrayLike) -> Float:
    return np.ascontiguousarray(array, dtype=np.float64)


def _matrix(array: ArrayLike) -> Float:
    numbers = _floats(array)
    return numbers.reshape(1, -1) if numbers.ndim == 1 else numbers


def _flags(array: ArrayLike) -> NDArray[np.bool_]:
    flags = np.asarray(array)
    if flags.dtype != np.bool_ and not np.isin(flags, (0, 1)).all():
        raise ValueError("resets: expected booleans, or numbers 0 and 1")
    return np.ascontiguousarray(flags.astype(np.bool_))


def _inputs(x: ArrayLike) -> Float | NDArray[np.uint32]:
    array = np.asarray(x)
    if array.ndim == 2 and np.issubdtype(array.dtype, np.integer):
        if array.size and (array.min() < 0 or array.max() > np.iinfo(np.uint32).max):
            raise _bptt.ShapeError(f"x: symbols are numbers from 0 on, given {array.min()} to {array.max()}")
        return np.ascontiguousarray(array, dtype=np.uint32)
    if array.ndim != 3:
        raise _bptt.ShapeError(f"x: expected (T, B, I), or integers (T, B), given shape {array.shape}")
    return _floats(array)
