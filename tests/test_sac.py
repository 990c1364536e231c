"""The soft actor-critic learner: it learns, repeats itself, goes on from a checkpoint, and hands out its actor."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from baselines._sac import SAC, Replay, SACConfig

SPACE = Box(np.float32([-1, 0]), np.float32([1, 3]))


def made_up(seed: int = 0, **settings) -> tuple[SAC, Replay, np.random.Generator]:
    """A learner and random transitions whose reward is best at action (0.5, 1)."""
    rng = np.random.default_rng(seed)
    sac = SAC(SPACE, [0.0] * 3, [1.0] * 3, SACConfig(hidden=(32, 32), batch=64, **settings), rng)
    replay = Replay(1000, 3, 2)
    obs = rng.standard_normal((1000, 3)).astype(np.float32)
    replay.add(obs, rng.uniform(SPACE.low, SPACE.high, (1000, 2)), rng.permutation(obs))
    return sac, replay, rng


def bandit(obs, acts, next_obs, extra):
    return -(acts - torch.tensor([0.5, 1.0])).square().sum(1)


def test_finds_the_best_action():
    sac, replay, rng = made_up(entropy_weight=0.01, discount=0.5, lr=3e-3)
    for _ in range(400):
        sac.update(replay, bandit)
    found = sac.policy()(rng.standard_normal((200, 3)).astype(np.float32), rng)
    assert np.abs(found - [0.5, 1.0]).mean() < 0.06


def test_values_are_those_of_an_endless_episode():
    """Reward 1 for ever is worth 1 / (1 - discount): a time limit is no end. The entropy bonus is made negligible."""
    sac, replay, _ = made_up(entropy_weight=1e-6, discount=0.9, lr=3e-3, target_rate=0.1)
    for _ in range(600):
        sac.update(replay, lambda obs, acts, next_obs, extra: torch.ones(len(obs)))
    values = sac.values(sac._critic.detach(), torch.randn(100, 3), torch.rand(100, 2))
    assert values.mean() == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("weight, spread", [(0.01, (0.0, 0.25)), (1.0, (0.35, 1.0))])
def test_the_entropy_weight_widens_the_actor(weight, spread):
    """For r = -(a - c)^2 the soft optimum is a Gaussian of variance weight / 2 per action, cut at the limits."""
    sac, replay, _ = made_up(entropy_weight=weight, discount=0.0, lr=3e-3)
    for _ in range(600):
        sac.update(replay, bandit)
    drawn = np.stack([sac.act(np.zeros((1, 3), np.float32))[0] for _ in range(400)])
    assert spread[0] < drawn[:, 1].std() < spread[1]


def test_the_adapted_entropy_reaches_its_target():
    sac, replay, _ = made_up(discount=0.0, lr=3e-3)
    for _ in range(1000):
        sac.update(replay, bandit)
    obs = replay.sample(500, torch.Generator().manual_seed(0))[0]
    with torch.no_grad():
        assert -sac._sample(sac._actor, obs)[1].mean() == pytest.approx(-1, abs=0.3)  # minus half of two actions


def test_log_density_is_the_density_of_the_draws():
    """Against the numerical derivative of the distribution function of one action, squashed into its limits."""
    sac, _, _ = made_up()
    obs = torch.zeros(200_000, 3)
    with torch.no_grad():
        acts, log_density = sac._sample(sac._actor, obs)
    box = (acts[:, 0].abs() < 0.1) & ((acts[:, 1] - 1.5).abs() < 0.15)
    unit = 3 / 2  # densities are per tanh unit; the second action's range is 3, not 2
    mean_density = 1 / (-log_density[box]).exp().mean()  # E[1 / p] over draws from p is area / probability
    assert box.float().mean() / (0.2 * 0.3) * unit == pytest.approx(float(mean_density), rel=0.05)


def test_same_seed_same_weights_other_seed_others():
    def trained(seed):
        sac, replay, _ = made_up(seed)
        for _ in range(20):
            sac.update(replay, bandit)
        return sac.state()

    first, again, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["actor"], other["actor"])


def test_goes_on_from_a_checkpoint_bit_by_bit():
    sac, replay, _ = made_up()
    for _ in range(5):
        sac.update(replay, bandit)
    fresh, empty, _ = made_up(seed=7)
    fresh.load(sac.state())
    empty.load(replay.state())
    for learner, memory in ((sac, replay), (fresh, empty)):
        for _ in range(5):
            learner.update(memory, bandit)
    assert all(torch.equal(x, fresh.state()[k]) for k, x in sac.state().items())


def test_the_exported_policy_is_the_actors_mean():
    sac, replay, rng = made_up()
    for _ in range(50):
        sac.update(replay, bandit)
    obs = 4 * rng.standard_normal((1, 3)).astype(np.float32)
    raw = [
        torch.as_tensor(sac.act(obs)[0] - SPACE.low) / torch.as_tensor(SPACE.high - SPACE.low) * 2 - 1
        for _ in range(4000)
    ]
    middle = torch.stack(raw).clamp(-0.999999, 0.999999).atanh().mean(0).tanh()
    mean = SPACE.low + (middle.numpy() + 1) / 2 * (SPACE.high - SPACE.low)
    np.testing.assert_allclose(sac.policy()(obs, rng)[0], mean, atol=0.05)


def test_replay_overwrites_the_oldest_and_finds_the_latest():
    replay = Replay(10, 1, 1)
    for k in range(0, 16, 4):
        x = np.arange(k, k + 4, dtype=np.float32)[:, None]
        replay.add(x, x, x + 1, x[:, 0])
    generator = torch.Generator().manual_seed(0)
    obs, acts, next_obs, extra = replay.sample(500, generator)
    assert set(obs[:, 0].tolist()) == set(range(6, 16))
    assert torch.equal(obs, acts) and torch.equal(obs + 1, next_obs) and torch.equal(extra, obs[:, 0])
    assert set(replay.sample(200, generator, latest=3)[0][:, 0].tolist()) == {13, 14, 15}


def test_the_policy_is_the_mean_of_the_actors_so_far_then_a_moving_one():
    sac, replay, rng = made_up(average=0.4)
    actors = []
    for _ in range(5):
        sac.update(replay, bandit)
        actors.append(sac.state()["actor"])
    first, second, third = actors[0], actors[2], actors[4]  # the actor moves with every second update
    expected = 0.6 * (first + second) / 2 + 0.4 * third
    torch.testing.assert_close(sac.state()["averaged"], expected)
    last, _, _ = made_up()
    last.load({**sac.state(), "averaged": expected})
    obs = rng.standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_allclose(sac.policy()(obs, rng), last.policy()(obs, rng), rtol=1e-5)
