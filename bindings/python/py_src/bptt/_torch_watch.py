"""Watching a training loop: what its updates really backpropagate."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from ._bptt import BpttError
from ._ledger import Ledger
from ._torch_calls import Batch, Call, Chain, batch_of, detached, on_gradient, rows_of
from ._torch_facts import Facts, Said, leads_to, links, of_padding, of_start, of_steps, of_weights, start_of
from ._torch_modules import Module
from ._torch_order import Order
from ._torch_pairs import Ends, of_continuing, of_times, of_unread, pairs_of, weights_of_steps
from ._torch_rollouts import Rollouts, of_starts
from ._torch_update import Update

STEPS = 512
"""Steps of a sequence that are itemized, the last ones."""

WATCHED = (nn.RNNBase, nn.RNNCellBase)


class watch:
    """Looks at the updates of a training loop, and says once, in words, what it finds.

        with bptt.torch.watch(model, every=100) as seen:
            for x, y in batches: ...
        seen.updates; seen.facts

    Every `every`-th call in training of each `nn.RNN`, `nn.LSTM`, `nn.GRU` and of each of their cells in `model` is looked at
    when its backward pass has ended: its start state, the weight that the loss gives to each step, and the ledger of `sequences`
    sequences in f32 (and of that with the longest lag). Calls that a graph links, as in a loop over a cell, are one. The
    gradient at the module's output is that of all losses together: the ledger holds if the loss of each step depends on the
    output of that step alone. The loop computes what it would without this.

    Calls without gradients are remembered (64 MB of each module): where the first inputs of an update are found among them,
    the state that it begins with is compared with those before and after that step. Inputs are compared in numbers: behind
    learned features they are found until the features change.

    `ahead`: by how many steps the target of a loss lies ahead of the output that it is of. `out` is where sentences go
    (default: stderr), `log` a file with a line of JSON for each update, `callback` a function that is called with each
    `Update`, `writer` a TensorBoard SummaryWriter. It measures; what to do about it is the reader's to say.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = 100,
        *,
        sequences: int = 2,
        ahead: int = 0,
        out: IO[str] | None = None,
        log: str | Path | None = None,
        callback: Callable[[Update], object] | None = None,
        writer: Any = None,
    ) -> None:
        if every < 1 or sequences < 1:
            raise ValueError("every, sequences: expected 1 or more")
        found = [(name, part) for name, part in model.named_modules() if isinstance(part, WATCHED)]
        if not found:
            raise ValueError(f"{type(model).__name__} has no nn.RNN, nn.LSTM or nn.GRU, and none of their cells")
        self.updates: list[Update] = []
        """What was seen of each update that was looked at."""
        self.facts: list[str] = []
        """What was found, each once."""
        self.alarms: list[str] = []
        """Those of them that are mistakes in themselves."""
        self.seconds = 0.0
        """What looking took."""
        self._every, self._sequences, self._ahead = every, sequences, ahead
        self._out, self._callback, self._writer = out, callback, writer
        self._log = None if log is None else Path(log)
        self._modules = {name or type(part).__name__: part for name, part in found}
        self._state = {name: Facts() for name in self._modules}
        self._chains: dict[str, Chain] = {}
        self._before_handles: dict[str, Any] = {}
        self._rollouts = {name: Rollouts() for name in self._modules}
        self._ids: NDArray[Any] | None = None
        self._times: NDArray[Any] | None = None
        self._ends: dict[str, Ends] = {}
        self._order = Order(model, lambda text: self._say("training", [Said(text, alarm=True)]))
        self._handles: list[Any] = []

    def annotate(self, ids: Any = None, times: Any = None) -> None:
        """Says of the next calls' steps to which episode, document or trial they belong (`ids`), and their times in it.

        Both are integers arranged as the leading axes of the module's input, and hold until they are given again. Pairs of a
        loss and an earlier step with another id are counted (`Update.crossing`), steps that go back in time are alarms.
        """
        self._ids, self._times = (None if of is None else np.asarray(torch.as_tensor(of).cpu()) for of in (ids, times))

    def __enter__(self) -> watch:
        for name, part in self._modules.items():
            self._say(name, of_weights(part))
            self._handles.append(part.register_forward_hook(self._hook(name), with_kwargs=True))
        self._order.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for handle in [*self._handles, *self._before_handles.values()]:
            handle.remove()
        self._handles.clear()
        self._before_handles.clear()
        self._chains.clear()
        self._order.end()
        for name, facts in self._state.items():
            self._say(name, facts.at_end([update for update in self.updates if update.module == name]))

    def _say(self, name: str, facts: list[Said]) -> None:
        for said in facts:
            text = f"{name}: {said.text}"
            if text not in self.facts:
                self.facts.append(text)
                if said.alarm:
                    self.alarms.append(text)
                print(f"bptt: {text}", file=self._out or sys.stderr)

    def _before(self, name: str) -> Callable[..., Any]:
        """Gives a cell the h of the call before, not the view of it that losses read."""

        def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            chain = self._chains.get(name)
            hx = _states(args[1] if len(args) > 1 else kwargs.get("hx"))
            if chain is None or chain.arrived or hx is None or not torch.is_grad_enabled():
                return None
            last = chain.calls[-1]
            if hx[0] is last.outer:
                h = last.inner
            elif last.outer is not None and leads_to(hx[0].grad_fn, last.outer.grad_fn):
                h = hx[0].view_as(hx[0])
                given = hx[0].detach()

                def through(gradient: torch.Tensor) -> None:
                    # Sequences that are set to zero pass nothing on.
                    last.through_next = gradient * (given != 0).any(-1, keepdim=True)

                on_gradient(h, through)
            else:
                return None
            new = (h, *hx[1:]) if isinstance(module, nn.LSTMCell) else h
            if len(args) > 1:
                return (args[0], new, *args[2:]), kwargs
            return args, {**kwargs, "hx": new}

        return seen

    def _hook(self, name: str) -> Callable[..., Any]:
        state, is_lstm = self._state[name], isinstance(self._modules[name], (nn.LSTM, nn.LSTMCell))

        def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            started = time.perf_counter()
            try:
                if is_lstm and len(args) > 1 and args[1] is not None and state.known(name not in self._chains):
                    # Nothing new: as fast as can be.
                    if links(state, args[1], self._order.steps):
                        state.remember(output if isinstance(module, nn.LSTMCell) else output[1], self._order.steps)
                        return None
                is_cell = isinstance(module, nn.RNNCellBase)
                result, left = (_states(output)[0], output) if is_cell else output  # type: ignore[index]
                data = result.data if isinstance(result, PackedSequence) else result
                x = args[0] if args else kwargs["input"]
                hx = _states(args[1] if len(args) > 1 else kwargs.get("hx"))
                if not torch.is_grad_enabled() or not data.requires_grad:
                    self._rollouts[name].add(module, x, hx, data, self._order.steps)
                    return None
                return self._call(name, module, x, hx, data, left, kwargs.get("lengths"))
            except BpttError as error:
                self._say(name, [Said(f"not looked at: {error}")])
                return None
            finally:
                self.seconds += time.perf_counter() - started

        return seen

    def _call(self, name: str, module: nn.Module, x: Any, hx: Any, data: torch.Tensor, left: Any, lengths: Any) -> Any:
        """A call in training. Classes that inherit from PyTorch's may take `lengths`, too."""
        state = self._state[name]
        linked = links(state, hx, self._order.steps)
        if linked and state.known(name not in self._chains):
            state.remember(_states(left) or (), self._order.steps)
            return None
        start = "carried" if linked else start_of(state, hx)
        self._say(name, of_start(state, module, hx, left, self._order.steps, linked))
        state.follow(data, linked, start == "carried", isinstance(module, nn.RNNCellBase))
        if not linked:
            self._end_of(name)
            count, state.calls = state.calls, state.calls + 1
            if count % self._every == 0:
                weights = {key: tensor.detach().clone() for key, tensor in Module.read(module).weights.items()}
                self._chains[name] = Chain(count, self._order.steps, module.training, weights, start)
                if isinstance(module, nn.RNNCellBase):
                    before = module.register_forward_pre_hook(self._before(name), with_kwargs=True)
                    self._before_handles[name] = before
            self._ends_of(name, module, hx if start == "carried" else None)
        chain = self._chains.get(name)
        if chain is None or chain.arrived:
            return None
        call = Call(detached(x), detached(hx), detached(_states(left)), detached(data))
        call.lengths = None if lengths is None else [int(length) for length in lengths]
        call.ids, call.times = self._ids, self._times
        chain.calls.append(call)
        if len(chain.calls) == 1 and self._rollouts[name].calls:
            read = Module.read(module)
            chain.starts = self._rollouts[name].compare(module, read, batch_of(chain, read, False), hx)

        def arrived(gradient: torch.Tensor) -> None:
            # Once: a graph that is kept passes here again.
            if call.gradient is not None or chain.done:
                return
            call.gradient = gradient.detach()
            self._arrived(name, module, chain)

        def final(position: int) -> Callable[[torch.Tensor], None]:
            def arrived(gradient: torch.Tensor) -> None:
                if position not in call.final and not chain.done:
                    call.final[position] = gradient.detach()
                    self._arrived(name, module, chain)

            return arrived

        parts = _states(left)
        assert parts is not None
        if not isinstance(module, nn.RNNCellBase):
            on_gradient(data, arrived)
            for position, part in enumerate(parts):
                on_gradient(part, final(position))
            return None
        # What losses read is a view, so that their gradient is not that of the next call.
        call.inner, call.outer = parts[0], parts[0].view_as(parts[0])
        on_gradient(call.outer, arrived)
        if len(parts) > 1:
            on_gradient(parts[1], final(1))
        return (call.outer, *parts[1:]) if len(parts) > 1 else call.outer

    def _end_of(self, name: str) -> None:
        """No call is added to its chain any more."""
        self._chains.pop(name, None)
        handle = self._before_handles.pop(name, None)
        if handle is not None:
            handle.remove()

    def _ends_of(self, name: str, module: nn.Module, hx: Any) -> None:
        """Whether what carries a state continues what left it, as far as ids and times say."""
        last = self._ends.pop(name, None)
        axis = 1 if getattr(module, "batch_first", False) else 0
        ids, times = self._ids, self._times
        if last is not None and hx is not None and (ids is None or ids.ndim == 2) and (times is None or times.ndim == 2):
            first = Ends(*(None if of is None else of.take(0, axis) for of in (ids, times)))
            self._say(name, of_continuing(last, first, np.asarray(rows_of(hx[0]).any(axis=1))))
        if (ids is not None and ids.ndim == 2) or (times is not None and times.ndim == 2):
            self._ends[name] = Ends(*(None if of is None or of.ndim != 2 else of.take(-1, axis) for of in (ids, times)))

    def _arrived(self, name: str, module: nn.Module, chain: Chain) -> None:
        """The first gradient: what the chain's other calls get is known when the backward pass ends."""
        if chain.arrived:
            return
        chain.arrived = True

        def ended() -> None:
            began = time.perf_counter()
            chain.done = True
            state = self._state[name]
            if state.in_training and not chain.training:
                self._say(name, [Said("it is in eval mode since some call: dropout is off", alarm=True)])
            state.in_training |= chain.training
            try:
                self._look(name, module, chain)
            except BpttError as error:
                self._say(name, [Said(f"not looked at: {error}")])
            if self._chains.get(name) is chain:
                self._end_of(name)
            chain.calls.clear()
            self.seconds += time.perf_counter() - began

        torch.autograd.Variable._execution_engine.queue_callback(ended)

    def _look(self, name: str, module: nn.Module, chain: Chain) -> None:
        read = Module.read(module)
        read.weights = chain.weights
        batch = batch_of(chain, read)
        padding, facts = of_padding(batch.inputs, batch.seeds, batch.arranged)
        self._say(name, [*of_steps(batch.seeds, batch.arranged), *facts, *of_times(batch), *of_unread(batch)])
        starts = chain.starts
        if starts is not None:
            starts.output_error = self._rollouts[name].output_error(starts, batch, module, read, chain.update)
            self._say(name, of_starts(starts))
        pairs, crossing, longest = pairs_of(batch)
        ledger = self._ledger(read, batch, longest)
        if ledger is None:
            self._say(name, [Said("no loss sends a gradient into its output")])
            return
        norms = np.nan_to_num(ledger.norms("bias_ih_l0"))
        if read.bidirectional:
            norms = norms + np.nan_to_num(ledger.norms("bias_ih_l0_reverse"))
        k, t = np.nonzero(norms > 1e-12 * norms.max(initial=0.0))
        lags = abs(k - t) + self._ahead
        recurrent = ledger.parameters[ledger._of.recurrent(0) or 0]
        update = Update(
            module=name,
            count=chain.count,
            horizon=ledger.horizon(0.99, recurrent),
            decay=ledger.decay(recurrent),
            nearest_lag=int(lags.min(initial=len(norms) + self._ahead)) if len(lags) else None,
            farthest_lag=int(lags.max(initial=0)),
            longest_path=batch.arranged.steps - 1 + self._ahead if read.bidirectional else int(longest.max()) + self._ahead,
            update=chain.update,
            calls=len(chain.calls),
            steps=batch.arranged.steps,
            sequences=batch.arranged.batch,
            start=chain.start,
            ahead=self._ahead,
            padding=padding,
            pairs=None if read.bidirectional else pairs,
            crossing=None if read.bidirectional else crossing,
        )
        update.losses, update.gradient, update.step_weights = weights_of_steps(batch.seeds)
        if starts is not None:
            update.stored_before, update.stored_after, update.stored_neither = starts.before, starts.after, starts.neither
            update.state_error, update.output_error = starts.state_error, starts.output_error
        update.facts = [fact for fact in self.facts if fact.startswith(f"{name}: ")]
        self._tell(update)

    def _tell(self, update: Update) -> None:
        self.updates.append(update)
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(json.dumps(vars(update)) + "\n")
        if self._callback is not None:
            self._callback(update)
        if self._writer is not None and update.horizon is not None:
            self._writer.add_scalar(f"bptt/{update.module}/horizon", update.horizon, update.count)
            if update.decay is not None:
                self._writer.add_scalar(f"bptt/{update.module}/decay", update.decay, update.count)

    def _ledger(self, read: Module, batch: Batch, longest: NDArray[np.int64]) -> Ledger | None:
        """Of the sequences that the loss weighs most, and of that with the longest lag."""
        seeds, arranged = batch.seeds, batch.arranged
        weight = np.square(seeds).sum(axis=(0, 2))
        chosen = np.argsort(-weight, kind="stable")[: self._sequences]
        if longest.max() > longest[chosen].max():
            chosen = np.append(chosen, longest.argmax())
        chosen = np.sort(chosen[weight[chosen] > 0])
        if len(chosen) == 0:
            return None
        initial = read.initial(batch.hx, arranged)
        first = 0 if read.bidirectional else max(0, arranged.steps - STEPS)
        state = None if initial is None else [[part[chosen] for part in cell] for cell in initial]
        network = read.network()
        resets = None if batch.resets is None else batch.resets[:, chosen]
        if first > 0:
            before = None if resets is None else resets[:first]
            state = network.scan(batch.inputs[:first, chosen], hx=state, resets=before, precision="f32").final_states
        lengths = None
        if arranged.lengths is not None:
            lengths = np.maximum(np.array(arranged.lengths)[chosen] - first, 1)
        behind = None if resets is None else resets[first:]
        scan = network.scan(batch.inputs[first:, chosen], hx=state, lengths=lengths, resets=behind, precision="f32")
        part = seeds[first:, chosen]
        present = (part != 0).any(axis=(1, 2))
        if not present.any():
            return None
        return scan.ledger(part, present=present, inputs=False, estimate_errors=False, progress=False)


def _states(value: Any) -> tuple[torch.Tensor, ...] | None:
    if value is None:
        return None
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
