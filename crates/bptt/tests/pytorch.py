"""Writes pytorch/*.bin: what PyTorch 2 says of small recurrent networks.

    pip install torch==2.* numpy
    python crates/bptt/tests/pytorch.py

What goes in is not written down: weights, inputs, states, targets and masks are drawn here and in pytorch.rs by the same
generator, in the same order, and are exact in f32. The files hold what comes out, in f64, number after number: the upper
six bytes of each, rounded, which are 11 digits. That PyTorch's f32 lies within F32_SPREAD of it is made sure here.

The files come from PyTorch 2.15.0. Run again, on a processor of Intel's or AMD's, it gives the same bytes: which kernels
PyTorch and its MKL take would otherwise depend on the processor, and with them the last bits.
"""

import itertools
import os
import pathlib

import numpy

os.environ.update(MKL_CBWR="COMPATIBLE", ATEN_CPU_CAPABILITY="avx2")  # read when torch is imported

import torch
from splitmix import splitmix64
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

B, I, H, V = 2, 2, 2, 3


def reset_before(x, state, weights):
    """torch.gru_cell with the reset gate before the product, which no module of PyTorch's has."""
    w_ih, w_hh, b_ih, b_hh = weights
    (i_r, i_z, i_n), (w_r, w_z, w_n), (b_r, b_z, b_n) = (x @ w_ih.T + b_ih).chunk(3, dim=1), w_hh.chunk(3), b_hh.chunk(3)
    (h,) = state
    r, z = (i_r + h @ w_r.T + b_r).sigmoid(), (i_z + h @ w_z.T + b_z).sigmoid()
    n = (i_n + (r * h) @ w_n.T + b_n).tanh()
    return ((1 - z) * n + z * h,)


KINDS = {
    "rnn": lambda inputs, **options: torch.nn.RNN(inputs, H, **options),
    "rnn_relu": lambda inputs, **options: torch.nn.RNN(inputs, H, nonlinearity="relu", **options),
    "lstm": lambda inputs, **options: torch.nn.LSTM(inputs, H, **options),
    "gru": lambda inputs, **options: torch.nn.GRU(inputs, H, **options),
}
# The same parameters.
KINDS["gru_reset_before"] = KINDS["gru"]
CELLS = {
    "rnn": lambda x, state, weights: (torch.rnn_tanh_cell(x, *state, *weights),),
    "rnn_relu": lambda x, state, weights: (torch.rnn_relu_cell(x, *state, *weights),),
    "lstm": lambda x, state, weights: torch.lstm_cell(x, state, *weights),
    "gru": lambda x, state, weights: (torch.gru_cell(x, *state, *weights),),
    "gru_reset_before": reset_before,
}
F32_SPREAD = 2e-6


