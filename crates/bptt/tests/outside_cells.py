"""Writes outside_cells/*.json: what outside implementations compute for cells that torch.nn.RNN, LSTM and GRU do not cover.

    pip install torch==2.15.0 keras==3.15.1
    python crates/bptt/tests/outside_cells.py

The implementations:

    lstm_proj               torch.nn.LSTM(proj_size=2)
    lstm_peephole           Gers and Schmidhuber 2000, written out below
    keras_lstm_*            keras.layers.LSTM and GRU of Keras 3, recurrent_activation="hard_sigmoid", x/6 + 1/2
    keras_gru_*
    keras2_lstm_*           the same equations with the hard sigmoid of Keras 2, 0.2 x + 1/2, written out below
    keras2_gru_*
    lstm_layer_norm         normalized products, written out below, with torch.nn.functional.layer_norm
    min_gru                 Feng et al. 2024, written out below

All numbers are f64. Gradients are PyTorch's automatic differentiation; Keras runs on it. The derivative of PyTorch's hardsigmoid
is 1/6 rounded to f32 even in f64, so the Keras layers get the same function with the derivative 1/6. Each Keras layer is also
compared with the same equations written out here, to 1e-14. Keras multiplies matrices of f64 in f32 where it has no loop of its
own for the backend: reset_after=False, where the written-out equations are stored, and Keras is within 2e-6 of them.

Inputs to a problem are not stored. splitmix64 (`splitmix64(seed)`) makes 64 random bits z for each number, and the number is
(z >> 53) / 2048 - 1/2, as in pytorch.py. Drawn in this order, row after row:

    the parameters in the order of the file's "parameters", a list of [name, shape];
    h_0 (B, width of h); c_0 (B, H) if the cell has one; x (T, B, I); the seeds dL_k/dh_k (T, B, width of h).

A parameter with one axis has 1/2 added; one with two axes is multiplied with the file's "scale" (1, or 8 for hard sigmoids, so
that some gates saturate). "drawn_sum" is the exact sum of the numbers of each tensor as drawn, before that.

Loss k is L_k = sum of seed_k * h_k over sequences and units. A file holds

    output              h (T, B, width of h)
    final_c             c after the last step (B, H)
    gradient            of the sum of all losses, for every parameter, x, h_0 and c_0
    norm                for every parameter and x a list of rows, norm[k][t] for t <= k: the Frobenius norm of the gradient of loss k
                        with respect to the copy of the parameter that step t alone reads (of x: to x_t)
    initial_norm        for h_0 and c_0: the norm of the gradient of each loss

Gates are stacked in PyTorch's order whatever the implementation's order is. Where Keras has one bias, it is given
bias_ih + bias_hh, and both have its gradient.
"""

import itertools
import json
import os
import pathlib

os.environ.update(MKL_CBWR="COMPATIBLE", ATEN_CPU_CAPABILITY="avx2")  # read when torch is imported
os.environ.update(KERAS_BACKEND="torch", CUDA_VISIBLE_DEVICES="")

import keras
import torch
from splitmix import splitmix64
from torch.nn.functional import layer_norm

T, B, I, H, P = 6, 2, 3, 4, 2
KINK_MARGIN = 1e-3  # no pre-activation of a written-out hard sigmoid or relu lies closer to a kink


def linear(alpha, limit):
    """A hard sigmoid of this slope, constant beyond ±limit."""

    def hard_sigmoid(a):
        assert ((a.detach().abs() - limit).abs() > KINK_MARGIN).all()
        return (alpha * a + 0.5).clamp(0, 1)

    return hard_sigmoid


def relu(a):
    """Its derivative at 0 is 0, which a cell state is where gates are shut."""
    assert ((a.detach().abs() > KINK_MARGIN) | (a == 0)).all()
    return a.relu()


HARD_SIGMOID_6 = linear(1 / 6, 3)  # Keras 3, torch.nn.Hardsigmoid
HARD_SIGMOID_5 = linear(0.2, 2.5)  # Keras 2
ACTIVATIONS = {"tanh": torch.tanh, "relu": relu, "sigmoid": torch.sigmoid}

