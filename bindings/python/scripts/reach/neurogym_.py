"""neurogym's Dataset as its documentation uses it, on PerceptualDecisionMaking, with seq_len 100."""

from __future__ import annotations

import warnings

import neurogym
import numpy as np
import torch
from row import watched
from torch import nn

import bptt.torch

warnings.filterwarnings("ignore")
LENGTH, BATCH = 100, 4
torch.manual_seed(0)
dataset = neurogym.Dataset("PerceptualDecisionMaking-v0", env_kwargs={"dt": 100}, batch_size=BATCH, seq_len=LENGTH)
trials = [[] for _ in range(BATCH)]
# The trials are known from the lengths of what each environment makes, in the order in which it makes it.
for b, env in enumerate(dataset.envs):
    original = env.new_trial

    def new_trial(*args, env=env, b=b, original=original, **kwargs):
        found = original(*args, **kwargs)
        trials[b].append(len(env.ob))
        return found

    env.new_trial = new_trial
dataset._cache()


class Net(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.lstm, self.linear = nn.LSTM(inputs, 32), nn.Linear(32, outputs)

    def forward(self, x):
        return self.linear(self.lstm(x)[0])


net = Net(dataset.env.observation_space.shape[0], dataset.env.action_space.n)
optimizer = torch.optim.Adam(net.parameters(), 1e-2)
with bptt.torch.watch(net, every=1) as seen:
    for i in range(5):
        x, y = dataset()
        first = dataset._seq_start - LENGTH
        ids = np.stack([np.repeat(np.arange(len(own)), own)[first : first + LENGTH] for own in trials], axis=1)
        seen.annotate(ids=ids)
        optimizer.zero_grad()
        out = net(torch.from_numpy(x).float())
        nn.functional.cross_entropy(out.flatten(0, 1), torch.from_numpy(y.flatten()).long()).backward()
        optimizer.step()
print(*seen.facts, sep="\n")
watched("neurogym Dataset (seq_len 100; the default is 1000)", "neurogym", seen.updates, note="ids: trials")
