"""IQ-Learn: a soft Q-function learnt from demonstrations directly; the reward is read out of it."""

from collections.abc import Sequence

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from baselines._online import BY_HAND, SEARCH, SMOKE, THE_EXTRA, OffPolicyConfig, WithDemonstrations, moments, train
from baselines._sac import SAC, SACConfig
from envs.problem import Problem
from methods.base import Learned, Method, RewardPart
from methods.tuned import tuned


def iq_loss(expert_rewards: Tensor, rewards: Tensor, value_gaps: Tensor, regulariser: float) -> Tensor:
    """Minus the objective of IQ-Learn with the chi-square divergence, over Q alone.

    Args:
        expert_rewards: Q(s, a) - discount V(s') of demonstrations.
        rewards: the same of demonstrations and the policy's steps.
        value_gaps: V(s) - discount V(s') of both.
        regulariser: alpha of the divergence: the larger, the weaker.

    Returns:
        scalar.

    Source: Garg et al. 2021, arXiv 2106.12142, eq. 10 with phi(x) = x - x^2 / (4 alpha) (section 5.3), the square taken
        over all steps; value gaps of any steps stand for the initial states' value (section 5.1).
    """
    return value_gaps.mean() - expert_rewards.mean() + rewards.square().mean() / (4 * regulariser)


class IQLearner(SAC):
    """A soft actor-critic whose critics descend :func:`iq_loss`; the extra number marks demonstrations."""

    regulariser = 0.5

    def _critic_loss(self, obs: Tensor, acts: Tensor, next_obs: Tensor, gained: Tensor, extra: Tensor) -> Tensor:
        with torch.no_grad():
            future = self.config.discount * self.soft_value(self._target, next_obs)
        rewards = self.values(self._critic, obs, acts) - future
        return iq_loss(rewards[:, extra > 0], rewards, self.soft_value(self._critic, obs) - future, self.regulariser)


class InverseBellman(RewardPart):
    """The reward that makes a soft Q-function optimal: Q(s, a) - discount V(s') (Garg et al., eq. 11).

    V is the mean over fixed draws of the actor's noise.

    Args:
        obs: width of the observation.
        low, high: action limits.
        hidden: widths of actor and critics.
        discount: in (0, 1).
        alpha: weight of the entropy.
    """

    DRAWS = 8
    actor: Tensor
    critic: Tensor
    mean: Tensor
    std: Tensor
    noise: Tensor

    def __init__(
        self,
        obs: int,
        low: Sequence[float],
        high: Sequence[float],
        hidden: Sequence[int],
        discount: float,
        alpha: float,
    ) -> None:
        super().__init__(obs=obs, low=list(low), high=list(high), hidden=list(hidden), discount=discount, alpha=alpha)
        first, second = hidden
        config = SACConfig(hidden=(first, second), discount=discount, entropy_weight=alpha, half=False)
        limits = Box(np.array(low, np.float32), np.array(high, np.float32))
        self._sac = SAC(limits, np.zeros(obs), np.ones(obs), config, np.random.default_rng(0))
        state = self._sac.state()
        noise = torch.randn(self.DRAWS, 1, len(low), generator=torch.Generator().manual_seed(0))
        buffers = {"actor": state["actor"], "critic": state["critic"], "noise": noise}
        for name, value in {**buffers, "mean": torch.zeros(obs), "std": torch.ones(obs)}.items():
            self.register_buffer(name, value)

    @staticmethod
    def of(sac: SAC) -> "InverseBellman":
        """The reward of a learner as it stands."""
        limits = sac.low.tolist(), sac.high.tolist()
        part = InverseBellman(len(sac.mean), *limits, sac.config.hidden, sac.config.discount, sac.alpha)
        state = sac.state()
        for name, value in {
            "actor": state["actor"],
            "critic": state["critic"],
            "mean": sac.mean,
            "std": sac.std,
        }.items():
            getattr(part, name).copy_(value)
        return part.eval()

    def forward(self, obs: Tensor, acts: Tensor, next_obs: Tensor) -> Tensor:
        shape = obs.shape[:-1]
        now, then = (((x - self.mean) / self.std).clamp(-10, 10).reshape(-1, obs.shape[-1]) for x in (obs, next_obs))
        value = torch.stack(
            [self._sac.soft_value(self.critic, then, self.actor, draw.expand(len(then), -1)) for draw in self.noise]
        ).mean(0)
        taken = self._sac.values(self.critic, now, acts.reshape(len(now), -1)).mean(0)
        return (taken - self._sac.config.discount * value).view(shape)


class IQLearnConfig(OffPolicyConfig):
    """Settings of IQ-Learn."""

    regulariser: float = 0.5
    entropy_weight: float | None = 0.01
    lr: float = 3e-4


def fit(problem: Problem, config: IQLearnConfig, rng: np.random.Generator) -> Learned:
    """A soft Q-function on demonstrations and own steps (Garg et al. 2021, algorithm 1).

    Args:
        problem: its demonstrations, and an environment within the step budget.
        config: settings.
        rng: decides all draws.

    Returns:
        the policy, and the reward that the Q-function implies, of kind ``raw``.
    """
    env = problem.make_env(config.envs, rng)
    sac = IQLearner(env.action_space, *moments(problem), config.learner(problem.discount), rng)
    sac.regulariser = config.regulariser
    replay = WithDemonstrations(problem, problem.step_budget)
    following = problem.progress, problem.checkpoint
    curve = train(sac, env, config, problem.step_budget, rng, THE_EXTRA, None, replay, None, *following)
    return Learned(sac.policy(), InverseBellman.of(sac), "raw", curve, sac.updates)


METHOD = Method(
    name="iq-learn",
    title="IQ-Learn",
    source="Garg et al. 2021, IQ-Learn: Inverse soft-Q Learning for Imitation, arXiv 2106.12142",
    fit=fit,
    config=IQLearnConfig,
    tuned=tuned("iq-learn", BY_HAND),
    search=SEARCH
    | {"lr": [1e-4, 3e-4, 1e-3], "entropy_weight": [0.001, 0.003, 0.01, 0.03], "regulariser": [0.1, 0.5, 2.0]},
    smoke=SMOKE,
)
