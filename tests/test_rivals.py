"""SQIL, IQ-Learn, f-IRL, the nearest demonstration and diffusion BC, each where the answer is known."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch.nn.functional import one_hot

from baselines import diffusion_bc, f_irl, iq_learn, min_distance, sqil
from baselines._online import OffPolicyConfig, WithDemonstrations, moments, optimise
from benchmark.pose import Posed, pose
from envs.maze2d import UMAZE_TASK
from methods.base import RewardPart
from methods.divergence import Diverged
from methods.pretraining import base_model
from methods.windows import WindowSampler


def posed(budget: int = 2_000) -> Posed:
    return pose(UMAZE_TASK, 0, 2, budget, 0, False, lambda fraction, values: None)


@pytest.mark.parametrize("module", [sqil, iq_learn, f_irl, min_distance], ids=lambda m: m.METHOD.name)
def test_the_budget_is_used_to_the_last_step_and_updates_are_counted(module) -> None:  # type: ignore[no-untyped-def]
    problem, method = posed().problem, module.METHOD
    learned = method.fit(problem, method.config(**method.smoke), np.random.default_rng(0))
    assert problem.meter.used == 2_000 and learned.curve[-1]["env_steps"] == 2_000
    updates = learned.curve[-1]["gradient_steps"]
    assert updates == -(-1_000 // 12)
    rounds = 2_000 // (4 * UMAZE_TASK.horizon) if module is f_irl else 0
    assert learned.gradient_steps == updates + rounds * (2 + 2)


def test_half_of_a_mixed_batch_are_demonstrations() -> None:
    problem = posed().problem
    replay = WithDemonstrations(problem, 100)
    replay.add(np.full((50, 4), 7, np.float32), np.full((50, 2), 7, np.float32), np.full((50, 4), 7, np.float32))
    obs, acts, next_obs, extra = replay.sample(64, torch.Generator().manual_seed(0))
    assert extra.tolist() == [1.0] * 32 + [0.0] * 32
    known = {row.tobytes() for row in np.concatenate(problem.demos.transitions(), 1)}
    assert {row.tobytes() for row in torch.cat([obs, acts, next_obs], 1)[:32].numpy()} <= known
    assert (obs[32:] == 7).all() and (acts[32:] == 7).all() and (next_obs[32:] == 7).all()


# IQ-Learn ------------------------------------------------------------------------------------------------------------


def minimised(parameter: torch.Tensor, loss) -> None:  # type: ignore[no-untyped-def]
    optimiser = torch.optim.LBFGS([parameter], max_iter=200, tolerance_grad=1e-10, tolerance_change=1e-12)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value: torch.Tensor = loss(parameter)
        value.backward()
        return value

    optimiser.step(closure)


def test_iq_learn_on_one_state_solves_its_stationarity_by_hand() -> None:
    """Two actions, no future: with q = Q(1) - Q(0), V = log sum exp Q and expert probability p of action 1, steps of
    expert and policy both uniform, the optimum has p_a = softmax(Q)_a + Q_a / (4 alpha)."""
    p, alpha = 0.8, 0.5
    q = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def loss(q: torch.Tensor) -> torch.Tensor:
        expert = torch.stack([q[0]] * 2 + [q[1]] * 8)
        return iq_learn.iq_loss(expert, q, torch.logsumexp(q, 0)[None], alpha)

    minimised(q, loss)
    # Q(0) = -Q(1) by symmetry of the condition, one equation is left
    root = brentq(lambda x: p - 1 / (1 + np.exp(-2 * x)) - x / (4 * alpha), -5, 5)
    np.testing.assert_allclose(q.detach(), [-root, root], atol=1e-6)


def test_iq_learn_finds_a_soft_optimal_experts_policy() -> None:
    """Two states, action = next state, discount 0.9: almost unregularised, softmax(Q) is the expert's policy."""
    discount, policy = 0.9, torch.tensor([[0.3, 0.7], [0.6, 0.4]], dtype=torch.float64)
    visits = torch.tensor([6, 7], dtype=torch.float64) / 13  # stationary: v = v P
    torch.testing.assert_close(visits @ policy, visits)
    weights = (visits[:, None] * policy).flatten()
    q = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)

    def loss(q: torch.Tensor) -> torch.Tensor:
        v = torch.logsumexp(q, 1)
        reward, gap = (q - discount * v).flatten(), (v[:, None] - discount * v).flatten()
        share = 4 * weights  # iq_loss takes plain means over the four pairs
        return iq_learn.iq_loss(share * reward, reward, share * gap, 1e6)

    minimised(q, loss)
    torch.testing.assert_close(torch.softmax(q.detach(), 1), policy, atol=1e-4, rtol=0)


def test_iq_learns_reward_inverts_its_learners_bellman_equation() -> None:
    problem = posed().problem
    config = iq_learn.IQLearnConfig(**iq_learn.METHOD.smoke)
    env = problem.make_env(16, np.random.default_rng(0))
    sac = iq_learn.IQLearner(env.action_space, *moments(problem), config.learner(0.9), np.random.default_rng(0))
    reward = iq_learn.InverseBellman.of(sac)
    obs, acts, next_obs = (torch.tensor(x[:50]) for x in problem.demos.transitions())
    now, then = (((x - sac.mean) / sac.std).clamp(-10, 10) for x in (obs, next_obs))
    critic = sac.state()["critic"]
    value = torch.stack([sac.soft_value(critic, then) for _ in range(3000)]).mean(0)
    with torch.no_grad():
        expected = sac.values(critic, now, acts).mean(0) - 0.9 * value
        assert (reward(obs, acts, next_obs) - expected).abs().max() < 0.05  # eight draws against three thousand
        assert torch.equal(reward(obs[:6].view(2, 3, 4), acts[:6].view(2, 3, 2), next_obs[:6].view(2, 3, 4)).flatten(),
                           reward(obs[:6], acts[:6], next_obs[:6]))  # fmt: skip


