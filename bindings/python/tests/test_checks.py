"""`bptt.checks`: right homeworks pass, planted mistakes are named, and unknown ones are not."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bptt import _checks_cells, _checks_diagnosis, _checks_mistakes, _checks_styles, checks
from planted import CELL, CELLS, GRU, GRUS, LCELL, LCELLS, LSTM, LSTMS, PLANTED, SEQ, STEP, UNKNOWN

SOURCE = Path(__file__).with_name("students.py").read_text()

TASKS: dict[str, tuple[Callable[..., checks.Check], str, Any, tuple[Any, bool]]] = {
    "rnn_step_backward": (checks.check_rnn_step_backward, "rnn_step_forward", "cs231n", ("rnn", True)),
    "rnn_backward": (checks.check_rnn_backward, "rnn_forward", "cs231n", ("rnn", False)),
    "lstm_step_backward": (checks.check_lstm_step_backward, "lstm_step_forward", "cs231n", ("lstm", True)),
    "lstm_backward": (checks.check_lstm_backward, "lstm_forward", "cs231n", ("lstm", False)),
    "gru_step_backward": (checks.check_gru_step_backward, "gru_step_forward", "cs231n", ("gru", True)),
    "gru_backward": (checks.check_gru_backward, "gru_forward", "cs231n", ("gru", False)),
    "rnn_cell_backward": (checks.check_rnn_step_backward, "rnn_cell_forward", "deeplearning.ai", ("rnn", True)),
    "dai_rnn_backward": (checks.check_rnn_backward, "dai_rnn_forward", "deeplearning.ai", ("rnn", False)),
    "lstm_cell_backward": (checks.check_lstm_step_backward, "lstm_cell_forward", "deeplearning.ai", ("lstm", True)),
    "dai_lstm_backward": (checks.check_lstm_backward, "dai_lstm_forward", "deeplearning.ai", ("lstm", False)),
}


def task(name: str) -> _checks_styles.Task:
    _, _, style, (cell, step) = TASKS[name]
    return _checks_styles.Task(cell, step, style)


def student(*edits: tuple[str, str], inside: str = "") -> dict[str, Any]:
    """The module of right solutions with edits, each of which applies once, in the function `inside` and after."""
    at = SOURCE.index(f"def {inside}(") if inside else 0
    before, source = SOURCE[:at], SOURCE[at:]
    for old, new in edits:
        assert old in source, old
        source = source.replace(old, new, 1)
    name = f"<student {hash(source)}>"
    linecache.cache[name] = (len(before + source), None, (before + source).splitlines(True), name)
    module: dict[str, Any] = {}
    exec(compile(before + source, name, "exec"), module)
    return module


def run(name: str, module: dict[str, Any]) -> checks.Check:
    check, forward, style, _ = TASKS[name]
    if style == "deeplearning.ai":
        return check(module[name])
    return check(module[name], module[forward])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", TASKS)
def test_right_solutions_pass(name: str, seed: int) -> None:
    module = student()
    check, forward, _, _ = TASKS[name]
    found = check(module[name], module[forward], seed=seed)
    assert found.ok and found and found.mistake is None, found.message
    assert max(found.errors.values()) < 1e-13
    assert list(found.errors) == task(name).outputs
    found.raise_if_wrong()


@pytest.mark.parametrize("name", TASKS)
def test_the_exact_gradients_are_finite_differences_of_the_students_forward(name: str) -> None:
    of = task(name)
    forward = student()[TASKS[name][1]]
    rng = np.random.default_rng(5)
    p = _checks_cells.random_problem(of.cell, (2, 1 if of.step else 4, 3, 5), rng, step=of.step)
    exact = _checks_styles.adapt(of, _checks_cells.gradients(of.cell, p))
    arguments = _checks_styles.forward_arguments(of, p, rng)
    above = _checks_styles.upstream(of, p)

    def loss() -> float:
        picked = _checks_styles.pick_forward_outputs(of, forward(*arguments.values()))
        assert picked is not None
        return sum(float((value * back).sum()) for value, back in zip(picked[0].values(), above, strict=False))

    places = {**arguments, **arguments.get("parameters", {})}
    for output, gradient in exact.items():
        array = places[output[1:]]
        assert gradient.shape == array.shape
        estimate = np.zeros_like(array)
        for index in np.ndindex(*array.shape):
            kept = array[index]
            array[index] = kept + 1e-5
            high = loss()
            array[index] = kept - 1e-5
            estimate[index] = (high - loss()) / 2e-5
            array[index] = kept
        assert np.abs(estimate - gradient).max() < 1e-8 * max(1, np.abs(gradient).max()), output


def place_of(name: str, old: str) -> str:
    """The function that the edit is in: the one that is checked, or that of a step which it calls."""
    step = {SEQ: STEP, LSTMS: LSTM, GRUS: GRU, CELLS: CELL, LCELLS: LCELL}.get(name, name)
    end = SOURCE.find("\n\n\n", SOURCE.index(f"def {name}("))
    return name if old in SOURCE[SOURCE.index(f"def {name}(") : end] else step


@pytest.mark.parametrize(("name", "old", "new", "mistake"), PLANTED)
def test_a_planted_mistake_is_named(name: str, old: str, new: str, mistake: str) -> None:
    found = run(name, student((old, new), inside=place_of(name, old)))
    assert not found.ok
    assert found.mistake == mistake, found.message
    assert mistake in checks.MISTAKES
    assert found.message.startswith(name) and "\n" not in found.message
    with pytest.raises(AssertionError, match=name):
        found.raise_if_wrong()


def test_the_planted_mistakes_have_most_names_and_every_kind_of_function() -> None:
    assert {name for name, *_ in PLANTED} == set(TASKS)
    never = set(checks.MISTAKES) - {mistake for *_, mistake in PLANTED}
    # These have tests of their own below.
    assert never == {"carry_accumulated", "not_numbers", "reset_before_product", "wrong_forward", "z_exchanged"}


def test_two_mistakes_are_both_named() -> None:
    edits = ("dnext_c + dnext_h * o", "dnext_h * o"), ("da.sum(axis=0)", "da.mean(axis=0)")
    found = run(LSTM, student(*edits, inside=LSTM))
    assert set(found.mistakes) == {"dc_forgotten", "bias_averaged"}
    assert found.mistake in found.mistakes and "two mistakes: " in found.message
    edits = ("dx[:, t], dprev_h", "dx[:, T - 1 - t], dprev_h"), ("dh[:, t] + dprev_h", "dh[:, t]")
    assert set(run(SEQ, student(*edits, inside=SEQ)).mistakes) == {"dprev_h_not_passed_on", "dx_in_reverse_order"}


FACTS = {"exception", "nan", "overwrites_inputs", "wrong_shape", "output_left_zero", "not_implemented"}
"""Names that say what happened, and not why."""


def pairs_of_planted() -> list[tuple[int, int]]:
    found = []
    for one in range(len(PLANTED)):
        for other in range(one + 1, len(PLANTED)):
            (name, old, _, _), (name2, old2, _, _) = PLANTED[one], PLANTED[other]
            if name == name2 and place_of(name, old) == place_of(name, old2) and not (old in old2 or old2 in old):
                found.append((one, other))
    return found


@pytest.mark.parametrize("chosen", np.random.default_rng(0).permutation(len(pairs_of_planted()))[:40])
def test_of_two_mistakes_no_third_is_named(chosen: int) -> None:
    one, other = (PLANTED[k] for k in pairs_of_planted()[chosen])
    try:
        module = student(one[1:3], other[1:3], inside=place_of(one[0], one[1]))
    except AssertionError:
        pytest.skip("the edits overlap or are in the other order")
    found = run(one[0], module)
    assert not found.ok
    assert set(found.mistakes) <= {one[3], other[3], *FACTS}, found.message


@pytest.mark.parametrize(("name", "old", "new"), UNKNOWN)
def test_an_unknown_mistake_has_no_name_but_the_wrong_outputs_have(name: str, old: str, new: str) -> None:
    found = run(name, student((old, new), inside=place_of(name, old)))
    assert not found.ok and found.mistake is None, found.message
    wrong = [output for output, error in found.errors.items() if error > 1e-9]
    assert wrong and all(output in found.message for output in found.errors)
    assert " wrong (relative error" in found.message and "for all sizes" in found.message
    if len(wrong) < len(found.errors):
        assert " right" in found.message


def test_the_message_gives_a_constant_factor() -> None:
    found = run(STEP, student(("x.T @ da", "3 * x.T @ da"), inside=STEP))
    assert "for all sizes, 3 times what it should be" in found.message


def test_the_sizes_that_are_wrong_are_given() -> None:
    found = run(SEQ, student(("return dx, dprev_h", "return dx + (T == 1), dprev_h"), inside=SEQ))
    assert found.mistake is None
    assert "dx is wrong" in found.message and "for N = 3, T = 1, D = 2, H = 4; dh0, dWx" in found.message


def test_one_sequence_does_not_tell_mean_from_sum_but_others_do() -> None:
    found = run(STEP, student(("da.sum(axis=0)", "da.sum(axis=0) / max(1, len(x))"), inside=STEP))
    assert found.mistake == "bias_averaged"
    found = run(STEP, student(("da.sum(axis=0)", "da.sum(axis=0) if len(x) > 1 else 2 * da[0]"), inside=STEP))
    assert found.mistake is None and "for N = 1, D = 2, H = 3" in found.message


def test_carry_accumulated() -> None:
    edits = ("dx[:, t], dprev_h, dWx_t", "dx[:, t], back, dWx_t"), ("dWx += dWx_t", "dprev_h += back; dWx += dWx_t")
    assert run(SEQ, student(*edits, inside=SEQ)).mistake == "carry_accumulated"


def test_the_gru_of_another_convention() -> None:
    edits = [("dq = da_n * r", "back = da_n @ cache.Wh[:, 2 * len(cache.Wh) :].T")]
    edits += [("da_n * q * r", "back * prev_h * r"), ("[da_r, da_z, dq]", "[da_r, da_z, 0 * da_n]")]
    edits += [(" + dnext_h * z", " + dnext_h * z + back * r")]
    edits += [("prev_h.T @ da_h", "np.hstack([prev_h.T @ da_r, prev_h.T @ da_z, (r * prev_h).T @ da_n])")]
    assert run(GRU, student(*edits, inside=GRU)).mistake == "reset_before_product"
    edits = [("dnext_h * (prev_h - n)", "dnext_h * (n - prev_h)"), ("dnext_h * (1 - z)", "dnext_h * z")]
    assert run(GRU, student(*edits, (" + dnext_h * z", " + dnext_h * (1 - z)"), inside=GRU)).mistake == "z_exchanged"


@pytest.mark.parametrize(
    ("name", "inside", "old", "new", "words"),
    [
        (LSTM, "lstm_step_forward", "i, f, o = ", "f, i, o = ", "gates are in the order f, i, o, g"),
        (LSTM, "lstm_step_forward", "o * np.tanh(next_c)", "o * next_c", "h is o*c in place of o*tanh(c)"),
        (STEP, "rnn_step_forward", " + b)", ")", "it leaves the bias out"),
        (SEQ, "rnn_forward", "caches, last = [], [], h0", "caches, last = [], [], 0 * h0", "begins with h = 0"),
        (SEQ, "rnn_forward", "x[:, t], last, Wx", "x[:, t], h0, Wx", "every step begins with the initial state"),
        (SEQ, "rnn_forward", "np.stack(h, axis=1)", "np.stack(h)", "h has shape (2, 3, 4) in place of (3, 2, 4)"),
        (GRU, "gru_step_forward", "(1 - z) * n + z * prev_h", "z * n + (1 - z) * prev_h", "z and 1 - z are exchanged"),
        (STEP, "rnn_step_forward", "np.tanh(", "np.sin(", "next_h is not what the equations give"),
    ],
)
def test_a_wrong_forward_function_is_named_first(name: str, inside: str, old: str, new: str, words: str) -> None:
    found = run(name, student((old, new), inside=inside))
    assert not found.ok and found.mistake == "wrong_forward"
    assert "forward function" in found.message and words in found.message


def test_trouble_in_the_forward_function() -> None:
    found = run(STEP, student(("np.tanh(x @ Wx", "np.tanh(x @ Wy")))
    assert found.mistake == "exception" and "in the forward function" in found.message
    assert "NameError in line 16 of rnn_step_forward: `next_h = np.tanh(x @ Wy" in found.message
    found = run(STEP, student(("return next_h, (x", "return next_h, next_h, (x")))
    assert found.mistake == "wrong_number_of_outputs"
    found = run(STEP, student(("    next_h = ", "    x += 1\n    next_h = ")))
    assert found.mistake == "overwrites_inputs" and "rnn_step_forward changes x in place" in found.message


def test_a_forward_function_of_the_other_course_is_checked_if_it_is_passed() -> None:
    module = student(("ot * np.tanh(c_next)", "ot * c_next"), inside="lstm_cell_forward")
    assert checks.check_lstm_step_backward(module[LCELL]).ok
    found = checks.check_lstm_step_backward(module[LCELL], module["lstm_cell_forward"])
    assert found.mistake == "wrong_forward" and "m = 3" in found.message


def test_the_forward_function_is_found_beside_the_backward_function() -> None:
    module = student()
    assert checks.check_lstm_backward(module[LSTMS]).ok
    del module["lstm_forward"]
    with pytest.raises(LookupError, match="lstm_forward was not found beside lstm_backward"):
        checks.check_lstm_backward(module[LSTMS])


def test_the_line_of_an_exception_and_the_sizes_without_it() -> None:
    found = run(STEP, student(("x.T @ da", "x.T @ da * x[:1].T"), inside=STEP))
    assert found.mistake is None
    found = run(STEP, student(("da.sum(axis=0)", "da.reshape(Wh.shape[0])"), inside=STEP))
    assert found.mistake == "exception"
    assert "ValueError in line 27 of rnn_step_backward: `db = da.reshape(Wh.shape[0])`" in found.message
    assert "there is none for N = 1" in found.message
    found = run(STEP, student(("da @ Wx.T", "da @ Wx"), inside=STEP))
    assert "with other sizes it raises ValueError in line 23 of rnn_step_backward: `dx = da @ Wx`." in found.message
    assert found.errors["dx"] > 0.1 and found.errors["dprev_h"] < 1e-13
    found = checks.check_rnn_step_backward(lambda dnext_h: dnext_h, student()["rnn_step_forward"])
    assert found.mistake == "exception" and "TypeError" in found.message


def test_outputs_that_are_no_numbers() -> None:
    found = run(STEP, student(("return dx, dprev_h, dWx", 'return "dx", dprev_h, dWx'), inside=STEP))
    assert found.mistake == "not_numbers" and "dx is no array of real numbers but str" in found.message


def test_the_line_that_overwrites_is_given_and_consuming_the_cache_is_allowed() -> None:
    found = run(LSTM, student(("dc = dnext_c + ", "dc = dnext_c\n    dc += "), inside=LSTM))
    assert "all gradients are right, but it changes dnext_c in place in line 68" in found.message
    assert run(LSTMS, student(("dprev_c, cache[t]", "dprev_c, cache.pop()"), inside=LSTMS)).ok


def test_what_a_check_shows() -> None:
    module = student(("da.sum(axis=0)", "da.mean(axis=0)"), inside=STEP)
    found = run(STEP, module)
    lines = repr(found).split("\n")
    assert lines[0] == found.message
    assert found.message == (
        "rnn_step_backward: db is wrong (relative error 0.83): the gradient of the bias is divided by N, "
        "the number of sequences: a mean where it has to be a sum."
    )
    assert [line.split()[:2] for line in lines[1:]] == [
        ["dx", "right"],
        ["dprev_h", "right"],
        ["dWx", "right"],
        ["dWh", "right"],
        ["db", "WRONG"],
    ]
    assert "N = 1, D = 2, H = 3" in found.sizes and len(found.sizes) >= 6
    with pytest.raises(AssertionError, match="a mean where it has to be a sum"):
        found.raise_if_wrong()
    assert run(STEP, module) == found


def test_the_style_can_be_told() -> None:
    module = student()
    same = lambda g, cache: module[CELL](g, cache)  # noqa: E731
    assert checks.check_rnn_step_backward(same, style="deeplearning.ai").ok
    found = checks.check_rnn_step_backward(same, module["rnn_step_forward"], style="cs231n")
    assert found.mistake == "exception"
    found = checks.check_rnn_step_backward(lambda da, cache: (da,) * 5)
    assert found.mistake == "wrong_number_of_outputs" and "style='cs231n'" in found.message
    found = checks.check_rnn_step_backward(lambda dh, cache: {"dx": dh}, module["rnn_step_forward"])
    assert found.mistake == "wrong_number_of_outputs" and "style='deeplearning.ai'" in found.message


@pytest.mark.parametrize("name", TASKS)
def test_no_two_names_are_of_the_same_outputs(name: str) -> None:
    of = task(name)
    cases = [
        _checks_diagnosis.Case(sizes, p, _checks_cells.forward(of.cell, p), {}, _checks_diagnosis.Run())
        for sizes, p in _checks_diagnosis.problems(of, 0)[:3]
    ]
    seen: list[tuple[str, list[Any]]] = []
    for deviation in _checks_mistakes.deviations(of):
        assert deviation.name in checks.MISTAKES
        made = [_checks_diagnosis.predicted(of, deviation.flags, case) for case in cases]
        flat = [None if m is None else np.concatenate([value.ravel() for value in m.values()]) for m in made]
        for other, values in seen:
            if other != deviation.name:
                assert not all(
                    (a is None) == (b is None) and (a is None or (a.shape == b.shape and np.allclose(a, b, rtol=1e-9)))
                    for a, b in zip(flat, values, strict=True)
                ), (deviation, other)
        seen.append((deviation.name, flat))
