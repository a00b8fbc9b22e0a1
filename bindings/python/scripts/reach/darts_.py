"""darts' RNNModel and BlockRNNModel with their defaults."""

from __future__ import annotations

import numpy as np
import torch
from darts import TimeSeries
from darts.models import BlockRNNModel, RNNModel
from darts.models.forecasting.pl_forecasting_module import PLForecastingModule
from row import start, tell

from bptt import adapters
from bptt.torch import dependence

random = np.random.default_rng(0)
series = TimeSeries.from_values(random.normal(size=200).cumsum().astype(np.float32))
trainer = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_checkpointing": False}


def fit(model):
    """Its `watch`es, and the input of the last call."""
    with adapters.lightning(PLForecastingModule, every=1) as seen:
        model.fit(series)
    print(*[fact for one in seen for fact in one.facts], sep="\n")
    return [update for one in seen for update in one.updates]


for length in (12, 20):
    model = RNNModel(
        input_chunk_length=length, training_length=24, model="LSTM", n_epochs=1, random_state=0, pl_trainer_kwargs=trainer
    )
    updates = fit(model)
    rnn = next(part for part in model.model.modules() if isinstance(part, torch.nn.LSTM))
    tell(
        f"darts RNNModel (input_chunk_length {length}, training_length 24)",
        "darts",
        start=start(updates),
        longest=str(max(update.longest_path for update in updates)),
        nearest=f"{min(update.nearest_lag for update in updates) + 1} to the target",
    )

inputs = []
model = BlockRNNModel(12, 6, model="LSTM", n_epochs=1, random_state=0, pl_trainer_kwargs=trainer)


def kept(module, args, kwargs, output):
    if isinstance(module, torch.nn.LSTM) and module.training:
        inputs.append((module, args[0].detach()))


handle = torch.nn.modules.module.register_module_forward_hook(kept, with_kwargs=True)
updates = fit(model)
handle.remove()
module, x = inputs[-1]
x = x.clone().requires_grad_()
# As the model's own forward method does it: the last 6 outputs, one forecast of each.
forecasts = model.model.fc(module(x)[0][:, -6:])[0, :, 0]
found = dependence(forecasts, x, axis=1, loss_steps=12 + np.arange(6))
tell(
    "darts BlockRNNModel (12, 6)",
    "darts",
    start=start(updates),
    longest=str(max(update.longest_path for update in updates)),
    nearest=f"{found.nearest_lag} to the target",
    note=f"to the target {found.farthest_lag}",
)
