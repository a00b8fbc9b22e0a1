"""The ledger of any recurrent cell in JAX.

    ledger = bptt.jax.cell_ledger(step, params, xs, state, loss=lambda y: per_step_losses(y))

Cells of Flax and Equinox become step functions by `nnx_cell`, `linen_cell` and `equinox_cell`:

    ledger = bptt.jax.cell_ledger(*bptt.jax.nnx_cell(cell), xs, state, loss)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten, tree_flatten_with_path, tree_unflatten
from numpy.typing import NDArray

from ._bptt import ShapeError, UnsupportedError
from ._cell_ledger import CellLedger
from ._cells import Measured, check_arguments, ledger_of, present, seeds_of
from ._reading import Float

__all__ = ["cell_ledger", "equinox_cell", "linen_cell", "nnx_cell"]

Array = NDArray[Any]
Step = Callable[[Any, Any, Any], Any]

PRECISIONS = {"f64": (np.float64, np.complex128), "f32": (np.float32, np.complex64)}

ROUNDING = {"float64": 1e-9, "float32": 1e-4}
"""How far a gradient may be from a multiple of another, relative to the largest of its step; 0.03 in half precision."""


def cell_ledger(
    step: Step,
    params: Any,
    xs: Any,
    state: Any,
    loss: Callable[[Any], Any] | None = None,
    *,
    grad_output: Any = None,
    precision: str = "f64",
    progress: bool | Callable[[float], object] | None = None,
) -> CellLedger:
    """The ledger of any recurrent cell: `step(params, x_t, state)` returns `(output_t, new_state)`, or the new state alone if
    that is the output.

    `params` and `state` are pytrees of arrays, also of complex ones, `xs` one of arrays (T, ...). `loss` maps the outputs
    of all steps, (T, ...) each in the structure of one output, to one loss for each step: (T), (T, ...), which are added
    up, or the same flattened; or to one number, if only one output leads to it. The loss of a step may depend on the
    output of that step only; a second backward pass with random factors finds out. In place of it, `grad_output` has
    dL_k/d(output of step k), arranged as the outputs.

    Everything is computed in `precision`, "f64" (whether or not JAX is set to 64 bits) or "f32"; the loss in the precision
    of `params`. The step is traced and compiled; all randomness is in its arguments.

    Only the state carries information from step to step. Attention, skip connections and convolutions over time around
    the recurrence, lag features and scaling by statistics of the whole sequence are not seen, nor are padding and resets:
    a step that leaves the state as it is, or sets it to zero, tells of them.

    Raises `BalanceError` if the components do not add up to JAX's gradient of the whole sequence.
    """
    check_arguments(loss, grad_output, precision)
    with _wide(precision == "f64"):
        run = _Run(step, params, xs, state, precision)
        outputs = run.forward()
    # The loss is computed in the user's own setting, unless it leaves out half of the bits.
    with _wide(True) if run.wide else nullcontext():
        has_loss = run.read_loss(loss, outputs) if loss is not None else run.read_grad_output(grad_output)
    with _wide(precision == "f64"):
        run.whole()
        return ledger_of(run, has_loss, precision, progress)


def nnx_cell(cell: Any) -> tuple[Step, Any]:
    """The step function and parameters of a recurrent cell of Flax NNX, which is called with `(carry, x)`."""
    from flax import nnx

    split: Any = nnx.split
    graph, params, rest = split(cell, nnx.Param, ...)

    def step(params: Any, x: Any, state: Any) -> Any:
        new, output = nnx.merge(graph, params, rest)(state, x)
        return output, new

    return step, params


def linen_cell(cell: Any, variables: Any) -> tuple[Step, Any]:
    """The step function and parameters of a recurrent cell of Flax Linen with its variables."""
    others = {name: part for name, part in variables.items() if name != "params"}

    def step(params: Any, x: Any, state: Any) -> Any:
        new, output = cell.apply({**others, "params": params}, state, x)
        return output, new

    return step, variables["params"]


def equinox_cell(cell: Any) -> tuple[Step, Any]:
    """The step function and parameters of an Equinox cell, which is called with `(x, state)` of one sequence; where `x` has
    a batch of sequences in front, each is run by itself."""
    import equinox

    params, rest = equinox.partition(cell, equinox.is_inexact_array)

    def step(params: Any, x: Any, state: Any) -> Any:
        whole = equinox.combine(params, rest)
        return jax.vmap(whole)(x, state) if jnp.ndim(x) > 1 else whole(x, state)

    return step, params


class _Run:
    """The steps, and the compiled derivative of one."""

    def __init__(self, step: Step, params: Any, xs: Any, state: Any, precision: str) -> None:
        self.provenance: dict[str, object] = {"library": f"jax {jax.__version__}"}
        self.assumptions: list[str] = []
        self._real, self._complex = PRECISIONS[precision]
        self._step = step
        self._params_tree: Any
        self._xs_tree: Any
        self._state_tree: Any
        named, self._params_tree = tree_flatten_with_path(params)
        self.names = [_name(path) or "params" for path, leaf in named if _differentiable(leaf)]
        if not self.names:
            raise ShapeError("params: expected arrays of floats")
        floats = [np.dtype(jnp.result_type(leaf)) for _, leaf in named if _differentiable(leaf)]
        self.wide = any(dtype in (np.float64, np.complex128) for dtype in floats)
        self._params = [self._cast(leaf) for _, leaf in named]
        x_leaves, self._xs_tree = tree_flatten(xs)
        self._xs = [self._cast(leaf) for leaf in x_leaves]
        lengths = {leaf.shape[:1] for leaf in self._xs}
        if len(lengths) != 1 or lengths in ({()}, {(0,)}):
            raise ShapeError("xs: expected arrays (T, ...), all of them with the same T")
        self.steps = len(self._xs[0])
        given, self._state_tree = tree_flatten_with_path(state)
        self._state = [self._cast(leaf) for _, leaf in given]
        self.state_names = [_name(path) or "state" for path, leaf in given if _differentiable(leaf)]
        self.state = [np.asarray(leaf) for leaf in self._state if _differentiable(leaf)]
        self._which_params = [_differentiable(leaf) for leaf in self._params]
        self._which_state = [_differentiable(leaf) for leaf in self._state]
        self._output_tree, self._which_output = self._check()
        self._before: list[Array] = []
        self.seeds: list[Array] = []
        self.gradient: list[Array] = []
        self.state_gradient: list[Array] = []
        self._pull = jax.jit(self._pull_batched)
        self._measure = jax.jit(_measure)

    def forward(self) -> list[Array]:
        """Every step; the leaves of the outputs."""

        def body(state: list[Any], xs: list[Any]) -> Any:
            output, new = self._leaves(self._params, xs, state)
            return new, (state, output)

        _, (before, outputs) = jax.jit(partial(jax.lax.scan, body))(self._state, self._xs)
        self._before = [np.asarray(leaf) for leaf in before]
        self._shapes = [leaf.shape for leaf in outputs]
        return [np.asarray(leaf) for leaf in outputs]

    def whole(self) -> None:
        """The ordinary gradient, by one derivative of all steps."""

        def run(params: list[Any], state: list[Any]) -> list[Any]:
            def body(state: list[Any], xs: list[Any]) -> Any:
                output, new = self._leaves(_merged(self._params, self._which_params, params), xs, state)
                return new, _those(output, self._which_output)

            _, outputs = jax.lax.scan(body, _merged(self._state, self._which_state, state), self._xs)
            return list(outputs)

        def derivative(params: list[Any], state: list[Any], seeds: list[Any]) -> Any:
            outputs, back = jax.vjp(run, params, state)
            return back([seed.astype(leaf.dtype) for seed, leaf in zip(seeds, outputs)])

        arguments = _those(self._params, self._which_params), _those(self._state, self._which_state)
        params, state = jax.jit(derivative)(*arguments, self.seeds)
        self.gradient, self.state_gradient = [np.array(leaf) for leaf in params], [np.array(leaf) for leaf in state]

    def read_loss(self, loss: Callable[[Any], Any], outputs: list[Array]) -> NDArray[np.bool_]:
        """dL_k/d(output of step k), and the steps that have a loss."""
        narrow = [jnp.asarray(leaf, self._dtype(leaf, *PRECISIONS["f64" if self.wide else "f32"])) for leaf in outputs]

        def of(leaves: list[Any]) -> Any:
            return loss(tree_unflatten(self._output_tree, _merged(narrow, self._which_output, leaves)))

        leaves = _those(narrow, self._which_output)
        losses, back = jax.vjp(of, leaves)
        if not isinstance(losses, jax.Array) or jnp.iscomplexobj(losses):
            raise TypeError(f"loss: expected an array of real numbers, given {type(losses).__name__}")

        def gradient(factors: Array) -> list[Array]:
            (found,) = back(jnp.asarray(factors, losses.dtype))
            return [np.asarray(part, self._dtype(part, np.float64, np.complex128)) for part in found]

        allowed = max(ROUNDING.get(jnp.zeros((), leaf.dtype).real.dtype.name, 0.03) for leaf in [losses, *leaves])
        numbers = np.asarray(losses, np.float64)
        self.seeds, has_loss = seeds_of(numbers, self.steps, gradient, allowed)
        if not present(None, self.seeds).any():
            raise UnsupportedError("loss: it does not depend on the outputs")
        return has_loss

    def read_grad_output(self, grad_output: Any) -> NDArray[np.bool_]:
        """The same, of gradients that are given."""
        given, tree = tree_flatten(grad_output)
        if tree != self._output_tree or [np.shape(leaf) for leaf in given] != self._shapes:
            raise ShapeError(f"grad_output: expected the structure and shapes of the outputs, {self._shapes}")
        given = _those(given, self._which_output)
        self.seeds = [np.asarray(leaf, self._dtype(leaf, np.float64, np.complex128)) for leaf in given]
        return present(None, self.seeds)

    def pull(self, t: int, output: list[Array] | None, state: list[Array]) -> tuple[list[Array], Any]:
        count = len((output or state)[0])
        # Few sizes, so that few are compiled.
        rows = max(8, 1 << (count - 1).bit_length())
        outputs = [np.zeros((count, *seed.shape[1:]), seed.dtype) for seed in self.seeds] if output is None else output
        padded = [
            [np.concatenate([part, np.zeros((rows - count, *part.shape[1:]), part.dtype)]) for part in parts]
            for parts in (outputs, state)
        ]
        arguments = self._params, [leaf[t] for leaf in self._xs], [leaf[t] for leaf in self._before], *padded
        try:
            adjoint, components = self._pull(*arguments)
        except (NotImplementedError, TypeError, ValueError) as error:
            if self._pull_batched is self._pull_each:
                raise
            reason = str(error).strip().split("\n")[0]
            self.assumptions.append(f"JAX has no derivatives of this step for many losses at a time ({reason}): one by one")
            self._pull_batched = self._pull_each  # type: ignore[method-assign]
            self._pull = jax.jit(self._pull_each)
            adjoint, components = self._pull(*arguments)
        return [np.array(part)[:count] for part in adjoint], (count, components)

    def arrays(self, components: Any) -> list[Array]:
        count, parts = components
        return [np.asarray(part)[:count] for part in parts]

    def measure(self, components: Any, unit: list[Array], weights: Float) -> Measured:
        count, parts = components
        padded = np.zeros(len(parts[0]))
        padded[:count] = weights
        norms, dots, sums = self._measure(parts, unit, padded)
        found = [np.asarray(numbers, np.float64)[:, :count] for numbers in (norms, dots)]
        return Measured(found[0], found[1], [np.asarray(part) for part in sums])

    def _vjp(self, params: list[Any], x: list[Any], state: list[Any]) -> Callable[[list[Any], list[Any]], Any]:
        def of(some: list[Any], part: list[Any]) -> Any:
            output, new = self._leaves(
                _merged(params, self._which_params, some), x, _merged(state, self._which_state, part)
            )
            return _those(output, self._which_output), _those(new, self._which_state)

        values, back = jax.vjp(of, _those(params, self._which_params), _those(state, self._which_state))

        def one(output: list[Any], new: list[Any]) -> Any:
            cast = [[row.astype(leaf.dtype) for row, leaf in zip(*pair)] for pair in zip((output, new), values)]
            found, adjoint = back((cast[0], cast[1]))
            return adjoint, found

        return one

    def _pull_batched(self, params: list[Any], x: list[Any], state: list[Any], output: list[Any], new: list[Any]) -> Any:
        return jax.vmap(self._vjp(params, x, state))(output, new)

    def _pull_each(self, params: list[Any], x: list[Any], state: list[Any], output: list[Any], new: list[Any]) -> Any:
        one = self._vjp(params, x, state)
        return jax.lax.map(lambda rows: one(*rows), (output, new))

    def _leaves(self, params: list[Any], x: list[Any], state: list[Any]) -> tuple[list[Any], list[Any]]:
        """The leaves of the output and of the new state."""
        returned = self._step(
            tree_unflatten(self._params_tree, params),
            tree_unflatten(self._xs_tree, x),
            tree_unflatten(self._state_tree, state),
        )
        leaves, tree = tree_flatten(returned)
        if tree == self._state_tree:
            return leaves, leaves
        if isinstance(returned, tuple) and len(returned) == 2 and tree_flatten(returned[1])[1] == self._state_tree:
            return tree_flatten(returned[0])[0], tree_flatten(returned[1])[0]
        raise ShapeError("step: expected (output, new state) or the new state, arranged as the state")

    def _check(self) -> tuple[Any, list[bool]]:
        """The structure of an output and which of its leaves have derivatives, if the new state is arranged as the old."""
        arguments = self._params, [leaf[0] for leaf in self._xs], self._state
        output, new = jax.eval_shape(self._leaves, *arguments)
        for path, old, leaf in zip(tree_flatten_with_path(tree_unflatten(self._state_tree, self._state))[0], self._state, new):
            if (old.shape, old.dtype) != (leaf.shape, leaf.dtype):
                raise ShapeError(
                    f"step: expected the new {_name(path[0]) or 'state'} as the old, {old.shape} of {old.dtype}, given "
                    f"{leaf.shape} of {leaf.dtype}"
                )
        trees = []

        def structure(params: Any, x: Any, state: Any) -> Any:
            returned = self._step(params, x, state)
            same = tree_flatten(returned)[1] == self._state_tree
            trees.append(tree_flatten(returned if same else returned[0])[1])
            return ()

        trees_of = (self._params_tree, self._xs_tree, self._state_tree)
        jax.eval_shape(structure, *(tree_unflatten(tree, leaves) for tree, leaves in zip(trees_of, arguments)))
        return trees[0], [_differentiable(leaf) for leaf in output]

    def _cast(self, leaf: Any) -> Any:
        """On the host, in the ledger's precision; keys of random numbers as they are."""
        return np.asarray(leaf, self._dtype(leaf, self._real, self._complex)) if _is_number(leaf) else leaf

    @staticmethod
    def _dtype(leaf: Any, real: Any, complex_: Any) -> Any:
        if not _differentiable(leaf):
            return None
        return complex_ if jnp.iscomplexobj(leaf) else real


