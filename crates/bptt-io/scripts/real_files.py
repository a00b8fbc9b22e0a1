"""Opens recurrent models as public packages ship them, and compares ledgers with PyTorch's gradients.

Needs pip, PyTorch, NumPy, safetensors, h5py and onnx; BPTT is the command (default: bptt), PACKAGES a folder for the packages (default: a
temporary one). Downloads the pinned packages below, runs `bptt inspect` on each file as it is, and, for those that open, `bptt trace`
on random inputs and gradients against the norms of dL/dW_ih and dL/dW_hh from autograd in f64. Where PyTorch has no such layer
(hard sigmoids, a reset gate before the product), its equations are written out below. For files that are refused, the way out that the
message names is taken, and the file that it leaves is compared in the same way. Prints a table; exit code 1 if a norm differs by more than
1e-9.
"""
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
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
    return loaded.get("model_state", loaded.get("model_state_dict", loaded))


def arrays(path):
    return {name: torch.tensor(array) for name, array in numpy.load(path).items()}


def keras(*groups):
    """The weights of Keras' layers, one group a direction, with PyTorch's names and arrangement: x W in place of x Wᵀ, one bias, an
    LSTM's gates in the same order and a GRU's z, r, h as r, z, n. A bias of twice the length is of a CuDNN layer: each gate's block of
    the kernel is (H, I) there, written as if it were (I, H), the recurrent one is PyTorch's, and there are two biases.
    """

    def read(path):
        import h5py

        found = {}
        with h5py.File(path) as file:
            for group, suffix in zip(groups, ["_l0", "_l0_reverse"]):
                arrays = {name.split(":")[0]: of[()].astype(float) for name, of in file[group].items()}
                kernel, recurrent, bias = (arrays[name] for name in ("kernel", "recurrent_kernel", "bias"))
                inputs, hidden = len(kernel), len(recurrent)
                gates = recurrent.shape[1] // hidden
                order = [1, 0, 2] if gates == 3 else range(gates)
                blocks = [[of[:, g * hidden : (g + 1) * hidden] for g in order] for of in (kernel, recurrent)]
                if bias.shape == (2 * gates * hidden,):
                    w_ih, w_hh = [block.reshape(hidden, inputs) for block in blocks[0]], blocks[1]
                    b_ih, b_hh = bias.reshape(2, -1)
                else:
                    w_ih, w_hh = ([block.T for block in of] for of in blocks)
                    b_ih, b_hh = bias, 0 * bias
                biases = [numpy.concatenate([b.reshape(gates, hidden)[g] for g in order]) for b in (b_ih, b_hh)]
                arrays = [numpy.concatenate(w_ih), numpy.concatenate(w_hh), *biases]
                for name, array in zip(["weight_ih", "weight_hh", "bias_ih", "bias_hh"], arrays):
                    found[f"{name}{suffix}"] = torch.tensor(array)
        return found

    return read


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

    graph = onnx.load(path).graph
    add(graph)
    # Equal arrays are kept once.
    found |= {node.output[0]: found[node.input[0]] for node in graph.node if node.op_type == "Identity" and node.input[0] in found}
    return found


def under(prefix, read):
    """The arrays with this prefix, without it."""
    return lambda path: {name.removeprefix(prefix): of for name, of in read(path).items() if name.startswith(prefix)}


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


def unpickled(path, folder):
    """The way out of a pickle of arrays: numpy.savez in the program that it comes from."""
    numpy.savez(folder / "saved.npz", **pickle.loads(path.read_bytes()))
    return folder / "saved.npz"


def of_dynet(path, folder):
    """The way out of DyNet's text: a VanillaLSTMBuilder's gates are i, f, o, g, with 1 added to f at every step."""
    lines = path.read_text().splitlines()
    found = {}
    for head, numbers in zip(lines, lines[1:]):
        if parts := re.fullmatch(r"#Parameter# (\S+) \{([\d,]+)\} \d+ \S+", head):
            sizes = [int(size) for size in parts[2].split(",")]
            found[parts[1]] = numpy.array(numbers.split(), float).reshape(sizes, order="F")
    name = next(name for name in found if "vanilla-lstm-builder" in name).rsplit("/", 1)[0]
    w, u, b = (found[f"{name}/_{i}"] for i in range(3))
    hidden = u.shape[1]
    order = numpy.concatenate([numpy.arange(g * hidden, (g + 1) * hidden) for g in (0, 1, 3, 2)])
    b[hidden : 2 * hidden] += 1
    arrays = {"weight_ih_l0": w[order], "weight_hh_l0": u[order], "bias_ih_l0": b[order], "bias_hh_l0": 0 * b}
    numpy.savez(folder / "saved.npz", **{f"lstm.{name}": array for name, array in arrays.items()})
    return folder / "saved.npz"


