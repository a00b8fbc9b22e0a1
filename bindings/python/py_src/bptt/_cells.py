"""Ledgers of step functions, whatever library differentiates them: the losses, the reverse scan and the balance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._bptt import BalanceError, NotFiniteError, Rows, ShapeError, UnsupportedError
from ._cell_ledger import CellLedger, Records
from ._cells_diagonal import Diagonal
from ._progress import Progress
from ._reading import Float

Array = NDArray[Any]

NUMBERS = 2**24
"""How many numbers of parameters and states there are at a time in the rows of a step."""

TOLERANCE = {"f64": 1e-8, "f32": 1e-3}
"""How far the components may be from the ordinary gradient, relative to the sum of their norms."""

LIMITS = (
    "only the state carries information from step to step: attention, skip connections and convolutions over time around "
    "the recurrence, lag features and scaling outside of it are not seen"
)


@dataclass
class Measured:
    """The components of R rows at a step."""

    norms: Float
    """(P, R)."""
    dots: Float
    """With the gradient as a unit vector, (P, R)."""
    sums: list[Array]
    """For each parameter the sum of weight * component."""


class Steps(Protocol):
    """A step function that was run over T steps, and its derivatives. Leaves that have none (integers) are left out."""

    provenance: dict[str, object]
    assumptions: list[str]
    steps: int
    names: list[str]
    """Of the parameters."""
    state_names: list[str]
    state: list[Array]
    """The initial state."""
    seeds: list[Array]
    """dL_k/d(output of step k), (T, ...) each."""
    gradient: list[Array]
    """The ordinary gradient, of all steps at once."""
    state_gradient: list[Array]

    def pull(self, t: int, output: list[Array] | None, state: list[Array]) -> tuple[list[Array], Any]:
        """From rows of adjoints of step t's output and new state, (R, ...) each, to those of the state before, and the rows
        of the parameters' components."""

    def arrays(self, components: Any) -> list[Array]:
        """The rows of components, (R, ...) each."""

    def measure(self, components: Any, unit: list[Array], weights: Float) -> Measured:
        """Their norms, products and sum."""


def check_arguments(loss: object, grad_output: object, precision: str) -> None:
    """Refuses arguments that contradict each other or are not possible."""
    if (loss is None) == (grad_output is None):
        raise ValueError("expected a loss or a grad_output, and not both")
    if precision not in TOLERANCE:
        raise ValueError(f"precision: {precision} is not possible; expected f64 or f32")


def present(loss: Array | None, seeds: list[Array]) -> NDArray[np.bool_]:
    """The steps that have a loss, (T): one that is not zero, or has a gradient. Losses are (T, ...)."""
    found = [np.any(seed.reshape(len(seed), -1), axis=1) for seed in seeds]
    if loss is not None:
        found.append(np.any(loss.reshape(len(loss), -1), axis=1))
    return np.asarray(np.any(found, axis=0))


