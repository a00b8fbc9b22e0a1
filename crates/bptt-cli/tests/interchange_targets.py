"""Writes interchange/targets.json and arrays for it: what PyTorch says of the model of interchange.py with other targets.

    pip install torch==2.15.* numpy safetensors
    python crates/bptt-cli/tests/interchange_targets.py

Losses are written in full, norms to 12 digits.
"""

import json
import os
import pathlib

import numpy as np

os.environ.update(MKL_CBWR="COMPATIBLE", ATEN_CPU_CAPABILITY="avx2")  # read when torch is imported

import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = pathlib.Path(__file__).parent / "interchange"
B, T, I, H, V = 2, 5, 3, 4, 6
PARAMETERS = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]

tensors = load_file(HERE / "model.safetensors")
lstm = torch.nn.LSTM(I, H, num_layers=2, bidirectional=True, batch_first=True).double()
lstm.load_state_dict({k.removeprefix("net.lstm_actor."): v for k, v in tensors.items() if k.startswith("net.")})
gru = torch.nn.GRU(I, 5, batch_first=True).double()
gru.load_state_dict({k.removeprefix("critic."): v for k, v in tensors.items() if k.startswith("critic.")})
read = {name: torch.from_numpy(np.load(HERE / f"{name}.npy")) for name in ["x", "lengths", "dh"]}
x, lengths = read["x"], read["lengths"]

torch.manual_seed(12)
arrays = {
    "classes": torch.randint(V, (B, T)),
    "class_of_sequence": torch.tensor([4, 1]),
    "value_of_sequence": torch.randn(B, 1, dtype=torch.float64),
    "mask": (torch.rand(B, T) < 0.7).float(),
    "dc": torch.randn(B, T, 2 * H, dtype=torch.float64),
}
arrays["classes"][0, 2] = arrays["classes"][1, 0] = 3  # what --ignore-index 3 leaves out
arrays["mask"][0, 0] = 1
for name, array in arrays.items():
    np.save(HERE / f"{name}.npy", array.numpy())


def size(tensor):
    return float(f"{tensor.norm().item():.11e}")


def totals(rnn, loss):
    rnn.zero_grad()
    loss.backward()
    norms = {name: size(parameter.grad) for name, parameter in rnn.named_parameters()}
    return {"loss": loss.item(), "gradients": norms}


def head(name, h):
    return h @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def padded():
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    output, (h, _) = lstm(packed)
    return pad_packed_sequence(output, batch_first=True)[0], h


expected = {}
counts = (torch.arange(T)[None] < lengths[:, None]) & (arrays["classes"] != 3)
reductions = {
    "sum": lambda losses: losses.sum(),
    "mean": lambda losses: losses.sum() / counts.sum(),
    "mean-per-sequence": lambda losses: (losses.sum(1) / counts.sum(1)).mean(),
    "sum-per-sequence": lambda losses: losses.sum(1).mean(),
}
for name, reduce in reductions.items():
    output, _ = padded()
    losses = cross_entropy(head("head", output).transpose(1, 2), arrays["classes"], ignore_index=3, reduction="none")
    losses = torch.where(counts, losses, 0)
    expected[name] = totals(lstm, reduce(losses))
    expected[name]["losses"] = losses.sum(0).tolist()

output, h = padded()
last = output[torch.arange(B), lengths - 1]
expected["last-step"] = totals(lstm, cross_entropy(head("head", last), arrays["class_of_sequence"]))
output, h = padded()
final = torch.cat([h[-2], h[-1]], 1)
expected["final-state"] = totals(lstm, cross_entropy(head("head", final), arrays["class_of_sequence"]))
final = gru(x)[1][0]
expected["value"] = totals(gru, ((head("value", final) - arrays["value_of_sequence"]) ** 2).sum())
seeds = read["dh"] * arrays["mask"][..., None]
expected["mask"] = totals(lstm, (lstm(x)[0] * seeds).sum())


def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


# Every step reads a copy of the weights of its own, as in interchange.py.
copies, layer_input, states = {}, x, {}
for layer in range(2):
    outputs, cells = [], []
    for suffix in [f"l{layer}", f"l{layer}_reverse"]:
        h, c, hs, cs = torch.zeros(B, H).double(), torch.zeros(B, H).double(), [None] * T, [None] * T
        for t in reversed(range(T)) if "reverse" in suffix else range(T):
            weights = [getattr(lstm, f"{p}_{suffix}").detach().clone().requires_grad_() for p in PARAMETERS]
            copies[suffix, t] = weights
            h, c = lstm_step(layer_input[:, t], h, c, *weights)
            hs[t], cs[t] = h, c
        states[f"h_{suffix}"], states[f"c_{suffix}"] = torch.stack(hs, 1), torch.stack(cs, 1)
        outputs.append(states[f"h_{suffix}"])
        cells.append(states[f"c_{suffix}"])
    layer_input = torch.cat(outputs, dim=2)
assert torch.allclose(layer_input, lstm(x)[0], atol=1e-14)
expected["states"] = {name: states[name].tolist() for name in ["h_l0_reverse", "c_l0", "c_l1_reverse", "h_l1"]}

norms, matrix = {}, None
for k in range(T):
    flat = [weight for weights in copies.values() for weight in weights]
    loss = (layer_input[:, k] * read["dh"][:, k]).sum() + (torch.cat(cells, 2)[:, k] * arrays["dc"][:, k]).sum()
    found = iter(torch.autograd.grad(loss, flat, allow_unused=True, retain_graph=True))
    for suffix, t in copies:
        for parameter in PARAMETERS:
            gradient = next(found)
            rows = norms.setdefault(f"{parameter}_{suffix}", [[None] * T for _ in range(T)])
            rows[k][t] = None if gradient is None else size(gradient)
            if (parameter, suffix, k, t) == ("weight_hh", "l0_reverse", 3, 1):
                matrix = gradient
expected["cell_gradients"] = {"components": norms, "weight_hh_l0_reverse_3_1": matrix.tolist()}

(HERE / "targets.json").write_text(json.dumps(expected, indent=0) + "\n")
