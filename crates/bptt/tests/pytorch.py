"""Writes pytorch.json: what PyTorch 2 says of small recurrent networks, in f64.

Components are made the hard way: every step reads a copy of the weights of its own, and every loss is sent back
alone, so `copy.grad` is what that step contributed to that loss.

    pip install torch==2.*
    python crates/bptt/tests/pytorch.py
"""

import json
import pathlib

import torch

B, T, I, H, V = 3, 4, 2, 3, 4
NAMES = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]


def step(kind, x, state, w_ih, w_hh, b_ih, b_hh):
    """One step written out: what a copy of the weights is needed for."""
    h = state[0]
    i, r = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
    if kind == "lstm":
        i, f, g, o = (i + r).chunk(4, dim=1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if kind == "gru":
        (ir, iz, in_), (hr, hz, hn) = i.chunk(3, dim=1), r.chunk(3, dim=1)
        z = (iz + hz).sigmoid()
        n = (in_ + (ir + hr).sigmoid() * hn).tanh()
        return ((1 - z) * n + z * h,)
    return ({"rnn": torch.tanh, "rnn_relu": torch.relu}[kind](i + r),)


def case(kind, seed):
    torch.manual_seed(seed)
    make = {
        "rnn": lambda: torch.nn.RNN(I, H, dtype=torch.float64),
        "rnn_relu": lambda: torch.nn.RNN(I, H, nonlinearity="relu", dtype=torch.float64),
        "lstm": lambda: torch.nn.LSTM(I, H, dtype=torch.float64),
        "gru": lambda: torch.nn.GRU(I, H, dtype=torch.float64),
    }
    rnn = make[kind]()
    head = torch.nn.Linear(H, V, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    states = 2 if kind == "lstm" else 1
    initial = [torch.randn(1, B, H, dtype=torch.float64, requires_grad=True) for _ in range(states)]
    target = torch.randint(V, (T, B))

    output, final = rnn(x, tuple(initial) if states == 2 else initial[0])
    final = final if states == 2 else (final,)
    loss = torch.nn.functional.cross_entropy(head(output).flatten(0, 1), target.flatten())
    loss.backward()
    parameters = {name: getattr(rnn, name) for name in NAMES} | {
        "head.weight": head.weight,
        "head.bias": head.bias,
    }

    # One copy of every parameter a step, one backward pass a loss.
    copies = [[getattr(rnn, name).detach().clone().requires_grad_() for name in NAMES] for _ in range(T)]
    state, components, losses = [s[0].detach() for s in initial], [], []
    for t, weights in enumerate(copies):
        state = step(kind, x[t].detach(), state, *weights)
        losses.append(torch.nn.functional.cross_entropy(head(state[0]), target[t], reduction="sum") / (T * B))
    for k in range(T):
        wanted = [copy for weights in copies[: k + 1] for copy in weights]
        gradients = torch.autograd.grad(losses[k], wanted, retain_graph=True)
        for t in range(k + 1):
            w_ih, w_hh, b_ih, b_hh = (g.tolist() for g in gradients[4 * t : 4 * t + 4])
            components.append({"k": k, "t": t, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh})

    return {
        "cell": kind,
        "parameters": {name: p.tolist() for name, p in parameters.items()},
        "gradients": {name: p.grad.tolist() for name, p in parameters.items()},
        "x": x.tolist(),
        "dx": x.grad.tolist(),
        "initial": [s[0].tolist() for s in initial],
        "dinitial": [s.grad[0].tolist() for s in initial],
        "target": target.tolist(),
        "output": output.tolist(),
        "final": [s[0].tolist() for s in final],
        "loss": loss.item(),
        "components": components,
    }


cases = [case(kind, seed) for seed, kind in enumerate(["rnn", "rnn_relu", "lstm", "gru"], start=1)]
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps({"torch": torch.__version__.split("+")[0], "cases": cases}) + "\n")
