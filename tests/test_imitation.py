"""BC, GAIL and AIRL through imitation and Stable-Baselines3."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecMonitor

from baselines import _adversarial_ppo, airl, bc, gail
from baselines._adversarial_ppo import StepRewardNet, normalised
from baselines._imitation import Batches, exported, moments, policy_kwargs
from envs.maze2d import LARGE, UMAZE, Waypoints, make_env
from envs.metered import BudgetExceeded, Meter, MeteredEnv
from envs.problem import Problem, Trajectories
from envs.rollout import rollout
from envs.vecenv import MeteredVecEnv
from methods.base import Learned, Method
from methods.rewards import StepReward

HORIZON, BUDGET = 20, 1000


def problem(budget: int = BUDGET) -> Problem:
    rng = np.random.default_rng(0)
    env = make_env(UMAZE, HORIZON, 8)
    env.reset(rng)
    base, demos = (rollout(env, Waypoints(UMAZE, goal), env.states, rng).trajectories for goal in (None, (1, 1)))
    return Problem(
        task="toy",
        demos=demos,
        base=base,
        base_id="toy",
        observation_space=env.observation_space,
        action_space=env.action_space,
        horizon=HORIZON,
        discount=0.99,
        meter=Meter(budget),
        base_env=lambda n: make_env(UMAZE, HORIZON, n),
    )


def fitted(method: Method, seed: int = 0, **settings: object) -> tuple[Learned, Problem]:
    posed = problem()
    return method.fit(posed, method.config(**{**method.smoke, **settings}), np.random.default_rng(seed)), posed


def venv(n: int = 3, budget: int = BUDGET, seed: int = 0) -> MeteredVecEnv:
    return MeteredVecEnv(MeteredEnv(make_env(LARGE, HORIZON, n), Meter(budget), np.random.default_rng(seed)))


def test_exported_policy_acts_like_the_original() -> None:
    posed = problem()
    torch.manual_seed(0)
    mean, std = moments(posed.base.obs)
    policy = ActorCriticPolicy(
        posed.observation_space, posed.action_space, lambda _: 1e-3, **policy_kwargs(mean, std, (16, 8), 0.0)
    )
    torch.nn.init.normal_(policy.action_net.weight)  # SB3 starts near zero, which would hide the limits
    obs = posed.base.obs.reshape(-1, 4) * 3
    expected = policy.predict(obs, deterministic=True)[0]
    assert (np.abs(expected) == 1).any() and (np.abs(expected) < 1).any()
    np.testing.assert_array_equal(exported(policy)(obs, np.random.default_rng(0)), expected)


def test_vecenv_ends_episodes_as_sb3_expects() -> None:
    env = venv()
    twin = make_env(LARGE, HORIZON, 3)
    first = env.reset()
    np.testing.assert_array_equal(first, twin.reset(np.random.default_rng(0)))
    acts = np.full((3, 2), 0.5, np.float32)
    for step in range(1, HORIZON + 1):
        obs, rewards, dones, infos = env.step(acts)
        real = twin.step(acts)
        assert not rewards.any() and rewards.shape == dones.shape == (3,) and len(infos) == 3
        if step < HORIZON:
            assert not dones.any() and infos == [{}, {}, {}]
            np.testing.assert_array_equal(obs, real)
    assert dones.all() and all(info["TimeLimit.truncated"] for info in infos)
    np.testing.assert_array_equal(np.stack([info["terminal_observation"] for info in infos]), real)
    assert not np.allclose(obs, real)  # the next episode's first observations
    assert not env.step(acts)[2].any()


def test_vecenv_infos_are_separate_and_wrappers_work() -> None:
    env = VecMonitor(venv())
    env.reset()
    for _ in range(HORIZON):
        infos = env.step(np.zeros((3, 2), np.float32))[3]
    infos[0]["mine"] = 1
    assert "mine" not in infos[1]
    assert [info["episode"]["l"] for info in infos] == [HORIZON] * 3 and infos[0]["episode"]["r"] == 0


def test_vecenv_keeps_the_budget() -> None:
    env = venv(budget=7)
    env.reset()
    env.step(np.zeros((3, 2), np.float32))
    env.step(np.zeros((3, 2), np.float32))
    with pytest.raises(BudgetExceeded, match="budget of 7"):
        env.step(np.zeros((3, 2), np.float32))


def test_batches_hold_each_step_once() -> None:
    steps = np.arange(12, dtype=np.float32)
    demos = Trajectories(np.stack([np.append(steps, 12)] * 2, 1)[None], steps[None, :, None])
    batches = Batches(demos, 5, np.random.default_rng(0))
    passes = [[batch["acts"][:, 0] for batch in batches] for _ in range(2)]
    for batch in batches:
        np.testing.assert_array_equal(batch["next_obs"], batch["obs"] + 1)
        np.testing.assert_array_equal(batch["obs"][:, 0], batch["acts"][:, 0])
        assert not batch["dones"].any()
    assert [len(part) for part in passes[0]] == [5, 5]
    assert len(set(np.concatenate(passes[0]))) == 10
    assert not np.array_equal(*(np.concatenate(one) for one in passes))
    assert Batches(demos, 500, np.random.default_rng(0)).size == 12


def files(folder: str | Path) -> set[Path]:
    return set(Path(folder).rglob("*"))


@pytest.mark.parametrize("method", [bc.METHOD, gail.METHOD, airl.METHOD], ids=lambda m: m.name)
def test_no_stray_files_and_no_output(method, tmp_path, monkeypatch, capfd) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    opened = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    before = files(tmp_path)
    fitted(method)
    assert files(tmp_path) == before
    if opened:
        assert len(os.listdir("/proc/self/fd")) == opened
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", [bc.METHOD, gail.METHOD, airl.METHOD], ids=lambda m: m.name)
def test_same_seed_same_result(method: Method) -> None:
    (one, _), (two, _), (other, _) = fitted(method), fitted(method), fitted(method, seed=1)
    assert one.curve == two.curve and one.gradient_steps == two.gradient_steps
    for part in ("policy", "reward"):
        states = [getattr(run, part) and getattr(run, part).state_dict() for run in (one, two)]
        if states[0] is not None:
            assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(a, b) for a, b in zip(one.policy.parameters(), other.policy.parameters(), strict=True))


@pytest.mark.parametrize("method", [gail.METHOD, airl.METHOD], ids=lambda m: m.name)
def test_budget_is_used_and_steps_are_counted(method: Method) -> None:
    learned, posed = fitted(method, envs=4, steps=16, epochs=2, batch=32, disc_updates=3)
    rounds = BUDGET // 64
    assert posed.meter.used == rounds * 64
    assert [row["env_steps"] for row in learned.curve] == [64 * (k + 1) for k in range(rounds)]
    assert learned.gradient_steps == rounds * (2 * 2 + 3)
    assert all(0 <= row["disc_accuracy"] <= 1 for row in learned.curve)


def test_step_sizes_of_both_players_fall_to_0_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(gail.GAIL):
        def train_disc(self, **given: Any) -> Any:
            policy = self.gen_algo.policy.optimizer.param_groups[0]["lr"]
            rates.append((policy, self._disc_opt.param_groups[0]["lr"]))
            return super().train_disc(**given)

    monkeypatch.setattr(gail, "GAIL", Watched)
    for anneal in (False, True):
        rates: list[tuple[float, float]] = []
        fitted(gail.METHOD, anneal=anneal, learning_rate=1e-3, disc_learning_rate=2e-3)
        left = [1 - k / len(rates) if anneal else 1.0 for k in range(len(rates))]
        assert len(rates) > 3
        np.testing.assert_allclose(rates, [(1e-3 * x, 2e-3 * x) for x in left])


def test_a_budget_below_one_round_is_refused() -> None:
    posed = problem(budget=63)
    with pytest.raises(ValueError, match="step budget 63 is below one round of 4 envs \\* 16 steps"):
        gail.METHOD.fit(posed, gail.METHOD.config(**gail.METHOD.smoke), np.random.default_rng(0))
    assert posed.meter.used == 0


def test_airl_reads_out_g_not_the_shaped_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def spy(posed, config, trainer_class, net, rng):  # type: ignore[no-untyped-def]
        seen["net"] = net
        return _adversarial_ppo.train(posed, config, trainer_class, net, rng)

    monkeypatch.setattr(airl, "train", spy)
    learned, posed = fitted(airl.METHOD)
    steps = [torch.tensor(x) for x in posed.demos.transitions()]
    net, done = seen["net"].eval(), torch.zeros(len(steps[0]))
    shaped = net(*steps, done)
    h, discount = net.base.h, airl.AIRLConfig().discount
    g = learned.reward(*steps)
    assert learned.reward_kind == "raw"
    torch.testing.assert_close(shaped, g + discount * h(steps[2], None, steps[2]) - h(steps[0], None, steps[0]))
    assert not torch.allclose(shaped, g)
    torch.testing.assert_close(net(*steps, torch.ones_like(done)), shaped)  # time limits are no terminal states
    other = torch.zeros_like(steps[2])
    assert torch.equal(learned.reward(steps[0], steps[1], other), g)  # state-only by default


def test_gail_reads_out_what_its_policy_was_trained_on() -> None:
    learned, posed = fitted(gail.METHOD)
    obs, acts, next_obs = (torch.tensor(x) for x in posed.demos.transitions())
    expert_probability = torch.sigmoid(learned.reward.logit(obs, acts, next_obs))
    torch.testing.assert_close(learned.reward(obs, acts, next_obs), -torch.log(1 - expert_probability))
    assert learned.reward_kind == "shaped"
    assert not torch.equal(learned.reward(obs, -acts, next_obs), learned.reward(obs, acts, next_obs))


def test_discriminator_reads_states_on_the_demonstrations_scale() -> None:
    posed = problem()
    reward = normalised(StepReward(obs=4, acts=2), posed)
    features = reward.features(*(torch.tensor(x) for x in posed.demos.transitions()))
    assert StepRewardNet(reward, posed).reward is reward
    assert features.mean(0).abs().max() < 0.2 and 0.8 < features.std(0).min() <= features.std(0).max() < 1.2


def test_bc_learns_the_demonstrators_actions() -> None:
    learned, posed = fitted(bc.METHOD, hidden=(32, 32), updates=300)
    obs, acts, _ = posed.demos.transitions()
    error = np.square(learned.policy(obs, np.random.default_rng(0)) - acts).mean()
    assert error < 0.2 * acts.var()
    assert learned.reward is None and learned.gradient_steps == 300 and posed.meter.used == 0


def test_the_returned_policy_is_the_mean_of_the_last_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    update = torch.optim.swa_utils.AveragedModel.update_parameters

    def spy(self, policy):  # type: ignore[no-untyped-def]
        seen.append(policy.action_net.weight.detach().clone())
        update(self, policy)

    monkeypatch.setattr(torch.optim.swa_utils.AveragedModel, "update_parameters", spy)
    rounds = BUDGET // 64
    for share, count in ((0.0, 1), (0.2, round(0.2 * rounds)), (1.0, rounds)):
        seen.clear()
        learned, _ = fitted(gail.METHOD, envs=4, steps=16, average=share)
        assert len(seen) == count
        torch.testing.assert_close(learned.policy.net[-1].weight, torch.stack(seen).mean(0))
