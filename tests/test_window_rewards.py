"""The relative reward and the likelihood's reward, each where the answer is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines import relative_reward
from baselines.relative_reward import RelativeReward, StepwisePlanner
from benchmark.pose import Posed, pose
from envs.maze2d import UMAZE_TASK
from methods import likelihood_irl
from methods.base import Part
from methods.diffuser import Diffuser
from methods.divergence import Diverged
from methods.planner import Planner, Planning
from methods.rewards import WindowReward

SHAPE = {"obs": 1, "acts": 1, "tokens": 2, "skip": 1}


def posed() -> Posed:
    return pose(UMAZE_TASK, 0, 2, 0, 0, False, lambda fraction, values: None)


class Gaussian(Diffuser):
    """The exact denoiser of windows of unit variance around a mean m: m + sqrt(bar) (x - sqrt(bar) m)."""

    centre = 0.0

    def denoised(self, x: Tensor, t: Tensor) -> Tensor:
        root = self.bars[t].view(-1, 1, 1).sqrt()
        return self.centre + root * (x - root * self.centre)


def test_relative_reward_of_two_gaussians_is_their_log_ratio() -> None:
    """log N(x; sqrt(bar) m, 1) - log N(x; 0, 1) rises by sqrt(bar) m at every diffusion step."""
    torch.manual_seed(0)
    base, expert = Gaussian(**SHAPE, steps=4), Gaussian(**SHAPE, steps=4)
    expert.centre = 0.5
    reward = RelativeReward(**SHAPE, hidden=[32], steps=4)
    optimiser = torch.optim.Adam(reward.net.parameters(), 1e-2)
    losses = []
    for _ in range(400):
        x0, t = torch.randn(128, 2, 2), torch.randint(4, (128,))
        loss = relative_reward.mismatch(reward, base, expert, x0, t, torch.randn_like(x0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]
    x = base.codec.pin(torch.randn(200, 2, 2), torch.randn(200, 1))
    for level in range(4):
        reward.level = level
        rise = base.codec.pin(reward.slope(x), torch.zeros(200, 1))[:, ~base.codec.known]
        assert rise.mean().item() == pytest.approx(0.5 * float(base.bars[level].sqrt()), rel=0.05)


def test_planner_tells_the_reward_every_diffusion_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    problem, method = posed().problem, relative_reward.METHOD
    config = method.config(**method.smoke, planning={"stop": 0, "inner": 1})
    learned = method.fit(problem, config, np.random.default_rng(0))
    policy, asked = learned.policy, []
    assert isinstance(policy, StepwisePlanner) and isinstance(policy.reward, RelativeReward)
    slope = RelativeReward.slope

    def noting(self: RelativeReward, x: Tensor) -> Tensor:
        asked.append(self.level)
        return slope(self, x)

    monkeypatch.setattr(RelativeReward, "slope", noting)
    obs = problem.demos.obs[:, 0]
    planned = policy.plan(obs, np.random.default_rng(1))
    assert asked == [3, 2, 1]  # of four; the last has no variance
    assert policy.reward.level == 0 and isinstance(learned.reward, RelativeReward) and learned.reward.level == 0
    policy.save(tmp_path / "policy")
    again = Part.load(tmp_path / "policy")
    assert isinstance(again, StepwisePlanner)
    np.testing.assert_array_equal(planned[1], again.plan(obs, np.random.default_rng(1))[1])
    unaware = Planner(**policy.arguments)
    unaware.load_state_dict(policy.state_dict())
    assert not np.array_equal(planned[1], unaware.plan(obs, np.random.default_rng(1))[1])


def test_contrast_of_a_linear_reward_is_what_it_gives_the_difference_of_means() -> None:
    torch.manual_seed(0)
    reward = WindowReward(**SHAPE, hidden=[3])
    inner, outer = reward.net[0], reward.net[2]
    inner.bias.data += 100  # every unit is on: the reward is linear
    shown, sampled = torch.randn(50, 2, 2), torch.randn(50, 2, 2) + 1
    loss = likelihood_irl.contrast(reward, shown, sampled, 0.3)
    rise, apart = (outer.weight @ inner.weight)[0], (sampled.mean(0) - shown.mean(0)).flatten()
    assert loss.item() == pytest.approx((rise @ apart + 0.3 * rise.square().sum()).item(), abs=1e-4)
    (slope,) = torch.autograd.grad(loss, outer.weight)
    # unit by unit: what it gives the difference of means, and the penalty twice the rise
    torch.testing.assert_close(slope[0], inner.weight @ (apart + 0.6 * rise), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("anchored", [0.0, 0.25])
def test_samples_start_with_the_demonstrations_but_for_the_anchored_share(
    anchored: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = posed().problem
    model = likelihood_irl.base_model(problem, likelihood_irl.TOY)
    shown = model.codec.first(torch.tensor(problem.demos.obs.reshape(-1, 4)))
    seen, reverse = [], Diffuser.reverse

    def noting(self: Diffuser, first: Tensor, *rest: object, **settings: object) -> Tensor:
        seen.append((torch.cdist(first, shown, compute_mode="donot_use_mm_for_euclid_dist").min(1).values < 1e-4).sum())
        return reverse(self, first, *rest, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Diffuser, "reverse", noting)
    config = likelihood_irl.METHOD.config(**likelihood_irl.METHOD.smoke | {"batch": 16, "anchored": anchored})
    likelihood_irl.fit(problem, config, np.random.default_rng(0))
    assert [int(n) for n in seen] == [16 - round(16 * anchored)] * 2


def test_likelihood_learns_what_tells_the_demonstrations_from_samples() -> None:
    problem = posed().problem
    smoke = likelihood_irl.METHOD.smoke | {"updates": 60, "batch": 32, "learning_rate": 3e-3}
    learned = likelihood_irl.fit(problem, likelihood_irl.LikelihoodIRL(**smoke), np.random.default_rng(0))
    assert isinstance(learned.policy, Planner) and isinstance(learned.reward, WindowReward)
    free = Planner.of(Planning(), learned.policy.diffuser)
    windows = problem.demos.windows(learned.reward.length)
    obs, acts = free.plan(windows.obs[:, 0], np.random.default_rng(1))
    theirs = learned.reward(torch.tensor(windows.obs), torch.tensor(windows.acts))
    ours = learned.reward(torch.tensor(np.concatenate([obs, obs[:, -1:]], 1)), torch.tensor(acts))
    assert theirs.mean() > ours.mean() and problem.meter.used == 0


@pytest.mark.parametrize("module", [relative_reward, likelihood_irl], ids=lambda m: m.METHOD.name)
def test_a_loss_that_leaves_all_bounds_ends_the_run(module) -> None:  # type: ignore[no-untyped-def]
    method = module.METHOD
    wild = {"matching": {"learning_rate": 1e30}} if module is relative_reward else {"learning_rate": 1e30}
    config = method.config(**{**method.smoke, **wild} | ({} if module is relative_reward else {"updates": 60}))
    with pytest.raises(Diverged, match=r"lower learning_rate \(1e\+30\)"):
        method.fit(posed().problem, config, np.random.default_rng(0))
