#!/usr/bin/env bash
# The weights of one recurrent cell in another one's class.
#
# Expected: load_state_dict(strict=True) accepts weights only of the same architecture. So what loads without a complaint into
#           torch.nn.GRUCell or LSTMCell is a GRU or an LSTM.
# Actual:   torchrecurrent gives its cells PyTorch's four names and its stacking of gates. Its LSTM of 1997 (three gates) and
#           MUT2 of Jozefowicz et al. load strictly into torch.nn.GRUCell, its tauGRU into torch.nn.LSTMCell, its
#           antisymmetric RNN into torch.nn.RNNCell. None of them computes what the class does: from names and shapes nobody
#           can tell which cell a file holds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir torch==2.15.0 torchrecurrent==0.2.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
import torchrecurrent

print("torch", torch.__version__, "torchrecurrent", version("torchrecurrent"))
torch.manual_seed(0)
x, h, c = torch.randn(1, 3), torch.randn(1, 4), torch.randn(1, 4)
as_described = True
for name, target in [
    ("OriginalLSTMCell", "GRUCell"),
    ("MUT2Cell", "GRUCell"),
    ("tauGRUCell", "LSTMCell"),
    ("AntisymmetricRNNCell", "RNNCell"),
]:
    cell = getattr(torchrecurrent, name)(3, 4)
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    other = getattr(torch.nn, target)(3, 4)
    keys = other.load_state_dict(cell.state_dict(), strict=True)
    state = (h, c) if name == "OriginalLSTMCell" else h
    of_cell = cell(x, state)
    of_cell = of_cell[0] if isinstance(of_cell, tuple) else of_cell
    of_other = other(x, (h, c))[0] if target == "LSTMCell" else other(x, h)
    difference = (of_cell - of_other).abs().max().item()
    print(f"{name} -> torch.nn.{target}: {keys}, outputs differ by {difference:.3f}")
    as_described &= difference > 0.05
sys.exit(0 if as_described else "the behavior has changed")
PYTHON
