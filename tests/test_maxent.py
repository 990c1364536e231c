"""MaxEnt IRL: its gradient, and that it recovers behaviour and reward where both are known."""

import numpy as np
import pytest
import torch

from baselines.maxent import METHOD, MaxEntConfig, fit, reward_loss
from benchmark.pose import pose
from envs.maze2d import UMAZE_TASK
from envs.rollout import Uniform, rollout
from methods.rewards import StepReward


def test_gradient_is_the_difference_of_feature_expectations():
    """Without penalties and with a linear reward, descent moves the weights by E_expert[x] - E_policy[x]."""
    reward = StepReward(3, 1, hidden=())
    expert, policy = torch.randn(4000, 3) + torch.tensor([1.0, 0.0, -2.0]), torch.randn(4000, 3)
    config = MaxEntConfig(output_penalty=0, gradient_penalty=0)
    reward_loss(reward, expert, policy, config, torch.Generator().manual_seed(0)).backward()
    np.testing.assert_allclose(-reward.net[0].weight.grad[0], expert.mean(0) - policy.mean(0), atol=1e-5)


def test_penalties_bound_slope_and_size():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    expert, policy = torch.randn(256, 2) + 3, torch.randn(256, 2)

    def fitted(**settings):
        reward = StepReward(2, 1)
        optimiser = torch.optim.Adam(reward.parameters(), lr=3e-3)
        for _ in range(300):
            optimiser.zero_grad()
            reward_loss(reward, expert, policy, MaxEntConfig(**settings), generator).backward()
            optimiser.step()
        with torch.no_grad():
            return reward.net(expert), reward.net(policy)

    free = fitted(output_penalty=0, gradient_penalty=0)
    held = fitted()
    assert held[0].mean() > held[1].mean()
    assert held[0].abs().max() < 3 < free[0].abs().max()
    # the best possible outputs are +-1 / (2 * penalty * 1/2) = +-2 where both sets are apart
    assert 1 < held[0].mean() - held[1].mean() < 4.2


@pytest.fixture(scope="module")
def posed():
    return lambda budget: pose(UMAZE_TASK, 0, 10, budget, 0, False, lambda fraction, values: None)


def test_a_short_run_imitates_and_ranks(posed):
    """Far from converged at 16,000 steps, yet well above random actions, and its reward ranks unseen episodes."""
    found = posed(16_000)
    small = {"batch": 64, "reward_batch": 64, "policy_hidden": (64, 64), "recent": 5_000}
    config = MaxEntConfig(envs=16, steps_per_update=8, warm_up=1_000, lr=1e-3, reward_lr=1e-3, **small)
    learned = fit(found.problem, config, np.random.default_rng(0))
    starts = UMAZE_TASK.seen_starts
    for policy, bounds in ((learned.policy, (0.4, np.inf)), (Uniform(found.problem.action_space), (-np.inf, 0.35))):
        run = rollout(UMAZE_TASK.make_env(len(starts)), policy, starts, np.random.default_rng(0))
        reward = UMAZE_TASK.reward(run.states[:, :-1], run.trajectories.acts, run.states[:, 1:]).mean()
        assert bounds[0] < reward < bounds[1]
    assert np.corrcoef(learned.returns(found.held_out.trajectories), found.held_out.returns)[0, 1] > 0.4


def test_keeps_the_budget_to_the_last_step_and_repeats_itself(posed):
    config = METHOD.config(**METHOD.smoke)
    found = posed(2_000), posed(2_000)
    first, again = (fit(each.problem, config, np.random.default_rng(3)) for each in found)
    assert [each.problem.meter.used for each in found] == [2_000, 2_000]
    obs = found[0].held_out.trajectories.obs[0]
    acts = found[0].held_out.trajectories.acts[0]
    np.testing.assert_array_equal(first.policy(obs, None), again.policy(obs, None))
    np.testing.assert_array_equal(
        first.step_rewards(obs[:-1], acts, obs[1:]), again.step_rewards(obs[:-1], acts, obs[1:])
    )
