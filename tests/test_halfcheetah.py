"""HalfCheetah against Gymnasium's own, and the stored policies and recipes."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from baselines._sac import SACConfig
from benchmark.experts import Recipe, returns, train_policy
from envs import halfcheetah
from envs.rollout import rollout
from methods.policies import MLPPolicy


@pytest.fixture()
def reference():
    env = gymnasium.make("HalfCheetah-v4").unwrapped
    env.reset(seed=0)
    return env


def run_both(reference, cold: bool, follow: bool, steps: int) -> tuple[float, float]:
    """Largest differences of observation and reward over ``steps`` actions.

    Args:
        cold: whether Gymnasium's solver also starts from zero at every action.
        follow: whether our state is set to Gymnasium's before every action.
    """
    rng = np.random.default_rng(0)
    env = halfcheetah.make_env(1)
    start = halfcheetah.upright(1, rng)
    reference.set_state(start[0, :9], start[0, 9:])
    env.reset_to(start)
    worst = [0.0, 0.0]
    for _ in range(steps):
        action = rng.uniform(-1, 1, (1, 6))
        if cold:
            reference.data.qacc_warmstart[:] = 0
        if follow:
            env.reset_to(np.concatenate([reference.data.qpos, reference.data.qvel])[None])
        before = env.states
        theirs, their_reward, *_ = reference.step(action[0])
        env.step(action)
        ours = halfcheetah.observe(env.states)[0]
        our_reward = halfcheetah.reward(before, action, env.states)[0]
        worst = [max(worst[0], np.abs(ours - theirs).max()), max(worst[1], abs(our_reward - their_reward))]
    return worst[0], worst[1]


def test_every_step_equals_gymnasium(reference):
    """From the same state, one action gives Gymnasium's observation and reward.

    Left to itself an episode departs after some hundred steps: Gymnasium's contact solver starts from the last step's
    solution, ours from zero, they end 1e-13 apart, and the motion is chaotic. Hence each step starts from its state.
    """
    obs, reward = run_both(reference, cold=False, follow=True, steps=1000)
    assert obs < 1e-8 and reward < 1e-8


def test_an_episode_equals_gymnasium_with_the_same_solver_start(reference):
    assert run_both(reference, cold=True, follow=False, steps=1000) == (0.0, 0.0)


def test_upright_starts_are_gymnasiums(reference):
    theirs = np.stack([reference.reset()[0] for _ in range(2000)])
    ours = halfcheetah.observe(halfcheetah.upright(2000, np.random.default_rng(1)))
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.015
    assert np.abs(ours.std(0) - theirs.std(0)).max() < 0.015


def test_thrown_starts_lie_outside_all_upright_ones():
    rng = np.random.default_rng(0)
    assert np.abs(halfcheetah.thrown(500, rng)[:, 2]).min() > np.abs(halfcheetah.upright(500, rng)[:, 2]).max() + 0.3


def test_observed_reward_is_near_the_true_one():
    rng = np.random.default_rng(0)
    run = rollout(halfcheetah.make_env(8), halfcheetah.expert(), halfcheetah.anywhere(8, rng), rng)
    true = halfcheetah.reward(run.states[:, :-1], run.trajectories.acts, run.states[:, 1:])
    obs, acts = torch.tensor(run.trajectories.obs), torch.tensor(run.trajectories.acts)
    near = halfcheetah.observed_reward(obs[:, :-1], acts, obs[:, 1:]).numpy()
    assert np.corrcoef(true.ravel(), near.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("name", ["medium-low", "medium", "expert"])
def test_stored_policy_returns_what_its_file_says(name):
    """In exact repetition returns are equal; another build of MuJoCo or BLAS may move them within their spread."""
    described = json.loads(halfcheetah.stored(name).with_suffix(".json").read_text())["return_upright"]
    found = returns(
        halfcheetah.StoredPolicy(halfcheetah.stored(name)), halfcheetah.upright(20, np.random.default_rng(3))
    )
    assert abs(found.mean() - described["mean"]) < 4 * described["std"] / 20**0.5 * 2**0.5 + 0.02 * described["mean"]


@pytest.mark.parametrize(("name", "low", "high"), [("medium", 4_000, 5_000), ("expert", 10_000, np.inf)])
def test_levels_are_those_promised_and_their_learning_is_told(name: str, low: float, high: float) -> None:
    path = halfcheetah.stored(name)
    described = json.loads(path.with_suffix(".json").read_text())
    found = described["return_upright"]
    assert low <= found["mean"] <= high and found["episodes"] == 20 and path.stat().st_size < 1e6
    curve = [row["return_upright"] for row in described["curve"]]
    assert curve[0] < 0.6 * curve[-1] and described["curve"][-1]["env_steps"] > described["curve"][0]["env_steps"]
    assert abs(curve[-1] - found["mean"]) < 0.02 * curve[-1]


def test_stored_policy_is_the_network_it_came_from(tmp_path):
    torch.manual_seed(0)
    net = MLPPolicy(17, [-1] * 6, [1] * 6, (32, 32))
    net.mean.normal_(), net.std.uniform_(1, 2)
    path = tmp_path / "p.safetensors"
    save_file(net.state_dict(), path)
    whole = path.read_bytes()
    path.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(whole).hexdigest()}))
    obs = np.random.default_rng(0).standard_normal((64, 17)).astype(np.float32) * 5
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(halfcheetah.StoredPolicy(path)(obs, rng), net(obs, rng), atol=1e-5)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # one bit of one weight
    with pytest.raises(ValueError, match="was changed after it was written"):
        halfcheetah.StoredPolicy(path)


def test_base_holds_nothing_better_than_medium():
    base, demos = halfcheetah.base(0), halfcheetah.demos(2, 0)
    medium = json.loads(halfcheetah.stored("medium").with_suffix(".json").read_text())["return_upright"]["mean"]
    assert base.returns.max() < 1.03 * medium < demos.returns.min()
    assert base.returns.min() < 0


def test_full_replay_holds_every_level_up_to_near_the_expert():
    base, demos = halfcheetah.base(0, "halfcheetah-full-replay"), halfcheetah.demos(2, 0)
    shares = np.split(base.returns, 20)  # four of random actions, then four noises of each level
    assert max(share.max() for share in shares[:4]) < 0
    clean = [shares[i].mean() for i in (4, 8, 12, 16)]
    assert clean == sorted(clean) and 0.8 * demos.returns.min() < clean[-1] < demos.returns.min()
    assert base.returns.max() < demos.returns.min()
    assert [share.mean() for share in shares[16:]] == sorted((share.mean() for share in shares[16:]), reverse=True)


def test_a_policy_is_trained_to_the_same_bits_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(
        envs=2, updates_per_step=1, warm_up=3_800, replay=4_000, updates=100, measure_every=1, compiled=False
    )
    config = SACConfig(hidden=(16, 16), batch=16)
    monkeypatch.setattr("benchmark.experts.EPISODES", 2)
    monkeypatch.setattr("envs.checkpoint.EVERY", 0)

    def trained(cache: str, progress: Callable[[float, dict[str, float]], None]) -> bytes:
        monkeypatch.setenv("IRLBENCH_CACHE", str(tmp_path / cache))
        described = train_policy("expert", 3, tmp_path / cache / "out", progress, config, recipe)
        assert [row["updates"] for row in described["curve"]] == [0, 101]
        path = tmp_path / cache / "out" / "halfcheetah-expert.safetensors"
        halfcheetah.StoredPolicy(path)  # which checks its digest
        return path.read_bytes()

    def killed(fraction: float, row: dict[str, float]) -> None:
        if row["updates"]:
            raise KeyboardInterrupt

    undisturbed = trained("a", lambda fraction, row: None)
    with pytest.raises(KeyboardInterrupt):
        trained("b", killed)
    fractions: list[float] = []
    assert trained("b", lambda fraction, row: fractions.append(fraction)) == undisturbed
    assert len(fractions) == 1  # the first episode is not run again
