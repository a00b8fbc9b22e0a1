"""pytorch-forecasting's RecurrentNetwork with its defaults: an encoder of 30 steps and a decoder of 5."""

from __future__ import annotations

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from pytorch_forecasting import RecurrentNetwork, TimeSeriesDataSet
from row import start, tell

from bptt import adapters
from bptt.torch import dependence

ENCODER, DECODER = 30, 5
random = np.random.default_rng(0)
data = pd.DataFrame({"time": np.arange(200), "group": "a", "y": random.normal(size=200).cumsum()})
data_set = TimeSeriesDataSet(
    data,
    time_idx="time",
    target="y",
    group_ids=["group"],
    max_encoder_length=ENCODER,
    max_prediction_length=DECODER,
    time_varying_unknown_reals=["y"],
)
model = RecurrentNetwork.from_dataset(data_set, cell_type="LSTM")
batches = []
with adapters.lightning(RecurrentNetwork, every=1, batch=lambda _, batch: batches.append(batch[0])) as seen:
    trainer = pl.Trainer(
        max_steps=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data_set.to_dataloader(train=True, batch_size=4, num_workers=0))
print(*[fact for one in seen for fact in one.facts], sep="\n")
updates = [update for one in seen for update in one.updates]
model.train()
batch = {key: value for key, value in batches[-1].items()}
observed = torch.cat([batch["encoder_cont"], batch["decoder_cont"]], 1).detach().requires_grad_()
batch["encoder_cont"], batch["decoder_cont"] = observed[:, :ENCODER], observed[:, ENCODER:]
found = dependence(model(batch)["prediction"][0, :, 0], observed, axis=1, loss_steps=ENCODER + np.arange(DECODER))
print(found.depends.astype(int))
tell(
    f"pytorch-forecasting RecurrentNetwork ({ENCODER} and {DECODER} steps)",
    "pytorch-forecasting",
    start=start(updates) if updates else "zeros",
    longest=f"{found.farthest_lag} to the target" + (f", {max(u.longest_path for u in updates)} RNN steps" if updates else ""),
    nearest=f"{found.nearest_lag} to the target",
    note=f"{updates[-1].calls} calls of one graph" if updates else "",
)
