"""What is wrong with a student's gradient: its outputs beside the exact ones and those of every known mistake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from ._checks_cells import NONE, Flags, Float, Problem, Saved, forward, gradients, random_problem
from ._checks_mistakes import MISTAKES, deviations, forward_deviations
from ._checks_student import Run, Trouble, line_that_overwrites, name_of, run_backward, run_forward
from ._checks_styles import SIZE_NAMES, Function, Task, adapt, forward_outputs, upstream

TOLERANCE = 1e-9
"""Relative to the largest entry of an output. What is right is off by 1e-14 or so."""
SINGLE_TOLERANCE = 1e-4

SIZES = [(3, 2, 5, 4), (2, 4, 3, 5), (3, 3, 3, 3), (1, 4, 2, 3), (3, 1, 2, 4), (2, 3, 4, 4)]
"""(N, T, D, H): all different, all equal, one sequence, one step, D = H. Two more are drawn."""

Outputs = dict[str, Float]


@dataclass(frozen=True)
class Verdict:
    """A mistake's name if there is one, a sentence, and the names of all mistakes found."""

    mistake: str | None
    says: str
    also: tuple[str, ...] = ()


@dataclass
class Case:
    """One problem: the exact gradients and the student's."""

    sizes: tuple[int, int, int, int]
    problem: Problem
    steps: list[Saved]
    exact: Outputs
    run: Run

    @property
    def returned(self) -> bool:
        """Whether the student's function returned its outputs."""
        return self.run.trouble is None

    @cached_property
    def scales(self) -> dict[str, float]:
        """What the errors of every output are relative to."""
        return scales(self.exact)

    @cached_property
    def errors(self) -> dict[str, float]:
        """The relative error of every output; infinite where there is none."""
        if not self.returned:
            return dict.fromkeys(self.exact, float("inf"))
        return {n: relative_error(self.run.outputs[n], want, self.scales[n]) for n, want in self.exact.items()}


def problems(task: Task, seed: int) -> list[tuple[tuple[int, int, int, int], Problem]]:
    """Random problems; those of one step have T = 1, and no two of them the same sizes."""
    rng = np.random.default_rng(seed)
    drawn = [(int(s[0]), int(s[1]), int(s[2]), int(s[3])) for s in rng.integers(2, 7, size=(2, 4))]
    sizes = dict.fromkeys((n, 1 if task.step else t, d, h) for n, t, d, h in [*SIZES, *drawn])
    return [(size, random_problem(task.cell, size, rng, step=task.step)) for size in sizes]


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def relative_error(got: Float, want: Float, scale: float) -> float:
    """The largest difference relative to `scale`; infinite if the shapes differ or a number is not finite."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - want).max() / scale)


def scales(outputs: Outputs) -> dict[str, float]:
    """The largest entry of every output, or of all where one is zero."""
    sizes = {name: float(np.abs(value).max()) for name, value in outputs.items()}
    return {name: size or max(sizes.values()) or 1.0 for name, size in sizes.items()}


def check_forward(fn: Function, task: Task, p: Problem, steps: list[Saved]) -> Verdict | None:
    """What is wrong with the student's forward function in one problem."""
    made = run_forward(task, p, steps, fn)
    if made.trouble is not None:
        says = f"in the forward function: {made.trouble.says} for {task.describe(p.sizes)}"
        return Verdict(made.trouble.mistake, says)

    def apart(flags: Flags) -> list[str]:
        wanted = forward_outputs(task, forward(task.cell, p, flags))
        scale = scales(wanted)
        return [n for n, want in wanted.items() if not relative_error(made.outputs[n], want, scale[n]) < TOLERANCE]

    wrong = apart(NONE)
    if not wrong:
        return None
    wanted = forward_outputs(task, steps)
    shapes = [
        f"{n} has shape {made.outputs[n].shape} in place of {wanted[n].shape}"
        for n in wrong
        if made.outputs[n].shape != wanted[n].shape
    ]
    known = [says for flags, says in forward_deviations(task) if not apart(flags)]
    verb = "is" if len(wrong) == 1 else "are"
    says = f"the forward function {name_of(fn)} is wrong already ({listed(wrong)} {verb} not what the equations give"
    says += f" for {task.describe(p.sizes)}" + (f"; {shapes[0]})" if shapes else ")")
    return Verdict("wrong_forward", says + (f": {known[0]}" if len(known) == 1 else ""))


