"""The ledger of a step function, and what it says about distance."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._reading import Float, Reading

if TYPE_CHECKING:
    import xarray

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
SMALLEST = float(np.log10(np.finfo(np.float64).tiny))
ALL = "all parameters"
"""The entry of all parameters as one vector."""


@dataclass
class Records:
    """The numbers of a ledger of P parameters, K losses and T steps."""

    names: list[str]
    steps: int
    loss_steps: NDArray[np.int64]
    """The steps that have a loss, (K), ascending."""
    log10: Float
    """log10 of the components' norms, (P, K, T); NaN at t > k."""
    shares: Float
    """(P, K, T), NaN at t > k and where the gradient is zero."""
    totals: Float
    """The norm of the ordinary gradient, (P)."""
    balance: Float
    """(P), as in `Reading.balance`."""
    state: dict[str, Float]
    """log10 of the norm of what each loss sends into a part of the initial state, (K)."""


class CellLedger(Reading):
    """For every loss k, past step t and parameter the size of dL_k/d(parameter as step t uses it), with L_k the loss of step k
    in all sequences together, and the proof that the components add up to the ordinary gradient.

    It reads as a `bptt.Ledger`. Entries are called by the names of the parameters; where none is named, all parameters
    are meant, as one vector. What goes from step to step is the state alone: an attention over earlier outputs, a skip
    connection or a convolution around the recurrence, lag features and scaling by statistics of the whole sequence carry
    information past the state, and are not seen.
    """

    def __init__(self, records: Records, provenance: dict[str, object], assumptions: list[str], diagonal: bool) -> None:
        self._records = records
        self._present = np.zeros(records.steps, bool)
        self._present[records.loss_steps] = True
        self.provenance = provenance
        """Where it comes from: library, precision."""
        self.assumptions = assumptions
        self.diagonal = diagonal
        """Whether the Jacobian of the state is diagonal at every step, so that gradients pass each unit by itself."""

    @property
    def steps(self) -> int:
        return self._records.steps

    @property
    def parameters(self) -> list[str]:
        return list(self._records.names)

    @property
    def loss_steps(self) -> NDArray[np.int64]:
        return self._records.loss_steps.copy()

    @property
    def balance(self) -> dict[str, float]:
        return dict(zip(self.parameters, self._records.balance.tolist()))

    @property
    def conditioning(self) -> dict[str, float]:
        return {name: self.cancellation(name) for name in self.parameters}

    @property
    def per_loss(self) -> dict[str, Float]:
        """Norms of the gradient of each loss with respect to each part of the initial state, (T)."""
        return {name: self._by_step(10.0**log10) for name, log10 in self._records.state.items()}

    def norms(self, parameter: str | None = None) -> Float:
        return np.asarray(10.0 ** self.log10_norms(parameter))

    def log10_norms(self, parameter: str | None = None) -> Float:
        return self._by_step(self._log10(parameter))

    def shares(self, parameter: str | None = None) -> Float:
        records = self._records
        if parameter is not None and parameter != ALL:
            return self._by_step(records.shares[self._index(parameter)])
        total = self.total_norm()
        if total == 0.0:
            return self._by_step(np.full(records.shares.shape[1:], np.nan))
        parts = (records.totals / total) ** 2
        shares = np.einsum("p,pkt->kt", parts, np.where(parts[:, None, None] > 0, records.shares, 0.0))
        return self._by_step(np.where(np.isnan(self._log10(None)), np.nan, shares))

    def states(self, parameter: str | None = None) -> NDArray[np.str_]:
        log10 = self.log10_norms(parameter)
        letters = np.full(log10.shape, "v", "U1")
        letters[log10 < SMALLEST] = "u"
        letters[np.isneginf(log10)] = "0"
        letters[np.isnan(log10)] = "."
        letters[~self._present] = "m"
        return letters

    def horizon(self, q: float = 0.99, parameter: str | None = None, *, loss: int | None = None) -> int | None:
        if loss is None:
            lags, log10 = self.profile(parameter)
            return _horizon(zip(lags.tolist(), log10[:, 2].tolist()), q)
        if not 0 <= loss < self.steps:
            raise IndexError(f"loss: {loss} is not a step; expected 0 to {self.steps - 1}")
        row = self.log10_norms(parameter)[loss, : loss + 1]
        return None if not self._present[loss] else _horizon(enumerate(row[::-1].tolist()), q)

    def decay(self, parameter: str | None = None) -> float | None:
        lags, log10 = self.profile(parameter)
        median = log10[:, 2] * np.log(10)
        kept = np.isfinite(median)
        if kept.sum() < 2:
            return None
        counts = np.array([(self._records.loss_steps >= lag).sum() for lag in lags.tolist()], float)
        at, log, weight = lags[kept].astype(float), median[kept], counts[kept] / counts[kept].sum()
        at, log = at - weight @ at, log - weight @ log
        return float((weight * at * log).sum() / (weight * at**2).sum())

    def profile(self, parameter: str | None = None) -> tuple[NDArray[np.uint64], Float]:
        log10, losses = self._log10(parameter), self._records.loss_steps
        lags = np.arange(losses.max(initial=-1) + 1)
        found = [np.sort(log10[losses >= lag, losses[losses >= lag] - lag]) for lag in lags]
        quantiles = [[_quantile(numbers, q) for q in QUANTILES] for numbers in found]
        return lags.astype(np.uint64), np.asarray(quantiles, float).reshape(len(lags), len(QUANTILES))

    def total_norm(self, parameter: str | None = None) -> float:
        totals = self._records.totals
        return float(np.linalg.norm(totals) if parameter in (None, ALL) else totals[self._index(parameter)])

    def cancellation(self, parameter: str | None = None) -> float:
        sizes = float(np.nansum(self.norms(parameter)))
        return self.total_norm(parameter) / sizes if sizes > 0.0 else float("nan")

    def to_xarray(self) -> xarray.Dataset:
        """norm, log10_norm and share with dimensions (parameter, loss_step, past_step)."""
        import xarray

        steps = np.arange(self.steps)
        coords = {"parameter": self.parameters, "loss_step": steps, "past_step": steps}
        read = {"norm": self.norms, "log10_norm": self.log10_norms, "share": self.shares}
        arrays = {name: np.stack([of(parameter) for parameter in self.parameters]) for name, of in read.items()}
        return xarray.Dataset({name: (tuple(coords), array) for name, array in arrays.items()}, coords)

    def _shown(self) -> str | None:
        return ALL

    def _picture(self, name: str, largest: int) -> tuple[str, bytes] | None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return None
        for kind in ("heatmap", "profile"):
            figure = Figure(figsize=(5, 4), layout="tight")
            self.plot(kind, name, figure.subplots())
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=110)
            if file.tell() <= largest:
                return "image/png", file.getvalue()
        return None

    def _names_of_rows(self) -> list[dict[str, Any]]:
        return [{"parameter": name} for name in self.parameters]

    def _index(self, parameter: str | None) -> int:
        if parameter not in self._records.names:
            raise KeyError(f"there is no entry {parameter}; expected one of {', '.join(self._records.names)}")
        return self._records.names.index(parameter)

    def _log10(self, parameter: str | None) -> Float:
        """(K, T)."""
        log10 = self._records.log10
        return together(log10) if parameter in (None, ALL) else log10[self._index(parameter)]

    def _by_step(self, rows: Float) -> Float:
        """A row for each step, NaN where it has no loss."""
        every = np.full((self.steps, *rows.shape[1:]), np.nan)
        every[self._records.loss_steps] = rows
        return every


