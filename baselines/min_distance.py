"""Reinforcement learning on minus the distance to the nearest demonstration state: no reward is learnt.

A heuristic, so no equation is cited: the distance is that of Dadashi et al., without their coupling of states in time.
"""

import numpy as np
import torch

from baselines._online import BY_HAND, SEARCH, SMOKE, OffPolicyConfig, moments, optimise
from envs.problem import Problem
from methods.base import Learned, Method, RewardPart
from methods.tuned import tuned


class NearestDemonstration(RewardPart):
    """Minus the Euclidean distance of the next observation, standardised, to the nearest demonstration state.

    Args:
        obs: width of the observation.
        states: number of demonstration states.
    """

    mean: torch.Tensor
    std: torch.Tensor
    demos: torch.Tensor

    def __init__(self, obs: int, states: int) -> None:
        super().__init__(obs=obs, states=states)
        for name, value in (("mean", torch.zeros(obs)), ("std", torch.ones(obs)), ("demos", torch.zeros(states, obs))):
            self.register_buffer(name, value)

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        # EPIC asks of a thousand states thousands of times; a tree takes ten times as long far from all demonstrations
        at = ((next_obs - self.mean) / self.std).reshape(-1, next_obs.shape[-1])
        states, back = np.unique(at.numpy(), axis=0, return_inverse=True)
        half, distinct = self.demos.square().sum(1) / 2, torch.from_numpy(states)
        nearest = torch.empty(len(distinct), dtype=torch.long)  # a list of small ones would scatter the heap: 4 GB
        for few, index in zip(distinct.split(16), nearest.split(16), strict=True):  # as many as the cache holds
            index.copy_((half - few @ self.demos.T).argmin(1))
        found: torch.Tensor = (distinct - self.demos[nearest]).norm(dim=1)
        return -found[torch.from_numpy(back)].view(next_obs.shape[:-1])


class MinDistanceConfig(OffPolicyConfig):
    """Settings: those of the learner."""

    entropy_weight: float | None = 0.02


def fit(problem: Problem, config: MinDistanceConfig, rng: np.random.Generator) -> Learned:
    """A soft actor-critic on :class:`NearestDemonstration`.

    Args:
        problem: its demonstrations, whose next observations are the states, and an environment within the step budget.
        config: settings.
        rng: decides all draws.

    Returns:
        the policy, and the distance as a reward of kind ``raw``.
    """
    demos = problem.demos.transitions()[2]
    mean, std = moments(problem)
    reward = NearestDemonstration(demos.shape[1], len(demos))
    for buffer, value in ((reward.mean, mean), (reward.std, std), (reward.demos, (demos - mean) / std)):
        buffer.copy_(torch.from_numpy(value))
    env = problem.make_env(config.envs, rng)
    given = problem.discount, config, problem.step_budget, rng, problem.progress, problem.checkpoint
    sac, curve = optimise(env, reward, (mean, std), *given)
    return Learned(sac.policy(), reward, "raw", curve, sac.updates)


METHOD = Method(
    name="min-distance",
    title="Nearest demonstration",
    source="heuristic; the distance of Dadashi et al. 2021, arXiv 2006.04678, without its coupling",
    fit=fit,
    config=MinDistanceConfig,
    tuned=tuned("min-distance", BY_HAND),
    search=SEARCH,
    smoke=SMOKE,
)