def make_cases(fn: Function, task: Task, fwd: Function | None, seed: int) -> list[Case] | Verdict:
    """The student's function on all problems, or what is wrong with the forward function."""
    cases = []
    for sizes, p in problems(task, seed):
        steps = forward(task.cell, p)
        if fwd is not None and (verdict := check_forward(fwd, task, p, steps)) is not None:
            return verdict
        exact = adapt(task, gradients(task.cell, p, steps=steps))
        run = run_backward(fn, task, upstream(task, p), run_forward(task, p, steps, fwd))
        cases.append(Case(sizes, p, steps, exact, run))
    return cases


def predicted(task: Task, flags: Flags, case: Case) -> Outputs | None:
    """What a mistake makes of the outputs. None where it cannot be made: the shapes do not fit."""
    try:
        return adapt(task, gradients(task.cell, case.problem, flags, case.steps), flags)
    except ValueError:
        return None


@dataclass(frozen=True)
class Fit:
    """How far a mistake explains the outputs."""

    full: bool
    """All outputs are those of the mistake."""
    partial: bool
    """All outputs are either exact or those of the mistake."""
    explained: tuple[str, ...]
    """Wrong outputs that are those of the mistake, in numbers and not merely in failing."""


def fit(task: Task, flags: Flags, cases: list[Case], *, whole: bool = False) -> Fit:
    """Compares in all cases. `whole`: gives up as soon as some output is not the mistake's."""
    alike = dict.fromkeys(task.outputs, True)
    right = dict.fromkeys(task.outputs, True)
    evidence: set[str] = set()
    for case in cases:
        made = predicted(task, flags, case)
        if not case.returned:
            fails = made is None or any(made[name].shape != want.shape for name, want in case.exact.items())
            if not fails:
                return Fit(False, False, ())
            continue
        if made is None:
            return Fit(False, False, ())
        scale = scales(made)
        for name, got in case.run.outputs.items():
            is_right = case.errors[name] < TOLERANCE
            is_made = alike[name] and relative_error(got, made[name], scale[name]) < TOLERANCE
            alike[name] &= is_made
            right[name] &= is_right
            if is_made and not is_right:
                evidence.add(name)
        if not any(alike[name] for name in alike if not right[name]) and not all(right.values()):
            return Fit(False, False, ())
        if whole and not all(alike.values()):
            return Fit(False, False, ())
    explained = tuple(name for name in task.outputs if name in evidence and alike[name])
    full = bool(explained) and all(alike.values())
    return Fit(full, bool(explained) and all(alike[n] or right[n] for n in alike), explained)


def known_mistake(task: Task, cases: list[Case]) -> Verdict | None:
    """The one known mistake that explains all outputs in all cases, or the two."""
    fits = [(deviation, fit(task, deviation.flags, cases)) for deviation in deviations(task)]
    tests: list[Callable[[Fit], bool]] = [lambda f: f.full, lambda f: f.partial]
    for test in tests:
        found = [deviation for deviation, how in fits if test(how)]
        names = list(dict.fromkeys(deviation.name for deviation in found))
        if len(names) == 1:
            return Verdict(names[0], found[0].says, (names[0],))
        if names:
            said = " or ".join(MISTAKES[name] for name in names)
            return Verdict(None, f"one of these, which give the same numbers here: {said}")
    pairs = [
        (one, other)
        for one, other in combinations([d for d in deviations(task) if d.common], 2)
        if one.name != other.name
        and not set(one.flags) & set(other.flags)
        and fit(task, {**one.flags, **other.flags}, cases, whole=True).full
    ]
    if len({(one.name, other.name) for one, other in pairs}) == 1:
        one, other = pairs[0]
        return Verdict(one.name, f"two mistakes: {one.says}; and {other.says}", (one.name, other.name))
    hints = [(deviation, how.explained) for deviation, how in fits if how.explained]
    if len({deviation.name for deviation, _ in hints}) == 1:
        deviation, explained = max(hints, key=lambda hint: len(hint[1]))
        return Verdict(None, f"{listed(explained)} alone would be explained by this: {deviation.says}")
    return None


