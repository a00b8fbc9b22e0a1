"""PyTorch's recurrent modules and the batches they read, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from ._bptt import ShapeError, UnsupportedError
from ._network import Network

Float = NDArray[np.float64]

CELLS: list[tuple[type[nn.Module], str]] = [
    (nn.LSTM, "lstm"),
    (nn.GRU, "gru"),
    (nn.RNN, "rnn"),
    (nn.LSTMCell, "lstm"),
    (nn.GRUCell, "gru"),
    (nn.RNNCell, "rnn"),
]


def numpy_of(tensor: torch.Tensor) -> Float:
    """In f64, on the CPU."""
    return np.ascontiguousarray(tensor.detach().to("cpu", torch.float64).numpy())


@dataclass
class Module:
    """A recurrent module of PyTorch, or a cell that is run over the steps."""

    of: Any
    title: str
    cell: str
    weights: dict[str, torch.Tensor]
    """The live attributes, by the names of a module of layers."""
    layers: int
    bidirectional: bool
    batch_first: bool
    dtype: torch.dtype
    is_cell: bool

    @classmethod
    def read(cls, module: Any) -> Module:
        """The module's settings and weights as they are now."""
        kind = next((cell for kind, cell in CELLS if isinstance(module, kind)), None)
        title = type(module).__name__
        if kind is None:
            expected = ", ".join(f"nn.{kind.__name__}" for kind, _ in CELLS)
            raise UnsupportedError(
                f"module: {title} is not possible; expected {expected}; give that part of a model, or its numbers to bptt.Network"
            )
        is_cell = isinstance(module, nn.RNNCellBase)
        if kind == "rnn" and module.nonlinearity == "relu":
            kind = "rnn_relu"
        if getattr(module, "proj_size", 0):
            kind = "lstm_projected"
        layers = 1 if is_cell else int(module.num_layers)
        bidirectional = not is_cell and bool(module.bidirectional)
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
        suffixes = [f"l{layer}{end}" for layer in range(layers) for end in ("", "_reverse")[: 1 + bidirectional]]
        weights = {}
        for suffix in suffixes:
            for name in names:
                tensor = getattr(module, name if is_cell else f"{name}_{suffix}", None)
                if isinstance(tensor, torch.Tensor):
                    weights[f"{name}_{suffix}"] = tensor
        dtype = next(iter(weights.values())).dtype
        batch_first = not is_cell and bool(module.batch_first)
        return cls(module, title, kind, weights, layers, bidirectional, batch_first, dtype, is_cell)

    @property
    def directions(self) -> int:
        """D."""
        return 1 + self.bidirectional

    @property
    def width(self) -> int:
        """D*P, of the output."""
        return self.directions * self.weights["weight_hh_l0"].shape[1]

    def network(self) -> Network:
        """Its numbers."""
        return Network(self.cell, {name: numpy_of(tensor) for name, tensor in self.weights.items()})

    def drops(self) -> bool:
        """Whether it drops outputs between layers now."""
        return not self.is_cell and bool(self.of.training and self.of.dropout > 0) and self.layers > 1

    def assumptions(self, masks: Sequence[Float]) -> list[str]:
        """What has to be said of it."""
        if masks:
            return [f"dropout {self.of.dropout} between layers is drawn as the generator would draw it now (train mode)"]
        if not self.is_cell and self.layers > 1 and self.of.dropout > 0:
            return ["dropout between layers is off (eval mode)"]
        return []

    def dropout_masks(self, arranged: Arranged) -> list[Float]:
        """The factors that the module's next call multiplies the output of each layer but the last with."""
        if not self.drops():
            return []
        if self.of.dropout >= 1:
            raise UnsupportedError("dropout: 1 lets nothing through to the next layer")
        device = next(iter(self.weights.values())).device
        masks = []
        for _ in range(self.layers - 1):
            ones = torch.ones(arranged.drawn_shape(self.width), dtype=self.dtype, device=device)
            masks.append(arranged.drawn(torch.dropout(ones, self.of.dropout, True)))
        return masks

    def initial(self, hx: Any, arranged: Arranged) -> list[list[Float]] | None:
        """The initial states of each cell."""
        if hx is None:
            return None
        states = list(hx) if isinstance(hx, tuple) else [hx]
        expected = 2 if self.cell.startswith("lstm") else 1
        if len(states) != expected:
            what = "(h, c)" if expected == 2 else "h"
            raise ShapeError(f"hx: expected {what}, given {len(states)} tensors")
        arrays = []
        for state in states:
            array = numpy_of(state)
            if self.is_cell:
                array = array[None]
            if not arranged.batched:
                array = array.reshape(array.shape[0], 1, array.shape[-1])
            if array.ndim != 3 or array.shape[:2] != (self.layers * self.directions, arranged.batch):
                count = self.layers * self.directions
                raise ShapeError(f"hx: expected ({count}, {arranged.batch}, H), given {tuple(state.shape)}")
            arrays.append(arranged.sorted(array, 1))
        return [[array[index] for array in arrays] for index in range(len(arrays[0]))]

    def run(self, arranged: Arranged, hx: Any) -> Any:
        """The module's own output, without gradients."""
        with torch.no_grad():
            return self._output(arranged, hx)

    def _output(self, arranged: Arranged, hx: Any) -> Any:
        if self.is_cell:
            return self._cell_output(arranged, hx)
        given = arranged.given
        if arranged.lengths is not None and not isinstance(given, PackedSequence):
            given = nn.utils.rnn.pack_padded_sequence(
                given, torch.tensor(arranged.lengths), batch_first=self.batch_first, enforce_sorted=False
            )
            packed, _ = self.of(given, hx)
            return pad_packed_sequence(packed, self.batch_first, total_length=arranged.steps)[0]
        return self.of(given, hx)[0]

    def _cell_output(self, arranged: Arranged, hx: Any) -> torch.Tensor:
        outputs, state = [], hx
        for x in arranged.given:
            state = self.of(x, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs)

    def autograd(
        self, arranged: Arranged, hx: Any, detach_every: int | None, grad_output: Float
    ) -> dict[str, Float]:
        """The gradient of each weight, by PyTorch, for an output with this gradient."""
        with torch.enable_grad():
            # Weights that are computed (weight norm, parametrizations, pruning) are computed in the call.
            if arranged.resets is None and detach_every is None:
                output = self._output(arranged, hx)
            else:
                output = self._by_steps(arranged, hx, detach_every)
            data = output.data if isinstance(output, PackedSequence) else output
            seeds = arranged.like_output(grad_output, data)
        live = Module.read(self.of).weights
        names = [name for name, tensor in live.items() if tensor.requires_grad]
        found = torch.autograd.grad(data, [live[name] for name in names], seeds, allow_unused=True)
        return {name: numpy_of(gradient) for name, gradient in zip(names, found) if gradient is not None}

    def _by_steps(self, arranged: Arranged, hx: Any, detach_every: int | None) -> Any:
        if self.bidirectional or self.drops() or arranged.lengths is not None:
            raise UnsupportedError(
                "check: resets and detach_every are compared with a loop over the steps, which needs one direction, no "
                "dropout in train mode and sequences of one length"
            )
        x = arranged.given if arranged.batched else arranged.given.unsqueeze(1)
        x = x.transpose(0, 1) if self.batch_first and arranged.batched else x
        outputs, state = [], hx
        for t in range(arranged.steps):
            if state is not None:
                parts = state if isinstance(state, tuple) else (state,)
                if detach_every is not None and t > 0 and t % detach_every == 0:
                    parts = tuple(part.detach() for part in parts)
                if arranged.resets is not None:
                    keep = torch.tensor(~arranged.resets[t], device=x.device)[:, None].to(x.dtype)
                    parts = tuple(part * keep for part in parts)
                state = parts if isinstance(state, tuple) else parts[0]
            if self.is_cell:
                state = self.of(x[t], state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
            else:
                one = x[t : t + 1].transpose(0, 1) if self.batch_first else x[t : t + 1]
                y, state = self.of(one, state)
                outputs.append(y.transpose(0, 1)[0] if self.batch_first else y[0])
        y = torch.stack(outputs)
        if not arranged.batched:
            return y[:, 0]
        return y.transpose(0, 1) if self.batch_first else y


@dataclass
class Arranged:
    """A batch as the module takes it, and its order of axes."""

    given: Any
    steps: int
    batch: int
    width: int
    """D*P, of the output."""
    batched: bool
    batch_first: bool
    lengths: list[int] | None
    resets: NDArray[np.bool_] | None
    """(T, B)."""
    packed: PackedSequence | None
    dtype: torch.dtype

    @classmethod
    def of(cls, module: Module, x: Any, lengths: Any, resets: Any) -> Arranged:
        """From what the caller gave."""
        if isinstance(x, PackedSequence):
            if lengths is not None or module.is_cell:
                raise ValueError("lengths: a PackedSequence has its own, and is for modules of layers")
            counts = pad_packed_sequence(x)[1]
            if x.sorted_indices is not None:
                counts = counts[x.sorted_indices.cpu()]
            of_packed = [int(count) for count in counts]
            arranged = cls(x, max(of_packed), len(of_packed), module.width, True, False, of_packed, None, x, module.dtype)
        elif isinstance(x, torch.Tensor) and x.is_floating_point() and x.ndim in (2, 3):
            batched = x.ndim == 3
            first = module.batch_first and batched
            steps, batch = (x.shape[1], x.shape[0]) if first else (x.shape[0], x.shape[1] if batched else 1)
            arranged = cls(x, steps, batch, module.width, batched, first, None, None, None, module.dtype)
            if lengths is not None:
                arranged.lengths = [int(length) for length in lengths]
                if len(arranged.lengths) != batch or not all(1 <= n <= steps for n in arranged.lengths):
                    raise ShapeError(f"lengths: expected {batch} numbers from 1 to {steps}, given {arranged.lengths}")
                if module.is_cell or not batched:
                    raise UnsupportedError("lengths: they are for modules of layers that read a batch")
        else:
            shape = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            kind = f" of {x.dtype}" if isinstance(x, torch.Tensor) else ""
            raise ShapeError(f"x: expected floats, (T, B, I) or (B, T, I) as the module reads them or (T, I), given {shape}{kind}")
        if resets is not None:
            flags = torch.as_tensor(resets)
            if arranged.packed is not None or tuple(flags.shape) != arranged.leading:
                raise ShapeError(f"resets: expected {arranged.leading}, given {tuple(flags.shape)}")
            if not bool(((flags == 0) | (flags == 1)).all()):
                raise ValueError("resets: expected booleans, or numbers 0 and 1")
            arranged.resets = arranged.time_major(flags.double().cpu()) != 0
        return arranged

    @property
    def leading(self) -> tuple[int, ...]:
        """The leading axes of inputs and outputs, as they are given."""
        if not self.batched:
            return (self.steps,)
        return (self.batch, self.steps) if self.batch_first else (self.steps, self.batch)

    @property
    def count(self) -> int:
        """The number of outputs: of those that are read, in a PackedSequence."""
        return self.steps * self.batch if self.packed is None else len(self.packed.data)

    def is_read(self) -> NDArray[np.bool_]:
        """(T, B): false behind a sequence's end."""
        steps = np.arange(self.steps)[:, None]
        return np.asarray(steps < (self.steps if self.lengths is None else np.array(self.lengths)[None, :])) & np.ones(
            (1, self.batch), bool
        )

    def sorted(self, array: Float, axis: int) -> Float:
        """Sequences in the order of a PackedSequence."""
        if self.packed is None or self.packed.sorted_indices is None:
            return array
        return np.take(array, self.packed.sorted_indices.cpu().numpy(), axis)

    def time_major(self, tensor: torch.Tensor) -> Any:
        """(T, B, ...) of a tensor with the leading axes."""
        array = tensor.detach().cpu().numpy()
        if not self.batched:
            return array[:, None]
        return np.swapaxes(array, 0, 1) if self.batch_first else array

    def flat(self, tensor: torch.Tensor) -> Float:
        """(T, B, ...) of a tensor whose leading axes are one."""
        if self.packed is not None:
            return self._unpacked(tensor)
        return np.asarray(self.time_major(tensor.reshape(self.leading + tuple(tensor.shape[1:]))))

    def _unpacked(self, data: torch.Tensor) -> Float:
        array = data.detach().to("cpu", torch.float64).numpy()
        padded = np.zeros((self.steps, self.batch, *array.shape[1:]))
        padded[self.is_read()] = array
        return padded

    def numbers(self) -> Float:
        """The inputs, (T, B, I)."""
        if self.packed is not None:
            return self._unpacked(self.packed.data)
        return np.ascontiguousarray(self.time_major(self.given.detach().to("cpu", torch.float64)))

    def output_numbers(self, output: Any) -> Float:
        """An output, or its gradient, (T, B, D*P)."""
        if isinstance(output, PackedSequence):
            return self._unpacked(output.data)
        expected = (*self.leading, self.width)
        if tuple(output.shape) != expected:
            raise ShapeError(f"expected an array like the module's output, {expected}, given {tuple(output.shape)}")
        return np.ascontiguousarray(self.time_major(output.detach().to("cpu", torch.float64)))

    def from_numpy(self, output: Float) -> Any:
        """An output as the module gives it."""
        if self.packed is not None:
            data = self.like_output(output, self.packed.data)
            return PackedSequence(data, self.packed.batch_sizes, self.packed.sorted_indices, self.packed.unsorted_indices)
        return self.like_output(output, torch.empty(0, device=self.given.device, dtype=self.dtype))

    def as_leaf(self, output: Any) -> tuple[torch.Tensor, Any]:
        """A tensor that collects the gradient, and the output made of it."""
        if isinstance(output, PackedSequence):
            leaf = output.data.detach().clone().requires_grad_()
            return leaf, PackedSequence(leaf, output.batch_sizes, output.sorted_indices, output.unsorted_indices)
        leaf = output.detach().clone().requires_grad_()
        return leaf, leaf

    def leaf_numbers(self, gradient: torch.Tensor) -> Float:
        """The gradient of that tensor, (T, B, D*P), zero behind a sequence's end."""
        numbers = self._unpacked(gradient) if self.packed is not None else self.output_numbers(gradient)
        return numbers * self.is_read()[:, :, None]

    def like_output(self, numbers: Float, data: torch.Tensor) -> torch.Tensor:
        """Numbers (T, B, D*P) in the arrangement of an output's data."""
        if self.packed is not None:
            return torch.from_numpy(numbers[self.is_read()]).to(data)
        array = numbers if self.batched else numbers[:, 0]
        array = np.swapaxes(array, 0, 1) if self.batch_first else array
        return torch.from_numpy(np.ascontiguousarray(array)).to(data)

    def drawn_shape(self, width: int) -> tuple[int, ...]:
        """The shape in which the module draws dropout: time first, and nothing for padding."""
        if self.lengths is not None:
            return (sum(self.lengths), width)
        return (self.steps, self.batch, width) if self.batched else (self.steps, 1, width)

    def drawn(self, mask: torch.Tensor) -> Float:
        """A mask of that shape, (T, B, D*P)."""
        array = numpy_of(mask)
        if self.lengths is None:
            return array
        padded = np.zeros((self.steps, self.batch, array.shape[-1]))
        # In the order in which PyTorch packs: step after step, the longest sequences first.
        longest_first = torch.sort(torch.tensor(self.lengths), descending=True)[1].numpy()
        order = np.arange(self.batch) if self.packed is not None else longest_first
        read = self.is_read()[:, order]
        by_length = np.zeros_like(padded)
        by_length[read] = array
        padded[:, order] = by_length
        return padded