LSTM_PARAMETERS = [
    ("weight_ih", (4 * H, I)),
    ("weight_hh", (4 * H, H)),
    ("bias_ih", (4 * H,)),
    ("bias_hh", (4 * H,)),
]
GRU_PARAMETERS = [
    ("weight_ih", (3 * H, I)),
    ("weight_hh", (3 * H, H)),
    ("bias_ih", (3 * H,)),
    ("bias_hh", (3 * H,)),
]


# One step of each cell: `step(parameters, x, state)` with x (B, I) gives the new state, [h] or [h, c].


def proj_step(p, x, state):
    """torch.nn.LSTM of one step."""
    given = {f"{name}_l0": value for name, value in p.items()}
    _, new = torch.func.functional_call(PROJ, given, (x[None], tuple(s[None] for s in state)))
    return [s[0] for s in new]


PROJ = torch.nn.LSTM(I, H, proj_size=P, dtype=torch.float64)


def peephole_step(p, x, state):
    """i and f see c_{t-1}, o sees c_t."""
    h, c = state
    i, f, g, o = (x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"]).chunk(4, dim=1)
    i = torch.sigmoid(i + p["peephole_i"] * c)
    f = torch.sigmoid(f + p["peephole_f"] * c)
    c = f * c + i * torch.tanh(g)
    o = torch.sigmoid(o + p["peephole_o"] * c)
    return [o * torch.tanh(c), c]


def lstm_step(gate, activation):
    """Keras' LSTM: i, f, o by `gate`, g and the output by `activation`."""

    def step(p, x, state):
        h, c = state
        i, f, g, o = (x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"]).chunk(4, dim=1)
        c = gate(f) * c + gate(i) * activation(g)
        return [gate(o) * activation(c), c]

    return step


def gru_step(gate, activation, reset_after):
    def step(p, x, state):
        (h,) = state
        i_r, i_z, i_n = (x @ p["weight_ih"].T + p["bias_ih"]).chunk(3, dim=1)
        (w_r, w_z, w_n), (b_r, b_z, b_n) = p["weight_hh"].chunk(3), p["bias_hh"].chunk(3)
        r, z = gate(i_r + h @ w_r.T + b_r), gate(i_z + h @ w_z.T + b_z)
        n = activation(i_n + (r * (h @ w_n.T + b_n) if reset_after else (r * h) @ w_n.T + b_n))
        return [(1 - z) * n + z * h]

    return step


def layer_norm_step(p, x, state):
    """LN(W_ih x) + LN(W_hh h), each over all 4 H numbers, without other biases."""
    h, c = state
    of_x = layer_norm(x @ p["weight_ih"].T, (4 * H,), p["gamma_ih"], p["beta_ih"], 1e-5)
    of_h = layer_norm(h @ p["weight_hh"].T, (4 * H,), p["gamma_hh"], p["beta_hh"], 1e-5)
    i, f, g, o = (of_x + of_h).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(c), c]


def min_gru_step(p, x, state):
    (h,) = state
    z, n = (x @ p["weight_ih"].T + p["bias_ih"]).chunk(2, dim=1)
    z = torch.sigmoid(z)
    return [(1 - z) * h + z * n]


def keras_hard_sigmoid(a):
    """Keras 3's, with a derivative of 1/6: that of torch.nn.functional.hardsigmoid is 1/6 rounded to f32 in f64, too."""
    value = torch.nn.functional.relu6(a + 3) / 6
    assert ((value - keras.activations.hard_sigmoid(a)).detach().abs() <= 2**-53).all()
    return value


def keras_step(layer, order, biases):
    """A Keras layer of one step. `order` has PyTorch's index of each of Keras' gates, `biases` the rows of Keras' bias."""
    layer.build((B, 1, I))

    def step(p, x, state):
        bias = {1: p["bias_ih"] + p["bias_hh"], 2: torch.stack([p["bias_ih"], p["bias_hh"]])}[biases]
        stacked = [value.chunk(len(order), dim=-1) for value in (p["weight_ih"].T, p["weight_hh"].T, bias)]
        given = [torch.cat([gates[gate] for gate in order], dim=-1) for gates in stacked]
        (_, *new), _ = layer.stateless_call(
            given, layer.non_trainable_variables, x[:, None], initial_state=list(state)
        )
        return new

    return step


class Problem:
    """A cell, its parameters, what it reads and what its losses send back."""

    def __init__(
        self, name, source, step, parameters, seed, has_c=True, width=H, scale=1, gates="ifgo", check=None, tolerance=1e-14
    ):
        self.tolerance = tolerance
        self.name, self.source, self.step, self.seed, self.scale = name, source, step, seed, scale
        self.gates, self.check, self.parameters = gates, check, parameters
        bits = splitmix64(seed)
        self.drawn_sum = {}

        def draw(name, *shape):
            count = torch.Size(shape).numel()
            numbers = [(z >> 53) / 2048 - 0.5 for z in itertools.islice(bits, count)]
            self.drawn_sum[name] = sum(numbers)
            return torch.tensor(numbers, dtype=torch.float64).reshape(shape)

        self.weights = {}
        for of, shape in parameters:
            drawn = draw(of, *shape)
            self.weights[of] = drawn + 0.5 if len(shape) == 1 else drawn * scale
        self.initial = {"h_0": draw("h_0", B, width)}
        if has_c:
            self.initial["c_0"] = draw("c_0", B, H)
        self.x = draw("x", T, B, I)
        self.seeds = draw("seeds", T, B, width)

    def run(self, step):
        """Every step reads its own copy of the parameters, and every loss is sent back alone."""
        copies = [{n: w.clone().requires_grad_() for n, w in self.weights.items()} for _ in range(T)]
        xs = [self.x[t].clone().requires_grad_() for t in range(T)]
        initial = {n: s.clone().requires_grad_() for n, s in self.initial.items()}
        state, outputs = list(initial.values()), []
        for t in range(T):
            state = step(copies[t], xs[t], state)
            outputs.append(state[0])
        names = list(self.weights)
        norm = {name: [[] for _ in range(T)] for name in [*names, "x"]}
        initial_norm = {name: [] for name in initial}
        total = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        total |= {"x": torch.zeros_like(self.x)} | {name: torch.zeros_like(s) for name, s in self.initial.items()}
        for k in range(T):
            loss = (self.seeds[k] * outputs[k]).sum()
            leaves = [copies[t][name] for t in range(k + 1) for name in names] + xs[: k + 1] + list(initial.values())
            found = iter(torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True))
            for t in range(k + 1):
                for name in names:
                    component = next(found)
                    total[name] += component
                    norm[name][k].append(component.norm().item())
            for t in range(k + 1):
                component = next(found)
                total["x"][t] += component
                norm["x"][k].append(component.norm().item())
            for name in initial:
                component = next(found)
                total[name] += component
                initial_norm[name].append(component.norm().item())
        results = {"output": torch.stack(outputs).tolist()}
        if "c_0" in initial:
            results["final_c"] = state[1].tolist()
        return results | {
            "gradient": {name: tensor.tolist() for name, tensor in total.items()},
            "norm": norm,
            "initial_norm": initial_norm,
        }

    def write(self):
        results = self.run(self.step)
        if self.check is not None:
            assert_close(self.name, results, self.run(self.check), self.tolerance)
        head = {
            "cell": self.name,
            "source": self.source,
            "gates": list(self.gates),
            "steps": T,
            "batch": B,
            "inputs": I,
            "hidden": H,
            "width": self.seeds.shape[2],
            "seed": self.seed,
            "scale": self.scale,
            "parameters": [[name, list(shape)] for name, shape in self.parameters],
            "drawn_sum": self.drawn_sum,
        }
        path = pathlib.Path(__file__).with_suffix("") / f"{self.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{\n" + ",\n".join(lines(head | results)) + "\n}\n")
        print(f"{path.name:32} {path.stat().st_size:6} bytes")


