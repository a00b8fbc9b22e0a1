"""The ledger of a step function in PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call
from torch.utils import _pytree as pytree

from ._bptt import ShapeError, UnsupportedError
from ._cell_ledger import CellLedger
from ._cells import Measured, check_arguments, ledger_of, present, seeds_of
from ._reading import Float
from ._torch_losses import ROUNDING
from ._torch_random import generator_states, restore

Array = NDArray[Any]
Step = Callable[[Any, Any, Any], Any]

PRECISIONS = {"f64": (torch.float64, torch.complex128), "f32": (torch.float32, torch.complex64)}


def cell_ledger(
    step: Step | torch.nn.Module,
    params: Any,
    xs: Any,
    state: Any,
    loss: Callable[[Any], torch.Tensor] | None = None,
    *,
    grad_output: Any = None,
    precision: str = "f64",
    progress: bool | Callable[[float], object] | None = None,
) -> CellLedger:
    """The ledger of any recurrent cell: `step(params, x_t, state)` returns `(output_t, new_state)`, or the new state alone if
    that is the output. In place of a function, `step` may be a module that is called with `(x_t, state)`; with `params`
    `None` they are its own.

    `params` and `state` are tensors, dicts, lists or tuples of them, also of complex ones; `xs` likewise, (T, ...) each.
    `loss` maps the outputs of all steps, (T, ...) each in the structure of one output, to one loss for each step: (T),
    (T, ...), which are added up, or the same flattened; or to one number, if only one output leads to it. The loss of a
    step may depend on the output of that step only; a second backward pass with random factors finds out. In place of it,
    `grad_output` has dL_k/d(output of step k), arranged as the outputs.

    Everything is computed in `precision`, "f64" or "f32"; the loss in the precision of `params`. The step is run from
    step 0 on with autograd, and its derivatives are taken for many losses at a time where PyTorch can. Random numbers are
    those that the generator would draw now.

    Only the state carries information from step to step. Attention, skip connections and convolutions over time around
    the recurrence, lag features and scaling by statistics of the whole sequence are not seen, nor are padding and resets:
    a step that leaves the state as it is, or sets it to zero, tells of them.

    Raises `BalanceError` if the components do not add up to autograd's gradient of the whole sequence.
    """
    check_arguments(loss, grad_output, precision)
    run = _Run(step, params, xs, state, precision)
    devices = sorted({leaf.device.index or 0 for leaf in run.tensors() if leaf.device.type == "cuda"})
    with torch.enable_grad(), torch.random.fork_rng(devices), warnings.catch_warnings():
        # A rule for batches that is missing costs time, and is said in the assumptions if there is no way around it.
        warnings.filterwarnings("ignore", message=".*performance drop.*")
        random = generator_states(run.tensors())
        run.forward()
        has_loss = run.read_loss(loss) if loss is not None else run.read_grad_output(grad_output)
        restore(random)
        run.whole()
        return ledger_of(run, has_loss, precision, progress)


class _Run:
    """The steps, each with a graph of its own."""

    def __init__(self, step: Step | torch.nn.Module, params: Any, xs: Any, state: Any, precision: str) -> None:
        self.provenance: dict[str, object] = {"library": f"torch {torch.__version__}"}
        self.assumptions: list[str] = []
        self._real, self._complex = PRECISIONS[precision]
        self._batched = True
        self._buffers: dict[str, torch.Tensor] = {}
        if isinstance(step, torch.nn.Module):
            module = step
            self.provenance["module"] = type(module).__name__
            params = dict(module.named_parameters()) if params is None else params
            self._buffers = {name: self._cast(buffer) for name, buffer in module.named_buffers()}
            step = lambda params, x, state: functional_call(module, {**params, **self._buffers}, (x, state))  # noqa: E731
        self._step: Step = step
        for what, tree in (("params", params), ("state", state)):
            # Names go with leaves by their order.
            if [id(leaf) for _, leaf in _named(tree)] != [id(leaf) for leaf in pytree.tree_flatten(tree)[0]]:
                raise UnsupportedError(f"{what}: expected tensors, or dicts, lists and tuples of them")
        named = [(name or "params", leaf) for name, leaf in _named(params) if _differentiable(leaf)]
        if not named:
            raise ShapeError("params: expected tensors of floats")
        self.names = [name for name, _ in named]
        # The loss gets outputs as the parameters would make them.
        self._narrow_real = _real(named[0][1].dtype)
        for _, leaf in named[1:]:
            self._narrow_real = torch.promote_types(self._narrow_real, _real(leaf.dtype))
        self._params, self._x, self._state = self._leaves(params), self._leaves(xs), self._leaves(state)
        self.state_names = [name or "state" for name, leaf in _named(state) if _differentiable(leaf)]
        lengths = {tuple(leaf.shape[:1]) for leaf in self._x[0] if isinstance(leaf, torch.Tensor)}
        if len(lengths) != 1 or lengths in ({()}, {(0,)}):
            raise ShapeError("xs: expected tensors (T, ...), all of them with the same T")
        ((self.steps,),) = lengths
        self._diff_params = [leaf.requires_grad_() for leaf in self._params[0] if _differentiable(leaf)]
        self.state = [_numpy(leaf) for leaf in self._state[0] if _differentiable(leaf)]
        self._graphs: list[tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]] = []
        self._outputs: list[torch.Tensor] = []
        self.seeds: list[Array] = []
        self.gradient: list[Array] = []
        self.state_gradient: list[Array] = []

    def tensors(self) -> Iterator[torch.Tensor]:
        for leaf in [*self._params[0], *self._x[0], *self._state[0]]:
            if isinstance(leaf, torch.Tensor):
                yield leaf

    def forward(self) -> None:
        """Every step, with a graph that ends at the state it is given."""
        leaves = list(self._state[0])
        outputs: list[list[torch.Tensor]] = []
        for t in range(self.steps):
            leaves = [leaf.detach().requires_grad_() if _differentiable(leaf) else leaf for leaf in leaves]
            before = [leaf for leaf in leaves if _differentiable(leaf)]
            output, leaves = self._run_step(t, leaves)
            after = [leaf for leaf in leaves if _differentiable(leaf)]
            self._graphs.append((before, [leaf for leaf in output if _differentiable(leaf)], after))
            outputs.append([leaf.detach() for leaf in output])
        try:
            self._outputs = [torch.stack(parts) for parts in zip(*outputs)]
        except RuntimeError as error:
            raise ShapeError(f"step: the outputs of all steps must have one shape: {error}") from None

    def whole(self) -> None:
        """The ordinary gradient, by one graph through all steps."""
        leaves = [leaf.detach().requires_grad_() if _differentiable(leaf) else leaf for leaf in self._state[0]]
        initial = [leaf for leaf in leaves if _differentiable(leaf)]
        roots: list[torch.Tensor] = []
        seeds: list[torch.Tensor] = []
        for t in range(self.steps):
            output, leaves = self._run_step(t, leaves)
            for again, once in zip(output, self._outputs):
                # Equal where neither is a number, too: what is not finite is found in the gradient.
                if not torch.allclose(again.detach(), once[t], rtol=1e-6, atol=1e-9, equal_nan=True):
                    raise UnsupportedError(
                        f"step: its output at step {t} is another one when it is run again: it depends on more than its "
                        "arguments (a counter, a cache, statistics)"
                    )
            parts = [leaf for leaf in output if _differentiable(leaf)]
            for leaf, seed in zip(parts, self.seeds):
                if leaf.requires_grad:
                    roots.append(leaf)
                    seeds.append(_tensor(seed[t], leaf))
        inputs = [*self._diff_params, *initial]
        found = torch.autograd.grad(roots, inputs, seeds, allow_unused=True) if roots else [None] * len(inputs)
        every = [_numpy(torch.zeros_like(leaf) if part is None else part) for part, leaf in zip(found, inputs)]
        self.gradient, self.state_gradient = every[: len(self.names)], every[len(self.names) :]

    def read_loss(self, loss: Callable[[Any], torch.Tensor]) -> NDArray[np.bool_]:
        """dL_k/d(output of step k), and the steps that have a loss."""
        leaves = [self._narrow(leaf).detach() for leaf in self._outputs]
        leaves = [leaf.requires_grad_() if _differentiable(leaf) else leaf for leaf in leaves]
        differentiable = [leaf for leaf in leaves if _differentiable(leaf)]
        losses = loss(pytree.tree_unflatten(leaves, self._spec))
        if not isinstance(losses, torch.Tensor):
            raise TypeError(f"loss: expected a tensor, given {type(losses).__name__}")
        if not losses.requires_grad:
            raise UnsupportedError("loss: it does not depend on the outputs")

        def gradient(factors: Array) -> list[Array]:
            seed = torch.as_tensor(factors).to(losses)
            found = torch.autograd.grad(losses, differentiable, seed, retain_graph=True, allow_unused=True)
            return [_numpy(torch.zeros_like(leaf) if part is None else part) for part, leaf in zip(found, differentiable)]

        allowed = max(ROUNDING.get(dtype, 0.03) for dtype in (losses.dtype, *[_real(leaf.dtype) for leaf in differentiable]))
        numbers = _numpy(losses.detach())
        self.seeds, has_loss = seeds_of(numbers, self.steps, gradient, allowed)
        return has_loss

    def read_grad_output(self, grad_output: Any) -> NDArray[np.bool_]:
        """The same, of gradients that are given."""
        given, spec = pytree.tree_flatten(grad_output)
        shapes = [tuple(leaf.shape) for leaf in self._outputs]
        if spec != self._spec or [tuple(leaf.shape) for leaf in given] != shapes:
            raise ShapeError(f"grad_output: expected the structure and shapes of the outputs, {shapes}")
        self.seeds = [_numpy(self._cast(leaf)) for leaf, of in zip(given, self._outputs) if _differentiable(of)]
        return present(None, self.seeds)

    def pull(self, t: int, output: list[Array] | None, state: list[Array]) -> tuple[list[Array], list[torch.Tensor]]:
        before, outputs, after = self._graphs[t]
        # Steps come in reverse: what lies behind is not needed any more.
        del self._graphs[t + 1 :]
        roots = [*zip(after, state)] + ([] if output is None else [*zip(outputs, output)])
        roots = [(root, rows) for root, rows in roots if root.requires_grad]
        inputs = [*self._diff_params, *before]
        count = len((output or state)[0])
        found = self._grad([root for root, _ in roots], inputs, [_tensor(rows, root) for root, rows in roots], count)
        adjoint = [_numpy(part) for part in found[len(self.names) :]]
        return adjoint, found[: len(self.names)]

    def arrays(self, components: list[torch.Tensor]) -> list[Array]:
        return [_numpy(part) for part in components]

    def measure(self, components: list[torch.Tensor], unit: list[Array], weights: Float) -> Measured:
        norms, dots, sums = [], [], []
        for rows, gradient in zip(components, unit):
            flat = rows.flatten(1) if rows.ndim > 1 else rows[:, None]
            norms.append(_numpy(_norms(flat)))
            direction, factors = _tensor(gradient, flat).flatten(), _tensor(weights, flat)
            dots.append(_numpy((flat @ direction.conj()).real))
            sums.append(_numpy((factors @ flat).reshape(gradient.shape)))
        return Measured(np.stack(norms), np.stack(dots), sums)

    def _grad(
        self, roots: list[torch.Tensor], inputs: list[torch.Tensor], rows: list[torch.Tensor], count: int
    ) -> list[torch.Tensor]:
        """The vector-Jacobian products of all rows, (R, ...) for each input."""
        found: list[torch.Tensor | None] = [None] * len(inputs)
        if roots and self._batched:
            try:
                found = list(_autograd(roots, inputs, rows, True))
            except (RuntimeError, NotImplementedError) as error:
                self._batched = False
                reason = str(error).strip().split("\n")[0]
                self.assumptions.append(f"PyTorch has no derivatives of this step for many losses at a time ({reason}): one by one")
        if roots and not self._batched:
            each = [_autograd(roots, inputs, [part[r] for part in rows], False) for r in range(count)]
            found = [None if parts[0] is None else torch.stack(parts) for parts in zip(*each)]
        zeros = (torch.zeros(count, *leaf.shape, dtype=leaf.dtype, device=leaf.device) for leaf in inputs)
        return [zero if part is None else part for part, zero in zip(found, zeros)]

    def _run_step(self, t: int, leaves: list[Any]) -> tuple[list[torch.Tensor], list[Any]]:
        """The leaves of the output and of the new state."""
        x = pytree.tree_unflatten([leaf[t] if isinstance(leaf, torch.Tensor) else leaf for leaf in self._x[0]], self._x[1])
        params = pytree.tree_unflatten(self._params[0], self._params[1])
        returned = self._step(params, x, pytree.tree_unflatten(leaves, self._state[1]))
        if _spec(returned) == self._state[1]:
            output, self._spec = pytree.tree_flatten(returned)
            new = output
        elif isinstance(returned, tuple) and len(returned) == 2 and _spec(returned[1]) == self._state[1]:
            output, self._spec = pytree.tree_flatten(returned[0])
            new = pytree.tree_flatten(returned[1])[0]
        else:
            raise ShapeError("step: expected (output, new state) or the new state, arranged as the state")
        names = [name or "state" for name, _ in _named(pytree.tree_unflatten(leaves, self._state[1]))]
        for name, old, leaf in zip(names, leaves, new):
            if isinstance(old, torch.Tensor) and _kind(old) != _kind(leaf):
                raise ShapeError(f"step: expected the new {name} as the old, {_kind(old)}, given {_kind(leaf)}")
        if not all(isinstance(leaf, torch.Tensor) for leaf in output):
            raise TypeError("step: expected tensors as the output")
        return output, new

    def _leaves(self, tree: Any) -> tuple[list[Any], Any]:
        leaves, spec = pytree.tree_flatten(tree)
        return [self._cast(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], spec

    def _cast(self, leaf: torch.Tensor) -> torch.Tensor:
        """In the ledger's precision, and nobody else's."""
        if leaf.is_complex():
            return leaf.detach().to(self._complex).clone()
        return leaf.detach().to(self._real if leaf.is_floating_point() else leaf.dtype).clone()

    def _narrow(self, leaf: torch.Tensor) -> torch.Tensor:
        if not _differentiable(leaf):
            return leaf
        complex_ = torch.complex128 if self._narrow_real == torch.float64 else torch.complex64
        return leaf.to(complex_ if leaf.is_complex() else self._narrow_real)


def _autograd(
    roots: list[torch.Tensor], inputs: list[torch.Tensor], rows: list[torch.Tensor], batched: bool
) -> tuple[torch.Tensor | None, ...]:
    return torch.autograd.grad(roots, inputs, rows, retain_graph=True, allow_unused=True, is_grads_batched=batched)


def _norms(flat: torch.Tensor) -> torch.Tensor:
    """Norms of rows, also of those whose squares are too small for numbers."""
    norms: torch.Tensor = torch.linalg.vector_norm(flat, dim=1)
    if flat.shape[1] and bool((norms < 1e-10 * torch.finfo(norms.dtype).tiny ** 0.25).any()):
        largest = flat.abs().amax(1, keepdim=True)
        scale = torch.where(largest > 0, largest, torch.ones_like(largest))
        norms = torch.linalg.vector_norm(flat / scale, dim=1) * scale[:, 0]
    return norms


def _kind(leaf: Any) -> str:
    return f"{tuple(leaf.shape)} of {leaf.dtype}" if isinstance(leaf, torch.Tensor) else type(leaf).__name__


def _spec(tree: Any) -> Any:
    return pytree.tree_flatten(tree)[1]


def _differentiable(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _real(dtype: torch.dtype) -> torch.dtype:
    return {torch.complex128: torch.float64, torch.complex64: torch.float32}.get(dtype, dtype)


def _numpy(tensor: torch.Tensor) -> Array:
    wide = tensor.detach().cpu()
    return np.asarray(wide.to(torch.complex128 if wide.is_complex() else torch.float64).resolve_conj().numpy())


def _tensor(numbers: Array, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(np.asarray(numbers, order="C")).to(dtype=like.dtype, device=like.device)


def _named(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The leaves of dicts, lists and tuples with their paths, in the order in which PyTorch flattens them."""
    if isinstance(tree, dict):
        parts = [(str(key), part) for key, part in tree.items()]
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        parts = list(zip(tree._fields, tree))
    elif isinstance(tree, (list, tuple)):
        parts = [(str(index), part) for index, part in enumerate(tree)]
    else:
        return [(prefix, tree)]
    return [leaf for name, part in parts for leaf in _named(part, f"{prefix}.{name}" if prefix else name)]
