"""Watching the trainings of other libraries; each test needs the one that it names."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import bptt
from bptt import adapters

REACH = Path(__file__).parents[1] / "scripts" / "reach"


class Forecaster(nn.Module):
    """What Lightning calls, without it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.core, self.head = nn.GRU(2, 4), nn.Linear(4, 1)

    def training_step(self, batch, batch_index):
        return self.head(self.core(batch)[0]).square().mean()


class Inherits(Forecaster):
    pass


@pytest.mark.parametrize("kind", [Forecaster, Inherits])
def test_every_instance_of_a_lightning_module_is_watched(kind) -> None:
    original, batches = kind.training_step, []
    with adapters.lightning(kind, every=1, out=io.StringIO(), batch=lambda self, batch: batches.append(batch)) as seen:
        for _ in range(2):
            # Made after the watching began, as fit makes copies.
            model = kind()
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            for step in range(3):
                optimizer.zero_grad()
                model.training_step(torch.randn(5, 2, 2), step).backward()
                optimizer.step()
    assert [len(one.updates) for one in seen] == [3, 3] and len(batches) == 6
    assert all(update.longest_path == 4 for one in seen for update in one.updates)
    assert kind.training_step is original and ("training_step" in vars(kind)) == (kind is Forecaster)
    assert not model.core._forward_hooks


def test_modules_of_an_agent() -> None:
    class Agent:
        policy, value = Forecaster(), Forecaster()

    with adapters.agent(Agent(), every=1, out=io.StringIO()) as seen:
        Agent.policy.training_step(torch.randn(5, 2, 2), 0).backward()
        Agent.value.training_step(torch.randn(3, 2, 2), 0).backward()
    assert [(update.module, update.longest_path) for update in seen.updates] == [("policy.core", 4), ("value.core", 2)]
    with pytest.raises(ValueError, match="has no module as policy or value"):
        adapters.agent(object())


def test_a_trainer_of_transformers(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")

    class Model(Forecaster):
        def forward(self, x=None, labels=None):
            y = self.head(self.core(x.transpose(0, 1))[0])[-1, :, 0]
            return {"loss": (y - labels).square().mean(), "logits": y}

    data = [{"x": torch.randn(6, 2), "labels": torch.tensor(0.5)} for _ in range(16)]
    callback = adapters.trainer_callback(every=2, out=io.StringIO())
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        max_steps=6,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    transformers.Trainer(Model(), arguments, train_dataset=data, callbacks=[callback]).train()
    assert [update.count for update in callback.seen.updates] == [0, 2, 4]
    assert all(update.longest_path == 5 and update.losses == 4 for update in callback.seen.updates)
    assert callback.seen.alarms == []


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_keras(backend) -> None:
    # In a process of its own: the backend is chosen when Keras is imported.
    if any(importlib.util.find_spec(name) is None for name in ("keras", backend)):
        pytest.skip(f"needs keras and {backend}")
    script = """
import keras, numpy as np
from bptt import adapters
model = keras.Sequential([keras.Input((7, 3)), keras.layers.GRU(4, return_sequences=True), keras.layers.Dense(1)])
x, y = np.random.rand(2, 7, 3).astype("float32"), np.random.rand(2, 7, 1).astype("float32")
found = adapters.keras_dependence(model, x, y)
print(found.nearest_lag, found.farthest_lag, int(found.depends.sum()))
"""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(Path(bptt.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.split()[-3:] == ["0", "6", "28"]


def rows(script: str, folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """What a script of reach/ prints, and the alarms."""
    path = os.pathsep.join([str(Path(bptt.__file__).parents[1]), str(REACH)])
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, REACH / script], env=environment, cwd=folder, text=True, capture_output=True, check=True
    )
    lines = done.stdout.splitlines()
    return [json.loads(line[4:]) for line in lines if line.startswith("ROW ")], [
        line[6:] for line in lines if line.startswith("ALARM ")
    ]


@pytest.mark.parametrize(
    ("module", "script", "trainings"),
    [
        ("sb3_contrib", "sb3_contrib_.py", 1),
        ("torchrl", "torchrl_.py", 8),
        ("tianshou", "tianshou_.py", 2),
        ("neuralforecast", "neuralforecast_.py", 3),
        ("darts", "darts_.py", 3),
        ("gluonts", "gluonts_.py", 1),
        ("pytorch_forecasting", "pytorch_forecasting_.py", 1),
        ("fastai", "fastai_.py", 1),
        ("neurogym", "neurogym_.py", 1),
    ],
)
def test_trainings_of_other_libraries_raise_no_alarm(module, script, trainings, tmp_path) -> None:
    pytest.importorskip(module)
    found, alarms = rows(script, tmp_path)
    assert alarms == [] and len(found) == trainings


def test_skrl_stores_the_state_behind_the_step(tmp_path) -> None:
    pytest.importorskip("skrl")
    (policy, value), alarms = rows("skrl_.py", tmp_path)
    assert "31 of 32 **after** x_t" in policy["start"] and value["start"].startswith("of the rollout, before x_t")
    assert len(alarms) == 1 and "policy.lstm" in alarms[0]


def test_what_recurrent_ppo_does(tmp_path) -> None:
    pytest.importorskip("sb3_contrib")
    (row,), _ = rows("sb3_contrib_.py", tmp_path)
    assert row["start"].startswith("of the rollout, before x_t; off by 0.0%")
    assert (row["crosses"], row["padding"], row["nearest"]) == ("nothing", "0", "0")
    assert max(int(lag) for lag in row["longest"].split(", ")) < 128
