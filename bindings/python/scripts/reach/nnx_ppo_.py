"""nnx-ppo's PPO with an LSTM, its own rollout and loss, rollout_length 20 (its default).

The network is wrapped: zeros are added to the observation of each step, and only one step's outputs pass their gradients on.
The gradients of the library's loss by what is added say which inputs that step's loss depends on.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from nnx_ppo.algorithms import ppo, rollout
from nnx_ppo.algorithms.config import PPOConfig
from nnx_ppo.algorithms.types import LoggingLevel
from nnx_ppo.networks.adapter import PPOAdapter
from nnx_ppo.networks.containers import Sequential
from nnx_ppo.networks.factories import make_mlp
from nnx_ppo.networks.recurrent import LSTM
from nnx_ppo.networks.sampling_layers import NormalTanhSampler
from nnx_ppo.networks.types import StatefulModule
from nnx_ppo.test_dummies.mock_env import MockEnv
from row import tell

from bptt.torch import Dependence

ENVS, OBSERVATIONS = 4, 3
config = PPOConfig(n_envs=ENVS, n_minibatches=1)
STEPS = config.rollout_length


class Added(nnx.Variable):
    """What is added to observations."""


class Watched(StatefulModule):
    """A network, and the step at which it is."""

    def __init__(self, network, steps):
        self.network = network
        self.added = Added(jnp.zeros((steps, OBSERVATIONS)))
        self.passes = nnx.Variable(jnp.ones(steps))

    def __call__(self, state, obs, rollout_extras=None):
        step, inner = state
        out = self.network(inner, obs + self.added[...][step], rollout_extras)

        def one(value):
            fixed = jax.lax.stop_gradient(value)
            factor = self.passes[...][step]
            return fixed + (value - fixed) * factor.reshape(factor.shape + (1,) * (value.ndim - factor.ndim))

        return out.replace(
            next_state=(step + 1, out.next_state),
            output=jax.tree.map(one, out.output),
            regularization_loss=one(out.regularization_loss),
        )

    def initialize_state(self, batch_size):
        return jnp.zeros(batch_size, int), self.network.initialize_state(batch_size)

    def reset_state(self, state):
        return state[0], self.network.reset_state(state[1])


def network():
    rngs = nnx.Rngs(0)
    actor = Sequential(
        [
            LSTM(OBSERVATIONS, 8, rngs),
            *make_mlp([8, 4], rngs, activation_last_layer=False).layers,
            NormalTanhSampler(rngs, entropy_weight=0.0),
        ]
    )
    critic = Sequential([LSTM(OBSERVATIONS, 8, rngs), *make_mlp([8, 1], rngs, activation_last_layer=False).layers])
    return Watched(PPOAdapter(action=actor, value=critic), 2 * STEPS + 1)


def measure(episode):
    """For the second rollout, so that sequences do not begin with zeros."""
    env, watched = MockEnv(OBSERVATIONS, 2, max_steps=episode), network()
    training = ppo.new_training_state(env, watched, ENVS, 0)
    state, env_state, _ = rollout.unroll_env(env, training.env_states, watched, training.network_states, STEPS, jax.random.key(1))
    _, _, data = rollout.unroll_env(env, env_state, watched, state, STEPS, jax.random.key(2))

    def loss(watched):
        return ppo.ppo_loss(
            watched, state, data, 1e-4, True, False, 0.99, 0.95, 1.0, LoggingLevel.LOSSES | LoggingLevel.ACTOR_EXTRA
        )

    # Likelihoods that are those of the rollout are nowhere clipped, within 1e-4.
    clipped = float(jax.tree.leaves(loss(watched)[1]["losses/clipping_fraction"])[0])
    gradient = nnx.jit(nnx.grad(loss, argnums=nnx.DiffState(0, Added), has_aux=True))
    sizes = np.zeros((STEPS, STEPS))
    for k in range(STEPS):
        watched.passes[...] = jnp.zeros(2 * STEPS + 1).at[STEPS + k].set(1.0)
        found, _ = gradient(watched)
        sizes[k] = np.abs(np.asarray(jax.tree.leaves(found)[0])).max(axis=1)[STEPS : 2 * STEPS]
    nonzero = max(float(jnp.abs(part).max()) for part in jax.tree.leaves(state[1]))
    # All environments begin their episodes together.
    done = np.asarray(data.done)
    assert (done == done[:, :1]).all()
    ids = np.concatenate([[0], done[:-1, 0].cumsum()])
    return Dependence(sizes > 0, np.arange(STEPS)), ids, clipped, nonzero


for episode in (1000, 12):
    found, ids, clipped, nonzero = measure(episode)
    crossing, pairs = found.crossing(ids)
    start = (
        "of the rollout, before x_t"
        if nonzero > 0 and clipped == 0
        else f"not that of the rollout ({clipped:.0%} of likelihoods differ)"
    )
    tell(
        f"nnx-ppo, episodes of {episode} steps",
        "nnx-ppo",
        start=start,
        longest=str(found.farthest_lag),
        nearest=str(found.nearest_lag),
        crosses=f"{crossing:,} of {pairs:,} pairs" if crossing else "nothing",
    )
