"""The known mistakes of `bptt.checks`: their names, a sentence for each, and the flags of `_checks_cells`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations

from ._checks_cells import GATES, Flags
from ._checks_styles import Task

MISTAKES: dict[str, str] = {
    "bias_averaged": "the gradient of the bias is a mean where it has to be a sum",
    "bias_not_summed": "the gradient of the bias is not summed over the batch, or over time",
    "bias_summed_over_wrong_axis": "the gradient of the bias is summed over another axis than the batch",
    "carry_accumulated": "dprev_h of a step is added to that of later steps (+=) where it has to replace it",
    "dc_forgotten": "the gradient that comes back to c from the next step is left out (dnext_c is not added)",
    "dh_not_added": "the gradient of each step's own output is left out: only that of the last step enters",
    "dh_not_added_to_dc": "the gradient that comes to c through h = o*tanh(c) is left out",
    "divided_twice": "gradients are divided by the number of sequences or steps, which the loss has done already",
    "dprev_h_not_passed_on": "dprev_h of a step is not added to the gradient of the step before it",
    "dx_in_reverse_order": "dx is in the order of the backward loop; its steps are to be turned round",
    "dz_incomplete": "the gradient of the update gate is not dh*(h_prev - n): a term is missing or the sign is wrong",
    "exception": "the function raises an exception",
    "factor_2": "gradients are twice or half as large as they should be",
    "first_step_skipped": "the backward loop ends before it comes to step 0",
    "forget_gate_missing": "dprev_c is not multiplied with the forget gate",
    "gradient_transposed": "the gradient of a weight matrix is transposed",
    "i_and_g_exchanged": "di and dg are exchanged: di = dc*g and dg = dc*i",
    "last_step_alone": "only the last step's gradient of the parameters is returned; all steps have to be added up",
    "last_step_skipped": "the backward loop leaves out the last step",
    "loop_not_reversed": "the backward loop runs from the first step to the last",
    "nan": "an output is not finite",
    "next_c_instead_of_prev_c": "the gradient of the forget gate is taken with the new c where the old one belongs",
    "next_h_instead_of_prev_h": "the gradient of Wh is taken with the new h where the old one belongs",
    "no_sum_over_time": "the gradients of the steps are not added up: each overwrites the one before it (= for +=)",
    "not_implemented": "the function returns None",
    "not_numbers": "an output is no array of real numbers",
    "output_gate_missing": "the gradient that comes to c through h = o*tanh(c) is not multiplied with o",
    "output_left_zero": "an output is left at zero",
    "overwrites_inputs": "the function changes its arguments or its cache in place",
    "reset_before_product": "the reset gate multiplies h before the product with Wh_n; here it multiplies h Wh_n",
    "reset_gate_missing": "the gradient of h Wh_n is not multiplied with the reset gate",
    "sigmoid_and_tanh_exchanged": "the derivative of tanh, 1 - y^2, and that of sigmoid, y*(1 - y), are exchanged",
    "sigmoid_derivative_missing": "the derivative of the sigmoid, y*(1 - y), is left out",
    "sigmoid_derivative_of_wrong_value": "the derivative y*(1 - y) of the sigmoid is taken at another value than y",
    "single_precision": "the outputs are right, but in single precision; compute in float64",
    "tanh_derivative_missing": "the derivative of tanh, 1 - y^2, is left out",
    "tanh_derivative_of_wrong_value": "the derivative 1 - y^2 of tanh is taken at another value than y, tanh's output",
    "tanh_of_c_missing": "c is used where tanh(c) belongs, in do = dh*tanh(c)",
    "weights_not_transposed": "the gradient is multiplied with a weight matrix that has to be transposed",
    "wrong_forward": "the forward function is wrong already, so that its backward function was not looked at",
    "wrong_gate_order": "the gates are in another order than in the forward pass",
    "wrong_number_of_outputs": "the function returns another number of outputs, or others by name, than it should",
    "wrong_shape": "an output has the wrong shape",
    "wrong_sign": "the sign is wrong",
    "x_and_h_exchanged": "x and h are exchanged: one is used or returned where the other belongs",
    "z_exchanged": "z and 1 - z are exchanged in h' = (1 - z)*n + z*h",
    "z_path_forgotten": "dnext_h*z, the gradient through z*h, is left out of dprev_h",
}
"""Every name that `Check.mistake` can have, and what it says."""


@dataclass(frozen=True)
class Deviation:
    """A known mistake in one of its forms."""

    name: str
    flags: Flags
    says: str
    common: bool = False
    """Whether it is also looked for together with another mistake."""


@cache
def deviations(task: Task) -> list[Deviation]:
    """The mistakes that are possible in a task. Some have several forms."""
    found = [*_of_parameters(task), *_of_slopes(task), *_of_products(task)]
    if not task.step:
        found += _of_time(task)
    if task.cell == "lstm":
        found += _of_lstm(task)
    if task.cell == "gru":
        found += _of_gru()
    return found


def _make(name: str, flags: Flags, says: str = "", *, common: bool = False) -> Deviation:
    return Deviation(name, flags, says or MISTAKES[name], common)


def _of_parameters(task: Task) -> Iterator[Deviation]:
    dai = task.style == "deeplearning.ai"
    for how, axes in (("batch", "the batch"), ("time", "time"), ("batch and time", "the batch and time")):
        if not (task.step and how != "batch"):
            says = f"the gradient of the bias is not summed over {axes}"
            yield _make("bias_not_summed", {"bias": how}, says, common=how == "batch")
    yield _make("bias_summed_over_wrong_axis", {"bias": "gates, wrong axis" if dai else "wrong axis"})
    says = "the gradient of the bias is summed over all axes"
    yield _make("bias_summed_over_wrong_axis", {"bias": "gates, everything" if dai else "everything"}, says)
    rules = [("1/N", "N, the number of sequences")]
    if not task.step:
        rules += [("1/T", "T, the number of steps"), ("1/(N T)", "N*T")]
    for rule, by in rules:
        says = f"the gradient of the bias is divided by {by}: a mean where it has to be a sum"
        yield _make("bias_averaged", {"scale bias": rule}, says, common=rule == "1/N")
        says = f"divided by {by}, which belongs to the loss, and is in the gradient from above already"
        for group in ("parameters", "all"):
            yield _make("divided_twice", {f"scale {group}": rule}, says, common=rule == "1/N")
        yield _make("divided_twice", {"da": rule}, says)
    for rule, name in (("-1", "wrong_sign"), ("2", "factor_2"), ("1/2", "factor_2")):
        says = {"-1": "", "2": "twice as large as it should be", "1/2": "half as large as it should be"}[rule]
        for group in ("all", "parameters", "bias"):
            yield _make(name, {f"scale {group}": rule}, says)
        yield _make(name, {"da": rule}, says)
        if not task.step:
            yield _make(name, {"carry h": rule}, says)
    for output in ("all", "dx", "dWx", "dWh", "db", "dc0"):
        yield _make("output_left_zero", {"zero": output})
    if task.step:
        says = "dprev_h is left at zero, so that nothing is passed on to the step before"
        yield _make("dprev_h_not_passed_on", {"zero": "dh0"}, says)
    else:
        yield _make("output_left_zero", {"zero": "dh0"})
    yield _make("gradient_transposed", {"weights": "transposed"})


def _of_slopes(task: Task) -> Iterator[Deviation]:
    wrong = {
        "input": "1 - u^2 with tanh's input u: y = tanh(u) belongs there",
        "twice": "1 - tanh(y)^2 with y = tanh(u): tanh is applied twice",
        "unsquared": "1 - y: the square is missing",
        "square outside": "(1 - y)^2: the square belongs to y alone",
        "before": "1 - y^2 with the state before the step",
        "tanh before": "1 - tanh(y)^2 with the state before the step",
    }
    for key in ("tanh", "tanh c") if task.cell == "lstm" else ("tanh",):
        where = "tanh(c)" if key == "tanh c" else "the candidate's tanh" if task.cell == "lstm" else "tanh"
        for how, says in wrong.items():
            says = f"the derivative of {where} is taken at the wrong value: {says}"
            yield _make("tanh_derivative_of_wrong_value", {key: how}, says, common=how in ("input", "twice"))
        says = f"the derivative of {where}, 1 - y^2, is left out"
        yield _make("tanh_derivative_missing", {key: "missing"}, says, common=True)
        says = f"{where} has the derivative of a sigmoid, y*(1 - y)"
        yield _make("sigmoid_and_tanh_exchanged", {key: "sigmoid"}, says, common=True)
    gates = {"rnn": "", "lstm": "ifo", "gru": "rz"}[task.cell]
    names = {
        "missing": "sigmoid_derivative_missing",
        "input": "sigmoid_derivative_of_wrong_value",
        "twice": "sigmoid_derivative_of_wrong_value",
        "unmultiplied": "sigmoid_derivative_of_wrong_value",
        "tanh": "sigmoid_and_tanh_exchanged",
    }
    for how, name in names.items():
        for key, where in [("sigmoid", "the gates"), *((f"sigmoid {gate}", gate) for gate in gates)] if gates else []:
            says = f"{where}: {MISTAKES[name]}" if how != "tanh" else f"{where} and tanh: {MISTAKES[name]}"
            yield _make(name, {key: how}, says, common=key == "sigmoid")
    if gates:
        yield _make("sigmoid_and_tanh_exchanged", {"sigmoid": "tanh", "tanh": "sigmoid"}, common=True)


def _of_products(task: Task) -> Iterator[Deviation]:
    plain: list[tuple[Flags, str]] = [({"wh": "plain"}, "Wh"), ({"wx": "plain"}, "Wx")]
    for flags, which in [*plain, ({"wx": "plain", "wh": "plain"}, "Wx and Wh")]:
        says = f"the gradient is multiplied with {which} where the transposed matrix belongs"
        yield _make("weights_not_transposed", flags, says, common=which == "Wh")
    swaps = {
        "inputs": "dx and dprev_h are exchanged",
        "weights": "x and h are exchanged in the gradients of the weights",
        "both": "x and h are exchanged everywhere",
        "dx": "dx is what dprev_h should be: Wh is used where Wx belongs",
        "dh": "dprev_h is what dx should be: Wx is used where Wh belongs",
    }
    for swap, says in swaps.items():
        yield _make("x_and_h_exchanged", {"swap": swap}, says)
    yield _make("next_h_instead_of_prev_h", {"h": "next"}, common=True)
    gates = GATES[task.cell]
    if len(gates) > 1:
        for order in ("".join(p) for p in permutations(gates)):
            moved = [(gate, other) for gate, other in zip(gates, order, strict=True) if gate != other]
            if moved:
                said = ", ".join(f"that of {other} stands where {gate}'s belongs" for gate, other in moved)
                yield _make("wrong_gate_order", {"order": order}, f"the gates' gradients are in another order: {said}")
                said = ", ".join(f"{other} is taken for {gate}" for gate, other in moved)
                yield _make("wrong_gate_order", {"unpacked": order}, f"the gates are read in another order: {said}")


def _of_time(task: Task) -> Iterator[Deviation]:
    yield _make("no_sum_over_time", {"time": "overwritten"}, common=True)
    yield _make("last_step_alone", {"time": "last"}, common=True)
    says = "the gradient of the bias is not summed over time: the first step's alone is left"
    yield _make("bias_not_summed", {"bias": "overwritten"}, says)
    says = "the gradient of the bias is not summed over time: it is the last step's alone"
    yield _make("bias_not_summed", {"bias": "last"}, says)
    yield _make("dprev_h_not_passed_on", {"carry h": "zero"}, common=True)
    if task.cell == "lstm":
        says = "neither dprev_h nor dprev_c of a step is passed on to the step before it"
        yield _make("dprev_h_not_passed_on", {"carry h": "zero", "carry c": "zero"}, says)
    yield _make("carry_accumulated", {"carry h": "accumulated"})
    yield _make("dh_not_added", {"dh": "last"}, common=True)
    yield _make("loop_not_reversed", {"loop": "forward"}, common=True)
    yield _make("first_step_skipped", {"loop": "first skipped"})
    yield _make("last_step_skipped", {"loop": "last skipped"})
    yield _make("dx_in_reverse_order", {"dx": "reversed"}, common=True)


def _of_lstm(task: Task) -> Iterator[Deviation]:
    for name, how in (("dc_forgotten", "no dc"), ("dh_not_added_to_dc", "no dh")):
        yield _make(name, {"dc in gates": how, "dc in c": how}, common=True)
        yield _make(name, {"dc in gates": how}, f"{MISTAKES[name]}, for the gates")
        # In a sequence nothing comes to c but through h at first, so that without it nothing ever does.
        if task.step or how == "no dc":
            yield _make(name, {"dc in c": how}, f"{MISTAKES[name]}, in dprev_c")
    yield _make("next_c_instead_of_prev_c", {"c": "next"}, common=True)
    yield _make("tanh_of_c_missing", {"tanh(c)": "missing"}, common=True)
    yield _make("forget_gate_missing", {"f": "missing"}, common=True)
    yield _make("output_gate_missing", {"o": "missing"}, common=True)
    yield _make("i_and_g_exchanged", {"i and g": "exchanged"})
    if task.style == "deeplearning.ai":
        says = "x and a are exchanged: the operand is [a_prev; x], so that the first n_a columns belong to a_prev"
        yield _make("x_and_h_exchanged", {"slices": "x first"}, says)
        yield _make("x_and_h_exchanged", {"slices": "x first", "swap": "weights"}, says)


def _of_gru() -> Iterator[Deviation]:
    yield _make("z_path_forgotten", {"z path": "missing"}, common=True)
    yield _make("reset_gate_missing", {"reset": "missing"}, common=True)
    yield _make("reset_gate_missing", {"dr": "r"}, "dr is multiplied with r where h Wh_n belongs")
    yield _make("reset_before_product", {"reset": "before"})
    yield _make("z_exchanged", {"z": "exchanged"})
    for how, says in (("no n", "- n is missing"), ("no h", "h_prev is missing"), ("sign", "the sign is wrong")):
        yield _make("dz_incomplete", {"dz": how}, f"dz is not dh*(h_prev - n): {says}")


def forward_deviations(task: Task) -> Iterator[tuple[Flags, str]]:
    """What a wrong forward function may compute."""
    gates = GATES[task.cell]
    if len(gates) > 1:
        for order in ("".join(p) for p in permutations(gates)):
            if order != gates:
                said = f"its gates are in the order {', '.join(order)}; they are {', '.join(gates)} here"
                yield {"forward_order": order}, said
    yield {"b": "zero"}, "it leaves the bias out"
    yield {"h0": "zero"}, "it begins with h = 0 in place of the h it is given"
    if not task.step:
        yield {"forward_carry": "zero"}, "every step begins with the initial state, not with the last step's"
    if task.cell == "lstm":
        yield {"tanh(c)": "missing"}, "h is o*c in place of o*tanh(c)"
    if task.cell == "gru":
        yield {"reset": "before"}, "the reset gate multiplies h before the product with Wh_n; here it multiplies h Wh_n"
        yield {"z": "exchanged"}, "z and 1 - z are exchanged in h' = (1 - z)*n + z*h"
