"""Writes pytorch.json: what PyTorch 2 says of small recurrent networks, in f64.

Components are made the hard way: every step reads a copy of the weights of its own, and every loss is sent back
alone, so `copy.grad` is what that step contributed to that loss.

    pip install torch==2.*
    python crates/bptt/tests/pytorch.py
"""

import json
import pathlib

import torch

B, T, I, H, V = 2, 3, 2, 2, 3
KINDS = {
    "rnn": lambda **options: torch.nn.RNN(I, H, **options),
    "rnn_relu": lambda **options: torch.nn.RNN(I, H, nonlinearity="relu", **options),
    "lstm": lambda **options: torch.nn.LSTM(I, H, **options),
    "gru": lambda **options: torch.nn.GRU(I, H, **options),
}


def step(kind, x, state, w_ih, w_hh, b_ih, b_hh):
    """One step written out, which a copy of the weights can be given to."""
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


def case(kind, layers, bidirectional, seed):
    torch.manual_seed(seed)
    rnn = KINDS[kind](num_layers=layers, bidirectional=bidirectional, dtype=torch.float64)
    directions = 2 if bidirectional else 1
    head = torch.nn.Linear(directions * H, V, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    cells = layers * directions
    states = 2 if kind == "lstm" else 1
    initial = [torch.randn(cells, B, H, dtype=torch.float64, requires_grad=True) for _ in range(states)]
    target = torch.randint(V, (T, B))

    output, final = rnn(x, tuple(initial) if states == 2 else initial[0])
    final = final if states == 2 else (final,)
    loss = torch.nn.functional.cross_entropy(head(output).flatten(0, 1), target.flatten())
    loss.backward()
    parameters = dict(rnn.named_parameters()) | {"head.weight": head.weight, "head.bias": head.bias}

    # One copy of every cell's parameters a step, one backward pass a loss.
    suffixes = [f"l{c // directions}" + ("_reverse" if c % directions else "") for c in range(cells)]
    names = ["weight_ih_", "weight_hh_", "bias_ih_", "bias_hh_"]
    copies = {
        (c, t): [getattr(rnn, name + suffixes[c]).detach().clone().requires_grad_() for name in names]
        for c in range(cells)
        for t in range(T)
    }
    read = [x[t].detach() for t in range(T)]
    for layer in range(layers):
        outputs = [[None] * directions for _ in range(T)]
        for d in range(directions):
            c = layer * directions + d
            state = [s[c].detach() for s in initial]
            for t in range(T) if d == 0 else reversed(range(T)):
                state = step(kind, read[t], state, *copies[c, t])
                outputs[t][d] = state[0]
        read = [torch.cat(both, dim=1) for both in outputs]
    components = []
    for k in range(T):
        loss_k = torch.nn.functional.cross_entropy(head(read[k]), target[k], reduction="sum") / (T * B)
        for (c, t), weights in copies.items():
            gradients = torch.autograd.grad(loss_k, weights, retain_graph=True, allow_unused=True)
            if gradients[0] is not None:
                w_ih, w_hh, b_ih, b_hh = (g.tolist() for g in gradients)
                components.append({"k": k, "t": t, "cell": c, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh})
    components.sort(key=lambda of: (of["k"], of["t"], of["cell"]))

    return {
        "kind": kind,
        "layers": layers,
        "bidirectional": bidirectional,
        "parameters": {name: p.tolist() for name, p in parameters.items()},
        "gradients": {name: p.grad.tolist() for name, p in parameters.items()},
        "x": x.tolist(),
        "dx": x.grad.tolist(),
        "initial": [s.tolist() for s in initial],
        "dinitial": [s.grad.tolist() for s in initial],
        "target": target.tolist(),
        "output": output.tolist(),
        "final": [s.tolist() for s in final],
        "loss": loss.item(),
        "components": components if layers < 3 else [],
    }


cases = [
    case(kind, layers, bidirectional, seed)
    for seed, (kind, layers, bidirectional) in enumerate(
        (kind, layers, both) for kind in KINDS for layers in (1, 2, 3) for both in (False, True)
    )
]


def rounded(value):
    """Thirteen digits are enough for 1e-10 and keep the file small."""
    if isinstance(value, float):
        return float(f"{value:.13g}")
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


path = pathlib.Path(__file__).with_suffix(".json")
compact = {"separators": (",", ":")}
path.write_text(json.dumps({"torch": torch.__version__.split("+")[0], "cases": rounded(cases)}, **compact) + "\n")
