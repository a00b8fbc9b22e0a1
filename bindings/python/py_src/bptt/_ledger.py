"""Ledgers: the contribution of every past step to every loss."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _bptt
from ._reading import Float, Reading

if TYPE_CHECKING:
    import xarray

    from ._network import Scan


class Ledger(Reading):
    """For every loss k, past step t and parameter the size of the contribution, and the proof that they add up.

    Parameters are called by PyTorch's names, "weight_hh_l0", "bias_ih_l1_reverse"; both biases of a cell have a common
    entry, "bias_l0", where they have a common gradient. "input_l0" is the input x. Arrays are indexed [k, t].
    """

    def __init__(
        self,
        of: _bptt.Ledger,
        provenance: Mapping[str, object],
        assumptions: list[str],
        source: tuple[Scan, dict[str, Any]],
    ) -> None:
        self._of = of
        self._source = source
        self.provenance: dict[str, object] = dict(provenance)
        """Where it comes from: module, cell, precision."""
        self.assumptions = assumptions
        """What was assumed, a sentence each."""
        self._names = [_name(name) for name in of.entries()]

    @property
    def steps(self) -> int:
        """T."""
        return self._of.steps

    @property
    def parameters(self) -> list[str]:
        """The names of the entries."""
        return list(self._names)

    @property
    def loss_steps(self) -> NDArray[np.int64]:
        """The steps that have a loss."""
        return np.flatnonzero(self._of.present())

    @property
    def balance(self) -> dict[str, float]:
        """For every parameter |sum of components - ordinary gradient|, relative to the sum of the components' norms."""
        return {name: error for name, error, _ in self._of.balance()}

    @property
    def conditioning(self) -> dict[str, float]:
        """For every parameter |gradient| / sum of the components' norms: near 0 where components cancel."""
        return {name: conditioning for name, _, conditioning in self._of.balance()}

    @property
    def per_loss(self) -> dict[str, Float]:
        """Norms of what has one number for each loss, (T): initial states and head."""
        return {_name(name): norms for name, norms in self._of.per_loss()}

    def norms(self, parameter: str | None = None) -> Float:
        """Norms of the components, (T, T), NaN where there is none. Default: the recurrent weights of layer 0."""
        return self._of.norms(self._index(parameter))

    def log10_norms(self, parameter: str | None = None) -> Float:
        """log10 of the norms, however small; -inf where exactly zero."""
        return self._of.log10_norms(self._index(parameter))

    def shares(self, parameter: str | None = None) -> Float:
        """Shares of the gradient, which add up to 1: <component, gradient> / |gradient|^2."""
        return self._of.shares(self._index(parameter))

    def states(self, parameter: str | None = None) -> NDArray[np.str_]:
        """Why each entry has its size, a letter of `STATES` each."""
        letters = self._of.states(self._index(parameter))
        return letters.view("S1").astype(np.str_)

    def gate_norms(self, parameter: str | None = None) -> dict[str, Float]:
        """Norms of each gate's rows, if they were asked for."""
        index = self._index(parameter)
        return {gate: self._of.gate_norms(index, i) for i, gate in enumerate(self._of.gates(index))}

    def sequence_norms(self, b: int, parameter: str | None = None) -> Float:
        """Norms of sequence `b` alone, if they were asked for."""
        return self._of.sequence_norms(self._index(parameter), b)

    def relative_errors(self, parameter: str | None = None) -> Float:
        """Estimated relative errors of the norms of a ledger in f32; NaN where there is no estimate."""
        return self._of.relative_errors(self._index(parameter))

    def horizon(self, q: float = 0.99, parameter: str | None = None, *, loss: int | None = None) -> int | None:
        """The smallest lag within which the fraction `q` of the contributions lies: of the median over losses, or of one
        loss. `None` if all are zero."""
        index = self._index(parameter)
        if loss is not None:
            return self._of.horizon_of_loss(index, loss, q)
        return self._of.horizon(index, q)

    def decay(self, parameter: str | None = None) -> float | None:
        """The slope of ln(median norm) per step of lag: negative where gradients vanish with distance."""
        return self._of.decay(self._index(parameter))

    def profile(self, parameter: str | None = None) -> tuple[NDArray[np.uint64], Float]:
        """Lags, and log10 of the norm at the quantiles 0.1, 0.25, 0.5, 0.75 and 0.9 over losses, (lags, 5)."""
        return self._of.profile(self._index(parameter))

    def total_norm(self, parameter: str | None = None) -> float:
        """The norm of the ordinary gradient."""
        return self._of.total_norm(self._index(parameter))

    def cancellation(self, parameter: str | None = None) -> float:
        """|sum of components| / sum of |components|: 1 where all pull the same way, near 0 where they cancel."""
        return self._of.cancellation(self._index(parameter))

    def to_json(self) -> str:
        """The ledger in the schema bptt.ledger/2, as the command writes it."""
        return self._of.json(json.dumps(self.provenance), self.assumptions)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        title: str = "The ledger of a recurrent network",
        symbols: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        unit: str | None = None,
    ) -> None:
        """Writes a page with the figures, tables and sentences of `bptt report`: one HTML file that needs no network.

        `symbols` and `targets`: what is read and predicted at each step, as text. `unit`: "nats", "bits" (losses are in nats)
        or "squared error", where the values of the losses are known.
        """
        facts = [(name.capitalize(), str(value)) for name, value in self.provenance.items()]
        facts += [("Assumed", assumption) for assumption in self.assumptions]
        texts = {
            "title": title,
            "facts": facts,
            "symbols": None if symbols is None else [str(symbol) for symbol in symbols],
            "targets": None if targets is None else [str(target) for target in targets],
            "unit": unit,
        }
        _bptt.write_report(self._of, self._source[0]._of, os.fspath(path), texts)

    def to_xarray(self) -> xarray.Dataset:
        """norm, log10_norm and share with dimensions (layer, direction, parameter, loss_step, past_step)."""
        import xarray

        entries = self._of.entries()
        layers = sorted({layer or 0 for layer, _, _ in entries})
        directions = sorted({direction or "" for _, direction, _ in entries})
        parameters = list(dict.fromkeys(parameter for _, _, parameter in entries))
        steps = np.arange(self.steps)
        dims = ("layer", "direction", "parameter", "loss_step", "past_step")
        shape = (len(layers), len(directions), len(parameters), self.steps, self.steps)
        arrays = {name: np.full(shape, np.nan) for name in ("norm", "log10_norm", "share")}
        for index, (layer, direction, parameter) in enumerate(entries):
            at = layers.index(layer or 0), directions.index(direction or ""), parameters.index(parameter)
            arrays["norm"][at] = self._of.norms(index)
            arrays["log10_norm"][at] = self._of.log10_norms(index)
            arrays["share"][at] = self._of.shares(index)
        coords = dict(zip(dims, (layers, directions, parameters, steps, steps)))
        return xarray.Dataset({name: (dims, array) for name, array in arrays.items()}, coords)

    def __reduce__(self) -> tuple[Any, ...]:
        # What it was made from is smaller than it is.
        return _again, (self._source, self.provenance, self.assumptions)

    def __copy__(self) -> Ledger:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Ledger:
        return self

    def _shown(self) -> str | None:
        index = self._of.recurrent(0)
        return None if index is None else self._names[index]

    def _picture(self, name: str, largest: int) -> tuple[str, bytes] | None:
        for kind in ("heatmap", "profile"):
            svg = self._of.figure(kind, self._index(name), name, "as the loss").encode()
            if len(svg) <= largest:
                return "image/svg+xml", svg
        return None

    def _names_of_rows(self) -> list[dict[str, Any]]:
        columns = ("layer", "direction", "parameter")
        return [dict(zip(columns, entry)) for entry in self._of.entries()]

    def _index(self, parameter: str | None) -> int:
        if parameter is None:
            index = self._of.recurrent(0)
            if index is None:
                raise KeyError(f"there is no recurrent parameter; expected one of {', '.join(self._names)}")
            return index
        if parameter in self._names:
            return self._names.index(parameter)
        # Both biases of a cell may have a common entry.
        common = re.sub(r"^bias_[ih]h_", "bias_", parameter)
        if common in self._names:
            return self._names.index(common)
        raise KeyError(f"there is no entry {parameter}; expected one of {', '.join(self._names)}")


def _again(source: tuple[Scan, dict[str, Any]], provenance: Mapping[str, object], assumptions: list[str]) -> Ledger:
    scan, arguments = source
    return Ledger(scan._of.ledger(**arguments), provenance, assumptions, source)


def _name(name: _bptt.Name) -> str:
    layer, direction, parameter = name
    if layer is None:
        return parameter.replace("head_", "head.")
    return f"{parameter}_l{layer}{'_reverse' if direction == 'reverse' else ''}"
