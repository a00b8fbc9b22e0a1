"""sb3-contrib's RecurrentPPO with its defaults: a rollout of 128 steps, 10 epochs of one minibatch."""

from __future__ import annotations

from envs import Wandering
from row import watched
from sb3_contrib import RecurrentPPO

from bptt import adapters

model = RecurrentPPO("MlpLstmPolicy", Wandering(60, 200), seed=0, device="cpu")
with adapters.agent(model, every=1) as seen:
    model.learn(2 * 128)
updates = [update for update in seen.updates if "actor" in update.module]
print(*seen.facts, sep="\n")
watched("sb3-contrib RecurrentPPO", "sb3-contrib", updates, note=f"{len(updates)} minibatches of two rollouts of 128 steps")
