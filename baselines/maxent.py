"""Maximum-entropy inverse reinforcement learning from samples, with a soft policy kept near its optimum throughout.

Departures from Finn et al.: samples are the policy's latest and are not reweighted, outputs and steep gradients are
penalised; and where studies chose ``hybrid``, on all three tasks, half of the learner's batches are demonstrations (Ren
et al. 2024, arXiv 2402.08848).
"""

import numpy as np
import torch

from baselines._adversary import SEARCH_REWARD, AlternatingConfig, alternate, inputs, steepness
from baselines._online import BY_HAND, SMOKE
from envs.problem import Problem
from methods.base import Learned, Method
from methods.rewards import StepReward
from methods.tuned import tuned


class MaxEntConfig(AlternatingConfig):
    """Settings of MaxEnt IRL."""

    output_penalty: float = 0.5
    gradient_penalty: float = 1.0


def reward_loss(
    reward: StepReward,
    expert: torch.Tensor,
    policy: torch.Tensor,
    config: MaxEntConfig,
    generator: torch.Generator,
) -> torch.Tensor:
    """Negative log-likelihood's sample estimate, whose gradient is E_policy[dr] - E_expert[dr], plus penalties.

    Args:
        reward: the perceptron.
        expert, policy: its features ``[n, F]`` of the demonstrations and of the present policy.
        config: weights of the penalties on outputs and on gradients steeper than one.
        generator: source of the points between both sets where the gradient is taken.

    Returns:
        scalar.

    Source: Ziebart et al. 2008; sample-based as in Finn et al. 2016, arXiv 1603.00448, eq. 2, sampled by the policy.
    """
    of_expert, of_policy = reward.net(expert), reward.net(policy)
    steep = (steepness(reward, expert, policy, generator) - 1).relu().square().mean()
    size = (of_expert.square() + of_policy.square()).mean() / 2
    loss: torch.Tensor = of_policy.mean() - of_expert.mean() + config.output_penalty * size
    loss = loss + config.gradient_penalty * steep
    return loss


def fit(problem: Problem, config: MaxEntConfig, rng: np.random.Generator) -> Learned:
    """Steps on :func:`reward_loss` between those of a soft actor-critic on the reward.

    Args:
        problem: its demonstrations, and an environment within the step budget.
        config: settings.
        rng: decides all draws.

    Returns:
        the policy, and the reward, of kind ``raw``.
    """
    torch.manual_seed(int(rng.integers(2**62)))  # initial weights of the reward
    widths = problem.demos.obs.shape[-1], problem.demos.acts.shape[-1]
    reward = StepReward(*widths, config.hidden, inputs(config.state_only))
    return alternate(problem, config, rng, reward, reward, lambda e, p, g: reward_loss(reward, e, p, config, g), "raw")


METHOD = Method(
    name="maxent",
    title="MaxEnt IRL",
    source="Ziebart et al. 2008; sample-based: Finn et al. 2016, arXiv 1603.00448; Ni et al. 2020, arXiv 2011.04709",
    fit=fit,
    config=MaxEntConfig,
    tuned=tuned("maxent", BY_HAND),
    search=SEARCH_REWARD,
    smoke=SMOKE | {"reward_batch": 32},
)
