"""`bptt.torch.watch` and gradients by input step in the training loops of other libraries, one call each.

    with adapters.agent(model, every=10) as seen: model.learn(10_000)                 # sb3-contrib, skrl, torchrl, tianshou
    with adapters.lightning(RecurrentNetwork, every=10) as seen: trainer.fit(...)     # darts, neuralforecast, pytorch-forecasting
    Trainer(..., callbacks=[adapters.trainer_callback(every=100)])                    # transformers
    adapters.keras_dependence(model, x, y)                                            # Keras on torch or JAX

The libraries are imported when they are used.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._torch_dependence import Dependence, dependence
from ._torch_watch import watch

__all__ = ["agent", "keras_dependence", "lightning", "trainer_callback"]


def agent(of: Any, **options: Any) -> watch:
    """Watches an agent of reinforcement learning.

    `of` is a module, what has modules as `policy` and perhaps `value` (sb3-contrib's RecurrentPPO, skrl's PPO_RNN), or several
    modules in a dict. The ids of steps that sb3-contrib's recurrent policies evaluate are their episodes. Options are those of
    `watch`.
    """
    parts: dict[str, Any] = dict(of) if isinstance(of, dict) else {}
    for name in () if isinstance(of, (dict, torch.nn.Module)) else ("policy", "value"):
        part = getattr(of, name, None)
        if isinstance(part, torch.nn.Module) and not any(part is other for other in parts.values()):
            parts[name] = part
    if isinstance(of, torch.nn.Module):
        parts = {"": of}
    if not parts:
        raise ValueError(f"agent: {type(of).__name__} has no module as policy or value")
    seen = watch(parts[""] if "" in parts else torch.nn.ModuleDict(parts), **options)
    for part in parts.values():
        if hasattr(part, "evaluate_actions") and hasattr(part, "lstm_actor"):
            seen._handles.append(_Episodes(part, seen))
    return seen


class _Episodes:
    """Says the episodes of the steps that sb3-contrib's recurrent policies evaluate, until it is removed."""

    def __init__(self, policy: Any, seen: watch) -> None:
        self._policy = policy
        original = policy.evaluate_actions

        def evaluate(obs: Any, actions: Any, lstm_states: Any, episode_starts: torch.Tensor) -> Any:
            # As the policy arranges them: sequences one after another, each padded to the longest.
            starts = episode_starts.reshape(lstm_states.pi[0].shape[1], -1).T
            # Sequences differ by a multiple that no count of episodes reaches.
            seen.annotate(ids=starts.cumsum(0).long() + torch.arange(starts.shape[1]) * (len(starts) + 1))
            found = original(obs, actions, lstm_states, episode_starts)
            seen.annotate()
            return found

        policy.evaluate_actions = evaluate

    def remove(self) -> None:
        """Leaves the policy as it was."""
        del self._policy.evaluate_actions


@contextmanager
def lightning(of: Any, *, batch: Callable[[torch.nn.Module, Any], None] | None = None, **options: Any) -> Iterator[list[watch]]:
    """Watches every instance of a Lightning module's class from its first `training_step` on.

    The class, because `fit` of some libraries trains a copy, or makes the module itself. The list has a `watch` for each
    instance, ended when the block ends. `batch(module, batch)` is called before each step, for `watch.annotate`.
    """
    original = of.training_step
    found: dict[int, watch] = {}
    seen: list[watch] = []
    # Instances are kept, so that no other one gets their place in memory.
    kept: list[torch.nn.Module] = []

    @functools.wraps(original)
    def step(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if id(self) not in found:
            found[id(self)] = watch(self, **options).__enter__()
            seen.append(found[id(self)])
            kept.append(self)
        if batch is not None:
            batch(self, args[0] if args else kwargs.get("batch"))
        return original(self, *args, **kwargs)

    own = "training_step" in vars(of)
    of.training_step = step
    try:
        yield seen
    finally:
        if own:
            of.training_step = original
        else:
            del of.training_step
        for one in seen:
            one.__exit__(None, None, None)


def trainer_callback(**options: Any) -> Any:
    """A `TrainerCallback` of Hugging Face's transformers: its `watch` is on from the training's begin to its end.

    Its attribute `seen` is the `watch`.
    """
    base: Any = importlib.import_module("transformers").TrainerCallback

    class WatchCallback(base):  # type: ignore[misc]
        seen: watch | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            self.seen = watch(model, **options).__enter__()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.seen is not None:
                self.seen.__exit__(None, None, None)

    return WatchCallback()


def keras_dependence(
    model: Any, x: NDArray[Any], y: NDArray[Any], loss: Callable[[Any, Any], Any] | None = None, **options: Any
) -> Dependence:
    """Which steps of the input `x` (B, T, I) the loss of each step of a Keras model depends on, on the torch or JAX backend.

    The model gives outputs (B, T, ...); `loss(y, output)` gives (B, T) and is by default mean squared error over the rest. In
    training mode, with the state that the model has. Options are those of `dependence`.
    """
    keras: Any = importlib.import_module("keras")

    def default(y: Any, output: Any) -> Any:
        return keras.ops.mean(keras.ops.square(output - y), axis=tuple(range(2, output.ndim)))

    per_step = default if loss is None else loss
    backend = keras.backend.backend()
    if backend == "torch":
        given = torch.tensor(x, requires_grad=True)
        losses = per_step(torch.as_tensor(y), model(given, training=True))
        return dependence(losses.movedim(1, 0), given, axis=1, **options)
    if backend != "jax":
        raise ValueError(f"keras_dependence: the backend is {backend}; expected torch or jax")
    import jax

    variables = [[variable.value for variable in of] for of in (model.trainable_variables, model.non_trainable_variables)]

    def losses_of(given: Any) -> Any:
        return per_step(y, model.stateless_call(*variables, given, training=True)[0]).sum(axis=0)

    gradients = np.asarray(jax.jacrev(losses_of)(np.asarray(x)))
    sizes = np.abs(gradients).max(axis=(1, *range(3, gradients.ndim)))
    steps: Sequence[int] | None = options.pop("loss_steps", None)
    relative = options.pop("relative", 0.0)
    of = np.arange(len(sizes)) if steps is None else np.asarray(steps, np.int64)
    return Dependence(sizes > relative * sizes.max(initial=0.0), of)
