"""What is found beside a ledger, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _plots

if TYPE_CHECKING:
    import matplotlib.axes

Float = NDArray[np.float64]


@dataclass(frozen=True)
class GateSpectrum:
    """The spectrum of one gate's (H, H) block of the recurrent weights."""

    layer: int
    direction: str
    gate: str
    singular_values: Float
    """The largest first."""
    eigenvalues: NDArray[np.complex128]
    """Those of largest modulus first."""
    sigma_limit: float
    """1 / the largest slope of the activation, what the largest singular value is compared with."""
    implication: str
    """What that implies for a cell without gates: "vanishing", "no explosion" or "open"; "does not apply" to others (Pascanu,
    Mikolov and Bengio 2013)."""

    @property
    def sigma_max(self) -> float:
        """The largest singular value."""
        return float(self.singular_values[0])

    @property
    def spectral_radius(self) -> float:
        """The largest modulus of an eigenvalue."""
        return float(abs(self.eigenvalues[0]))

    def plot(self, ax: matplotlib.axes.Axes | None = None) -> matplotlib.axes.Axes:
        """Singular values, and moduli of eigenvalues, with matplotlib."""
        return _plots.spectrum(self, ax)


@dataclass(frozen=True)
class Lyapunov:
    """Lyapunov exponents of one layer along what it reads, in nats per step."""

    exponents: Float
    """The largest first, means over sequences; -inf where Jacobians are singular."""
    standard_error: Float | None
    """Over sequences or, if there are fewer than ten, over blocks of at least 50 steps; None for a single block."""
    interval: Float
    """(2, m): lower and upper ends of the intervals of 95 %; NaN where there is none. They hold for long sequences like
    these if `warm_up` is longer than the memory of where they began."""
    by_sequence: Float
    """(B, m)."""
    steps: int
    """That they are means of, over all sequences."""


@dataclass(frozen=True)
class Truncation:
    """How far the gradient g_w of truncated backpropagation through time is from the gradient g, for each window w."""

    windows: NDArray[np.int64]
    bias: Float
    """|g_w - g| / |g| of all parameters as one vector; NaN where the gradient is zero."""
    cosine: Float
    """cos(g_w, g)."""
    parameters: dict[str, tuple[Float, Float]]
    """Both for each parameter."""

    def plot(self, ax: matplotlib.axes.Axes | None = None) -> matplotlib.axes.Axes:
        """Bias and cosine by window, with matplotlib."""
        return _plots.truncation(self, ax)


@dataclass(frozen=True)
class SmallestWindow:
    """A window whose bias is small enough."""

    window: int
    bias: float
    cosine: float


@dataclass(frozen=True)
class GateSaturation:
    """How one gate behaved."""

    layer: int
    direction: str
    gate: str
    saturated: tuple[float, float] | None
    """Fractions of activations beyond 95 % of the lower and the upper half of the range; None if it has no two ends."""
    dead: list[int] | None
    """Units that were 0 at every step; None for activations other than relu."""


@dataclass(frozen=True)
class Advice:
    """A change that may help."""

    change: str
    why: str
    pytorch: list[str]
    """Lines of PyTorch that make it, for the module `rnn` of a `model` with an `optimizer`; none if there are none."""

    def __str__(self) -> str:
        return "\n".join([f"{self.change}: {self.why}", *(f"    {line}" for line in self.pytorch)])


@dataclass(frozen=True)
class Diagnosis:
    """How far back gradients reach, what limits them, and what may help."""

    kind: str
    sentence: str
    evidence: list[str]
    """The other measurements, a sentence each."""
    numbers: dict[str, Any]
    """The measurements."""
    advice: list[Advice]
    """Changes, the one most likely to help first."""

    def __str__(self) -> str:
        advice = [f"{rank}. {of}" for rank, of in enumerate(self.advice, 1)]
        return "\n".join([self.sentence, *(f"- {sentence}" for sentence in self.evidence), *advice])