def exception(task: Task, cases: list[Case]) -> Verdict | None:
    """The first exception, and for which sizes there is none."""
    failed = [case for case in cases if case.run.trouble is not None]
    if not failed or failed[0].run.trouble is None:
        return None
    says = f"{failed[0].run.trouble.says} for {task.describe(failed[0].sizes)}"
    ran = [case.sizes for case in cases if case.returned]
    if not ran:
        return Verdict("exception", f"{says}, and for all other sizes")
    if all((d == h) == (case.returned) for case in cases for _, _, d, h in [case.sizes]):
        equal = " = ".join(SIZE_NAMES[task.style][2:])
        hint = f"{equal}, so that x and h are mixed up somewhere or a matrix has to be transposed"
    elif all((n == 1) == case.returned for case in cases for n, _, _, _ in [case.sizes]):
        hint = f"{SIZE_NAMES[task.style][0]} = 1, so that a sum over the batch may be missing"
    else:
        hint = "; ".join(task.describe(sizes) for sizes in ran)
    return Verdict("exception", f"{says}; there is none for {hint}")


def wrong_shape(task: Task, cases: list[Case]) -> Verdict | None:
    """The first output of a wrong shape."""
    for case in cases:
        for name, want in case.exact.items():
            got = case.run.outputs[name]
            if got.shape == want.shape:
                continue
            says = f"{name} has shape {got.shape} in place of {want.shape} for {task.describe(case.sizes)}"
            scale = case.scales[name]
            if got.size == want.size and relative_error(got.reshape(want.shape), want, scale) < TOLERANCE:
                says += "; its numbers are right"
            elif got.shape == want.shape[::-1] and relative_error(got.T, want, scale) < TOLERANCE:
                says += "; it has to be transposed"
            return Verdict("wrong_shape", says)
    return None


def not_finite(task: Task, cases: list[Case]) -> Verdict | None:
    """The first case in which an output is not finite."""
    for case in cases:
        names = [name for name, value in case.run.outputs.items() if not np.isfinite(value).all()]
        if names:
            said = "has entries that are" if len(names) == 1 else "have entries that are"
            return Verdict("nan", f"{listed(names)} {said} nan or infinite for {task.describe(case.sizes)}")
    return None


def overwriting(fn: Function, task: Task, fwd: Function | None, cases: list[Case]) -> Verdict | None:
    """What the function changes in place, and in which line."""
    for case in cases:
        if case.run.changed:
            forward_run = run_forward(task, case.problem, case.steps, fwd)
            labels = case.run.changed
            line = line_that_overwrites(fn, upstream(task, case.problem), forward_run, labels, task)
            more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
            what = f"changes {', '.join(labels[:2])}{more} in place{line}"
            return Verdict("overwrites_inputs", f"{what}; the caller still needs it, so work on a copy")
    return None


def constant_factor(cases: list[Case], wrong: list[str]) -> str:
    """Says what the wrong outputs are divided by the exact ones, if that is one number in all cases."""
    ratios = []
    for case in cases:
        for name in wrong:
            got, want = case.run.outputs[name], case.exact[name]
            size = float((want * want).sum())
            if size == 0:
                continue
            ratio = float((got * want).sum()) / size
            if relative_error(got, ratio * want, case.scales[name]) > TOLERANCE:
                return ""
            ratios.append(ratio)
    if not ratios or max(ratios) - min(ratios) > TOLERANCE * abs(ratios[0]):
        return ""
    return f",{' each' * (len(wrong) > 1)} {ratios[0]:.6g} times what it should be"