HARD = {"gates": lambda a: (0.2 * a + 0.5).clamp(0, 1)}

# Package, file, module, how PyTorch reads it, its class, and what is other than in PyTorch. A refused file has its way out in place of
# the latter.
FILES = [
    ("silero-vad==6.2.3", "silero_vad/data/silero_vad_16k.safetensors", "lstm_cell", safetensors.torch.load_file, "LSTM", {}),
    ("silero-vad==6.2.3", "silero_vad/data/silero_vad.jit", "_model.decoder.rnn", scripted, "LSTM", {}),
    (
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad.onnx",
        "If_0_then_branch__Inline_0__.decoder.rnn.LSTM",
        under("If_0_then_branch__Inline_0__decoder.rnn.", initializers),
        "LSTM",
        {},
    ),
    ("g2p-en==2.1.0", "g2p_en/checkpoint20.npz", "enc", arrays, "GRU", {}),
    ("g2p-en==2.1.0", "g2p_en/checkpoint20.npz", "dec", arrays, "GRU", {}),
    ("cartwright==0.0.3", "cartwright/models/LSTM_RNN_Cartwright_v_0.0.1_dict.pth", "lstm", pickled, "LSTM", {}),
    ("Resemblyzer==0.1.4", "resemblyzer/pretrained.pt", "lstm", pickled, "LSTM", {}),
    (
        "asmscan-bilstm==1.0.0",
        "asmscan/bilstm/resources/model/cvms/bass-model1.h5",
        "lstm/lstm_cell",
        keras("model_weights/lstm/lstm/lstm_cell"),
        "LSTM",
        {},
    ),
    ("dksplit==1.0.2", "dksplit/models/dksplit-int8.onnx", "lstm.LSTM_quant", dequantized, "LSTM", {}),
    ("nagisa==0.3.0", "nagisa/data/nagisa_v001.model", "lstm", arrays, "LSTM", of_dynet),
    # From here on the list was written down before any of these files was tried.
    (
        "chars2vec==0.1.7",
        "chars2vec-0.1.7/chars2vec/trained_models/eng_50/weights.h5",
        "lstm_1",
        keras("lstm_1/lstm_1"),
        "LSTM",
        HARD,
    ),
    ("textgenrnn==2.0.0", "textgenrnn-2.0.0/textgenrnn/textgenrnn_weights.hdf5", "rnn_1", keras("rnn_1/rnn_1"), "LSTM", {}),
    (
        "reactionrnn==0.1",
        "reactionrnn-0.1/reactionrnn/reactionrnn_weights.hdf5",
        "rnn",
        keras("rnn/rnn"),
        "GRU",
        HARD | {"reset_before": True},
    ),
    (
        "rnnmorph==0.4.1",
        "rnnmorph-0.4.1/rnnmorph/models/ru/eval_model.h5",
        "LSTM_1_forward",
        keras("LSTM_1_forward/LSTM_1_forward"),
        "LSTM",
        HARD,
    ),
    (
        "rnnmorph==0.4.1",
        "rnnmorph-0.4.1/rnnmorph/models/ru/eval_model.h5",
        "bidirectional_1/LSTM_0",
        keras("bidirectional_1/bidirectional_1/forward_LSTM_0", "bidirectional_1/bidirectional_1/backward_LSTM_0"),
        "LSTM",
        HARD,
    ),
    (
        "crema==0.2.0",
        "crema/models/chord/model.h5",
        "bidirectional_1/gru_1",
        keras(*(f"model_weights/bidirectional_1/bidirectional_1/{way}_gru_1" for way in ("forward", "backward"))),
        "GRU",
        HARD | {"reset_before": True},
    ),
    ("g2p-fa==1.1.0", "g2p_fa/data/weights", "encoder.rnn", pickled, "LSTM", {}),
    ("arabic-diacritizer==1.0.0", "diacritize/assets/bilstm_best.pt", "lstm", pickled, "LSTM", {}),
    ("khmer-ocr-ocm==0.1.0", "khmer_ocr_ocm/assets/model.pth", "rnn", pickled, "LSTM", {}),
    ("captcha-whisperer==0.1.0", "captcha_whisperer/models/captcha_crnn.onnx", "lstm_fwd.cell", initializers, "LSTM", {}),
    ("captcha-whisperer==0.1.0", "captcha_whisperer/models/captcha_crnn.onnx", "lstm_bwd.cell", initializers, "LSTM", {}),
    ("uzmorph-nn==0.1.0", "uzmorph_nn/data/morph_bilstm.pth", "lstm", pickled, "LSTM", {}),
    ("nokcut==0.4", "nokcut/nok1.model", "_rnn", pickled, "GRU", {}),
    ("g2pm==0.1.2.5", "g2pM/np_ckpt.pkl", "lstm", arrays, "LSTM", unpickled),
]


