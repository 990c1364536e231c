"""The yardsticks beside every method: the expert and random actions, and what other controls are handed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from envs.problem import Floats, Policy, Privileged, Problem
from methods.base import Config, Learned, Method, PolicyPart, RewardPart


class RandomPolicy(PolicyPart):
    """Uniform actions within the limits."""

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        super().__init__(low=list(low), high=list(high))
        self.low, self.high = np.array(low, np.float32), np.array(high, np.float32)

    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        return rng.uniform(self.low, self.high, (len(obs), len(self.low))).astype(np.float32)


class GivenPolicy(PolicyPart):
    """The expert, as handed over by the harness; saved it is an empty shell."""

    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__()
        self.policy = policy

    def begin(self, n: int) -> None:
        assert self.policy is not None, "the expert is handed over by the harness; it cannot be loaded from a file"
        self.policy.begin(n)

    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        assert self.policy is not None
        return self.policy(obs, rng)


class GivenReward(RewardPart):
    """The true reward on observations, as handed over by the harness; saved it is an empty shell."""

    def __init__(self, function: Callable[[Any, Any, Any], Any] | None = None) -> None:
        super().__init__()
        self.function = function

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        assert self.function is not None, "the true reward is handed over by the harness; it cannot be loaded"
        values: torch.Tensor = self.function(obs, acts, next_obs)
        return values


class Withheld(ValueError):
    """A control needs what the harness did not hand over: it has not got it, or the method is no control."""


def privileged(problem: Problem) -> Privileged:
    """What the harness hands to controls.

    Raises:
        Withheld: it handed over nothing.
    """
    if problem.privileged is None:
        raise Withheld("needs problem.privileged, which the harness gives to controls alone")
    return problem.privileged


def fit_random(problem: Problem, config: Config, rng: np.random.Generator) -> Learned:
    """Nothing to learn."""
    space = problem.action_space
    return Learned(RandomPolicy(space.low.tolist(), space.high.tolist()), None, "none")


def fit_expert(problem: Problem, config: Config, rng: np.random.Generator) -> Learned:
    """The demonstrator with the true reward on observations: what the scores call 100, and the ERC's ceiling."""
    given = privileged(problem)
    return Learned(GivenPolicy(given.expert), GivenReward(given.observed_reward), "raw")


METHODS = [
    Method("expert", "Expert", "the demonstrator itself", fit_expert, control=True),
    Method("random", "Random", "uniform actions", fit_random, control=True, recovers_reward=False),
]
