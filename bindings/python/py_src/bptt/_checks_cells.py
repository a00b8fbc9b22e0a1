"""Exact gradients of small recurrent networks for `bptt.checks`, and what known mistakes make of them.

Shapes as in CS231n: x (N, T, D), h (N, T, H), Wx (D, G*H), Wh (H, G*H), b (G*H), G the number of gates.

    rnn    h' = tanh(a)
    lstm   i, f, o = sigmoid(a_i, a_f, a_o), g = tanh(a_g), c' = f*c + i*g, h' = o*tanh(c')
    gru    r, z = sigmoid(a_r, a_z), n = tanh(x Wx_n + b_n + r*(h Wh_n)), h' = (1 - z)*n + z*h

with a = x Wx + h Wh + b, and the gates side by side in the order of `GATES`. A mistake is a dictionary of flags; each
flag is read at the one place where the computation goes another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Cell = Literal["rnn", "lstm", "gru"]
Flags = Mapping[str, str]

GATES: dict[Cell, str] = {"rnn": "n", "lstm": "ifog", "gru": "rzn"}
"""The gates of each cell in the order of their blocks."""
TANH_GATES = "gn"
NONE: Flags = {}


@dataclass(frozen=True)
class Problem:
    """Sizes, weights, inputs and the gradients that come from above."""

    x: Float
    h0: Float
    c0: Float
    wx: Float
    wh: Float
    b: Float
    dh: Float
    """(N, T, H), of each step's output."""
    dc: Float
    """(N, H), of the last c."""

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """N, T, D, H."""
        return self.x.shape[0], self.x.shape[1], self.x.shape[2], self.h0.shape[1]


def random_problem(cell: Cell, sizes: tuple[int, int, int, int], rng: np.random.Generator, *, step: bool) -> Problem:
    """Normal numbers. A sequence begins with c = 0 and nothing comes back to its last c; a single step has both."""
    n, t, d, h = sizes
    width = h * len(GATES[cell])
    return Problem(
        x=rng.normal(size=(n, t, d)),
        h0=rng.normal(size=(n, h)),
        c0=rng.normal(size=(n, h)) * step,
        wx=rng.normal(size=(d, width)) / np.sqrt(d),
        wh=rng.normal(size=(h, width)) / np.sqrt(h),
        b=rng.normal(size=width) / 2,
        dh=rng.normal(size=(n, t, h)),
        dc=rng.normal(size=(n, h)) * step,
    )


@dataclass(frozen=True)
class Saved:
    """What a step of the forward pass leaves behind, all by gates."""

    x: Float
    h: Float
    c: Float
    pre: dict[str, Float]
    act: dict[str, Float]
    recurrent: Float
    """h Wh of the last gate: what a GRU's reset gate is multiplied with."""
    next_h: Float
    next_c: Float


def sigmoid(a: Float) -> Float:
    """1 / (1 + exp(-a))."""
    return np.asarray(0.5 + 0.5 * np.tanh(a / 2))


def _blocks(whole: Float, gates: str) -> dict[str, Float]:
    width = whole.shape[-1] // len(gates)
    return {gate: whole[..., k * width : (k + 1) * width] for k, gate in enumerate(gates)}


def forward(cell: Cell, p: Problem, flags: Flags = NONE) -> list[Saved]:
    """The steps in the order of time."""
    h, c = (np.zeros_like(p.h0) if flags.get("h0") == "zero" else p.h0), p.c0
    steps = []
    for t in range(p.x.shape[1]):
        steps.append(_forward_step(cell, p, p.x[:, t], h, c, flags))
        if flags.get("forward_carry") != "zero":
            h, c = steps[-1].next_h, steps[-1].next_c
    return steps


