"""tianshou's Recurrent network with DQN: its own collector, buffer and update, with stack_num 1 (default) and 4."""

from __future__ import annotations

import numpy as np
import torch
from envs import Wandering
from row import watched
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.utils.net.common import Recurrent
from tianshou.utils.torch_utils import policy_within_training_step, torch_train_mode

from bptt import adapters

for stacked in (1, 4):
    torch.manual_seed(0)
    np.random.seed(0)
    env = Wandering()
    net = Recurrent(layer_num=1, state_shape=3, action_shape=2, hidden_layer_size=16)
    policy = DiscreteQLearningPolicy(model=net, action_space=env.action_space)
    algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(), target_update_freq=10)
    envs = DummyVectorEnv([Wandering])
    buffer = VectorReplayBuffer(200, 1, stack_num=stacked, ignore_obs_next=stacked > 1)
    repeated = []
    net.nn.register_forward_hook(lambda module, args, output: repeated.append((args[0][:, :1] == args[0]).all(2)[:, 1:].any(1)))
    collector = Collector(algorithm, envs, buffer)
    with adapters.agent(net, every=1) as seen:
        collector.collect(n_step=100, reset_before_collect=True)
        with policy_within_training_step(algorithm.policy), torch_train_mode(algorithm):
            for _ in range(5):
                algorithm.update(buffer=buffer, sample_size=16)
    print(*seen.facts, sep="\n")
    sequences = torch.cat([part for part in repeated if len(part) == 16])
    note = f"the first frame is repeated in {int(sequences.sum())} of {len(sequences)} sequences" if stacked > 1 else ""
    watched(f"tianshou Recurrent with DQN, stack_num {stacked}", "tianshou", seen.updates, note=note)
