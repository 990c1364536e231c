"""Runs a policy in batched physics and keeps everything: states, observations, actions."""

from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from envs.physics import BatchEnv
from envs.problem import Floats, Policy, Trajectories


@dataclass(frozen=True)
class Rollout:
    """Whole episodes from given starts.

    Args:
        states: float64 ``[n, T+1, S]``.
        trajectories: what the policy saw and did.
    """

    states: NDArray[np.float64]
    trajectories: Trajectories

    def __getitem__(self, episodes: slice) -> "Rollout":
        return Rollout(self.states[episodes], self.trajectories[episodes])


class Uniform(Policy):
    """Actions drawn uniformly from the action space."""

    def __init__(self, space: Box) -> None:
        self._low, self._high = space.low, space.high

    def begin(self, n: int) -> None:
        """Keeps no state."""

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        return rng.uniform(self._low, self._high, (len(obs), len(self._low))).astype(np.float32)


def rollout(env: BatchEnv, policy: Policy, starts: NDArray[np.float64], rng: np.random.Generator) -> Rollout:
    """One episode of ``env.horizon`` steps from each start.

    Args:
        env: as many copies as there are starts.
        policy: asked once a step for all copies.
        starts: float64 ``[n, S]``.
        rng: passed on to the policy.

    Raises:
        ValueError: the policy's actions have a wrong shape or are not finite.
    """
    obs = [env.reset_to(starts)]
    states, acts = [env.states], []
    policy.begin(env.n)
    for _ in range(env.horizon):
        action = np.asarray(policy(obs[-1], rng), np.float32)
        obs.append(env.step(action))  # refuses wrong shapes and values that are not finite
        acts.append(np.clip(action, env.action_space.low, env.action_space.high))
        states.append(env.states)
    return Rollout(np.stack(states, 1), Trajectories(np.stack(obs, 1), np.stack(acts, 1)))
