"""Recurrences whose state passes unit by unit: found by probing, and itemized without a pass for each loss.

The Jacobian of the new state with respect to the old one is diagonal if its product with random numbers v is v times its
product with ones. A parameter is owned by the units if each of its elements has to do with one unit alone; a component
is then the sum over directions d (the sequences of a batch, the two parts of a complex number) of v_{i,d} g_d, with i the
unit that owns the element, v the adjoint and g_d the component of ones in that direction. Its norm is that of v in the
Gram matrices of the g_d of a unit. Both are verified at every step by random numbers, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._reading import Float

if TYPE_CHECKING:
    from ._cells import Steps

Array = NDArray[Any]
Part = Callable[[Float], tuple[Float, Float, Array]]

SMALL = 1e-140
CANCELLED = 1e-3
"""From this part of the sum of the directions' norms on, a norm is taken of the component itself."""


@dataclass
class Passed:
    """What rows of adjoints become at a step."""

    adjoint: list[Array]
    parts: dict[int, Part] = field(default_factory=dict)
    """By parameter, if units own it: from weights of the rows to norms, products with the gradient, and the sum."""
    sizes: dict[int, Float] = field(default_factory=dict)
    """By parameter, for each row the sum of the directions' norms."""
    reached: dict[int, bool] = field(default_factory=dict)
    """By parameter, whether it has any component at this step."""

    def cancelled(self, p: int, norms: Float) -> NDArray[np.bool_]:
        """The rows whose directions cancel, or whose squares may be too small for numbers, so that the norm is not exact."""
        return np.asarray((norms < CANCELLED * self.sizes[p]) | (norms < SMALL) & self.reached[p])