def _forward_step(cell: Cell, p: Problem, x: Float, h: Float, c: Float, flags: Flags) -> Saved:
    gates = flags.get("forward_order", GATES[cell])
    b = np.zeros_like(p.b) if flags.get("b") == "zero" else p.b
    from_x, from_h = _blocks(x @ p.wx + b, gates), _blocks(h @ p.wh, gates)
    pre = {gate: from_x[gate] + from_h[gate] for gate in gates}
    last = GATES[cell][-1]
    recurrent = from_h[last]
    if cell == "gru":
        r = sigmoid(pre["r"])
        if flags.get("reset") == "before":
            recurrent = (r * h) @ _blocks(p.wh, gates)["n"]
            pre["n"] = from_x["n"] + recurrent
        else:
            pre["n"] = from_x["n"] + r * recurrent
    act = {gate: np.tanh(a) if gate in TANH_GATES else sigmoid(a) for gate, a in pre.items()}
    if cell == "rnn":
        next_h, next_c = act["n"], c
    elif cell == "lstm":
        next_c = act["f"] * c + act["i"] * act["g"]
        next_h = act["o"] * (next_c if flags.get("tanh(c)") == "missing" else np.tanh(next_c))
    else:
        z = 1 - act["z"] if flags.get("z") == "exchanged" else act["z"]
        next_h, next_c = (1 - z) * act["n"] + z * h, c
    return Saved(x, h, c, pre, act, recurrent, next_h, next_c)


def _tanh_slope(how: str, a: Float, out: Float, before: Float) -> Float:
    if how == "missing":
        return np.ones_like(out)
    if how == "sigmoid":
        return out * (1 - out)
    if how in ("unsquared", "square outside"):
        return (1 - out) ** (1 if how == "unsquared" else 2)
    if how in ("twice", "tanh before"):
        return np.asarray(1 - np.tanh(out if how == "twice" else before) ** 2)
    of = {"": out, "input": a, "before": before}[how]
    return 1 - of * of


def _sigmoid_slope(how: str, a: Float, out: Float) -> Float:
    if how == "missing":
        return np.ones_like(out)
    if how in ("unmultiplied", "tanh"):
        return 1 - out ** (1 if how == "unmultiplied" else 2)
    of = {"": out, "input": a, "twice": sigmoid(out) if how == "twice" else out}[how]
    return of * (1 - of)


@dataclass(frozen=True)
class StepGradients:
    """Gradients of one step: of its inputs, and of the parameters (of the bias not yet summed over the batch)."""

    dx: Float
    dh: Float
    dc: Float
    dwx: Float
    dwh: Float
    db: Float


@dataclass(frozen=True)
class _Adjoints:
    """By gates: what meets the input side and the recurrent side; and what goes back to h and c beside the weights."""

    x: dict[str, Float]
    h: dict[str, Float]
    dh: Float
    dc: Float


def _slopes(s: Saved, act: dict[str, Float], flags: Flags, before: Float) -> dict[str, Float]:
    return {
        gate: _tanh_slope(flags.get("tanh", ""), s.pre[gate], out, before)
        if gate in TANH_GATES
        else _sigmoid_slope(flags.get("sigmoid", flags.get(f"sigmoid {gate}", "")), s.pre[gate], out)
        for gate, out in act.items()
    }


def _rnn(s: Saved, act: dict[str, Float], dh: Float, dc: Float, flags: Flags) -> _Adjoints:
    a = {"n": dh * _slopes(s, act, flags, s.h)["n"]}
    return _Adjoints(a, a, np.zeros_like(dh), dc)


def _lstm(s: Saved, act: dict[str, Float], dh: Float, dc: Float, flags: Flags) -> _Adjoints:
    i, f, o, g = (act[gate] for gate in "ifog")
    tanh_c = np.tanh(s.next_c)
    through_h = dh * _tanh_slope(flags.get("tanh c", ""), s.next_c, tanh_c, s.c)
    if flags.get("o") != "missing":
        through_h = through_h * o
    choices = {"": dc + through_h, "no dc": through_h, "no dh": dc}
    for_gates, for_c = choices[flags.get("dc in gates", "")], choices[flags.get("dc in c", "")]
    if flags.get("i and g") == "exchanged":
        i, g = g, i
    d = {
        "i": for_gates * g,
        "f": for_gates * (s.next_c if flags.get("c") == "next" else s.c),
        "o": dh * (s.next_c if flags.get("tanh(c)") == "missing" else tanh_c),
        "g": for_gates * i,
    }
    slopes = _slopes(s, act, flags, s.c)
    a = {gate: d[gate] * slopes[gate] for gate in "ifog"}
    return _Adjoints(a, a, np.zeros_like(dh), for_c if flags.get("f") == "missing" else for_c * f)


