"""The ledger of a live PyTorch module.

    ledger = bptt.torch.ledger(model.lstm, x, loss=lambda h: per_step_losses(model.head(h), y))

The module is read through its attributes and left as it was found: parameters, gradients, mode and random generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from ._bptt import BalanceError, NotFiniteError
from ._cells import check_arguments
from ._ledger import Ledger
from ._torch_cells import cell_ledger
from ._torch_dependence import Dependence, dependence
from ._torch_losses import Seeds, of_grad_output, of_loss
from ._torch_modules import Arranged, Module
from ._torch_random import generator_states, restore
from ._torch_update import Update
from ._torch_watch import watch

__all__ = ["Dependence", "Update", "cell_ledger", "dependence", "ledger", "watch"]

Loss = Callable[[Any], torch.Tensor]

AGREES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.1}
"""How far an output of the module may be from the ledger's, relative to the largest."""


def ledger(
    module: torch.nn.Module,
    x: torch.Tensor | PackedSequence,
    loss: Loss | None = None,
    *,
    grad_output: torch.Tensor | PackedSequence | None = None,
    hx: torch.Tensor | tuple[torch.Tensor, torch.Tensor] | None = None,
    lengths: torch.Tensor | Sequence[int] | None = None,
    resets: torch.Tensor | None = None,
    detach_every: int | None = None,
    precision: str = "f64",
    check: bool = False,
    gates: bool = False,
    sequences: bool = False,
    inputs: bool = True,
    tolerance: float | None = None,
    estimate_errors: bool = True,
    progress: bool | Callable[[float], object] | None = None,
) -> Ledger:
    """The ledger of `module` (nn.RNN, nn.LSTM, nn.GRU, or a cell of theirs that is run over the steps) that reads `x`.

    `loss` maps the module's output to one loss for each step, (T, B) or (B, T) as the output is arranged, (T) or
    flattened; or to one for each sequence, or one alone, if only one output of each sequence leads to it. The loss of a
    step may depend on the output of that step only. In place of it, `grad_output` has dL_k/dh_k, shaped as the output.
    Losses are itemized as they are: divide by the number of steps in `loss` for a mean.

    `hx`: initial states as the module takes them. `lengths` (B): what lies behind is padding; of a PackedSequence they
    are known. `resets`: true where an episode begins, shaped as the leading axes of `x`. `detach_every`: the state is
    detached before every so many steps. Dropout between layers is that of the module's mode: in train mode, what the
    generator would draw now. `check` compares the ledger's sums with autograd. The other arguments are those of
    `Scan.ledger`.

    Raises `BalanceError` if the module does not compute what the ledger does, or `check` finds a difference.
    """
    check_arguments(loss, grad_output, precision)
    with _as_found(module):
        read = Module.read(module)
        arranged = Arranged.of(read, x, lengths, resets)
        numbers = arranged.numbers()
        _check_finite("x", numbers, arranged)
        state = read.initial(hx, arranged)
        generator = generator_states(module.parameters())
        output = read.run(arranged, hx) if resets is None and detach_every is None else None
        restore(generator)
        read = Module.read(module)
        masks = read.dropout_masks(arranged)
        restore(generator)
        scan = read.network().scan(
            numbers,
            hx=state,
            lengths=arranged.lengths,
            resets=arranged.resets,
            detach_every=detach_every,
            dropout=masks,
            precision=precision,
        )
        assumptions = list(read.assumptions(masks))
        if output is None:
            output = arranged.from_numpy(scan.output)
        else:
            assumptions += _compare(read, arranged, scan.output, output)
        if loss is not None:
            seeds = of_loss(loss, arranged, output)
        else:
            assert grad_output is not None
            seeds = of_grad_output(arranged, grad_output)
        restore(generator)
        found = scan.ledger(
            seeds.grad_output,
            present=seeds.present,
            values=seeds.values,
            gates=gates,
            sequences=sequences,
            inputs=inputs,
            tolerance=tolerance,
            estimate_errors=estimate_errors,
            progress=progress,
        )
        found.provenance = {"module": type(module).__name__, **found.provenance}
        found.assumptions += assumptions
        if check:
            _check(read, arranged, hx, detach_every, scan.gradient(seeds.grad_output), seeds, precision)
            restore(generator)
    return found


class _as_found:
    """Leaves the module's attributes and the generator as they were."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._attributes = [(part, dict(part.__dict__)) for part in module.modules()]
        self._generator = generator_states(module.parameters())

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for part, attributes in self._attributes:
            part.__dict__.clear()
            part.__dict__.update(attributes)
        restore(self._generator)


def _check_finite(what: str, numbers: np.ndarray[Any, Any], arranged: Arranged) -> None:
    wrong = ~np.isfinite(numbers).all(axis=2) & arranged.is_read()
    if wrong.any():
        step, sequence = np.argwhere(wrong)[0]
        raise NotFiniteError(f"{what} is not finite at step {step}, sequence {sequence}")


def _compare(read: Module, arranged: Arranged, ours: np.ndarray[Any, Any], output: Any) -> list[str]:
    """Raises if the module's output is not the network's; says so if they part after the first steps only."""
    theirs = arranged.output_numbers(output)
    _check_finite(f"the output of {read.title}", theirs, arranged)
    differs = np.abs(theirs - ours) * arranged.is_read()[:, :, None]
    largest = max(float(np.abs(theirs).max(initial=0.0)), 1e-30)
    allowed = AGREES.get(read.dtype, 1e-3) * largest
    # Of a chaotic network, roundings grow with the steps; in the first ones they are small.
    early = differs if read.bidirectional else differs[:16]
    if early.max(initial=0.0) > allowed:
        why = "; dropout of this device may be drawn otherwise: call eval()" if read.drops() else ""
        raise BalanceError(
            f"{read.title} does not compute what its weights say: its output differs by {early.max():.2g} from that of "
            f"{read.cell}, whose largest is {largest:.2g}{why}"
        )
    late = np.flatnonzero(differs.max(axis=(1, 2), initial=0.0) > allowed)
    if len(late) == 0:
        return []
    return [
        f"from step {late[0]} on, roundings in {read.dtype} have led the module's states away from those that are itemized"
    ]


def _check(
    read: Module,
    arranged: Arranged,
    hx: Any,
    detach_every: int | None,
    gradient: dict[str, np.ndarray[Any, Any]],
    seeds: Seeds,
    precision: str,
) -> None:
    """Raises unless the sums are what autograd finds."""
    tolerance = 1e-9 if read.dtype == torch.float64 and precision == "f64" else AGREES.get(read.dtype, 1e-3)
    for name, theirs in read.autograd(arranged, hx, detach_every, seeds.grad_output).items():
        ours = gradient[name].reshape(theirs.shape)
        largest = max(float(np.abs(theirs).max(initial=0.0)), float(np.abs(ours).max(initial=0.0)))
        error = float(np.abs(ours - theirs).max(initial=0.0))
        if not error <= tolerance * largest + 1e-30:
            raise BalanceError(
                f"{read.title}: the ledger's sum for {name} differs from autograd's gradient by {error:.2g}; "
                f"the largest is {largest:.2g}"
            )


