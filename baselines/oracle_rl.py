"""The learners of GAIL and AIRL and of the off-policy methods on the true reward: what a right one would bring them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from imitation.algorithms.adversarial.common import AdversarialTrainer
from imitation.rewards.reward_nets import NormalizedRewardNet, RewardNet
from imitation.util.networks import RunningNorm

from baselines._adversarial_ppo import SMOKE as PPO_SMOKE
from baselines._adversarial_ppo import AdversarialConfig, StepRewardNet, train
from baselines._online import BY_HAND, SMOKE, OffPolicyConfig, moments, optimise
from envs.problem import Problem
from methods.base import Learned, Method
from methods.controls import GivenReward, privileged
from methods.tuned import tuned


class Fixed(AdversarialTrainer):
    """The game without its discriminator: PPO alone."""

    @property
    def reward_train(self) -> RewardNet:
        return self._reward_net

    reward_test = reward_train

    def logits_expert_is_high(self, *step: Any, **more: Any) -> torch.Tensor:
        raise NotImplementedError("no discriminator is trained")  # imitation asks for it in `train_disc` alone

    def train_disc(self, **samples: Any) -> Mapping[str, float]:
        return {"disc_loss": 0.0, "disc_acc": 0.0}


def fit_ppo(problem: Problem, config: AdversarialConfig, rng: np.random.Generator) -> Learned:
    """As in GAIL, with the reward normalised as in AIRL."""
    torch.manual_seed(int(rng.integers(2**31)))
    true = GivenReward(privileged(problem).observed_reward)
    true.idle = torch.nn.Parameter(torch.zeros(()))  # what the trainer's optimiser, which never steps, wants
    net = NormalizedRewardNet(StepRewardNet(true, problem), RunningNorm)
    policy, curve, updates = train(problem, config.model_copy(update={"disc_updates": 1}), Fixed, net, rng)
    kept = [{name: value for name, value in row.items() if not name.startswith("disc_")} for row in curve]
    return Learned(policy, GivenReward(true.function), "raw", kept, updates - len(curve))


def fit_sac(problem: Problem, config: OffPolicyConfig, rng: np.random.Generator) -> Learned:
    """As in DAC."""
    reward = GivenReward(privileged(problem).observed_reward)
    env = problem.make_env(config.envs, rng)
    given = problem.discount, config, problem.step_budget, rng, problem.progress, problem.checkpoint
    sac, curve = optimise(env, reward, moments(problem), *given)
    return Learned(sac.policy(), reward, "raw", curve, sac.updates)


# the settings that GAIL and DAC run with, less those of their rewards; 20 epochs are GAIL's own, by hand
AS_GAIL = tuned("gail", {"maze2d-large": {"epochs": 20}})
AS_DAC = {
    task: {name: value for name, value in chosen.items() if name in OffPolicyConfig.model_fields}
    for task, chosen in tuned("dac", BY_HAND).items()
}
METHODS = [
    Method(
        name="oracle-ppo",
        title="PPO, true reward",
        source="Schulman et al. 2017, arXiv 1707.06347",
        fit=fit_ppo,
        config=AdversarialConfig,
        tuned=AS_GAIL,
        smoke=PPO_SMOKE,
        control=True,
    ),
    Method(
        name="oracle-sac",
        title="SAC, true reward",
        source="Haarnoja et al. 2018, arXiv 1812.05905",
        fit=fit_sac,
        config=OffPolicyConfig,
        tuned=AS_DAC,
        smoke=SMOKE,
        control=True,
    ),
]
