# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A recurrent policy and its episodes
#
# sb3-contrib's RecurrentPPO, unmodified, balances a pole of which it sees only the positions: the velocities are in the state of its LSTM.
# How many steps back does the log-probability of an action reach, and does anything cross from one episode to the next?

# %%
import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO

import bptt.torch
from bptt import adapters


class Positions(gymnasium.ObservationWrapper):
    """Positions of cart and pole without their velocities."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def observation(self, observation):
        return observation[[0, 2]]


env = Positions(gymnasium.make("CartPole-v1"))
model = RecurrentPPO("MlpLstmPolicy", env, n_steps=128, n_epochs=2, seed=0, policy_kwargs={"lstm_hidden_size": 32})

# %% [markdown]
# The training is watched: from which states do the sequences of an update begin, and how far do they reach?

# %%
with adapters.agent(model, every=4) as seen:
    model.learn(512)
print("\n".join(seen.facts))
of_actor = [update for update in seen.updates if update.module == "policy.lstm_actor"]
assert of_actor and seen.alarms == [] and all(update.crossing == 0 for update in of_actor)

# %% [markdown]
# A rollout of the policy, with the steps at which episodes begin.

# %%
observations, starts, actions = [], [], []
observation, state, start = env.reset(seed=1)[0], None, True
for _ in range(120):
    action, state = model.predict(observation, state, np.array([start]))
    observations.append(observation)
    starts.append(start)
    actions.append(int(action))
    observation, _, terminated, truncated, _ = env.step(action)
    start = terminated or truncated
    if start:
        observation = env.reset()[0]
print(f"{sum(starts)} episodes in {len(starts)} steps")

# %% [markdown]
# The ledger of the policy's LSTM, whose state begins anew with each episode, for the losses -log p(action).

# %%
policy = model.policy
x = policy.extract_features(torch.tensor(np.array(observations)), policy.pi_features_extractor).detach()
resets, taken = torch.tensor(starts), torch.tensor(actions)


def minus_log_probability(h):
    latent = policy.mlp_extractor.forward_actor(h)
    return -policy._get_action_dist_from_latent(latent).log_prob(taken)


ledger = bptt.torch.ledger(policy.lstm_actor, x, loss=minus_log_probability, resets=resets)
print(ledger)

# %% [markdown]
# Nothing comes from an episode before, and the losses are those that sb3-contrib itself evaluates.

# %%
norms, episode = np.nan_to_num(ledger.norms()), np.cumsum(starts)
assert (norms[episode[:, None] != episode[None, :]] == 0).all() and norms.any()
zeros = torch.zeros(1, 1, 32)
states = type("States", (), {"pi": (zeros, zeros), "vf": (zeros, zeros)})
_, theirs, _ = policy.evaluate_actions(torch.tensor(np.array(observations)), taken, states, resets.float())
with torch.no_grad():
    h, carried = [], (zeros[0], zeros[0])
    for row, begins in zip(x, resets):
        carried = tuple(part * (not begins) for part in carried)
        y, carried = policy.lstm_actor(row[None], carried)
        h.append(y[0])
    assert torch.allclose(-minus_log_probability(torch.stack(h)), theirs, atol=1e-5)
