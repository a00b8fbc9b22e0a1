"""skrl's PPO_RNN as its documentation writes it: an LSTM for the policy and one for the value, sequences of 16 steps."""

from __future__ import annotations

import torch
from envs import Wandering
from row import watched
from skrl.agents.torch.ppo import PPO_RNN
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model
from skrl.trainers.torch import SequentialTrainer

from bptt import adapters

HIDDEN, LENGTH, ENVS = 16, 16, 1


class Recurrent(Model):
    def __init__(self, env, outputs):
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space, device="cpu")
        self.lstm = torch.nn.LSTM(3, HIDDEN, batch_first=True)
        self.head = torch.nn.Linear(HIDDEN, outputs)

    def get_specification(self):
        return {"rnn": {"sequence_length": LENGTH, "sizes": [(1, ENVS, HIDDEN)] * 2}}

    def compute(self, inputs, role):
        states, (h, c) = inputs["observations"], inputs["rnn"]
        terminated = inputs.get("terminated")
        if not self.training:
            output, state = self.lstm(states.view(-1, 1, 3), (h, c))
            return self.head(output.flatten(0, 1)), {"rnn": list(state)}
        sequences = states.view(-1, LENGTH, 3)
        h, c = (part.view(1, -1, LENGTH, HIDDEN)[:, :, 0].contiguous() for part in (h, c))
        ended = terminated.view(-1, LENGTH)
        bounds = [0, *(torch.nonzero(ended[:, :-1].any(0)).flatten() + 1).tolist(), LENGTH]
        outputs = []
        for first, last in zip(bounds, bounds[1:]):
            output, (h, c) = self.lstm(sequences[:, first:last], (h, c))
            keep = ~ended[:, last - 1][None, :, None]
            h, c = h * keep, c * keep
            outputs.append(output)
        return self.head(torch.cat(outputs, 1).flatten(0, 1)), {"rnn": [h, c]}


class Policy(CategoricalMixin, Recurrent):
    def __init__(self, env):
        Recurrent.__init__(self, env, 2)
        CategoricalMixin.__init__(self)


class Value(DeterministicMixin, Recurrent):
    def __init__(self, env):
        Recurrent.__init__(self, env, 1)
        DeterministicMixin.__init__(self)


torch.manual_seed(0)
env = wrap_env(Wandering(500, 500), wrapper="gymnasium")
models = {"policy": Policy(env), "value": Value(env)}
memory = RandomMemory(memory_size=512, num_envs=ENVS, device="cpu")
cfg = {"rollouts": 512, "learning_epochs": 2, "mini_batches": 1, "experiment": {"write_interval": 0, "checkpoint_interval": 0}}
agent = PPO_RNN(
    models=models, memory=memory, cfg=cfg, observation_space=env.observation_space, action_space=env.action_space, device="cpu"
)
with adapters.agent(agent, every=1) as seen:
    SequentialTrainer(cfg={"timesteps": 512, "headless": True}, env=env, agents=agent).train()
print(*seen.facts, sep="\n")
for part in ("policy", "value"):
    updates = [update for update in seen.updates if update.module.startswith(part)]
    watched(f"skrl PPO_RNN, {part}", "skrl", updates[:1], note="sequences of 16 steps, the first minibatch")
