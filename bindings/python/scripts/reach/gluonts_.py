"""gluonts' DeepAR (PyTorch) with its defaults for daily series, prediction_length 12."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from gluonts.dataset.pandas import PandasDataset
from gluonts.torch.model.deepar import DeepAREstimator
from gluonts.torch.model.deepar.lightning_module import DeepARLightningModule
from row import start, tell

from bptt import adapters
from bptt.torch import dependence

LENGTH = 12
random = np.random.default_rng(0)
series = pd.DataFrame(
    {"target": 10 + random.normal(size=3000).cumsum()}, index=pd.date_range("2010-01-01", periods=3000, freq="D")
)
batches = []
with adapters.lightning(DeepARLightningModule, every=1, batch=lambda self, batch: batches.append((self, batch))) as seen:
    DeepAREstimator(
        freq="D",
        prediction_length=LENGTH,
        num_batches_per_epoch=3,
        batch_size=4,
        trainer_kwargs={"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False},
    ).train(PandasDataset(series, target="target"))
print(*[fact for one in seen for fact in one.facts], sep="\n")
updates = [update for one in seen for update in one.updates]
module, batch = batches[-1]
past = batch["past_target"].shape[1]
whole = torch.cat([batch["past_target"], batch["future_target"]], 1).double().float().detach().requires_grad_()
given = {key: batch[key] for key in module.inputs if key != "past_target"}
model = module.model
params = model.unroll_lagged_rnn(**given, past_target=whole[:, :past], future_target=whole[:, past:])[0]
first = past - (model.context_length - 1)
outputs = torch.stack([part[0] for part in params], 1)
# The targets of the loss, on the time axis of both parts.
targets = first + np.arange(len(outputs))
found = dependence(outputs, whole, axis=1, loss_steps=targets)
after = (found.depends & (np.arange(whole.shape[1])[None, :] >= targets[:, None])).sum(axis=1)
tell(
    f"gluonts DeepAR (prediction_length {LENGTH}, daily)",
    "gluonts",
    start=start(updates),
    longest=f"{max(update.longest_path for update in updates)} RNN steps; {found.farthest_lag} to the target, through lag features",
    nearest=f"{found.lags[found.lags > 0].min()} to the target; up to {after.max()} inputs at or after the target",
)