class Diagonal:
    """Probes the steps of a cell."""

    def __init__(self, cell: Steps, unit: list[Array]) -> None:
        self.cell, self.unit = cell, unit
        self.random = np.random.default_rng(2)
        self.tried = self.held = 0
        self.owned: set[int] = set()
        self.shared: set[int] = set()
        # Where all parts of the state have the same first axis, it may be that of a batch.
        leading = {leaf.shape[:1] for leaf in cell.state}
        self.batches = [1] + [shape[0] for shape in leading if len(leading) == 1 and shape and shape[0] > 1]

    @property
    def holds(self) -> bool:
        """Whether every step that was tried is diagonal."""
        return 0 < self.held == self.tried

    def assumptions(self, steps: int) -> list[str]:
        """What was found."""
        if not self.holds:
            return []
        names = [self.cell.names[p] for p in sorted(self.owned - self.shared)]
        text = "the Jacobian of the state is diagonal (by a test with random numbers at every step): gradients pass unit by unit"
        return [text + (f", and so do the components of {', '.join(names)}" if names else "")]

    def step(self, t: int, rows: list[Array]) -> Passed | None:
        """Rows of adjoints, (R, ...) each, through step t; `None` if its Jacobian is not diagonal."""
        count = len(rows[0]) if rows else 0
        if count == 0 or self.held < self.tried:
            return None
        self.tried += 1
        state = self.cell.state
        ones = [np.ones((1, *leaf.shape), leaf.dtype) for leaf in state]
        both = [np.concatenate([one, self._draw(leaf)[None]]) for one, leaf in zip(ones, state)]
        adjoint, _ = self.cell.pull(t, None, both)
        if not all(_same(part[1], part[0] * given[1], np.abs(part[0] * given[1])) for part, given in zip(adjoint, both)):
            return None
        self.held += 1
        passed = Passed([part[:1] * row for part, row in zip(adjoint, rows)])
        tried = [self._own(t, rows, passed, batch) for batch in self.batches]
        self.owned.update(passed.parts)
        if all(tried):
            self.shared.update(set(range(len(self.cell.names))) - set(passed.parts))
        return passed

    def _draw(self, leaf: Array) -> Array:
        drawn = self.random.uniform(0.5, 1.5, leaf.shape)
        if np.iscomplexobj(leaf):
            return np.asarray(drawn + 1j * self.random.uniform(0.5, 1.5, leaf.shape))
        return drawn

    def _own(self, t: int, rows: list[Array], passed: Passed, batch: int) -> bool:
        """Finds the parameters that units own, if the first axis of the state is a batch of so many sequences; whether
        there are enough rows for it to be worth while."""
        state = self.cell.state
        parts = 2 if any(np.iscomplexobj(leaf) for leaf in state) else 1
        directions, units = batch * parts, [leaf.size // batch for leaf in state]
        missing = [p for p in range(len(self.cell.names)) if p not in passed.parts]
        if not missing or directions + 3 >= len(rows[0]):
            return False
        factors = self.random.uniform(0.5, 1.5, batch)
        first, probes = 1, []
        for leaf, count in zip(state, units):
            rolled = np.zeros((directions + 3, batch, count), leaf.dtype)
            for b in range(batch):
                rolled[b * parts, b] = 1.0
                if np.iscomplexobj(leaf):
                    rolled[b * parts + 1, b] = 1j
            # Ones, and the numbers of the units: their quotient is the number of the unit that owns an element.
            rolled[-3] = factors[:, None]
            rolled[-2] = factors[:, None] * np.arange(first, first + count)
            rolled[-1] = self._draw(leaf).reshape(batch, count)
            probes.append(rolled.reshape(directions + 3, *leaf.shape))
            first += count
        _, components = self.cell.pull(t, None, probes)
        found = self.cell.arrays(components)
        random = _coordinates([probe[-1:] for probe in probes], batch, parts)[0]
        coordinates = _coordinates(rows, batch, parts)
        for p in missing:
            flat = found[p].reshape(directions + 3, -1)
            group = _Owned.of(flat, random, self.unit[p])
            if group is not None:
                passed.parts[p] = partial(group.measure, coordinates)
                passed.sizes[p] = group.sizes(coordinates)
                passed.reached[p] = len(group.elements) > 0
        return True


@dataclass
class _Owned:
    """A parameter whose elements are owned by units."""

    shape: tuple[int, ...]
    elements: NDArray[np.int64]
    """Those whose components are not zero, (E)."""
    owner: NDArray[np.int64]
    """Their units, (E)."""
    given: Array
    """The components of ones in each direction, (D, E)."""
    gram: Float
    """(units, D, D)."""
    dots: Float
    """With the gradient as a unit vector, (units, D)."""

    @staticmethod
    def of(flat: Array, random: Float, unit: Array) -> _Owned | None:
        """From the components of the probes; `None` if they are not what owned elements have."""
        given, (ones, numbered, drawn) = flat[:-3], flat[-3:]
        elements = np.flatnonzero((flat != 0).any(axis=0))
        given = given[:, elements]
        with np.errstate(divide="ignore", invalid="ignore"):
            number = np.real(numbered[elements] / ones[elements])
        if not (np.isfinite(number) & (number > 0.5) & (number < len(random) + 0.5)).all():
            return None
        owner = np.rint(number).astype(np.int64) - 1
        terms = random[owner].T * given
        if not _same(drawn[elements], terms.sum(axis=0), np.abs(terms).sum(axis=0)):
            return None
        order = np.argsort(owner, kind="stable")
        elements, owner, given = elements[order], owner[order], given[:, order]
        counts = np.bincount(owner, minlength=len(random))
        most = int(counts.max(initial=0))
        if most * len(random) > 4 * flat.shape[1]:
            return None
        rank = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
        by_unit = np.zeros((len(random), len(given), most), given.dtype)
        by_unit[owner, :, rank] = given.T
        gram = np.real(by_unit @ by_unit.conj().swapaxes(1, 2))
        gradient = np.zeros((len(random), most, 1), unit.dtype)
        gradient[owner, rank, 0] = unit.reshape(-1)[elements]
        dots = np.real(by_unit.conj() @ gradient)[:, :, 0]
        return _Owned(unit.shape, elements, owner, given, gram, dots)

    def measure(self, v: Float, weights: Float) -> tuple[Float, Float, Array]:
        """Of rows of coordinates, (R, units, D): norms, products with the gradient, and the weighted sum."""
        squares = np.einsum("rid,ide,rie->r", v, self.gram, v, optimize=True)
        dots = np.einsum("rid,id->r", v, self.dots)
        total = np.zeros(int(np.prod(self.shape)), self.given.dtype)
        summed = np.einsum("r,rid->id", weights, v)
        total[self.elements] = (summed[self.owner].T * self.given).sum(axis=0)
        return np.sqrt(np.maximum(squares, 0.0)), dots, total.reshape(self.shape)

    def sizes(self, v: Float) -> Float:
        """For each row the norm of the sum of the directions' sizes, unit by unit."""
        each = np.einsum("rid,id->ri", np.abs(v), np.sqrt(np.einsum("idd->id", self.gram)))
        return np.asarray(np.sqrt((each**2).sum(axis=1)))


def _coordinates(rows: list[Array], batch: int, parts: int) -> Float:
    """Rows of adjoints, (R, ...) each, as (R, units, directions)."""
    found = []
    for row in rows:
        by_unit = row.reshape(len(row), batch, -1).swapaxes(1, 2)
        split = [np.real(by_unit), np.imag(by_unit)][:parts]
        found.append(np.stack(split, axis=-1).reshape(len(row), by_unit.shape[1], batch * parts))
    return np.concatenate(found, axis=1)


def _same(found: Array, expected: Array, size: Float) -> bool:
    """Whether numbers are the same to rounding, each relative to what was added up in it."""
    allowed = 1e-12 * size + 1e-15 * size.max(initial=0.0)
    return bool((np.abs(found - expected) <= allowed).all())
