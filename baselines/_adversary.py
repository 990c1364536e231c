"""What rewards learnt against the policy's own steps share."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from baselines._online import SEARCH, OffPolicyConfig, WithDemonstrations, moments, on_tensors, train, transitions
from baselines._sac import SAC, Replay
from envs.problem import Problem
from methods.base import Learned, RewardKind, RewardPart
from methods.rewards import StepReward

Form = Literal["softplus", "logit"]


class DiscriminatorReward(RewardPart):
    """What a policy gains from a discriminator D, 1 for the expert: -log(1 - D) = softplus(logit of D), or the logit.

    Args:
        obs, acts, hidden, inputs: those of the :class:`methods.rewards.StepReward` that gives the logit.
        form: ``softplus``, never negative (Ho and Ermon 2016), or ``logit`` = log D - log(1 - D) (Kostrikov et al.
            2019; AIRL).
    """

    def __init__(self, obs: int, acts: int, hidden: Sequence[int], inputs: Sequence[str], form: Form = "softplus"):
        super().__init__(obs=obs, acts=acts, hidden=list(hidden), inputs=list(inputs), form=form)
        self.logit, self.form = StepReward(obs, acts, hidden, inputs), form

    def forward(self, obs: Tensor, acts: Tensor, next_obs: Tensor) -> Tensor:
        logit = self.logit(obs, acts, next_obs)
        return functional.softplus(logit) if self.form == "softplus" else logit


def inputs(state_only: bool) -> list[str]:
    """What a reward reads: the state, or state and action."""
    return ["obs"] if state_only else ["obs", "acts"]


def steepness(reward: StepReward, expert: Tensor, policy: Tensor, generator: torch.Generator) -> Tensor:
    """Norm of the gradient between both sets, by what the perceptron reads: ``[n]``, differentiable.

    Args:
        reward: the perceptron.
        expert, policy: its features ``[n, F]``.
        generator: source of the points between them, where the gradient is taken.

    Source: Gulrajani et al. 2017, arXiv 1704.00028, eq. 3.
    """
    mix = torch.rand(len(expert), 1, generator=generator)
    between = (mix * expert + (1 - mix) * policy).detach().requires_grad_()
    (slope,) = torch.autograd.grad(reward.net(between).sum(), between, create_graph=True)
    steep: Tensor = slope.norm(dim=1)
    return steep


def discriminator_loss(
    logit: StepReward, expert: Tensor, policy: Tensor, penalty: float, generator: torch.Generator
) -> Tensor:
    """Cross-entropy of telling expert from policy, and a penalty that holds the logit's gradient between them at one.

    Args:
        logit: of D, the probability of the expert.
        expert, policy: its features ``[n, F]``.
        penalty: weight of the gradient penalty.
        generator: source of the points between both sets.

    Returns:
        scalar; at its least without penalty, the logit is the log ratio of both densities.

    Source: Kostrikov et al. 2019, arXiv 1809.02925, eq. 2: without importance weights, as in their experiments.
    """
    entropy = functional.softplus(-logit.net(expert)).mean() + functional.softplus(logit.net(policy)).mean()
    return entropy + penalty * (steepness(logit, expert, policy, generator) - 1).square().mean()


class AlternatingConfig(OffPolicyConfig):
    """Settings of methods that improve a reward between the updates of a soft actor-critic on it."""

    hidden: tuple[int, ...] = (64, 64)  # of the reward
    state_only: bool = True  # whether the reward reads the state alone, or state and action
    reward_lr: float = 3e-4  # falls linearly to 0, so that the policy can catch up
    reward_batch: int = 256
    reward_every: int = 4  # updates of the learner per update of the reward
    recent: int | None = 30_000  # latest transitions that stand for the present policy; None: all
    hybrid: bool = False  # half of the learner's batches are demonstrations (Ren et al. 2024, arXiv 2402.08848)


SEARCH_REWARD: dict[str, list[Any]] = SEARCH | {
    "reward_lr": [1e-4, 3e-4, 1e-3],
    "gradient_penalty": [0.3, 1.0, 3.0, 10.0],
    "recent": [10_000, 30_000, None],
    "hybrid": [False, True],
}


def alternate(
    problem: Problem,
    config: AlternatingConfig,
    rng: np.random.Generator,
    reward: RewardPart,
    perceptron: StepReward,
    loss: Callable[[Tensor, Tensor, torch.Generator], Tensor],
    kind: RewardKind,
) -> Learned:
    """Alternates steps of the soft policy on the present reward with steps of the reward against the policy.

    Args:
        problem: what is posed.
        config: settings.
        rng: source of all randomness but the reward's initial weights.
        reward: what the policy gains.
        perceptron: what of it is trained.
        loss: ``(expert [n, F], policy [n, F], generator) -> scalar`` on the perceptron's features, to descend.
        kind: of the reward.

    Returns:
        policy and reward at the end of the step budget.
    """
    c = config
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    mean, std = moments(problem)
    perceptron.mean.copy_(torch.from_numpy(mean))
    perceptron.std.copy_(torch.from_numpy(std))
    optimiser = torch.optim.Adam(perceptron.parameters(), lr=c.reward_lr)
    expert = perceptron.features(*transitions(problem))
    env = problem.make_env(c.envs, rng)
    sac = SAC(env.action_space, mean, std, c.learner(problem.discount), rng)
    told = {"reward_updates": 0, "reward_loss": 0.0}

    def improve(replay: Replay, done: float) -> dict[str, float]:
        if sac.updates % c.reward_every == 0:
            chosen = torch.randint(len(expert), (c.reward_batch,), generator=generator)
            obs, acts, next_obs, _ = Replay.sample(replay, c.reward_batch, generator, c.recent)  # its own, if hybrid
            found = loss(expert[chosen], perceptron.features(obs, acts, next_obs), generator)
            optimiser.zero_grad()
            found.backward()
            optimiser.param_groups[0]["lr"] = c.reward_lr * (1 - done)
            optimiser.step()
            told.update(reward_updates=told["reward_updates"] + 1, reward_loss=found.item())
        return dict(told)

    replay = WithDemonstrations(problem, problem.step_budget) if c.hybrid else None
    parts = {"reward": reward, "optimiser": optimiser, "generator": generator, "improved": told}
    following = problem.progress, problem.checkpoint, parts
    curve = train(sac, env, c, problem.step_budget, rng, on_tensors(reward), improve, replay, None, *following)
    return Learned(sac.policy(), reward.eval(), kind, curve, sac.updates + int(told["reward_updates"]))
