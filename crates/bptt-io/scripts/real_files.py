"""Opens recurrent models as public packages ship them, and compares ledgers with PyTorch's gradients.

Needs pip, PyTorch, NumPy, safetensors and h5py; BPTT is the command (default: bptt). Downloads the pinned packages below into a temporary
folder, runs `bptt inspect` on each file as it is, and, for those that open, `bptt trace` on random inputs and gradients against the
norm of dL/dW_hh from autograd in f64. Prints a table; exit code 1 if a gradient differs by more than 1e-9.
"""
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy
import safetensors.torch
import torch

BPTT = os.environ.get("BPTT", "bptt")
torch.set_default_dtype(torch.float64)


def scripted(path):
    return torch.jit.load(path).state_dict()


def pickled(path):
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return loaded.get("model_state", loaded)


def arrays(path):
    return {name: torch.tensor(array) for name, array in numpy.load(path).items()}


def keras_arrays(path):
    """The arrays of Keras' LSTMs with PyTorch's names and arrangement: x W in place of x Wᵀ, one bias, the same order of gates."""
    import h5py

    found = {}

    def add(name, array):
        if not isinstance(array, h5py.Dataset) or "lstm_cell" not in name:
            return
        prefix, last = name.removeprefix("model_weights/").split("/", 1)[1].rsplit("/", 1)
        numbers = torch.tensor(array[()]).double()
        match last.split(":")[0]:
            case "kernel":
                found[f"{prefix}.weight_ih"] = numbers.T
            case "recurrent_kernel":
                found[f"{prefix}.weight_hh"] = numbers.T
            case "bias":
                found[f"{prefix}.bias_ih"] = numbers
                found[f"{prefix}.bias_hh"] = torch.zeros_like(numbers)

    with h5py.File(path) as file:
        file["model_weights"].visititems(add)
    return found


# Package, file, module, how PyTorch reads it, its class, the names of W_ih and W_hh.
FILES = [
    ("silero-vad==6.2.3", "silero_vad/data/silero_vad_16k.safetensors", "lstm_cell", safetensors.torch.load_file, "LSTM"),
    ("silero-vad==6.2.3", "silero_vad/data/silero_vad.jit", "_model.decoder.rnn", scripted, "LSTM"),
    ("silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx", None, None, None),
    ("g2p-en==2.1.0", "g2p_en/checkpoint20.npz", "enc", arrays, "GRU"),
    ("g2p-en==2.1.0", "g2p_en/checkpoint20.npz", "dec", arrays, "GRU"),
    ("cartwright==0.0.3", "cartwright/models/LSTM_RNN_Cartwright_v_0.0.1_dict.pth", "lstm", pickled, "LSTM"),
    ("Resemblyzer==0.1.4", "resemblyzer/pretrained.pt", "lstm", pickled, "LSTM"),
    ("asmscan-bilstm==1.0.0", "asmscan/bilstm/resources/model/cvms/bass-model1.h5", "lstm/lstm_cell", keras_arrays, "LSTM"),
    ("dksplit==1.0.2", "dksplit/models/dksplit-int8.onnx", None, None, None),
    ("nagisa==0.3.0", "nagisa/data/nagisa_v001.model", None, None, None),
]


def bptt(*arguments):
    done = subprocess.run([BPTT, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, " ".join(done.stderr.split())


def network(weights, module, kind):
    """PyTorch's module with the weights whose names begin with the module's."""
    own = {name[len(module) + 1 :]: w.double() for name, w in weights.items() if name.startswith(module)}
    short = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
    own = {short.get(name, name): w for name, w in own.items() if name[:2] in ("w_", "b_") or name[:4] in ("weig", "bias")}
    own = {name if "_l" in name else name + "_l0": w for name, w in own.items()}
    layers = len([name for name in own if name.startswith("weight_hh")])
    gates = {"LSTM": 4, "GRU": 3}[kind]
    hidden, inputs = own["weight_hh_l0"].shape[0] // gates, own["weight_ih_l0"].shape[1]
    made = getattr(torch.nn, kind)(inputs, hidden, num_layers=layers, batch_first=True)
    made.load_state_dict(own, strict=True)
    return made


def compare(path, module, read, kind, folder):
    made = network(read(path), module, kind)
    torch.manual_seed(0)
    x, seeds = torch.randn(1, 12, made.input_size), torch.randn(1, 12, made.hidden_size)
    (made(x)[0] * seeds).sum().backward()
    numpy.save(folder / "x.npy", x.numpy())
    numpy.save(folder / "dh.npy", seeds.numpy())
    code, out, err = bptt(
        "trace", "--model", path, "--module", module, "--input", folder / "x.npy", "--grad-output", folder / "dh.npy", "--json"
    )
    if code:
        return None, err
    worst = 0.0
    for entry in json.loads(out)["entries"]:
        if entry["parameter"] in ("weight_ih", "weight_hh"):
            name = f"{entry['parameter']}_l{entry['layer']}"
            expected = getattr(made, name).grad.norm().item()
            worst = max(worst, abs(entry["total_norm"] - expected) / expected)
    return worst, ""


def main():
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        print("| package | file | module | result |\n|---|---|---|---|")
        for package, file, module, read, kind in FILES:
            place = folder / package
            if not place.exists():
                command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", place, package]
                subprocess.run(list(map(str, command)), check=True)
                for wheel in place.glob("*.whl"):
                    zipfile.ZipFile(wheel).extractall(place)
            path = place / file
            code, _, err = bptt("inspect", path)
            if code:
                result = "refused: " + err.split("is not a usable model: ")[-1][:90]
            elif read is None:
                result = "opened, not compared"
            else:
                worst, err = compare(path, module, read, kind, folder)
                failed |= worst is None or worst > 1e-9
                result = f"largest relative difference of ‖dL/dW‖: {worst:.1e}" if worst is not None else err[:120]
            print(f"| {package} | {path.name} | {module or ''} | {result} |", flush=True)
    sys.exit(failed)


main()
