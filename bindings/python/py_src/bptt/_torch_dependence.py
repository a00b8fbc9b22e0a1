"""Which inputs a loss depends on, by gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dependence:
    """Which inputs each loss has a gradient for."""

    depends: NDArray[np.bool_]
    """(K, T): whether loss k has a gradient for the input of step t."""
    loss_steps: NDArray[np.int64]
    """(K): the step that each loss is of, on the time axis of the inputs."""

    @property
    def lags(self) -> NDArray[np.int64]:
        """loss step - input step of all pairs with a gradient; negative for inputs behind the loss's step."""
        k, t = np.nonzero(self.depends)
        return np.asarray(self.loss_steps[k] - t, np.int64)

    @property
    def nearest_lag(self) -> int | None:
        """The smallest lag; None if there is no gradient."""
        return int(self.lags.min()) if self.depends.any() else None

    @property
    def farthest_lag(self) -> int | None:
        """The largest lag."""
        return int(self.lags.max()) if self.depends.any() else None

    def at_or_after(self, ahead: int = 0) -> int:
        """Pairs whose input lies at or after the target, which is `ahead` steps after the loss's step."""
        return int((self.lags <= -ahead).sum())

    def crossing(self, ids: Sequence[int] | NDArray[np.int64]) -> tuple[int, int]:
        """Pairs whose loss and input have different ids, (T), and all pairs."""
        of = np.asarray(ids)
        k, t = np.nonzero(self.depends)
        return int((of[self.loss_steps[k]] != of[t]).sum()), len(k)


def dependence(
    losses: torch.Tensor,
    x: torch.Tensor,
    *,
    axis: int = 0,
    loss_steps: Sequence[int] | NDArray[np.int64] | None = None,
    relative: float = 0.0,
) -> Dependence:
    """Which steps of `x` each of `losses` (K, ...) depends on: for each k, the gradient of the sum of losses[k] by `x`.

    `x` is a tensor of the graph with its time on `axis`; `x.requires_grad_()` before the forward pass. `loss_steps` (K) says
    which step of `x` each loss is of (default: 0, 1, ...). Gradients that are at most `relative` times the largest do not count. A
    gradient says how a loss changes with its input: what is detached or rounded has none, although the value is used.
    """
    steps = np.arange(len(losses)) if loss_steps is None else np.asarray(loss_steps, np.int64)
    if steps.shape != (len(losses),):
        raise ValueError(f"loss_steps: expected {len(losses)} numbers, given {steps.shape}")
    sizes = np.zeros((len(losses), x.shape[axis]))
    for k, loss in enumerate(losses):
        if not loss.requires_grad:
            continue
        (gradient,) = torch.autograd.grad(loss.sum(), x, retain_graph=True, allow_unused=True)
        if gradient is not None:
            sizes[k] = gradient.detach().movedim(axis, 0).reshape(x.shape[axis], -1).abs().amax(1).double().cpu().numpy()
    return Dependence(sizes > relative * sizes.max(initial=0.0), steps)
