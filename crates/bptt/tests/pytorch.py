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


def case(nonlinearity, seed):
    torch.manual_seed(seed)
    rnn = torch.nn.RNN(I, H, nonlinearity=nonlinearity, dtype=torch.float64)
    head = torch.nn.Linear(H, V, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    h0 = torch.randn(1, B, H, dtype=torch.float64, requires_grad=True)
    target = torch.randint(V, (T, B))

    output, h_n = rnn(x, h0)
    loss = torch.nn.functional.cross_entropy(head(output).flatten(0, 1), target.flatten())
    loss.backward()
    parameters = {name: getattr(rnn, name) for name in NAMES} | {
        "head.weight": head.weight,
        "head.bias": head.bias,
    }

    # One copy of every parameter a step, one backward pass a loss.
    phi = getattr(torch, nonlinearity)
    copies = [[getattr(rnn, name).detach().clone().requires_grad_() for name in NAMES] for _ in range(T)]
    h, components = h0[0].detach(), []
    losses = []
    for t, (w_ih, w_hh, b_ih, b_hh) in enumerate(copies):
        h = phi(x[t].detach() @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
        losses.append(torch.nn.functional.cross_entropy(head(h), target[t], reduction="sum") / (T * B))
    for k in range(T):
        wanted = [copy for step in copies[: k + 1] for copy in step]
        gradients = torch.autograd.grad(losses[k], wanted, retain_graph=True)
        for t in range(k + 1):
            w_ih, w_hh, b_ih, _ = gradients[4 * t : 4 * t + 4]
            components.append({"k": k, "t": t, "w_ih": w_ih.tolist(), "w_hh": w_hh.tolist(), "bias": b_ih.tolist()})

    return {
        "cell": {"tanh": "rnn", "relu": "rnn_relu"}[nonlinearity],
        "parameters": {name: p.tolist() for name, p in parameters.items()},
        "gradients": {name: p.grad.tolist() for name, p in parameters.items()},
        "x": x.tolist(),
        "dx": x.grad.tolist(),
        "h0": h0[0].tolist(),
        "dh0": h0.grad[0].tolist(),
        "target": target.tolist(),
        "output": output.tolist(),
        "h_n": h_n[0].tolist(),
        "loss": loss.item(),
        "components": components,
    }


cases = [case("tanh", 1), case("relu", 2)]
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps({"torch": torch.__version__.split("+")[0], "cases": cases}) + "\n")