def seeds_of(
    losses: Array, steps: int, gradient: Callable[[Array], list[Array]], allowed: float
) -> tuple[list[Array], NDArray[np.bool_]]:
    """dL_k/d(output of step k) of losses, by one backward pass, and the steps that have a loss; a second one, with a random factor for each step, tells
    whether the loss of each step depends on the output of that step alone."""
    if not np.isfinite(losses).all():
        raise NotFiniteError("loss: it is not finite")
    whole = gradient(np.ones(losses.shape))
    if not all(np.isfinite(part).all() for part in whole):
        raise NotFiniteError("loss: its gradient is not finite")
    reached = present(None, whole)
    if losses.ndim <= 1 and reached.sum() <= 1:
        return whole, reached
    if losses.ndim == 0:
        raise ShapeError(
            "loss: expected one loss for each step, given one number that outputs of several steps lead to; return them "
            'before they are added up (reduction="none")'
        )
    if losses.ndim > 1 and len(losses) != steps or losses.size % steps != 0 or losses.size == 0:
        raise ShapeError(f"loss: expected (T) = ({steps},), (T, ...) or the same flattened, given {losses.shape}")
    factors = np.random.default_rng(1).uniform(0.5, 1.5, steps)
    each = np.repeat(factors, losses.size // steps).reshape(losses.shape)
    for part, varied in zip(whole, gradient(each)):
        expected = part * factors.reshape(steps, *[1] * (part.ndim - 1))
        wrong = np.abs(varied - expected).reshape(steps, -1).max(axis=1, initial=0.0)
        if (wrong > allowed * np.abs(expected).reshape(steps, -1).max(axis=1, initial=0.0) + 1e-300).any():
            raise UnsupportedError(
                "loss: the loss of a step depends on the outputs of other steps (attention, convolution or normalization "
                "over them?), or the first axis of the losses is not time; the ledger needs the gradient of each loss at its "
                "own step: give grad_output"
            )
    return whole, present(losses.reshape(steps, -1), whole) if reached.sum() > 1 else reached


def ledger_of(
    cell: Steps,
    has_loss: NDArray[np.bool_],
    precision: str,
    progress: bool | Callable[[float], object] | None,
) -> CellLedger:
    """The ledger of what was run."""
    for name, part in zip(cell.names, cell.gradient):
        if not np.isfinite(part).all():
            raise NotFiniteError(f"the gradient of {name} is not finite")
    with Progress(progress) as tell:
        scan = _Scan(cell, np.flatnonzero(has_loss))
        for t in range(cell.steps - 1, -1, -1):
            scan.step(t)
            if tell is not None:
                tell((cell.steps - t) / cell.steps)
    records = scan.records(TOLERANCE[precision])
    assumptions = list(dict.fromkeys([*cell.assumptions, *scan.diagonal.assumptions(cell.steps), LIMITS]))
    provenance = {**cell.provenance, "precision": precision}
    return CellLedger(records, provenance, assumptions, scan.diagonal.holds)


class _Scan:
    """The reverse scan: a row for each loss, with the adjoint of the state."""

    def __init__(self, cell: Steps, losses: NDArray[np.int64]) -> None:
        self.cell, self.losses = cell, losses
        widths = [leaf.size * (2 if np.iscomplexobj(leaf) else 1) for leaf in cell.state]
        self.rows = Rows(cell.steps, losses.tolist(), widths, len(cell.names))
        self.widths = widths
        self.totals = np.array([norm(part) for part in cell.gradient])
        self.unit = [part / (total or 1.0) for part, total in zip(cell.gradient, self.totals)]
        self.sums = [np.zeros_like(part) for part in cell.gradient]
        numbers = sum(part.size for part in cell.gradient) + sum(leaf.size for leaf in cell.state)
        self.chunk = max(1, NUMBERS // max(numbers, 1))
        self.diagonal = Diagonal(cell, self.unit)

    def step(self, t: int) -> None:
        """All rows pass step t."""
        own, later = self.rows.at(t)
        if own is not None:
            self._pass(t, [own], [seed[t : t + 1] for seed in self.cell.seeds])
        rest = list(range(later, len(self.losses)))
        if not rest:
            return
        if not self.cell.state:
            # Nothing goes from step to step.
            every, zeros = list(range(len(self.cell.names))), np.zeros((len(self.cell.names), len(rest)))
            self.rows.record(t, rest, every, zeros, zeros)
            return
        found = self.diagonal.step(t, self._state(rest))
        if found is None:
            for begin in range(0, len(rest), self.chunk):
                self._pass(t, rest[begin : begin + self.chunk], None)
            return
        weights = self.rows.factors(rest)
        for p, part in found.parts.items():
            norms, dots, total = part(weights)
            self.rows.record(t, rest, [p], norms[None], dots[None])
            self.sums[p] += total
            close = found.cancelled(p, norms)
            self._again(t, [row for row, again in zip(rest, close) if again], [p], add=False)
        self._again(t, rest, [p for p in range(len(self.cell.names)) if p not in found.parts], add=True)
        self._keep(t, rest, found.adjoint)

    def _state(self, rows: list[int]) -> list[Array]:
        """The adjoints of these rows, (R, ...) for each part of the state."""
        found: list[Array] = []
        for part, (width, leaf) in enumerate(zip(self.widths, self.cell.state)):
            numbers = self.rows.part(part, width, rows)
            typed = numbers.view(np.complex128) if np.iscomplexobj(leaf) else numbers
            found.append(typed.reshape(len(rows), *leaf.shape).astype(leaf.dtype))
        return found

    def _pass(self, t: int, rows: list[int], output: list[Array] | None) -> None:
        adjoint, components = self.cell.pull(t, output, self._state(rows))
        self._measure(t, rows, components, range(len(self.cell.names)), add=True)
        self._keep(t, rows, adjoint)

    def _again(self, t: int, rows: list[int], parameters: Sequence[int], add: bool) -> None:
        """The components of some parameters, row by row."""
        for begin in range(0, len(rows) if len(parameters) else 0, self.chunk):
            some = rows[begin : begin + self.chunk]
            _, components = self.cell.pull(t, None, self._state(some))
            self._measure(t, some, components, parameters, add)

    def _measure(self, t: int, rows: list[int], components: Any, parameters: Sequence[int], add: bool) -> None:
        measured = self.cell.measure(components, self.unit, self.rows.factors(rows))
        every = list(parameters)
        norms, dots = (np.asarray(numbers[every], np.float64) for numbers in (measured.norms, measured.dots))
        self.rows.record(t, rows, every, norms, dots)
        for p in parameters if add else ():
            self.sums[p] += measured.sums[p]

    def _keep(self, t: int, rows: list[int], adjoint: list[Array]) -> None:
        self.rows.keep(t, rows, [_reals(part) for part in adjoint])

    def records(self, tolerance: float) -> Records:
        """Everything that was found, if it adds up."""
        sizes = self.rows.sizes()
        errors = np.array([norm(found - part) for found, part in zip(self.sums, self.cell.gradient)])
        balance = np.where(sizes > 0, errors / np.where(sizes > 0, sizes, 1.0), np.where(errors > 0, np.inf, 0.0))
        state = self._initial(tolerance)
        for name, error in zip(self.cell.names, balance):
            self._hold(name, float(error), tolerance)
        log10, shares = self.rows.log10(), self.rows.shares(self.totals)
        return Records(self.cell.names, self.cell.steps, self.losses, log10, shares, self.totals, balance, state)

    def _initial(self, tolerance: float) -> dict[str, Float]:
        """What is left of the rows before step 0."""
        found = {}
        for part, (name, gradient) in enumerate(zip(self.cell.state_names, self.cell.state_gradient)):
            found[name], total = self.rows.state(part)
            error = norm(total - _reals(gradient[None])[0])
            size = float((10.0 ** found[name]).sum())
            self._hold(f"the initial state ({name})", error / size if size > 0 else float(error > 0), tolerance)
        return found

    def _hold(self, what: str, error: float, tolerance: float) -> None:
        if not error <= tolerance:
            raise BalanceError(
                f"the components of {what} do not add up to the gradient of the whole sequence: they differ by {error:.2g} of "
                f"the sum of their norms, and {tolerance:.0e} is allowed; a step must depend on its arguments alone"
            )


def _reals(rows: Array) -> Float:
    """Rows of numbers, (R, ...), as (R, width), complex ones as pairs."""
    flat = rows.reshape(len(rows), -1)
    if np.iscomplexobj(flat):
        return np.ascontiguousarray(flat, np.complex128).view(np.float64)
    return np.asarray(flat, np.float64)


def norm(part: Array) -> float:
    """The Euclidean norm, however small the numbers."""
    largest = float(np.abs(part).max(initial=0.0))
    return largest * float(np.linalg.norm(part.ravel() / largest)) if 0 < largest < np.inf else largest
