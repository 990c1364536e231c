"""Adversarial inverse reinforcement learning: imitation 1.0.1's ``AIRL`` with Stable-Baselines3's PPO."""

import numpy as np
import torch
from imitation.algorithms.adversarial.airl import AIRL
from imitation.rewards.reward_nets import ForwardWrapper, NormalizedRewardNet
from imitation.util.networks import RunningNorm

from baselines._adversarial_ppo import SEARCH, SMOKE, AdversarialConfig, StepRewardNet, normalised, train
from baselines._adversary import inputs
from envs.problem import Problem
from methods.base import Learned, Method
from methods.rewards import StepReward
from methods.tuned import tuned


class Shaped(ForwardWrapper):
    """f(s, a, s') = g + discount * h(s') - h(s) (Fu et al., eq. 4).

    Not imitation's ``ShapedRewardNet``: that sets h(s') = 0 where an episode ends, but here only the time limit ends
    one, which the state does not show.

    Args:
        g: the reward.
        h: the potential, a function of the observation.
        discount: in (0, 1).
    """

    def __init__(self, g: StepRewardNet, h: StepReward, discount: float) -> None:
        super().__init__(g)
        self.h, self.discount = h, discount

    def forward(
        self, state: torch.Tensor, action: torch.Tensor, next_state: torch.Tensor, done: torch.Tensor
    ) -> torch.Tensor:
        before, after = self.h(state, action, next_state), self.h(next_state, action, next_state)
        shaped: torch.Tensor = self.base(state, action, next_state, done) + self.discount * after - before
        return shaped


class AIRLConfig(AdversarialConfig):
    """Settings of AIRL.

    Args:
        state_only: whether g reads the state alone, as Fu et al. need to recover a reward (their theorem 5.1); else
            state and action.
    """

    state_only: bool = True


def fit(problem: Problem, config: AIRLConfig, rng: np.random.Generator) -> Learned:
    """A policy against a discriminator of the form exp(f) / (exp(f) + pi) (Fu et al. 2018, algorithm 1).

    Args:
        problem: its demonstrations, and an environment within the step budget.
        config: settings.
        rng: decides all draws.

    Returns:
        the policy, and the reward g without its potential, of observation (and action), kind ``raw``.
    """
    torch.manual_seed(int(rng.integers(2**31)))
    (obs,), (acts,) = problem.observation_space.shape, problem.action_space.shape
    g = normalised(StepReward(obs, acts, config.reward_hidden, inputs(config.state_only)), problem)
    h = normalised(StepReward(obs, acts, config.reward_hidden), problem)

    net = NormalizedRewardNet(Shaped(StepRewardNet(g, problem), h, config.discount), RunningNorm)
    policy, curve, updates = train(problem, config, AIRL, net, rng)
    return Learned(policy, g.cpu().eval(), "raw", curve, updates)


METHOD = Method(
    name="airl",
    title="AIRL",
    source="Fu et al. 2018, Learning Robust Rewards with Adversarial IRL; imitation 1.0.1 (Gleave et al. 2022)",
    fit=fit,
    config=AIRLConfig,
    tuned=tuned("airl"),
    search=SEARCH,
    smoke=SMOKE,
)