def _measure(components: list[Any], unit: list[Any], weights: Any) -> tuple[Any, Any, list[Any]]:
    """Norms, (P, R), also of rows whose squares are too small for numbers; products; and weighted sums."""
    norms, dots, sums = [], [], []
    for rows, gradient in zip(components, unit):
        flat = rows.reshape(len(rows), -1)
        largest = jnp.abs(flat).max(axis=1, initial=0.0)
        scale = jnp.where(largest > 0, largest, 1.0)
        norms.append(jnp.linalg.norm(flat / scale[:, None], axis=1) * scale)
        dots.append((flat @ gradient.reshape(-1).conj().astype(flat.dtype)).real)
        sums.append((weights.astype(flat.dtype) @ flat).reshape(gradient.shape))
    return jnp.stack(norms), jnp.stack(dots), sums


def _wide(x64: bool) -> AbstractContextManager[object]:
    """Numbers of 64 bits, or not."""
    # Older versions have it elsewhere.
    module: Any = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    switch: AbstractContextManager[object] = module.enable_x64(x64)
    return switch


def _is_number(leaf: Any) -> bool:
    return not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.extended))


def _differentiable(leaf: Any) -> bool:
    return _is_number(leaf) and bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


def _those(leaves: Any, which: list[bool]) -> list[Any]:
    return [leaf for leaf, wanted in zip(leaves, which) if wanted]


def _merged(leaves: list[Any], which: list[bool], some: list[Any]) -> list[Any]:
    """The leaves, with some in the place of those that have derivatives."""
    given = iter(some)
    return [next(given) if wanted else leaf for leaf, wanted in zip(leaves, which)]


def _name(path: Any) -> str:
    return str(keystr(path, simple=True, separator=".")).removesuffix(".value")
