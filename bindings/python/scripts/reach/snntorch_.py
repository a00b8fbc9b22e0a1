"""snntorch's Leaky neuron over 30 steps, with both ways to reset."""

from __future__ import annotations

import snntorch
import torch
from row import tell

from bptt.torch import dependence

STEPS = 30
for reset in ("subtract", "zero"):
    torch.manual_seed(0)
    linear, neuron = torch.nn.Linear(4, 1), snntorch.Leaky(beta=0.9, reset_mechanism=reset)
    torch.nn.init.uniform_(linear.weight, 0.0, 0.2)
    torch.nn.init.zeros_(linear.bias)
    x = torch.rand(STEPS, 1, 4).requires_grad_()
    membrane = neuron.init_leaky()
    losses, spikes = [], []
    for step in x:
        spike, membrane = neuron(linear(step), membrane)
        spikes.append(int(spike.sum()))
        losses.append(membrane.sum())
    found = dependence(torch.stack(losses), x)
    last = found.depends[-1].nonzero()[0]
    tell(
        f'snntorch Leaky, reset_mechanism "{reset}"',
        "snntorch",
        start="zeros",
        longest=str(STEPS - 1 - last.min()) + " of the last step",
        nearest=str(found.nearest_lag),
        note=f"{sum(spikes)} spikes in {STEPS} steps; of the membrane potential",
    )
