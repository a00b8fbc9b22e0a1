"""Networks and scans on NumPy arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _bptt
from ._arrays import as_inputs, as_matrix, flags, floats, given_losses
from ._findings import Advice, Diagnosis, GateSaturation, GateSpectrum, Lyapunov, SmallestWindow, Truncation
from ._ledger import Ledger
from ._progress import Progress

Float = NDArray[np.float64]


def cells() -> list[str]:
    """The names of the cells there are; "rnn_leaky:0.1" and its like take numbers."""
    return _bptt.cells()


class Network:
    """A recurrent network with fixed weights.

    `weights` has arrays by PyTorch's names ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", ..., "_reverse"), in
    PyTorch's arrangement: matrices (G*H, I), gates i, f, g, o or r, z, n. Biases that are missing are zero. "head.weight"
    (V, D*H) and "head.bias" (V), if they are there, map the output of the last layer to predictions.
    """

    def __init__(self, cell: str, weights: Mapping[str, ArrayLike]) -> None:
        arrays = {name: as_matrix(array) for name, array in weights.items()}
        weight, bias = arrays.pop("head.weight", None), arrays.pop("head.bias", None)
        if weight is None and bias is not None:
            raise _bptt.ShapeError("head.weight is missing beside head.bias")
        head = None
        if weight is not None:
            head = weight, np.zeros((1, weight.shape[0])) if bias is None else bias
        self._of = _bptt.Network(cell, arrays, head)

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

    def spectra(self) -> list[GateSpectrum]:
        """The singular values and eigenvalues of every gate's block of the recurrent weights."""
        return [GateSpectrum(*of) for of in _bptt.spectra(self._of)]

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
            "x": as_inputs(x),
            "initial": None if hx is None else [[as_matrix(state) for state in cell] for cell in hx],
            "lengths": None if lengths is None else [int(length) for length in np.asarray(lengths)],
            "resets": None if resets is None else flags(resets, "resets"),
            "detach": [],
            "burn_in": burn_in,
            "dropout": [floats(mask) for mask in dropout],
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

    @property
    def predictions(self) -> Float:
        """What the head makes of the output, (T, B, V)."""
        return self._of.head_outputs()

    def losses(self, targets: ArrayLike, *, mask: ArrayLike | None = None) -> Float:
        """The losses of the predictions, (T, B): cross-entropy with classes (T, B) in nats, or squared error with numbers
        (T, B, V), summed over V. 0 where `mask`, (T, B), is false."""
        return self._of.losses(given_losses(targets=targets, mask=mask))[0]

    def gradient(
        self,
        grad_output: ArrayLike | None = None,
        *,
        targets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        reduction: str = "sum",
    ) -> dict[str, Float]:
        """The ordinary gradient by parameter, for losses as in `ledger`."""
        return dict(self._of.gradient(given_losses(grad_output, targets=targets, mask=mask, reduction=reduction)))

    def ledger(
        self,
        grad_output: ArrayLike | None = None,
        *,
        targets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        reduction: str = "sum",
        present: ArrayLike | None = None,
        values: ArrayLike | None = None,
        gates: bool = False,
        sequences: bool = False,
        inputs: bool = True,
        tolerance: float | None = None,
        estimate_errors: bool = True,
        progress: bool | Callable[[float], object] | None = None,
    ) -> Ledger:
        """The ledger of losses: with these dL_k/dh_k, (T, B, D*H), or of the head's predictions and `targets`, classes
        (T, B) or numbers (T, B, V).

        Beside `grad_output`, `present` (T) says which steps have a loss (default: all); `values` (T, B) what the losses
        are. Beside `targets`, `mask` (T, B) says where there is a loss, and `reduction` how they become one: "sum", "mean" over
        all, "mean_per_sequence", "sum_per_sequence" (divided by B). `gates` and `sequences` keep the norms of single gates
        and sequences, too. With `tolerance`, components smaller than this
        fraction are added to a remainder. In f32, `estimate_errors` estimates the error of every norm. `progress`:
        a function that is called with the part that is done; by default a line on a terminal after two seconds.
        """
        arguments: dict[str, Any] = {
            "losses": given_losses(grad_output, present, values, targets, mask, reduction),
            "gates": gates,
            "sequences": sequences,
            "inputs": inputs,
            "tolerance": tolerance,
            "estimate_errors": estimate_errors,
        }
        with Progress(progress, "the ledger") as show:
            of = self._of.ledger(**arguments, progress=show)
        provenance = {"cell": self.network.cell, "precision": self._problem["precision"]}
        return Ledger(of, provenance, list(self.network.assumptions), (self, arguments))

    def truncation(
        self,
        grad_output: ArrayLike | None = None,
        *,
        targets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        windows: Sequence[int] | None = None,
    ) -> Truncation:
        """What truncated backpropagation through time loses, for losses as in `ledger` and each window (default: two to an
        octave)."""
        losses = given_losses(grad_output, targets=targets, mask=mask)
        given = None if windows is None else [int(window) for window in windows]
        found, curves = _bptt.truncation(self._of, losses, given)
        (_, bias, cosine), *parameters = curves
        by_name = {str(name): (of_bias, of_cosine) for name, of_bias, of_cosine in parameters}
        return Truncation(np.array(found), bias, cosine, by_name)

    def smallest_window(
        self,
        grad_output: ArrayLike | None = None,
        *,
        targets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        bias: float = 0.01,
    ) -> SmallestWindow:
        """The smallest window whose truncated gradient is within the fraction `bias` of the gradient."""
        losses = given_losses(grad_output, targets=targets, mask=mask)
        return SmallestWindow(*_bptt.smallest_window(self._of, losses, bias))

    def lyapunov(
        self,
        exponents: int | None = None,
        *,
        layer: int = 0,
        reverse: bool = False,
        warm_up: int = 0,
        every: int = 1,
    ) -> Lyapunov:
        """The leading Lyapunov exponents of one layer along what it reads, in nats per step (default: all). The first
        `warm_up` steps do not count; vectors are made orthonormal `every` so many steps."""
        return Lyapunov(*_bptt.lyapunov(self._of, layer, reverse, exponents, warm_up, every))

    def jacobian(self, step: int, sequence: int = 0, *, layer: int = 0, reverse: bool = False) -> Float:
        """d(state after the step) / d(state before it) of one sequence, (N, N): h, then c where there is one."""
        return _bptt.jacobian(self._of, layer, reverse, step, sequence)

    def saturation(self) -> list[GateSaturation]:
        """How often every gate was at an end of its range, and which relu units were never above 0."""
        return [GateSaturation(*of) for of in _bptt.saturation(self._of)]

    def diagnosis(
        self,
        grad_output: ArrayLike | None = None,
        *,
        targets: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        lag: int | tuple[int, int] | None = None,
        bias: float | None = None,
    ) -> Diagnosis:
        """How far gradients reach, and what limits them, as `bptt diagnose` says it. `lag`: that of the dependency, or its
        smallest and largest, if it is known. With `bias`, the smallest window with this relative bias is searched for."""
        losses = given_losses(grad_output, targets=targets, mask=mask)
        between = (lag, lag) if isinstance(lag, int) else lag
        found = json.loads(_bptt.diagnosis(self._of, losses, between, bias))
        verdict = found["verdict"]
        advice = [Advice(of["change"], of["why"], of["pytorch"]) for of in found["advice"]]
        return Diagnosis(verdict["kind"], verdict["sentence"], verdict["evidence"], found["evidence"], advice)

    def __reduce__(self) -> tuple[Any, ...]:
        return Scan, (self.network, self._problem)


def open(path: str | os.PathLike[str], module: str | None = None, cell: str | None = None) -> Network:
    """The recurrent module of a model file, in every format that the command reads.

    `module` names it where there are several, `cell` says which cell it is where the file leaves that open. What was
    assumed is in `Network.assumptions`.
    """
    return Network._wrap(_bptt.open_file(os.fspath(path), module, cell))
