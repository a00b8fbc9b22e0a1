#!/usr/bin/env bash
# The marks of slices that torchrl's SliceSampler makes, and the replay buffer that drops them.
#
# Expected: a flat batch of SliceSampler can be given to LSTMModule in recurrent mode: the sampler marks the first step of each slice
#           in "is_init", and the module begins anew there. Which class of buffer holds the data does not matter.
# Actual:   the sampler returns its marks in the info beside the sample. TensorDictReplayBuffer writes them into the batch,
#           ReplayBuffer does not: its batch has the "is_init" of the storage, and the module runs on from slice to slice, without
#           a warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir torch==2.15.0 torchrl==0.14.1 tensordict==0.14.3 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import tensordict
import torch
import torchrl
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer, SliceSampler, TensorDictReplayBuffer
from torchrl.modules import LSTMModule, set_recurrent_mode

print("torch", torch.__version__, "torchrl", torchrl.__version__, "tensordict", tensordict.__version__)
EPISODES, STEPS, SLICES, LENGTH = 10, 60, 8, 5
torch.manual_seed(0)
count = EPISODES * STEPS
first = torch.arange(count) % STEPS == 0
data = TensorDict(
    {"observation": torch.randn(count, 3), "is_init": first[:, None], "episode": first.cumsum(0)}, batch_size=[count]
)
core = LSTMModule(input_size=3, hidden_size=4, in_keys=["observation", "h", "c"], out_keys=["out", ("next", "h"), ("next", "c")])
apart = {}
for kind in (TensorDictReplayBuffer, ReplayBuffer):
    sampler = SliceSampler(slice_len=LENGTH, traj_key="episode")
    buffer = kind(storage=LazyTensorStorage(count), sampler=sampler, batch_size=SLICES * LENGTH)
    buffer.extend(data)
    torch.manual_seed(1)
    batch = buffer.sample()
    marks = batch["is_init"].flatten()[::LENGTH]
    with torch.no_grad(), set_recurrent_mode(True):
        flat = core(batch.clone())["out"]
        alone = core(batch.clone().reshape(SLICES, LENGTH))["out"].reshape(flat.shape)
    apart[kind] = (flat - alone).abs().max().item()
    print(f"{kind.__name__}: {int(marks.sum())} of {SLICES} slices are marked at their first step;", end=" ")
    print(f"largest difference of the flat batch's outputs from those of slices: {apart[kind]:.3g}")
print("expected: 8 of 8 and 0 for both")
as_described = apart[TensorDictReplayBuffer] < 1e-5 and apart[ReplayBuffer] > 1e-2
sys.exit(0 if as_described else "the behavior has changed")
PYTHON
