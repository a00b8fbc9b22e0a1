"""An environment whose observations do not repeat, with episodes of a fixed or random length."""

from __future__ import annotations

import gymnasium
import numpy as np


class Wandering(gymnasium.Env):
    """A random walk that is seen; the reward is its recent direction. Episodes last `low` to `high` steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, low: int = 12, high: int = 12, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._low, self._high = low, high

    def reset(self, *, seed=None, options=None):
        self._left = int(self._random.integers(self._low, self._high + 1))
        self._last = self._random.normal(size=3)
        return self._last.astype(np.float32), {}

    def step(self, action):
        step = self._random.normal(size=3)
        reward = float(np.sign(step[0]) == 2 * int(action) - 1)
        self._last = 0.9 * self._last + step
        self._left -= 1
        return self._last.astype(np.float32), reward, self._left == 0, False, {}