def bptt(*arguments):
    done = subprocess.run([BPTT, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, " ".join(done.stderr.split())


def network(weights, module, kind):
    """PyTorch's module with the weights whose names begin with the module's."""
    last = module.rsplit(".", 1)[-1]
    prefix = next((of for of in (f"{module}.", f"{module}_", f"{last}.") if any(name.startswith(of) for name in weights)), "")
    own = {name[len(prefix) :]: w.double() for name, w in weights.items() if name.startswith(prefix)}
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


def written_out(made, x, gates=torch.sigmoid, reset_before=False):
    """The outputs of one layer whose gates have another activation, or whose reset gate multiplies h before the product."""
    outputs = []
    for suffix in ["_l0", "_l0_reverse"][: 1 + made.bidirectional]:
        w, u, b, b_h = (getattr(made, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = c = torch.zeros(len(x), made.hidden_size)
        found, steps = [], range(x.shape[1])
        for t in reversed(steps) if suffix.endswith("reverse") else steps:
            a = (x[:, t] @ w.T + b).chunk(len(w) // made.hidden_size, 1)
            if isinstance(made, torch.nn.LSTM):
                i, f, g, o = (a + r for a, r in zip(a, (h @ u.T + b_h).chunk(4, 1)))
                c = gates(f) * c + gates(i) * g.tanh()
                h = gates(o) * c.tanh()
            else:
                assert reset_before
                (u_r, u_z, u_n), (b_r, b_z, b_n) = u.chunk(3), b_h.chunk(3)
                r, z = gates(a[0] + h @ u_r.T + b_r), gates(a[1] + h @ u_z.T + b_z)
                n = (a[2] + (r * h) @ u_n.T + b_n).tanh()
                h = (1 - z) * n + z * h
            found.append(h)
        outputs.append(torch.stack(found[::-1] if suffix.endswith("reverse") else found, 1))
    return torch.cat(outputs, 2)


def compare(path, module, read, kind, other, folder):
    made = network(read(path), module, kind)
    torch.manual_seed(0)
    x, seeds = torch.randn(1, 12, made.input_size), torch.randn(1, 12, made.hidden_size * (1 + made.bidirectional))
    ((written_out(made, x, **other) if other else made(x)[0]) * seeds).sum().backward()
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


def fetch(package, folder):
    """The package's files; nothing in them is run, but pip asks a source distribution for its metadata."""
    place = folder / package
    if place.exists():
        return place
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(place), package], check=True)
    for file in list(place.iterdir()):
        if file.suffix == ".whl":
            zipfile.ZipFile(file).extractall(place)
        else:
            tarfile.open(file).extractall(place, filter="data")
    return place


def main():
    failed, opened = False, {}
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        packages = Path(os.environ.get("PACKAGES", temporary))
        print("| package | file | module | result |\n|---|---|---|---|")
        for package, file, module, read, kind, other in FILES:
            path = fetch(package, packages) / file
            code, _, err = bptt("inspect", path)
            worst, result = None, ""
            if code:
                result = "refused: " + err.split("is not a usable model: ")[-1][:90]
                if callable(other):
                    path, other, code = other(path, temporary), {}, 0
                    result += "; saved as it says, "
            if not code:
                worst, err = compare(path, module, read, kind, other, temporary)
                result += f"largest relative difference of ‖dL/dW‖: {worst:.1e}" if worst is not None else err[:200]
            failed |= worst is None or worst > 1e-9
            opened[package, file] = worst is not None and not result.startswith("refused")
            print(f"| {package} | {Path(file).name} | {module} | {result} |", flush=True)
    print(f"{sum(opened.values())} of {len(opened)} files open as they are", file=sys.stderr)
    sys.exit(failed)


main()
