"""The random generators of PyTorch, looked at and put back."""

from __future__ import annotations

from collections.abc import Iterable

import torch

States = list[tuple[torch.device | None, torch.Tensor]]


def generator_states(tensors: Iterable[torch.Tensor]) -> States:
    """The states of the CPU's generator and of those of the GPUs that the tensors are on."""
    devices = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
    states: States = [(None, torch.get_rng_state())]
    return states + [(device, torch.cuda.get_rng_state(device)) for device in devices]


def restore(states: States) -> None:
    """Puts them back."""
    for device, state in states:
        if device is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)