class Problem:
    """A network, what it reads, and what it should say."""

    def __init__(self, kind, layers, directions, seed, steps, dtype):
        self.kind, self.layers, self.directions, self.steps, self.dtype = kind, layers, directions, steps, dtype
        bits = splitmix64(seed)

        def draw(*shape, of=lambda z: (z >> 53) / 2048 - 0.5):
            count = torch.Size(shape).numel()
            return torch.tensor([of(z) for z in itertools.islice(bits, count)]).to(dtype).reshape(shape)

        self.rnn = self.module(I, layers)
        self.head = torch.nn.Linear(directions * H, V, dtype=dtype)
        with torch.no_grad():
            for parameter in [*self.rnn.parameters(), *self.head.parameters()]:
                parameter.copy_(draw(*parameter.shape) + (0.5 if parameter.dim() == 1 else 0))
        states = 2 if kind == "lstm" else 1
        self.initial = [draw(layers * directions, B, H).requires_grad_() for _ in range(states)]
        self.x = draw(steps, B, I).requires_grad_()
        self.target = draw(steps, B, of=lambda z: z % V).long()
        self.mask = draw(steps, B, of=lambda z: z % 3 > 0).bool()
        self.dropout = draw(layers - 1, steps, B, directions * H, of=lambda z: z % 2 * 2)
        self.lengths = torch.tensor([2, steps])
        self.resets = torch.tensor([[t % 2 != b for b in range(B)] for t in range(steps)])

    def module(self, inputs, layers):
        return KINDS[self.kind](inputs, num_layers=layers, bidirectional=self.directions == 2, dtype=self.dtype)

    def call(self, rnn, x, initial):
        output, final = rnn(x, tuple(initial) if self.kind == "lstm" else initial[0])
        return output, list(final) if self.kind == "lstm" else [final]

    def whole(self):
        return *self.call(self.rnn, self.x, self.initial), self.rnn.parameters()

    def packed(self):
        packed = pack_padded_sequence(self.x, self.lengths, enforce_sorted=False)
        output, final = self.call(self.rnn, packed, self.initial)
        output, _ = pad_packed_sequence(output, total_length=self.steps)
        return output, final, self.rnn.parameters()

    def layer_by_layer(self):
        """Modules of one layer with the weights of this one's layers, and the masks between them."""
        given, parameters, finals, read = self.rnn.parameters(), [], [], self.x
        for layer in range(self.layers):
            rnn = self.module(read.shape[2], 1)
            with torch.no_grad():
                for parameter in rnn.parameters():
                    parameter.copy_(next(given))
            cells = slice(layer * self.directions, (layer + 1) * self.directions)
            output, final = self.call(rnn, read, [s[cells] for s in self.initial])
            parameters.extend(rnn.parameters())
            finals.append(final)
            read = output * self.dropout[layer] if layer + 1 < self.layers else output
        return output, [torch.cat(states) for states in zip(*finals)], parameters

    def step_by_step(self, lengths=None, resets=None, dropout=None, detach_every=None, weights=None):
        """Loops over layers, directions, sequences and steps. `weights(cell, t)` are what a cell reads at a step."""
        parameters = list(self.rnn.parameters())
        weights = weights or (lambda cell, t: parameters[4 * cell : 4 * cell + 4])
        finals, read = [], self.x
        for layer in range(self.layers):
            padding = [torch.zeros(H, dtype=self.dtype)] * self.directions
            outputs = [[list(padding) for _ in range(B)] for _ in range(self.steps)]
            for d in range(self.directions):
                cell = layer * self.directions + d
                last = []
                for b in range(B):
                    length = self.steps if lengths is None else int(lengths[b])
                    state = [s[cell, b] for s in self.initial]
                    for t in range(length) if d == 0 else reversed(range(length)):
                        # The boundary at t lies between t - 1 and t.
                        boundary = t if d == 0 else t + 1
                        if resets is not None and boundary < length:
                            state = [s * (1 - resets[boundary, b].to(self.dtype)) for s in state]
                        if detach_every and t > 0 and t % detach_every == 0:
                            state = [s.detach() for s in state]
                        state = [s[None] for s in state]
                        state = [s[0] for s in CELLS[self.kind](read[t][b][None], state, weights(cell, t))]
                        outputs[t][b][d] = state[0]
                    last.append(state)
                finals.append([torch.stack(states) for states in zip(*last)])
            read = [torch.stack([torch.cat(both) for both in step]) for step in outputs]
            if dropout is not None and layer + 1 < self.layers:
                read = [output * mask for output, mask in zip(read, dropout[layer])]
        return read, [torch.stack(states) for states in zip(*finals)], parameters

    def has_loss(self, lengths=None, mask=None):
        everywhere = torch.ones(self.steps, B, dtype=torch.bool) if mask is None else mask
        return everywhere if lengths is None else everywhere & (torch.arange(self.steps)[:, None] < lengths)

    def results(self, output, final, parameters, has_loss):
        """Loss, outputs, states, and the gradients of everything, all losses at once."""
        output = output if torch.is_tensor(output) else torch.stack(output)
        loss = torch.nn.functional.cross_entropy(self.head(output)[has_loss], self.target[has_loss])
        loss.backward()
        leaves = [self.x, *self.initial, *parameters, *self.head.parameters()]
        return [loss.detach(), output.detach(), *(s.detach() for s in final), *(leaf.grad for leaf in leaves)]

    def flossing(self, exponents, warm_up):
        """Engelken's loss for an exponent or more, its exponents, and its gradient, through torch.linalg.qr."""
        weights = list(self.rnn.parameters())
        k = torch.arange(exponents * H, dtype=torch.float64) + 1
        start = ((k * k * 0.6180339887498949) % 1 - 0.5).reshape(exponents, H).T.to(self.dtype)
        of_sequences = []
        for b in range(B):
            h, q, logarithms = self.initial[0][0, b], torch.linalg.qr(start).Q, 0
            for t in range(self.steps):
                step = lambda h: CELLS[self.kind](self.x[t, b][None], [h[None]], weights)[0][0]
                jacobian = torch.autograd.functional.jacobian(step, h, create_graph=True)
                h, (q, r) = step(h), torch.linalg.qr(jacobian @ q)
                logarithms = logarithms + r.diagonal().abs().log() * (t >= warm_up)
            of_sequences.append(logarithms / (self.steps - warm_up))
        of_sequences = torch.stack(of_sequences)
        loss = (of_sequences**2).mean()
        gradients = torch.autograd.grad(loss, weights)
        return [loss.detach(), of_sequences.mean(0).detach(), *gradients]

    def components(self, **options):
        """Every step reads a copy of the weights of its own, and every loss is sent back alone: `copy.grad` is what that
        step contributed to that loss."""
        own = list(self.rnn.parameters())
        copies = {
            (t, cell): [p.detach().clone().requires_grad_() for p in own[4 * cell : 4 * cell + 4]]
            for t in range(self.steps)
            for cell in range(self.layers * self.directions)
        }
        output, _, _ = self.step_by_step(weights=lambda cell, t: copies[t, cell], **options)
        has_loss = self.has_loss(options.get("lengths"))
        results = []
        for k in range(self.steps):
            y, target = self.head(output[k])[has_loss[k]], self.target[k][has_loss[k]]
            loss = torch.nn.functional.cross_entropy(y, target, reduction="sum") / has_loss.sum()
            for weights in copies.values():
                gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
                results.extend(gradients if gradients[0] is not None else [])
        return results


