"""Discriminator-actor-critic: GAIL off policy, with a gradient penalty, on a soft actor-critic.

Departures from Kostrikov et al.: the reward is softplus of the discriminator's logit, theirs the logit; the learner is
a soft actor-critic, theirs TD3; and where studies chose ``hybrid``, on both mazes, half of the learner's batches are
demonstrations (Ren et al. 2024, arXiv 2402.08848).
"""

import numpy as np
import torch

from baselines._adversary import (
    SEARCH_REWARD,
    AlternatingConfig,
    DiscriminatorReward,
    Form,
    alternate,
    discriminator_loss,
    inputs,
)
from baselines._online import BY_HAND, SMOKE
from envs.problem import Problem
from methods.base import Learned, Method
from methods.tuned import tuned


class DACConfig(AlternatingConfig):
    """Settings of DAC."""

    hidden: tuple[int, ...] = (128, 128)
    state_only: bool = False
    recent: int | None = None
    gradient_penalty: float = 1.0
    form: Form = "softplus"  # the paper's is logit


def fit(problem: Problem, config: DACConfig, rng: np.random.Generator) -> Learned:
    """A discriminator of demonstrations and replay, and a soft actor-critic on it (Kostrikov et al. 2019, algorithm 1).

    Args:
        problem: its demonstrations, and an environment within the step budget.
        config: settings.
        rng: decides all draws.

    Returns:
        the policy, and the discriminator as a reward of kind ``shaped``.
    """
    torch.manual_seed(int(rng.integers(2**62)))  # initial weights of the discriminator
    widths = problem.demos.obs.shape[-1], problem.demos.acts.shape[-1]
    reward = DiscriminatorReward(*widths, config.hidden, inputs(config.state_only), config.form)
    loss = lambda e, p, g: discriminator_loss(reward.logit, e, p, config.gradient_penalty, g)  # noqa: E731
    return alternate(problem, config, rng, reward, reward.logit, loss, "shaped")


# No absorbing states (the paper's section 4.2): here no episode ends before the time limit.
METHOD = Method(
    name="dac",
    title="DAC",
    source="Kostrikov et al. 2019, Discriminator-Actor-Critic, arXiv 1809.02925",
    fit=fit,
    config=DACConfig,
    tuned=tuned("dac", BY_HAND),
    search=SEARCH_REWARD,
    smoke=SMOKE | {"reward_batch": 32},
)
