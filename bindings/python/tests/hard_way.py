"""Components of gradients the hard way: a copy of every weight for every step, and autograd."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def _step(cell: str, w: dict[str, torch.Tensor], x: torch.Tensor, state: list[torch.Tensor]) -> list[torch.Tensor]:
    gi = x @ w["weight_ih"].T + w.get("bias_ih", 0)
    gh = state[0] @ w["weight_hh"].T + w.get("bias_hh", 0)
    if cell == "LSTM":
        i, f, g, o = (gi + gh).chunk(4, -1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return [h @ w["weight_hr"].T if "weight_hr" in w else h, c]
    if cell == "GRU":
        (ir, iz, inn), (hr, hz, hn) = gi.chunk(3, -1), gh.chunk(3, -1)
        r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
        n = (inn + r * hn).tanh()
        return [(1 - z) * n + z * state[0]]
    return [(gi + gh).relu() if cell == "relu" else (gi + gh).tanh()]


def components(
    module: nn.Module,
    x: torch.Tensor,
    head: torch.Tensor,
    lengths: list[int],
    resets: torch.Tensor,
    detach_every: int | None,
    hx: list[torch.Tensor] | None = None,
    masks: list[torch.Tensor] | None = None,
) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """For every parameter the norms of dL_k/d(weight at step t), (T, T), with L_k the sum of head * output at step k; and the
    output. x is (T, B, I), in f64."""
    steps, batch, _ = x.shape
    cell = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "RNN"}[type(module).__name__]
    if cell == "RNN" and module.nonlinearity == "relu":
        cell = "relu"
    directions = 2 if module.bidirectional else 1
    copies: dict[str, list[torch.Tensor]] = {}
    below = x
    for layer in range(module.num_layers):
        outputs = []
        for d in range(directions):
            suffix = f"l{layer}" + ("_reverse" if d else "")
            names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
            own = {name: getattr(module, f"{name}_{suffix}", None) for name in names}
            own = {name: w.detach().double() for name, w in own.items() if isinstance(w, torch.Tensor)}
            at = [{name: w.clone().requires_grad_() for name, w in own.items()} for _ in range(steps)]
            for name in own:
                copies[f"{name}_{suffix}"] = [w[name] for w in at]
            hidden = own["weight_hh"].shape[0] // {"LSTM": 4, "GRU": 3}.get(cell, 1)
            widths = [own["weight_hh"].shape[1]] + ([hidden] if cell == "LSTM" else [])
            index = layer * directions + d
            state = [torch.zeros(batch, width, dtype=torch.float64) for width in widths]
            if hx is not None:
                state = [part[index].double() for part in hx]
            output: list[torch.Tensor] = [torch.zeros(0)] * steps
            for t in range(steps - 1, -1, -1) if d else range(steps):
                first = t == (steps - 1 if d else 0)
                before = t + 1 if d else t
                if detach_every and not first and before % detach_every == 0:
                    state = [part.detach() for part in state]
                if not first:
                    keep = (~resets[before])[:, None].double()
                    state = [part * keep for part in state]
                elif not d:
                    state = [part * (~resets[0])[:, None].double() for part in state]
                new = _step(cell, at[t], below[t], state)
                read = torch.tensor([float(t < n) for n in lengths], dtype=torch.float64)[:, None]
                state = [read * n + (1 - read) * o for n, o in zip(new, state)]
                output[t] = read * state[0]
            outputs.append(torch.stack(output))
        below = torch.cat(outputs, -1)
        if masks is not None and layer + 1 < module.num_layers:
            below = below * masks[layer]
    names = list(copies)
    norms = {name: np.zeros((steps, steps)) for name in names}
    flat = [w for name in names for w in copies[name]]
    for k in range(steps):
        loss = (head[k] * below[k]).sum()
        gradients = torch.autograd.grad(loss, flat, retain_graph=True, allow_unused=True)
        for i, gradient in enumerate(gradients):
            norms[names[i // steps]][k, i % steps] = 0.0 if gradient is None else float(gradient.norm())
    return norms, below


def components_of_step(step, params, xs, state, losses) -> dict[str, np.ndarray]:
    """For every parameter of a step function the norms of dL_k/d(parameter at step t), (T, T); losses maps the list of
    outputs to one loss for each step."""
    copies = [{name: w.detach().clone().requires_grad_() for name, w in params.items()} for _ in xs]
    outputs = []
    for x, own in zip(xs, copies):
        output, state = step(own, x, state)
        outputs.append(output)
    norms = {name: np.zeros((len(xs), len(xs))) for name in params}
    flat = [(name, t, own[name]) for t, own in enumerate(copies) for name in params]
    for k, loss in enumerate(losses(outputs)):
        gradients = torch.autograd.grad(loss, [w for _, _, w in flat], retain_graph=True, allow_unused=True)
        for (name, t, _), gradient in zip(flat, gradients):
            norms[name][k, t] = 0.0 if gradient is None else float(gradient.norm())
    return norms