def write(name, cases, of, steps=4):
    """Writes what `of` finds in each of the (kind, layers, directions)."""
    found = []
    for seed, case in enumerate(cases):
        exact = of(Problem(*case, seed, steps, torch.float64))
        for single, exact_one in zip(of(Problem(*case, seed, steps, torch.float32)), exact, strict=True):
            scale = max(1e-3, exact_one.abs().max())
            assert (single.double() - exact_one).abs().max() <= F32_SPREAD * scale, (name, case)
        found.extend(exact)
    numbers = torch.cat([tensor.flatten() for tensor in found]).numpy().astype("<f8")
    upper = (numbers.view("<u8") + 0x8000) >> 16
    path = pathlib.Path(__file__).with_suffix("") / f"{name}.bin"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(upper.astype("<u8").view(numpy.uint8).reshape(-1, 8)[:, :6].tobytes())
    print(f"{path.name:24} {len(cases):3} cases {len(numbers):6} numbers {path.stat().st_size:7} bytes")


torch.set_num_threads(1)
MODULES = ("rnn", "rnn_relu", "lstm", "gru")
EVERY = list(itertools.product(MODULES, (1, 2, 3), (1, 2)))
UPPER = [case for case in EVERY if case[1] > 1]
FORWARD = [case for case in EVERY if case[2] == 1]
FEW = [case for case in EVERY if case[1] < 3]
ONE = [case for case in EVERY if case[1:] == (1, 2)]
TWO = [case for case in EVERY if case[1:] == (2, 1)]
BEFORE = [("gru_reset_before", layers, directions) for layers in (1, 2) for directions in (1, 2)]

write("plain", EVERY, lambda p: p.results(*p.whole(), p.has_loss()))
write("mask", EVERY, lambda p: p.results(*p.whole(), p.has_loss(mask=p.mask)))
write("lengths", EVERY, lambda p: p.results(*p.packed(), p.has_loss(p.lengths)))
write("resets", EVERY, lambda p: p.results(*p.step_by_step(resets=p.resets), p.has_loss()))
write("dropout", UPPER, lambda p: p.results(*p.layer_by_layer(), p.has_loss()))
write("detach", FORWARD, lambda p: p.results(*p.step_by_step(detach_every=2), p.has_loss()))
write(
    "together",
    EVERY,
    lambda p: p.results(*p.step_by_step(p.lengths, p.resets, p.dropout), p.has_loss(p.lengths, p.mask)),
)
write("components", FEW, lambda p: p.components(), steps=3)
write("components_bounds", ONE, lambda p: p.components(lengths=p.lengths, resets=p.resets), steps=3)
write("components_dropout", TWO, lambda p: p.components(dropout=p.dropout), steps=3)
write(
    "reset_before",
    BEFORE,
    lambda p: p.results(*p.step_by_step(p.lengths, p.resets, p.dropout), p.has_loss(p.lengths, p.mask)),
)
write("reset_before_components", BEFORE, lambda p: p.components(), steps=3)
write(
    "flossing",
    [("rnn", 1, 1)] * 4,
    lambda p: [*p.flossing(1, 0), *p.flossing(1, 2), *p.flossing(2, 0), *p.flossing(2, 2)],
)
