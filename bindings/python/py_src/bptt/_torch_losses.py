"""The gradients that losses send into a module's output, each from its own step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence

from ._bptt import NotFiniteError, ShapeError, UnsupportedError
from ._torch_modules import Arranged


ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
"""How far a gradient may be from a multiple of another, relative to the largest of its step; 0.03 in half precision."""


@dataclass
class Seeds:
    """Losses by their gradients."""

    grad_output: NDArray[np.float64]
    """dL_k/dh_k, (T, B, D*H)."""
    present: NDArray[np.bool_]
    """Which steps have a loss, (T)."""
    values: NDArray[np.float64] | None
    """The losses, (T, B), where they are known one by one."""


def of_grad_output(arranged: Arranged, grad_output: torch.Tensor | PackedSequence) -> Seeds:
    """Losses that are given by their gradients."""
    numbers = arranged.output_numbers(grad_output)
    expected = (arranged.steps, arranged.batch, arranged.width)
    if numbers.shape != expected:
        raise ShapeError(f"grad_output: expected (T, B, D*H) = {expected} once time comes first, given {numbers.shape}")
    return Seeds(numbers, _any(numbers, (1, 2)), None)


def of_loss(loss: Callable[[Any], torch.Tensor], arranged: Arranged, output: Any) -> Seeds:
    """The losses of this output, by one backward pass; a second one, with random factors, tells whether the loss of each
    step depends on the output of that step alone."""
    leaf, given = arranged.as_leaf(output)
    with torch.enable_grad():
        losses = loss(given)
    if not isinstance(losses, torch.Tensor):
        raise TypeError(f"loss: expected a tensor, given {type(losses).__name__}")
    if not losses.requires_grad:
        raise UnsupportedError("loss: it does not depend on the module's output")
    if not torch.isfinite(losses).all():
        raise NotFiniteError("loss: it is not finite")
    whole = _grad(losses, torch.ones_like(losses), leaf, arranged)
    factors = torch.rand(losses.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5
    varied = _grad(losses, factors.to(losses), leaf, arranged)
    factors = factors.to(losses).double().cpu()
    allowed = max(ROUNDING.get(dtype, 0.03) for dtype in (leaf.dtype, losses.dtype))
    for layout in _layouts(losses.shape, arranged):
        steps = layout(factors)
        if steps is not None and _is(varied, steps[:, :, None] * whole, allowed):
            values = np.asarray(layout(losses.detach().double().cpu()))
            return Seeds(whole, _any(whole, (1, 2)) | _any(values, 1), values)
    reached = _any(whole, 2)
    if losses.ndim <= 1 and losses.numel() in (1, arranged.batch) and (reached.sum(axis=0) <= 1).all():
        by_sequence = factors.reshape(-1).expand(arranged.batch) if losses.numel() == 1 else factors
        if _is(varied, by_sequence.numpy()[None, :, None] * whole, allowed):
            return Seeds(whole, _any(reached, 1), None)
    raise _refusal(losses, arranged)


def _refusal(losses: torch.Tensor, arranged: Arranged) -> Exception:
    shape = tuple(losses.shape)
    if losses.numel() in (1, arranged.batch) and losses.ndim <= 1:
        return ShapeError(
            f"loss: expected one loss for each step, given shape {shape} that outputs of several steps lead to; return them "
            'before they are added up (reduction="none")'
        )
    counts = arranged.steps, arranged.batch
    if not any(layout(losses.detach()) is not None for layout in _layouts(losses.shape, arranged)):
        return ShapeError(f"loss: expected (T, B) = {counts} in the order of the output's axes, (T) or one number, given {shape}")
    return UnsupportedError(
        "loss: the loss of a step depends on the outputs of other steps, or of other sequences (attention, convolution or "
        "normalization over them?); the ledger needs the gradient of each loss at its own step: give grad_output"
    )


def _layouts(
    shape: torch.Size, arranged: Arranged
) -> list[Callable[[torch.Tensor], NDArray[np.float64] | None]]:
    """How losses of a shape may be meant: each as (T, B), or None."""
    steps, batch = arranged.steps, arranged.batch

    def two(losses: torch.Tensor) -> NDArray[np.float64] | None:
        if tuple(losses.shape[:2]) != arranged.leading or losses.ndim < 2 or not arranged.batched:
            return None
        numbers = losses.flatten(2).sum(-1) if losses.ndim > 2 else losses
        return np.asarray(arranged.time_major(numbers))

    def flat(losses: torch.Tensor) -> NDArray[np.float64] | None:
        if losses.numel() != arranged.count:
            return None
        return arranged.flat(losses.reshape(-1))

    def by_step(losses: torch.Tensor) -> NDArray[np.float64] | None:
        # One loss of all sequences together: each has a part.
        if losses.ndim != 1 or len(losses) != steps:
            return None
        return np.repeat(losses.numpy()[:, None], batch, axis=1)

    return [two, flat, by_step]


def _any(numbers: NDArray[Any], axes: int | tuple[int, ...]) -> NDArray[np.bool_]:
    """Where there is a number that is not zero."""
    return np.asarray(np.any(np.not_equal(numbers, 0), axis=axes))


def _grad(losses: torch.Tensor, factors: torch.Tensor, leaf: torch.Tensor, arranged: Arranged) -> NDArray[np.float64]:
    (gradient,) = torch.autograd.grad(losses, leaf, factors, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise UnsupportedError("loss: it does not depend on the module's output")
    return arranged.leaf_numbers(gradient)


def _is(varied: NDArray[np.float64], expected: NDArray[np.float64], allowed: float) -> bool:
    if varied.shape != expected.shape:
        return False
    largest = np.abs(expected).max(axis=(1, 2), keepdims=True, initial=0.0)
    return bool((np.abs(varied - expected) <= allowed * largest + 1e-300).all())