def lines(of, indent=""):
    """One line for each leaf of nested objects."""
    for key, value in of.items():
        if isinstance(value, dict) and isinstance(next(iter(value.values())), list):
            inner = ",\n".join(lines(value, indent + "  "))
            yield f'{indent}"{key}": {{\n{inner}\n{indent}}}'
        else:
            yield f'{indent}"{key}": {json.dumps(value)}'


def assert_close(name, found, expected, tolerance):
    """Both implementations of a problem agree, relative to the largest number of each tensor."""

    def flat(of):
        return [number for part in of for number in flat(part)] if isinstance(of, list) else [of]

    def tensors(of):
        return [t for part in of.values() for t in (part.values() if isinstance(part, dict) else [part])]

    for one, other in zip(tensors(found), tensors(expected), strict=True):
        one, other = flat(one), flat(other)
        scale = max(1e-3, *map(abs, other))
        worst = max(abs(a - b) for a, b in zip(one, other, strict=True)) / scale
        assert worst <= tolerance, (name, worst)


def problems():
    of_torch = f"PyTorch {torch.__version__.split('+')[0]}"
    of_keras = f"Keras {keras.__version__} on {of_torch}"
    written_out = f"written out, autograd of {of_torch}"
    seeds = itertools.count(100)

    yield Problem(
        "lstm_proj", f"torch.nn.LSTM(proj_size={P}) of {of_torch}", proj_step,
        [("weight_ih", (4 * H, I)), ("weight_hh", (4 * H, P)), *LSTM_PARAMETERS[2:], ("weight_hr", (P, H))],
        next(seeds), width=P,
    )
    peepholes = [(f"peephole_{gate}", (H,)) for gate in "ifo"]
    yield Problem("lstm_peephole", written_out, peephole_step, LSTM_PARAMETERS + peepholes, next(seeds))

    for activation in ("tanh", "relu", "sigmoid"):
        options = {"activation": activation, "recurrent_activation": keras_hard_sigmoid, "return_state": True}
        keras_lstm = keras_step(keras.layers.LSTM(H, **options), (0, 1, 2, 3), 1)
        yield Problem(
            f"keras_lstm_{activation}", f"keras.layers.LSTM of {of_keras}", keras_lstm, LSTM_PARAMETERS, next(seeds),
            scale=8, check=lstm_step(HARD_SIGMOID_6, ACTIVATIONS[activation]),
        )
        # Keras stacks z, r, h.
        keras_gru = keras_step(keras.layers.GRU(H, **options), (1, 0, 2), 2)
        yield Problem(
            f"keras_gru_{activation}", f"keras.layers.GRU of {of_keras}", keras_gru, GRU_PARAMETERS, next(seeds),
            has_c=False, scale=8, gates="rzn", check=gru_step(HARD_SIGMOID_6, ACTIVATIONS[activation], True),
        )
        keras_gru = keras_step(keras.layers.GRU(H, reset_after=False, **options), (1, 0, 2), 1)
        yield Problem(
            f"keras_gru_{activation}_reset_before",
            f"{written_out}; keras.layers.GRU(reset_after=False) of {of_keras} is within 2e-6",
            gru_step(HARD_SIGMOID_6, ACTIVATIONS[activation], False), GRU_PARAMETERS, next(seeds),
            has_c=False, scale=8, gates="rzn", check=keras_gru, tolerance=2e-6,
        )
    for activation in ("tanh", "relu"):
        of = ACTIVATIONS[activation]
        yield Problem(
            f"keras2_lstm_{activation}", written_out, lstm_step(HARD_SIGMOID_5, of), LSTM_PARAMETERS, next(seeds), scale=8
        )
        yield Problem(
            f"keras2_gru_{activation}", written_out, gru_step(HARD_SIGMOID_5, of, True), GRU_PARAMETERS, next(seeds),
            has_c=False, scale=8, gates="rzn",
        )

    norms = [(f"{name}_{side}", (4 * H,)) for side in ("ih", "hh") for name in ("gamma", "beta")]
    yield Problem("lstm_layer_norm", written_out, layer_norm_step, LSTM_PARAMETERS[:2] + norms, next(seeds))
    yield Problem(
        "min_gru", written_out, min_gru_step, [("weight_ih", (2 * H, I)), ("bias_ih", (2 * H,))], 117,
        has_c=False, gates="zn",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    keras.config.set_floatx("float64")
    for problem in problems():
        problem.write()