# f-IRL ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", ["fkl", "rkl", "js"])
def test_f_irls_gradient_is_that_of_the_divergence(divergence: f_irl.Divergence) -> None:
    """All paths of three steps over two states, p(path) in proportion to exp(sum r / alpha): against differences."""
    alpha, expert = 0.5, torch.tensor([0.3, 0.7], dtype=torch.float64)
    paths = torch.tensor(list(product([0, 1], repeat=3)))
    f = {
        "fkl": lambda u: u * u.log(),
        "rkl": lambda u: -u.log(),
        "js": lambda u: u * u.log() - (1 + u) * ((1 + u) / 2).log(),
    }[divergence]

    def density(r: torch.Tensor) -> torch.Tensor:
        chance = torch.softmax(r[paths].sum(1) / alpha, 0)
        return (chance[:, None] * one_hot(paths, 2).double().mean(1)).sum(0)

    def distance(r: torch.Tensor) -> torch.Tensor:
        own = density(r)
        return (own * f(expert / own)).sum()

    # at r(1) = alpha log 2 a path with k ones is 2^k times as likely as the path of zeros: 27 equally likely episodes
    r = torch.tensor([0.0, alpha * np.log(2)], dtype=torch.float64, requires_grad=True)
    episodes = torch.cat([path.repeat(2 ** int(path.sum()), 1) for path in paths])
    assert len(episodes) == 27
    log_ratio = (expert / density(r.detach())).log()
    weights = f_irl.h(divergence, log_ratio)[episodes]
    f_irl.covariance(weights, r[episodes], alpha).backward()
    step = 1e-5 * torch.eye(2, dtype=torch.float64)
    numeric = [(distance(r.detach() + e) - distance(r.detach() - e)) / 2e-5 for e in step]
    torch.testing.assert_close(r.grad, torch.stack(numeric), atol=1e-7, rtol=1e-5)


# nearest demonstration and fixed rewards -----------------------------------------------------------------------------


def test_the_nearest_demonstration_is_found_exactly() -> None:
    reward = min_distance.NearestDemonstration(2, 3)
    reward.std.copy_(torch.tensor([2.0, 1.0]))
    reward.demos.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, -3.0]]))
    at = torch.tensor([[[0.0, 0.0], [6.0, 5.0]], [[10.0, -3.0], [2.0, 0.5]]])  # standardised: 0,0  3,5  5,-3  1,.5
    found = reward(torch.zeros_like(at), torch.zeros(2, 2, 1), at)
    torch.testing.assert_close(found, -torch.tensor([[0.0, 20**0.5], [0.0, 0.5]]))


class Down(RewardPart):
    """Higher for smaller first coordinates of the next observation."""

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        return -next_obs[..., 0]


def test_a_fixed_reward_is_optimised() -> None:
    problem = posed(8_000).problem
    config = OffPolicyConfig(warm_up=1_000, steps_per_update=8, lr=2e-3, batch=64, target_rate=0.05, discount=0.9)
    sac, curve = optimise(
        problem.make_env(16, np.random.default_rng(0)),
        Down(),
        moments(problem),
        problem.discount,
        config,
        8_000,
        np.random.default_rng(0),
    )
    obs = problem.demos.obs.reshape(-1, 4)
    assert sac.policy()(obs, np.random.default_rng(0))[:, 0].mean() < -0.5 and curve[-1]["env_steps"] == 8_000


def test_diffusion_bc_moves_its_model_to_the_demonstrations() -> None:
    problem = posed().problem
    smoke = {**diffusion_bc.METHOD.smoke, "updates": 150, "batch": 64, "learning_rate": 3e-3, "ema": 0.9}
    config = diffusion_bc.DiffusionBC(**smoke)
    before = base_model(problem, config.base)
    after = diffusion_bc.fit(problem, config, np.random.default_rng(0)).policy.diffuser
    windows = before.codec.encode(
        *WindowSampler(problem.demos, before.codec.length, np.random.default_rng(1)).draw(500)
    )
    noise, t = (
        torch.randn(windows.shape, generator=torch.Generator().manual_seed(0)),
        torch.zeros(500, dtype=torch.long),
    )
    assert after.loss(windows, t + 2, noise) < 0.7 * before.loss(windows, t + 2, noise)
    assert problem.meter.used == 0


def test_diffusion_bc_ends_when_its_loss_leaves_all_bounds() -> None:
    config = diffusion_bc.DiffusionBC(**{**diffusion_bc.METHOD.smoke, "updates": 60, "learning_rate": 1e30})
    with pytest.raises(Diverged, match=r"loss .* at update .*lower learning_rate \(1e\+30\)") as raised:
        diffusion_bc.fit(posed().problem, config, np.random.default_rng(0))
    assert [row["gradient_steps"] for row in raised.value.curve] == [1]  # the last good part of it