def _gru(s: Saved, act: dict[str, Float], wn: Float, dh: Float, dc: Float, flags: Flags) -> _Adjoints:
    r, z, n = (act[gate] for gate in "rzn")
    slopes = _slopes(s, act, flags, s.h)
    keep = 1 - z if flags.get("z") == "exchanged" else z
    dz = {"": s.h - n, "no n": s.h, "no h": -n, "sign": n - s.h}[flags.get("dz", "")] * dh
    if flags.get("z") == "exchanged":
        dz = -dz
    an = dh * (1 - keep) * slopes["n"]
    direct = np.zeros_like(dh) if flags.get("z path") == "missing" else dh * keep
    az = dz * slopes["z"]
    if flags.get("reset") == "before":
        back = an @ wn.T
        ar = back * s.h * slopes["r"]
        # What Wh_n is multiplied with is r*h: its gradient for h is here, its part of dWh is the caller's.
        return _Adjoints({"r": ar, "z": az, "n": an}, {"r": ar, "z": az, "n": an}, direct + back * r, dc)
    ar = an * (r if flags.get("dr") == "r" else s.recurrent) * slopes["r"]
    q = an if flags.get("reset") == "missing" else an * r
    return _Adjoints({"r": ar, "z": az, "n": an}, {"r": ar, "z": az, "n": q}, direct, dc)


def _scale(rule: str, p: Problem) -> float:
    n, t, _, _ = p.sizes
    rules = {"-1": -1.0, "2": 2.0, "1/2": 0.5, "1/N": 1 / n, "1/T": 1 / t, "1/(N T)": 1 / (n * t)}
    return rules[rule]


def _backward_step(cell: Cell, p: Problem, s: Saved, dh: Float, dc: Float, flags: Flags) -> StepGradients:
    gates = GATES[cell]
    act = {gate: s.act[other] for gate, other in zip(gates, flags.get("unpacked", gates), strict=True)}
    wx, wh, (_, _, d, _) = p.wx, p.wh, p.sizes
    if "slices" in flags:
        stacked = np.vstack([wh, wx])
        wx, wh = stacked[:d], stacked[d:]
    wx_of, wh_of = _blocks(wx, gates), _blocks(wh, gates)
    if cell == "rnn":
        to = _rnn(s, act, dh, dc, flags)
    elif cell == "lstm":
        to = _lstm(s, act, dh, dc, flags)
    else:
        to = _gru(s, act, wh_of["n"], dh, dc, flags)
    order = flags.get("order", gates)
    scale = _scale(flags["da"], p) if "da" in flags else 1.0
    ax = {gate: to.x[other] * scale for gate, other in zip(gates, order, strict=True)}
    ah = {gate: to.h[other] * scale for gate, other in zip(gates, order, strict=True)}
    before = cell == "gru" and flags.get("reset") == "before"
    through_h = [gate for gate in gates if not (before and gate == "n")]

    dx = np.asarray(sum(ax[g] @ (wx_of[g] if flags.get("wx") == "plain" else wx_of[g].T) for g in gates))
    prev = np.asarray(sum(ah[g] @ (wh_of[g] if flags.get("wh") == "plain" else wh_of[g].T) for g in through_h))
    prev = prev + to.dh
    seen = s.next_h if flags.get("h") == "next" else s.h
    operands = {gate: seen * s.act["r"] if before and gate == "n" else seen for gate in gates}
    dwx = np.hstack([s.x.T @ ax[gate] for gate in gates])
    dwh = np.hstack([operands[gate].T @ ah[gate] for gate in gates])
    swap = flags.get("swap", "")
    if swap in ("inputs", "both"):
        dx, prev = prev, dx
    elif swap == "dx":
        dx = prev
    elif swap == "dh":
        prev = dx
    if swap in ("weights", "both"):
        dwx, dwh = dwh, dwx
    return StepGradients(dx, prev, to.dc, dwx, dwh, np.hstack([ax[gate] for gate in gates]))


