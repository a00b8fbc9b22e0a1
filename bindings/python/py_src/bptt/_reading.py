"""What every ledger can be asked, and how it shows itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import matplotlib.axes
    import pandas
    import polars

Float = NDArray[np.float64]

STATES = {
    "v": "value",
    "x": "cancelled",
    "0": "zero",
    "u": "underflow",
    "c": "cut",
    "r": "remainder",
    "m": "masked",
    ".": "unreached",
}
"""Why an entry has the size it has, by the letters of `Reading.states`."""


class Reading(ABC):
    """For every loss k, past step t and parameter the size of the contribution. Arrays are indexed [k, t]."""

    assumptions: list[str]
    """What was assumed, a sentence each."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """T."""

    @property
    @abstractmethod
    def parameters(self) -> list[str]:
        """The names of the entries."""

    @property
    @abstractmethod
    def loss_steps(self) -> NDArray[np.int64]:
        """The steps that have a loss."""

    @property
    @abstractmethod
    def balance(self) -> dict[str, float]:
        """For every parameter |sum of components - ordinary gradient|, relative to the sum of the components' norms."""

    @property
    @abstractmethod
    def conditioning(self) -> dict[str, float]:
        """For every parameter |gradient| / sum of the components' norms: near 0 where components cancel."""

    @abstractmethod
    def norms(self, parameter: str | None = None) -> Float:
        """Norms of the components, (T, T), NaN where there is none."""

    @abstractmethod
    def log10_norms(self, parameter: str | None = None) -> Float:
        """log10 of the norms, however small; -inf where exactly zero."""

    @abstractmethod
    def shares(self, parameter: str | None = None) -> Float:
        """Shares of the gradient, which add up to 1: <component, gradient> / |gradient|^2."""

    @abstractmethod
    def states(self, parameter: str | None = None) -> NDArray[np.str_]:
        """Why each entry has its size, a letter of `STATES` each."""

    @abstractmethod
    def horizon(self, q: float = 0.99, parameter: str | None = None, *, loss: int | None = None) -> int | None:
        """The smallest lag within which the fraction `q` of the contributions lies: of the median over losses, or of one
        loss. `None` if all are zero."""

    @abstractmethod
    def decay(self, parameter: str | None = None) -> float | None:
        """The slope of ln(median norm) per step of lag: negative where gradients vanish with distance."""

    @abstractmethod
    def profile(self, parameter: str | None = None) -> tuple[NDArray[np.uint64], Float]:
        """Lags, and log10 of the norm at the quantiles 0.1, 0.25, 0.5, 0.75 and 0.9 over losses, (lags, 5)."""

    @abstractmethod
    def total_norm(self, parameter: str | None = None) -> float:
        """The norm of the ordinary gradient."""

    @abstractmethod
    def cancellation(self, parameter: str | None = None) -> float:
        """|sum of components| / sum of |components|: 1 where all pull the same way, near 0 where they cancel."""

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each entry: parameter, loss_step, past_step, lag, norm, log10_norm, share, state."""
        import pandas

        return pandas.DataFrame(self._columns())

    def to_polars(self) -> polars.DataFrame:
        """The same as `to_pandas`."""
        import polars

        return polars.DataFrame(self._columns())

    def plot(
        self, kind: str = "heatmap", parameter: str | None = None, ax: matplotlib.axes.Axes | None = None
    ) -> matplotlib.axes.Axes:
        """Draws "heatmap" (log10 of the norms), "shares", "profile" (by lag) or "rainbow" (of each step to the later losses)
        with matplotlib; returns the Axes."""
        from ._plots import plot

        return plot(self, kind, parameter, ax)

    def __repr__(self) -> str:
        from ._display import text

        return text(self)

    def _repr_html_(self) -> str:
        from ._display import html

        return html(self)

    @abstractmethod
    def _names_of_rows(self) -> list[dict[str, Any]]:
        """For every entry the columns that name it."""

    @abstractmethod
    def _shown(self) -> str | None:
        """The entry that is shown where none is named."""

    @abstractmethod
    def _picture(self, name: str, largest: int) -> tuple[str, bytes] | None:
        """A picture of an entry with its media type, of at most so many bytes."""

    def _columns(self) -> dict[str, Any]:
        columns: dict[str, list[Any]] = {}
        for name, named in zip(self.parameters, self._names_of_rows()):
            norms = self.norms(name)
            k, t = np.nonzero(~np.isnan(norms))
            letters, inverse = np.unique(self.states(name)[k, t], return_inverse=True)
            rows = {column: np.full(len(k), value) for column, value in named.items()} | {
                "loss_step": k,
                "past_step": t,
                "lag": abs(k - t),
                "norm": norms[k, t],
                "log10_norm": self.log10_norms(name)[k, t],
                "share": self.shares(name)[k, t],
                "state": np.array([STATES[letter] for letter in letters])[inverse],
            }
            for column, part in rows.items():
                columns.setdefault(column, []).append(part)
        return {column: np.concatenate(parts) for column, parts in columns.items()}
