"""In which order a training loop clips and steps, and what its optimizers have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as optimizers


SEEN = 8
"""Parameters of an optimizer whose gradients are remembered at its step."""


def _state_of(parameter: torch.Tensor) -> tuple[int, int]:
    """What another backward pass changes."""
    assert parameter.grad is not None
    return id(parameter.grad), parameter.grad._version


class Order:
    """Sees every optimizer's step and every call of PyTorch's clipping while it is on."""

    def __init__(self, model: nn.Module, say: Callable[[str], None]) -> None:
        self._model, self._say = model, say
        self._used: dict[int, tuple[int, int]] = {}
        self._optimized: set[int] = set()
        self.steps = 0
        self._handles: list[Any] = []
        self._originals: list[tuple[Any, str, Any]] = []

    def begin(self) -> None:
        """Begins to look."""
        # Steps of all optimizers, whenever they are made.
        self._handles.append(optimizers.register_optimizer_step_pre_hook(self._step))
        for place in (nn.utils, nn.utils.clip_grad):
            for name in ("clip_grad_norm_", "clip_grad_value_"):
                original = getattr(place, name)
                self._originals.append((place, name, original))
                setattr(place, name, self._clipping(original))

    def end(self) -> None:
        """Looks no more, and says what only the whole tells."""
        for handle in self._handles:
            handle.remove()
        for place, name, original in self._originals:
            setattr(place, name, original)
        self._handles.clear()
        self._originals.clear()
        if self.steps == 0:
            return
        trained = [(name, p) for name, p in self._model.named_parameters() if p.requires_grad and p.grad is not None]
        missing = [name for name, parameter in trained if id(parameter) not in self._optimized]
        if missing:
            shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            self._say(f"no optimizer has {shown}: gradients are computed and never used")

    def _step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self.steps += 1
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._used.update({id(parameter): _state_of(parameter) for parameter in parameters[:SEEN] if parameter.grad is not None})
        self._optimized |= {id(parameter) for parameter in parameters}

    def _clipping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def clip(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs["parameters"]
            parameters = [given] if isinstance(given, torch.Tensor) else list(given)
            used = [p for p in parameters if p.grad is not None and self._used.get(id(p)) == _state_of(p)]
            if used:
                self._say("gradients are clipped after the optimizer's step, which used them as they were")
            if args:
                return original(parameters, *args[1:], **kwargs)
            return original(**{**kwargs, "parameters": parameters})

        return clip
