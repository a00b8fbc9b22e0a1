"""Opens recurrent models as public packages ship them, and compares ledgers with PyTorch's gradients.

Needs pip, PyTorch, NumPy, safetensors, h5py and onnx; BPTT is the command (default: bptt). Downloads the pinned packages below into a temporary
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


def initializers(path):
    """Arrays that the graph holds under PyTorch's names, in its branches, too."""
    import onnx

    found = {}

    def add(graph):
        for array in graph.initializer:
            found[array.name] = torch.tensor(onnx.numpy_helper.to_array(array).copy())
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    found[node.output[0]] = torch.tensor(onnx.numpy_helper.to_array(attribute.t).copy())
                if attribute.type == onnx.AttributeProto.GRAPH:
                    add(attribute.g)

    add(onnx.load(path).graph)
    return found


def dequantized(path):
    """The first DynamicQuantizeLSTM of a graph: (q - zero point) * scale, gates i, o, f, c as PyTorch's i, f, c, o."""
    import onnx

    graph = onnx.load(path).graph
    arrays = {array.name: onnx.numpy_helper.to_array(array).astype(float) for array in graph.initializer}
    node = next(node for node in graph.node if node.op_type == "DynamicQuantizeLSTM")
    w, r, b = (arrays[node.input[place]] for place in (1, 2, 3))
    hidden = r.shape[1]
    order = numpy.concatenate([numpy.arange(g * hidden, (g + 1) * hidden) for g in (0, 2, 3, 1)])
    found = {}
    for d, suffix in enumerate(["_l0", "_l0_reverse"]):
        for name, q, place in (("weight_ih", w, 8), ("weight_hh", r, 10)):
            scale, zero = (numpy.atleast_1d(arrays[node.input[place + i]][d]) for i in (0, 1))
            found[f"lstm.LSTM_quant.{name}{suffix}"] = torch.tensor(((q[d] - zero) * scale).T[order])
        for i, name in enumerate(["bias_ih", "bias_hh"]):
            found[f"lstm.LSTM_quant.{name}{suffix}"] = torch.tensor(b[d, i * 4 * hidden :][: 4 * hidden][order])
    return found


# Package, file, module, how PyTorch reads it, its class, the names of W_ih and W_hh.
FILES = [
    ("silero-vad==6.2.3", "silero_vad/data/silero_vad_16k.safetensors", "lstm_cell", safetensors.torch.load_file, "LSTM"),
    ("silero-vad==6.2.3", "silero_vad/data/silero_vad.jit", "_model.decoder.rnn", scripted, "LSTM"),
    ("silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx", "If_0_then_branch__Inline_0__decoder.rnn", initializers, "LSTM"),
    ("g2p-en==2.1.0", "g2p_en/checkpoint20.npz", "enc", arrays, "GRU"),
    ("g2p-en==2.1.0", "g2p_en/checkpoint20.npz", "dec", arrays, "GRU"),
    ("cartwright==0.0.3", "cartwright/models/LSTM_RNN_Cartwright_v_0.0.1_dict.pth", "lstm", pickled, "LSTM"),
    ("Resemblyzer==0.1.4", "resemblyzer/pretrained.pt", "lstm", pickled, "LSTM"),
    ("asmscan-bilstm==1.0.0", "asmscan/bilstm/resources/model/cvms/bass-model1.h5", "lstm/lstm_cell", keras_arrays, "LSTM"),
    ("dksplit==1.0.2", "dksplit/models/dksplit-int8.onnx", "lstm.LSTM_quant", dequantized, "LSTM"),
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
    both = any(name.endswith("_reverse") for name in own)
    layers = len([name for name in own if name.startswith("weight_hh")]) // (1 + both)
    gates = {"LSTM": 4, "GRU": 3}[kind]
    hidden, inputs = own["weight_hh_l0"].shape[0] // gates, own["weight_ih_l0"].shape[1]
    made = getattr(torch.nn, kind)(inputs, hidden, num_layers=layers, bidirectional=both, batch_first=True)
    made.load_state_dict(own, strict=True)
    return made


def compare(path, module, read, kind, folder):
    made = network(read(path), module, kind)
    torch.manual_seed(0)
    x, seeds = torch.randn(1, 12, made.input_size), torch.randn(1, 12, made.hidden_size * (1 + made.bidirectional))
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
            name = f"{entry['parameter']}_l{entry['layer']}" + ("_reverse" if entry["direction"] == "reverse" else "")
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
