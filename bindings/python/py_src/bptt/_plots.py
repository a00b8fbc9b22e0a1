"""Figures with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import matplotlib.axes

    from ._findings import GateSpectrum, Truncation
    from ._reading import Reading
    from ._training import Training

KINDS = ("heatmap", "shares", "profile", "rainbow")


def axes(ax: matplotlib.axes.Axes | None) -> Any:
    """These, or new ones."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def plot(
    ledger: Reading, kind: str, parameter: str | None, ax: matplotlib.axes.Axes | None
) -> matplotlib.axes.Axes:
    """See `Ledger.plot`."""
    if kind not in KINDS:
        raise ValueError(f"kind: {kind} is not possible; expected {', '.join(KINDS)}")
    ax = axes(ax)
    name = parameter or ledger._shown() or ""
    if kind == "rainbow":
        return _rainbow(ledger, name, ax)
    if kind == "profile":
        lags, log10 = ledger.profile(name)
        finite = np.where(np.isfinite(log10), log10, np.nan)
        ax.fill_between(lags, finite[:, 0], finite[:, 4], alpha=0.2, label="10 % to 90 % of the losses")
        ax.plot(lags, finite[:, 2], label="median")
        horizon = ledger.horizon(0.99, name)
        if horizon is not None:
            ax.axvline(horizon, linestyle=":", color="gray", label=f"horizon(0.99) = {horizon}")
        ax.set(xlabel="lag (steps)", ylabel="log10 |component|", title=name)
        ax.legend()
        return ax
    if kind == "heatmap":
        numbers = ledger.log10_norms(name)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        largest = np.nanmax(numbers) if np.isfinite(numbers).any() else 0.0
        image = ax.imshow(numbers, origin="lower", cmap="viridis_r", vmin=max(largest - 12, np.nanmin(numbers, initial=largest)), vmax=largest)
        label = "log10 |component|"
    else:
        numbers = ledger.shares(name)
        largest = np.nanmax(np.abs(numbers), initial=0.0) or 1.0
        image = ax.imshow(numbers, origin="lower", cmap="RdBu_r", vmin=-largest, vmax=largest)
        label = "share of the gradient"
    ax.set(xlabel="past step t", ylabel="loss step k", title=name)
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def _rainbow(ledger: Reading, name: str, ax: Any) -> matplotlib.axes.Axes:
    """At each step the norms of its contributions to the later losses, one on the other: an RNNbow (Cashman et al. 2018)."""
    norms = np.nan_to_num(ledger.norms(name))
    losses, steps = norms.shape
    below = np.zeros(steps)
    from matplotlib import colormaps, colors

    scale = colors.Normalize(0, max(losses - 1, 1))
    for k in range(losses):
        above = below + norms[k]
        ax.fill_between(np.arange(steps), below, above, step="mid", color=colormaps["viridis"](scale(k)), linewidth=0)
        below = above
    ax.set(xlabel="past step t", ylabel="sum of |components| over losses", title=name)
    from matplotlib.cm import ScalarMappable

    ax.figure.colorbar(ScalarMappable(scale, "viridis"), ax=ax, label="loss step k")
    return ax  # type: ignore[no-any-return]


def truncation(of: Truncation, ax: Any) -> matplotlib.axes.Axes:
    """Bias and cosine by window."""
    ax = axes(ax)
    ax.plot(of.windows, np.maximum(of.bias, 1e-16), marker=".", label="|g_w - g| / |g|")
    ax.plot(of.windows, 1 - of.cosine, linestyle="--", label="1 - cos(g_w, g)")
    ax.set(xlabel="window w (steps)", ylabel="truncation bias", xscale="log", yscale="log")
    ax.legend()
    return ax  # type: ignore[no-any-return]


def spectrum(of: GateSpectrum, ax: Any) -> matplotlib.axes.Axes:
    """Singular values, and moduli of eigenvalues."""
    ax = axes(ax)
    ranks = np.arange(1, len(of.singular_values) + 1)
    ax.plot(ranks, of.singular_values, marker=".", label="singular values")
    ax.plot(ranks, np.abs(of.eigenvalues), marker=".", label="|eigenvalues|")
    ax.axhline(of.sigma_limit, linestyle=":", color="gray", label=f"1 / slope = {of.sigma_limit:g}")
    ax.set(xlabel="rank", title=f"gate {of.gate} of layer {of.layer}")
    ax.legend()
    return ax  # type: ignore[no-any-return]


def training(of: Training, what: str, ax: Any) -> matplotlib.axes.Axes:
    """One column over the updates."""
    columns = {"loss": of.updates, "norm": of.updates, "learning_rate": of.updates, "horizon": of.ledgers, "decay": of.ledgers}
    if what not in columns:
        raise ValueError(f"what: {what} is not possible; expected {', '.join(columns)}")
    ax = axes(ax)
    source = columns[what]
    ax.plot(source["update"], source[what], linewidth=0.8, label=what)
    if what == "loss" and len(of.evaluations["update"]):
        ax.plot(of.evaluations["update"], of.evaluations["loss"], marker=".", label="held out")
        ax.legend()
    ax.set(xlabel="update", ylabel=what.replace("_", " "))
    if what == "norm":
        ax.set(yscale="log", ylabel="norm of the gradient")
    return ax  # type: ignore[no-any-return]