def together(log10: Float) -> Float:
    """log10 of the norm of vectors as one, of log10 of their norms along the first axis."""
    largest = log10.max(axis=0, initial=-np.inf)
    with np.errstate(divide="ignore"):
        scaled = 10.0 ** (log10 - np.where(np.isneginf(largest), 0.0, largest))
        return np.asarray(largest + np.log10(np.sqrt((scaled**2).sum(axis=0))))


def _quantile(ascending: Float, q: float) -> float:
    """Linear between neighbors; -inf where the left one is."""
    position = q * (len(ascending) - 1)
    low = int(position)
    if position == low or np.isneginf(ascending[low]):
        return float(ascending[low])
    return float(ascending[low] + (ascending[low + 1] - ascending[low]) * (position - low))


def _horizon(sizes: Iterable[tuple[int, float]], q: float) -> int | None:
    """The smallest lag within which a fraction `q` of the sum of 10^log10 lies; lags ascend."""
    pairs = list(sizes)
    largest = max((log10 for _, log10 in pairs), default=-np.inf)
    if np.isneginf(largest):
        return None
    lags, log10 = zip(*pairs)
    within = np.cumsum(10.0 ** (np.asarray(log10) - largest))
    return int(lags[min(int(np.searchsorted(within, q * within[-1])), len(lags) - 1)])
