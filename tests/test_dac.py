"""DAC: its discriminator against a density ratio in closed form, and its read-out."""

import numpy as np
import torch
from torch.nn.functional import softplus

from baselines._adversary import discriminator_loss
from baselines.dac import METHOD, fit
from benchmark.pose import pose
from envs.maze2d import UMAZE_TASK
from methods.rewards import StepReward


def test_the_discriminator_finds_the_log_density_ratio() -> None:
    """Of N(1, 1) to N(-1, 1) it is 2x. A penalty holds the slope nearer to one."""
    torch.manual_seed(0)
    expert, policy = torch.randn(20_000, 1) + 1, torch.randn(20_000, 1) - 1
    generator = torch.Generator().manual_seed(0)

    def slope(penalty: float) -> float:
        logit = StepReward(1, 1, hidden=())
        optimiser = torch.optim.LBFGS(logit.parameters(), max_iter=50)

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            loss = discriminator_loss(logit, expert, policy, penalty, generator)
            loss.backward()
            return loss

        optimiser.step(closure)
        return logit.net[0].weight.item()

    assert abs(slope(0.0) - 2) < 0.05
    assert abs(slope(10.0) - 1) < 0.05


def test_reads_out_what_its_policy_gained_and_keeps_the_budget() -> None:
    posed = pose(UMAZE_TASK, 0, 2, 2_000, 0, False, lambda fraction, values: None)
    learned = fit(posed.problem, METHOD.config(**METHOD.smoke), np.random.default_rng(0))
    assert posed.problem.meter.used == 2_000 and learned.curve[-1]["env_steps"] == 2_000
    obs, acts, next_obs = (torch.tensor(x) for x in posed.problem.demos.transitions())
    gained = learned.reward(obs, acts, next_obs)
    torch.testing.assert_close(gained, softplus(learned.reward.logit(obs, acts, next_obs)))
    assert not torch.equal(gained, learned.reward(obs, -acts, next_obs))
    state_only = METHOD.config(**METHOD.smoke, state_only=True, form="logit")
    posed = pose(UMAZE_TASK, 0, 2, 2_000, 0, False, lambda fraction, values: None)
    reward = fit(posed.problem, state_only, np.random.default_rng(0)).reward
    assert torch.equal(reward(obs, acts, next_obs), reward.logit(obs, -acts, obs))
