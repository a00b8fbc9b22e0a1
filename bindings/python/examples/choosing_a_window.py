# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # How long a window does a hydrology LSTM need?
#
# A catchment stores water: discharge today depends on rain and snow of many days before. Rainfall-runoff LSTMs are usually trained on
# windows of 365 days. The ledger of a trained network says which days its gradient really comes from.
# The catchment here is synthetic: a snow store that melts in spring, and a groundwater store that empties over two months.

# %%
import numpy as np
import torch
from torch import nn

import bptt.torch

torch.manual_seed(0)
rng = np.random.default_rng(0)


def catchment(days: int) -> tuple[np.ndarray, np.ndarray]:
    """Rain and temperature, and the discharge."""
    season = np.sin(2 * np.pi * (np.arange(days) - 110) / 365)
    rain = rng.gamma(0.3, 8, days)
    temperature = 8 + 12 * season + rng.normal(0, 3, days)
    snow = ground = 0.0
    discharge = np.zeros(days)
    for day in range(days):
        snow += rain[day] if temperature[day] < 0 else 0.0
        melt = min(snow, max(0.0, 1.5 * temperature[day]))
        snow -= melt
        ground += melt + (rain[day] if temperature[day] >= 0 else 0.0)
        discharge[day] = ground / 60
        ground -= discharge[day]
    return np.stack([rain / 8, temperature / 12], axis=1), discharge / 2


x, y = (torch.from_numpy(array).float() for array in catchment(8 * 365))

# %% [markdown]
# A small LSTM on windows of 180 days; the loss is that of the last day, as in practice.

# %%
WINDOW = 180
lstm, head = nn.LSTM(2, 16), nn.Linear(16, 1)
optimizer = torch.optim.Adam([*lstm.parameters(), *head.parameters()], 1e-2)
for _ in range(100):
    last = torch.randint(WINDOW, len(x), (32,))
    batch = torch.stack([x[i - WINDOW + 1 : i + 1] for i in last], dim=1)
    error = (head(lstm(batch)[0][-1])[:, 0] - y[last]).pow(2).mean()
    optimizer.zero_grad()
    error.backward()
    nn.utils.clip_grad_norm_(lstm.parameters(), 1.0)
    optimizer.step()

# %% [markdown]
# The ledger of that loss: how much of the gradient comes from within how many days?

# %%
target = y[last]
ledger = bptt.torch.ledger(lstm, batch, loss=lambda h: (head(h[-1])[:, 0] - target).pow(2) / len(target))
print(ledger)
for part in (0.5, 0.9, 0.99):
    print(f"{part:.0%} of the contributions come from the last {ledger.horizon(part, loss=WINDOW - 1)} days")

# %% [markdown]
# Shorter windows would lose what lies beyond: the contributions that they leave out are known without training again.

# %%
norms = ledger.norms()[WINDOW - 1]
for window in (30, 60, 90, 180):
    kept = norms[WINDOW - window :].sum() / norms.sum()
    print(f"a window of {window} days keeps {kept:.1%}")
assert ledger.loss_steps.tolist() == [WINDOW - 1]
