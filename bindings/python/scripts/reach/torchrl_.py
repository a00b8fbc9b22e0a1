"""torchrl's LSTMModule in recurrent mode: whole rollouts, with and without the primer of states, and slices of a replay buffer."""

from __future__ import annotations

import torch
from envs import Wandering
from row import watched
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.data import LazyTensorStorage, ReplayBuffer, SliceSampler, TensorDictReplayBuffer
from torchrl.envs import GymWrapper, InitTracker, TransformedEnv
from torchrl.modules import LSTMModule, set_recurrent_mode

from bptt import adapters

LENGTH, SLICES = 10, 40


def rollout(primer: bool, steps: int):
    torch.manual_seed(0)
    core = LSTMModule(
        input_size=3, hidden_size=16, in_keys=["observation", "h", "c"], out_keys=["hidden", ("next", "h"), ("next", "c")]
    )
    head = TensorDictModule(nn.Linear(16, 2), in_keys=["hidden"], out_keys=["logits"])
    act = TensorDictModule(lambda logits: nn.functional.one_hot(logits.argmax(-1), 2), in_keys=["logits"], out_keys=["action"])
    env = TransformedEnv(GymWrapper(Wandering()), InitTracker())
    if primer:
        env = env.append_transform(core.make_tensordict_primer())
    policy = TensorDictSequential(core, head, act)
    return core, policy, env


def train(policy, batch) -> None:
    optimizer = torch.optim.SGD(policy.parameters(), 0.01)
    with set_recurrent_mode(True):
        out = policy(batch.clone())
    out["logits"].square().mean().backward()
    optimizer.step()


for primer in (True, False):
    core, policy, env = rollout(primer, 96)
    with adapters.agent(core, every=1) as seen:
        with torch.no_grad():
            data = env.rollout(96, policy, break_when_any_done=False)
        train(policy, data)
    print(*seen.facts, sep="\n")
    name = "torchrl LSTMModule, a whole rollout" + ("" if primer else " without the primer")
    watched(name, "torchrl", seen.updates, note="episodes of 12 steps")

for kind, marked in ((TensorDictReplayBuffer, True), (ReplayBuffer, True), (TensorDictReplayBuffer, False)):
    core, policy, env = rollout(True, 0)
    with adapters.agent(core, every=1) as seen:
        sampler = SliceSampler(slice_len=LENGTH, traj_key="episode", **({} if marked else {"init_key": None}))
        buffer = kind(storage=LazyTensorStorage(2000), sampler=sampler, batch_size=LENGTH * SLICES)
        with torch.no_grad():
            data = env.rollout(600, policy, break_when_any_done=False)
        data["episode"] = data["is_init"].squeeze(-1).cumsum(0)
        buffer.extend(data)
        for flat in (True, False):
            torch.manual_seed(0)
            sample = buffer.sample()
            slices = torch.arange(len(sample)) // LENGTH
            before = len(seen.updates)
            shaped = sample if flat else sample.reshape(-1, LENGTH)
            rows = slices[None] if flat else slices.reshape(-1, LENGTH)
            cuts = shaped["is_init"].squeeze(-1)
            cuts = cuts[None] if flat else cuts
            if cuts[:, 1:].any():
                # The module cuts a row where an episode begins.
                parts = []
                for row, cut in zip(rows, cuts):
                    at = [0, *(torch.nonzero(cut[1:]).flatten() + 1).tolist(), len(row)]
                    parts += [row[a:b] for a, b in zip(at, at[1:])]
                rows = nn.utils.rnn.pad_sequence(parts, batch_first=True)
            seen.annotate(ids=rows)
            train(policy, shaped)
            name = f"torchrl LSTMModule, SliceSampler{'' if marked else ' with init_key=None'} of a {kind.__name__}"
            watched(
                name + (", as it comes" if flat else ", reshaped"),
                "torchrl",
                seen.updates[before:],
                note=f"{SLICES} slices of {LENGTH} steps",
            )
    print(*seen.facts, sep="\n")