def for_which_sizes(task: Task, cases: list[Case], wrong: list[str]) -> str:
    """For which sizes something is wrong; the shorter list of the two."""
    bad = [case.sizes for case in cases if any(case.errors[name] >= TOLERANCE for name in wrong)]
    if len(bad) == len(cases):
        return "for all sizes"
    good = [case.sizes for case in cases if case.sizes not in bad]
    few, words = (good, "for all sizes but") if len(good) < len(bad) else (bad, "for")
    return f"{words} {'; '.join(task.describe(sizes) for sizes in few)}"


def how_wrong(task: Task, cases: list[Case], wrong: list[str]) -> str:
    """Which outputs are wrong, and by how much; from the cases in which there are outputs."""
    worst: dict[str, float] = {}
    shapes: dict[str, str] = {}
    for case in cases:
        if not case.returned:
            continue
        for name, error in case.errors.items():
            got, want = case.run.outputs[name].shape, case.exact[name].shape
            if got != want:
                shapes.setdefault(name, f"{got} in place of {want} for {task.describe(case.sizes)}")
            elif error >= TOLERANCE:
                worst[name] = max(error, worst.get(name, 0))
    said = []
    if numbers := [name for name in wrong if name in worst and name not in shapes]:
        one = len(numbers) == 1
        sizes = ", ".join(f"{worst[name]:.2g}" for name in numbers)
        said.append(f"{listed(numbers)} {'is' if one else 'are'} wrong (relative error{'' if one else 's'} {sizes})")
    if misshapen := [name for name in wrong if name in shapes]:
        what = f"{shapes[misshapen[0]]}" if len(misshapen) == 1 else f"{misshapen[0]}: {shapes[misshapen[0]]}"
        said.append(f"{listed(misshapen)} {'has' if len(misshapen) == 1 else 'have'} the wrong shape ({what})")
    return " and ".join(said)


def judge(fn: Function, task: Task, fwd: Function | None, cases: list[Case]) -> Verdict | None:
    """None if everything is right."""
    for case in cases:
        trouble: Trouble | None = case.run.trouble
        if trouble is not None and trouble.mistake != "exception":
            return Verdict(trouble.mistake, trouble.says)
    worst = worst_errors(task, cases)
    wrong = [name for name, error in worst.items() if not error < TOLERANCE]
    over = overwriting(fn, task, fwd, cases)
    failed = exception(task, cases)
    if failed is not None and (not wrong or not any(case.returned for case in cases)):
        return failed
    if not wrong:
        return None if over is None else Verdict(over.mistake, f"all gradients are right, but it {over.says}")
    also = f"; moreover it {over.says}" if over is not None else ""
    if (verdict := not_finite(task, cases)) is not None:
        return verdict
    single = failed is None and any(case.run.single for case in cases)
    if single and all(error < SINGLE_TOLERANCE for error in worst.values()):
        return Verdict("single_precision", MISTAKES["single_precision"])
    said = how_wrong(task, cases, wrong)
    known = known_mistake(task, cases)
    if known is not None and known.mistake is not None:
        troubles = [case.run.trouble for case in cases if case.run.trouble is not None]
        if troubles:
            also = f"; with other sizes {troubles[0].briefly}{also}"
        return Verdict(known.mistake, f"{said}: {task.in_its_words(known.says)}{also}", known.also)
    if failed is not None:
        return failed
    if over is not None:
        return Verdict(over.mistake, f"{said}, and it {over.says}")
    if (verdict := wrong_shape(task, cases)) is not None:
        return verdict
    said += f" {for_which_sizes(task, cases, wrong)}{constant_factor(cases, wrong)}"
    if right := [name for name in task.outputs if name not in wrong]:
        said += f"; {listed(right)} {'is' if len(right) == 1 else 'are'} right"
    why = task.in_its_words(known.says) if known else "this is none of the known mistakes"
    return Verdict(None, f"{said}; {why}")


def worst_errors(task: Task, cases: list[Case]) -> dict[str, float]:
    """The largest relative error of every output over the cases in which there are outputs."""
    returned = [case for case in cases if case.returned] or cases
    return {name: max(case.errors[name] for case in returned) for name in task.outputs}
