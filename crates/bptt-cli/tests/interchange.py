"""Writes interchange/: a model of PyTorch's, arrays for it, and what PyTorch's autograd says of them, in f64.

Components are made the hard way: every step reads a copy of the weights of its own, and every loss is sent back
alone, so `copy.grad` is what that step contributed to that loss.

    pip install torch==2.* numpy safetensors
    python crates/bptt-cli/tests/interchange.py

Norms are written to 12 digits: which kernels PyTorch takes, and with them the last ones, depends on the processor.
"""

import json
import os
import pathlib

import numpy as np

os.environ.update(MKL_CBWR="COMPATIBLE", ATEN_CPU_CAPABILITY="avx2")  # read when torch is imported

import torch
from safetensors.torch import save_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = pathlib.Path(__file__).parent / "interchange"
B, T, I, H, V, N = 2, 5, 3, 4, 6, 7
PARAMETERS = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Module()
        self.net.lstm_actor = torch.nn.LSTM(I, H, num_layers=2, bidirectional=True, batch_first=True)
        self.critic = torch.nn.GRU(I, 5)
        self.embed = torch.nn.Embedding(N, I)
        self.head = torch.nn.Linear(2 * H, V)
        self.value = torch.nn.Linear(5, 1)
        self.register_buffer("updates", torch.tensor(1234))


def size(tensor):
    return float(f"{tensor.norm().item():.11e}")


def save(name, tensor):
    np.save(HERE / f"{name}.npy", tensor.detach().numpy())


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def totals(rnn):
    """The norm of every parameter's gradient, by PyTorch's name."""
    return {name: size(parameter.grad) for name, parameter in rnn.named_parameters()}


def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def components(lstm, x, seeds):
    """The norms of all components: by PyTorch's name, [k][t]."""
    copies = {}
    for layer in range(2):
        outputs = []
        for suffix in [f"l{layer}", f"l{layer}_reverse"]:
            h, c, steps = torch.zeros(B, H, dtype=x.dtype), torch.zeros(B, H, dtype=x.dtype), [None] * T
            for t in reversed(range(T)) if "reverse" in suffix else range(T):
                weights = [getattr(lstm, f"{p}_{suffix}").detach().clone().requires_grad_() for p in PARAMETERS]
                copies[suffix, t] = weights
                h, c = lstm_step(x[:, t], h, c, *weights)
                steps[t] = h
            outputs.append(torch.stack(steps, dim=1))
        x = torch.cat(outputs, dim=2)
    assert torch.allclose(x, lstm(inputs["x"])[0], atol=1e-14)
    norms = {}
    for k in range(T):
        flat = [weight for weights in copies.values() for weight in weights]
        found = iter(torch.autograd.grad((x[:, k] * seeds[:, k]).sum(), flat, allow_unused=True, retain_graph=True))
        for (suffix, t), _ in copies.items():
            for parameter in PARAMETERS:
                gradient = next(found)
                rows = norms.setdefault(f"{parameter}_{suffix}", [[None] * T for _ in range(T)])
                rows[k][t] = None if gradient is None else size(gradient)
    return norms


torch.manual_seed(11)
HERE.mkdir(exist_ok=True)
model = Model().double()
# The types that a file may mix.
model.extra = torch.nn.Module()
model.extra.register_buffer("short", torch.randn(3).half())
model.extra.register_buffer("shorter", torch.randn(2, 2).bfloat16())
save_file(model.state_dict(), HERE / "model.safetensors")
np.savez_compressed(HERE / "critic.npz", **{k: v.numpy() for k, v in model.critic.state_dict().items()})
# The GRU and its head alone, for bptt-io's README.
alone = torch.nn.ModuleDict({"gru": model.critic, "head": model.value})
save_file(alone.state_dict(), HERE.parents[2] / "bptt-io/tests/data/gru.safetensors")

inputs = {"x": numbers(B, T, I), "dh": numbers(B, T, 2 * H), "h0": numbers(4, B, H), "c0": numbers(4, B, H)}
inputs["ids"] = torch.randint(N, (B, T))
inputs["target"] = torch.randint(V, (B, T))
inputs["target"][0, 1] = inputs["target"][1, 4] = -100
inputs["y"] = numbers(T, B, 1)
inputs["lengths"] = torch.tensor([5, 3])
for name, tensor in inputs.items():
    save(name, tensor)
save("x_time_major", inputs["x"].transpose(0, 1).contiguous())

expected = {"components": components(model.net.lstm_actor, inputs["x"], inputs["dh"])}

(model.net.lstm_actor(inputs["x"])[0] * inputs["dh"]).sum().backward()
expected["seeds"] = totals(model.net.lstm_actor)

model.zero_grad()
output = model.net.lstm_actor(model.embed(inputs["ids"]), (inputs["h0"], inputs["c0"]))[0]
loss = torch.nn.functional.cross_entropy(model.head(output).flatten(0, 1), inputs["target"].flatten())
loss.backward()
expected["cross_entropy"] = totals(model.net.lstm_actor)

model.zero_grad()
packed = pack_padded_sequence(inputs["x"].transpose(0, 1), inputs["lengths"])
output, _ = pad_packed_sequence(model.critic(packed)[0])
counts = torch.arange(T)[:, None] < inputs["lengths"]
((model.value(output) - inputs["y"]) ** 2)[counts].sum().backward()
expected["squared_error"] = totals(model.critic)

(HERE / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")