def _steps_visited(steps: int, flags: Flags) -> list[int]:
    order = list(range(steps - 1, -1, -1))
    loop = flags.get("loop", "")
    if loop == "first skipped":
        return order[:-1]
    if loop == "last skipped":
        return order[1:]
    return order[::-1] if loop == "forward" else order


def _over_time(parts: list[Float], how: str, like: Float) -> Float:
    """`parts` in the order of the loop, which ends with the first step."""
    if not parts:
        return np.zeros_like(like)
    if how == "":
        return np.asarray(sum(parts))
    return parts[-1] if how == "overwritten" else parts[0]


def _bias(parts: list[Float], p: Problem, flags: Flags, *, reversed_: bool) -> Float:
    """db (G*H) from every step's (N, G*H)."""
    how = flags.get("bias", "")
    if not parts:
        return np.zeros_like(p.b)
    in_time = parts[::-1] if reversed_ else parts
    if how == "batch":
        return np.asarray(sum(parts))
    if how == "time":
        return np.stack([part.sum(0) for part in in_time])
    if how == "batch and time":
        return np.stack(in_time, axis=1)
    if how == "wrong axis":
        return np.asarray(sum(part.sum(1) for part in parts))
    if how == "everything":
        return np.asarray(sum(part.sum() for part in parts))
    if how.startswith("gates"):
        by_gate = np.stack([part.reshape(part.shape[0], -1, p.h0.shape[1]).sum(2) for part in parts]).sum(0)
        return by_gate if how == "gates, wrong axis" else np.asarray(by_gate.sum(0))
    time = how if how in ("overwritten", "last") else flags.get("time", "")
    return _over_time([part.sum(0) for part in parts], time, p.b)


def gradients(cell: Cell, p: Problem, flags: Flags = NONE, steps: list[Saved] | None = None) -> dict[str, Float]:
    """dx (N, T, D), dh0 and dc0 (N, H), dWx, dWh, db. A mistake that is impossible with these sizes: ValueError."""
    saved = forward(cell, p) if steps is None else steps
    count = len(saved)
    dx: dict[int, Float] = {}
    carry_h, carry_c = np.zeros_like(p.h0), p.dc
    made: list[StepGradients] = []
    for t in _steps_visited(count, flags):
        above = p.dh[:, t] if flags.get("dh") != "last" or t == count - 1 else np.zeros_like(p.h0)
        step = _backward_step(cell, p, saved[t], above + carry_h, carry_c, flags)
        dx[t] = step.dx
        made.append(step)
        carried = flags.get("carry h", "")
        carry_h = carry_h + step.dh if carried == "accumulated" else step.dh
        dh0 = carry_h
        if carried == "zero":
            carry_h = np.zeros_like(p.h0)
        elif carried in ("-1", "1/2", "2"):
            dh0 = carry_h = carry_h * _scale(carried, p)
        carry_c = step.dc if flags.get("carry c") != "zero" else np.zeros_like(carry_c)
    reversed_ = flags.get("loop") != "forward"
    time = flags.get("time", "")
    if not reversed_ and time == "last":
        time = "overwritten"  # A forward loop ends with the last step.
    in_time = [dx.get(t, np.zeros_like(p.x[:, t])) for t in range(count)]
    found = {
        "dx": np.stack(in_time[::-1] if flags.get("dx") == "reversed" else in_time, axis=1),
        "dh0": dh0 if made else np.zeros_like(p.h0),
        "dc0": made[-1].dc if made else np.zeros_like(p.h0),
        "dWx": _over_time([step.dwx for step in made], time, p.wx),
        "dWh": _over_time([step.dwh for step in made], time, p.wh),
        "db": _bias([step.db for step in made], p, {**flags, "time": time}, reversed_=reversed_),
    }
    groups = {"all": list(found), "parameters": ["dWx", "dWh", "db"], "bias": ["db"]}
    for group, names in groups.items():
        if f"scale {group}" in flags:
            found |= {name: found[name] * _scale(flags[f"scale {group}"], p) for name in names}
    for name in found:
        if flags.get("zero") in (name, "all"):
            found[name] = np.zeros_like(found[name])
    return found
