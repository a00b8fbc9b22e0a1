"""Every cell and layer of torchrecurrent 0.2.5, saved as safetensors and opened by bptt: read correctly, or refused, or read as
PyTorch's cell of the same names and shapes with that being said.

Needs PyTorch, torchrecurrent 0.2.5, NumPy and safetensors; BPTT is the command (default: bptt). `bptt trace` on random inputs and
gradients is compared with autograd in f64, the norms of dL/dW and dL/db of every parameter of the cell. Nothing in such a file
tells torchrecurrent's cells from torch.nn's where names and shapes are the same: a lone cell is read as torch.nn's, and the
sentence that says so has to stand in the JSON (`assumptions`) and on stderr. Prints a table; exit code 1 if a cell is read
wrongly without that sentence, or if a refusal names neither the module nor a tensor of it.
"""
import inspect
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy
import torch
import torchrecurrent
from safetensors.torch import save_file

BPTT = os.environ.get("BPTT", "bptt")
STEPS, HIDDEN = 6, 4
# What says that the cell is taken for another library's.
SAID = "other libraries use them for other cells"
# Cells that bptt has when they are asked for by name.
ASKED = {"OriginalLSTM": "lstm_1997", "OriginalLSTMCell": "lstm_1997"}
torch.set_default_dtype(torch.float64)


def bptt(*arguments):
    done = subprocess.run([BPTT, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, " ".join(done.stderr.split())


def outputs(module, inputs):
    """The outputs of every step, (T, 1, H); a cell runs in its layer, which knows its states."""
    if not hasattr(module, "cells"):
        layer = getattr(torchrecurrent, type(module).__name__.removesuffix("Cell"))(inputs.shape[2], HIDDEN)
        layer.cells[0] = module
        module = layer
    return module(inputs)[0]


def worst_difference(module, folder, path, *options):
    """The largest relative difference of a gradient's norm, or why there is none; the assumptions; stderr."""
    torch.manual_seed(1)
    weight = next(of for name, of in module.named_parameters() if name.endswith("weight_ih"))
    x, seeds = torch.randn(STEPS, 1, weight.shape[1]), torch.randn(STEPS, 1, HIDDEN)
    module.zero_grad()
    (outputs(module, x) * seeds).sum().backward()
    numpy.save(folder / "x.npy", x.transpose(0, 1).numpy())
    numpy.save(folder / "dh.npy", seeds.transpose(0, 1).numpy())
    given = ["--input", folder / "x.npy", "--grad-output", folder / "dh.npy"]
    code, out, err = bptt("trace", "--model", path, *given, "--json", *options)
    if code and f"dh.npy: expected (1, {STEPS}, " in err:
        # As a cell of another width; inspect says the same of it.
        _, out, err = bptt("inspect", path, "--json")
        return float("inf"), [note for of in json.loads(out)["modules"] for note in of["notes"]], " ".join(out.split())
    if code:
        return f"refused: {err}", [], err
    ledger, worst = json.loads(out), 0.0
    gradients = {name.rsplit(".", 1)[-1]: of.grad for name, of in module.named_parameters()}
    for entry in ledger["entries"]:
        if (gradient := gradients.get(entry["parameter"])) is not None:
            expected = gradient.norm().item()
            worst = max(worst, abs(entry["total_norm"] - expected) / max(expected, 1e-300))
    return worst, ledger["assumptions"], err


def row(name, inputs, folder):
    """What happens to one class: a word, details, and whether it is wrong."""
    try:
        module = getattr(torchrecurrent, name)(inputs, HIDDEN)
    except ValueError as error:
        return "not made", str(error).split(",")[0][:80], False
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    path = folder / "m.safetensors"
    tensors = {key: of.detach().contiguous().clone() for key, of in module.state_dict().items()}
    save_file(tensors, path)
    code, _, err = bptt("inspect", path)
    asked = ""
    if name in ASKED:
        worst, *_ = worst_difference(module, folder, path, "--cell", ASKED[name])
        correct = isinstance(worst, float) and worst < 1e-9
        asked = f"; with --cell {ASKED[name]}: " + ("read correctly" if correct else f"{worst}")
        if not correct:
            return "wrong", f"--cell {ASKED[name]}: {worst}", True
    if code:
        problem = err.split("is not a usable model: ")[-1]
        named = any(name in problem for name in ("cells.0", "recurrent module", "weight_hh", *tensors))
        return "refused" if named else "REFUSED WITHOUT A NAME", problem[:110] + asked, not named
    worst, assumptions, err = worst_difference(module, folder, path)
    if isinstance(worst, str):
        return "refused by trace", worst[:110] + asked, False
    if worst < 1e-9:
        return "read correctly", f"largest relative difference {worst:.1e}{asked}", False
    said = any(SAID in sentence for sentence in assumptions) and SAID in err
    details = f"differs by {worst:.2g}" + asked
    return ("read as torch.nn's, which is said" if said else "SILENTLY WRONG"), details, not said


def main():
    assert version("torchrecurrent") == "0.2.5", version("torchrecurrent")
    classes = [name for name, of in vars(torchrecurrent).items() if inspect.isclass(of)]
    failed, counts = False, {}
    with tempfile.TemporaryDirectory() as folder:
        print("| class | I | result | details |\n|---|---|---|---|")
        for name in sorted(classes):
            # Equal sizes hide which matrix is which.
            for inputs in (3, HIDDEN):
                result, details, wrong = row(name, inputs, Path(folder))
                counts[result] = counts.get(result, 0) + 1
                failed |= wrong
                print(f"| {name} | {inputs} | {result} | {details.replace('|', '/')} |", flush=True)
    print(", ".join(f"{result}: {count}" for result, count in sorted(counts.items())), file=sys.stderr)
    sys.exit(failed)


main()
