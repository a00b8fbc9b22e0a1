"""neuralforecast's LSTM, GRU and RNN with their defaults, horizon 6 of 24 inputs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.models import GRU, LSTM, RNN
from row import start, tell
import torch

from bptt import adapters
from bptt.torch import dependence

HORIZON, LENGTH = 6, 24
random = np.random.default_rng(0)
series = pd.DataFrame(
    {"unique_id": "a", "ds": pd.date_range("2020-01-01", periods=300, freq="D"), "y": random.normal(size=300).cumsum()}
)


def lags(model, batch):
    """Of each forecast's target to the observations that its loss has a gradient for."""
    batch = {key: value.detach() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    batch["insample_y"].requires_grad_()
    forecasts = type(model).forward(model, batch)[0, :, 0]
    return dependence(forecasts, batch["insample_y"], axis=1, loss_steps=LENGTH + np.arange(HORIZON))


for kind in (LSTM, GRU, RNN):
    batches = []
    original = kind.forward

    def forward(self, batch, original=original):
        batches.append(batch)
        return original(self, batch)

    kind.forward = forward
    options = {"max_steps": 5, "logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    model = kind(h=HORIZON, input_size=LENGTH, inference_input_size=LENGTH, scaler_type="identity", **options)
    with adapters.lightning(kind, every=1) as seen:
        NeuralForecast(models=[model], freq="D").fit(series)
    kind.forward = original
    updates = [update for one in seen for update in one.updates]
    found = lags(model, batches[-1])
    print(*[fact for one in seen for fact in one.facts], sep="\n")
    longest = max(update.longest_path for update in updates)
    tell(
        f"neuralforecast {kind.__name__} (h {HORIZON}, input_size {LENGTH})",
        "neuralforecast",
        start=start(updates),
        longest=str(longest),
        nearest=f"{found.nearest_lag} to the target",
        note=f"to the target {found.farthest_lag}",
    )
