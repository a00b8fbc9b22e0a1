"""Checks of a homework: is this backward function of a recurrent network right, and if not, which mistake is in it?

    from bptt import checks
    checks.check_rnn_backward(rnn_backward)

A student's NumPy function runs on random problems of several shapes, in f64, and every gradient that it returns is
compared with the exact one; a known mistake is called by its name (`MISTAKES`). The signatures are those of two
courses, which are recognized by the names of the arguments (`da…`: deeplearning.ai) or by `style`:

- CS231n, assignment 3: `rnn_step_backward(dnext_h, cache)`, `rnn_backward(dh, cache)` and so on, batch-first, a tuple
  returned. What is in the cache is the student's own business, so the student's forward function is needed and checked
  first. It is taken from the module in which the function is defined, under the course's name, or passed as `forward`.
- deeplearning.ai, Sequence Models: `rnn_cell_backward(da_next, cache)`, `rnn_backward(da, caches)` and so on, batch in
  the second place, a dictionary returned. The course fixes the cache, so no forward function is needed; one that is
  passed as `forward` is checked and makes the cache.

Needs NumPy only.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field

from ._checks_cells import Cell
from ._checks_diagnosis import TOLERANCE, Verdict, judge, make_cases, problems, worst_errors
from ._checks_mistakes import MISTAKES
from ._checks_student import name_of
from ._checks_styles import Function, Style, Task

__all__ = [
    "MISTAKES",
    "Check",
    "check_gru_backward",
    "check_gru_step_backward",
    "check_lstm_backward",
    "check_lstm_step_backward",
    "check_rnn_backward",
    "check_rnn_step_backward",
]


@dataclass(frozen=True, repr=False)
class Check:
    """What came out of a check. True if the function is right."""

    function: str
    """Its name."""
    ok: bool
    mistake: str | None
    """The name of the mistake, one of `MISTAKES`. None if all is right, or if it is none of the known ones."""
    message: str
    """One sentence: which outputs are wrong, by how much, and what is probably the reason."""
    errors: dict[str, float] = field(default_factory=dict)
    """The largest relative error of every output over the sizes with which the function returned. Infinite where the
    shape is wrong, and if it never returned."""
    mistakes: tuple[str, ...] = ()
    """All mistakes found; of two, `mistake` is the first."""
    sizes: tuple[str, ...] = ()
    """The sizes that were tried."""

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        lines = [self.message]
        width = max((len(name) for name in self.errors), default=0)
        for name, error in self.errors.items():
            size = "not comparable" if error == float("inf") else f"relative error {error:.1e}"
            lines.append(f"    {name:<{width}}  {'right' if error < TOLERANCE else 'WRONG'}  {size}")
        return "\n".join(lines)

    def raise_if_wrong(self) -> None:
        """Raises AssertionError with the message if the function is wrong."""
        if not self.ok:
            raise AssertionError(str(self))


def check_rnn_step_backward(
    fn: Function, forward: Function | None = None, *, style: Style | None = None, seed: int = 0
) -> Check:
    """Checks the gradient of one step, h' = tanh(x Wx + h Wh + b).

    CS231n: `rnn_step_backward(dnext_h, cache) -> dx, dprev_h, dWx, dWh, db` after
    `rnn_step_forward(x, prev_h, Wx, Wh, b) -> next_h, cache`; dnext_h, prev_h (N, H), x (N, D), Wx (D, H), Wh (H, H),
    b (H).

    deeplearning.ai: `rnn_cell_backward(da_next, cache) -> {dxt, da_prev, dWax, dWaa, dba}`; da_next, a_prev (n_a, m),
    xt (n_x, m), Wax (n_a, n_x), Waa (n_a, n_a), ba (n_a, 1); cache = (a_next, a_prev, xt, parameters).

    LookupError: no forward function was found. `seed`: of the random numbers.
    """
    return _check(fn, "rnn", True, forward, style, seed)


def check_rnn_backward(
    fn: Function, forward: Function | None = None, *, style: Style | None = None, seed: int = 0
) -> Check:
    """Checks the gradient of a sequence of such steps.

    CS231n: `rnn_backward(dh, cache) -> dx, dh0, dWx, dWh, db` after `rnn_forward(x, h0, Wx, Wh, b) -> h, cache`;
    dh, h (N, T, H), x (N, T, D), h0 (N, H). dh is the gradient from above of each step's output.

    deeplearning.ai: `rnn_backward(da, caches) -> {dx, da0, dWax, dWaa, dba}`; da (n_a, m, T_x), x (n_x, m, T_x);
    caches = (list of each step's cache, x).

    LookupError: no forward function was found. `seed`: of the random numbers.
    """
    return _check(fn, "rnn", False, forward, style, seed)


def check_lstm_step_backward(
    fn: Function, forward: Function | None = None, *, style: Style | None = None, seed: int = 0
) -> Check:
    """Checks the gradient of one step, c' = f*c + i*g, h' = o*tanh(c').

    CS231n: `lstm_step_backward(dnext_h, dnext_c, cache) -> dx, dprev_h, dprev_c, dWx, dWh, db` after
    `lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b) -> next_h, next_c, cache`; Wx (D, 4H), Wh (H, 4H), b (4H) with the
    gates in the order i, f, o, g.

    deeplearning.ai: `lstm_cell_backward(da_next, dc_next, cache) -> {dxt, da_prev, dc_prev, dWf, dbf, dWi, dbi, dWc,
    dbc, dWo, dbo}`; Wf and the others (n_a, n_a + n_x) with [a_prev; xt] as operand, bf (n_a, 1);
    cache = (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters).

    LookupError: no forward function was found. `seed`: of the random numbers.
    """
    return _check(fn, "lstm", True, forward, style, seed)


def check_lstm_backward(
    fn: Function, forward: Function | None = None, *, style: Style | None = None, seed: int = 0
) -> Check:
    """Checks the gradient of a sequence of such steps, which begins with c = 0.

    CS231n: `lstm_backward(dh, cache) -> dx, dh0, dWx, dWh, db` after `lstm_forward(x, h0, Wx, Wh, b) -> h, cache`.

    deeplearning.ai: `lstm_backward(da, caches) -> {dx, da0, dWf, dbf, dWi, dbi, dWc, dbc, dWo, dbo}`;
    caches = (list of each step's cache, x).

    LookupError: no forward function was found. `seed`: of the random numbers.
    """
    return _check(fn, "lstm", False, forward, style, seed)


def check_gru_step_backward(fn: Function, forward: Function, *, seed: int = 0) -> Check:
    """Checks the gradient of one step of a GRU.

    r, z = sigmoid(x Wx + h Wh + b), n = tanh(x Wx_n + b_n + r*(h Wh_n)), h' = (1 - z)*n + z*h: as in PyTorch, with the
    reset gate after the product, but with one bias, on the side of x. There is no course with this function; it is
    `gru_step_backward(dnext_h, cache) -> dx, dprev_h, dWx, dWh, db` after
    `gru_step_forward(x, prev_h, Wx, Wh, b) -> next_h, cache`; x (N, D), prev_h (N, H), Wx (D, 3H), Wh (H, 3H), b (3H)
    with the gates in the order r, z, n. `seed`: of the random numbers.
    """
    return _check(fn, "gru", True, forward, "cs231n", seed)


def check_gru_backward(fn: Function, forward: Function, *, seed: int = 0) -> Check:
    """Checks the gradient of a sequence of steps of a GRU, see `check_gru_step_backward`.

    `gru_backward(dh, cache) -> dx, dh0, dWx, dWh, db` after `gru_forward(x, h0, Wx, Wh, b) -> h, cache`;
    dh, h (N, T, H), x (N, T, D), h0 (N, H). `seed`: of the random numbers.
    """
    return _check(fn, "gru", False, forward, "cs231n", seed)


def _check(fn: Function, cell: Cell, step: bool, forward: Function | None, style: Style | None, seed: int) -> Check:
    name = name_of(fn)
    task = Task(cell, step, style or _style(fn))
    if forward is None and task.style == "cs231n":
        forward = _find_forward(fn, task)
    cases = make_cases(fn, task, forward, seed)
    if isinstance(cases, Verdict):
        verdict: Verdict | None = cases
        errors: dict[str, float] = {}
    else:
        verdict, errors = judge(fn, task, forward, cases), worst_errors(task, cases)
    sizes = tuple(task.describe(size) for size, _ in problems(task, seed))
    if verdict is None:
        return Check(name, True, None, f"{name}: all gradients are right.", errors, (), sizes)
    found = verdict.also or (() if verdict.mistake is None else (verdict.mistake,))
    return Check(name, False, verdict.mistake, f"{name}: {verdict.says}.", errors, found, sizes)


def _style(fn: Function) -> Style:
    """By the name of the first argument, da… or dh and dnext_h; if it is neither, by caches and _cell_."""
    try:
        names = list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        names = []
    first = names[0] if names else ""
    if first.startswith(("dh", "dnext")):
        return "cs231n"
    dai = first.startswith("da") or names[-1:] == ["caches"] or "_cell_" in name_of(fn)
    return "deeplearning.ai" if dai else "cs231n"


def _find_forward(fn: Function, task: Task) -> Function:
    known = getattr(inspect.unwrap(fn), "__globals__", {})
    found = known.get(task.forward_name)
    if callable(found):
        return found  # type: ignore[no-any-return]
    raise LookupError(
        f"{task.forward_name} was not found beside {name_of(fn)}; its cache comes from there. "
        f"Pass your forward function: forward=…, or style='deeplearning.ai' if the function is {_other(task)}"
    )


def _other(task: Task) -> str:
    return Task(task.cell, task.step, "deeplearning.ai").signature
