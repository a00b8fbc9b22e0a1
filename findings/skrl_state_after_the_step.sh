#!/usr/bin/env bash
# The recurrent state that skrl's PPO_RNN stores beside a step of the rollout.
#
# Expected: the policy's state that is stored with x_t is the one that the policy had before it read x_t, so that a sequence which
#           begins at x_t can be computed again.
# Actual:   it is the one after x_t from the second step on, so in training the policy reads the first input of each sequence twice.
#           The value's stored state is right. The initial and the final states are one dictionary after the first step, so act()
#           overwrites what record_transition() stores.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir torch==2.15.0 skrl==2.1.1 gymnasium==1.4.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import gymnasium
import numpy
import skrl
import torch
from skrl.agents.torch.ppo import PPO_RNN
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model

print("torch", torch.__version__, "skrl", skrl.__version__)
HIDDEN, STEPS = 4, 6
observations = gymnasium.spaces.Box(-numpy.inf, numpy.inf, (3,), numpy.float32)
actions = gymnasium.spaces.Discrete(2)


class Recurrent(Model):
    def __init__(self, outputs):
        Model.__init__(self, observation_space=observations, action_space=actions, device="cpu")
        self.gru, self.head = torch.nn.GRU(3, HIDDEN, batch_first=True), torch.nn.Linear(HIDDEN, outputs)
        self.before = []

    def get_specification(self):
        return {"rnn": {"sequence_length": 2, "sizes": [(1, 1, HIDDEN)]}}

    def compute(self, inputs, role):
        self.before.append(inputs["rnn"][0].clone())
        output, state = self.gru(inputs["observations"][:, None], inputs["rnn"][0])
        return self.head(output[:, 0]), {"rnn": [state]}


class Policy(CategoricalMixin, Recurrent):
    def __init__(self):
        Recurrent.__init__(self, 2)
        CategoricalMixin.__init__(self)


class Value(DeterministicMixin, Recurrent):
    def __init__(self):
        Recurrent.__init__(self, 1)
        DeterministicMixin.__init__(self)


torch.manual_seed(0)
models, memory = {"policy": Policy(), "value": Value()}, RandomMemory(memory_size=STEPS, num_envs=1, device="cpu")
settings = {"rollouts": 1000, "experiment": {"write_interval": 0, "checkpoint_interval": 0}}
agent = PPO_RNN(models=models, memory=memory, cfg=settings, observation_space=observations, action_space=actions, device="cpu")
agent.init()
agent.enable_training_mode(True)
no = torch.zeros(1, 1, dtype=torch.bool)
x = torch.randn(STEPS + 1, 1, 3)
with torch.no_grad():
    for t in range(STEPS):
        action, _ = agent.act(x[t], None, timestep=t, timesteps=STEPS)
        agent.record_transition(
            observations=x[t], states=None, actions=action, rewards=torch.ones(1, 1), next_observations=x[t + 1], next_states=None,
            terminated=no, truncated=no, infos={}, timestep=t, timesteps=STEPS,
        )
wrong = {}
for name in models:
    stored = memory.get_tensor_by_name(f"rnn_{name}_0").reshape(STEPS, HIDDEN)
    before = torch.stack(models[name].before).reshape(-1, HIDDEN)
    right = [torch.equal(stored[t], before[t]) for t in range(STEPS)]
    after = [t + 1 < len(before) and torch.equal(stored[t], before[t + 1]) for t in range(STEPS)]
    wrong[name] = STEPS - sum(right)
    print(f"{name}: {sum(right)} of {STEPS} stored states are those before x_t, {sum(after)} those after it")
print(f"expected: {STEPS} of {STEPS} before x_t for both")
sys.exit(0 if wrong["policy"] == STEPS - 1 and wrong["value"] == 0 else "the behavior has changed")
PYTHON
