"""Density ratio, value, weights, planner and base models, each against an answer known beforehand."""

import copy
import hashlib
import json
import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from envs.maze2d import UMAZE_TASK
from envs.metered import Meter
from envs.problem import Problem, Trajectories
from methods import pretraining
from methods.base import Part
from methods.controls import GivenReward
from methods.density_ratio import Ratio, fit_ratio
from methods.diffuser import Diffuser
from methods.diffusion_irl import DiffusionIRL
from methods.diffusion_irl import fit as fit_thesis
from methods.divergence import Diverged
from methods.graph_value import graph_values
from methods.planner import Planner, Planning, window_reward
from methods.pretraining import TOY, base_model, key, ship
from methods.rewards import StepReward
from methods.similarity import SIMILARITIES, mse
from methods.support_irl import Support, SupportIRL, fit_supported, smoothed
from methods.unet import TemporalUNet
from methods.value import Value, Valuing, fit_value
from methods.value_irl import HEAVIEST, FineTuning, ValueIRL, fine_tuned, known, regressed, weighted, weights
from methods.value_irl import fit as fit_value_irl


def problem(demos: Trajectories, base: Trajectories, base_id: str = "made-up") -> Problem:
    o, a = base.obs.shape[-1], base.acts.shape[-1]
    return Problem(
        task="made-up",
        demos=demos,
        base=base,
        base_id=base_id,
        observation_space=Box(-np.inf, np.inf, (o,)),
        action_space=Box(-1, 1, (a,)),
        horizon=base.steps,
        discount=0.99,
        meter=Meter(0),
        base_env=UMAZE_TASK.make_env,
    )


def noise(mean: float, episodes: int = 40, steps: int = 50, seed: int = 0) -> Trajectories:
    rng = np.random.default_rng(seed)
    return Trajectories(rng.normal(mean, 1, (episodes, steps + 1, 1)), np.zeros((episodes, steps, 1)))


@pytest.fixture
def made_up(tmp_path, monkeypatch) -> Problem:
    monkeypatch.setenv("IRLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pretraining, "SHIPPED", tmp_path / "shipped")
    return problem(noise(1.0, seed=1), noise(0.0))


def test_logit_is_the_log_ratio_of_two_gaussians(made_up: Problem) -> None:
    """log N(x; 1, 1) - log N(x; 0, 1) = x - 1/2."""
    reward, curve = fit_ratio(made_up, Ratio(updates=600, penalty=0.0), np.random.default_rng(0))
    x = torch.linspace(-1, 2, 31)[:, None]
    with torch.no_grad():
        logit = reward.logit(reward.features(x), torch.zeros_like(x))
        assert (logit - (x[:, 0] - 0.5)).abs().max() < 0.35
        assert torch.allclose(reward(x, x, x), torch.nn.functional.softplus(logit))
    assert curve[-1]["classifier_loss"] < curve[0]["classifier_loss"]


def test_smoothed_base_data_are_the_data_and_noise_beside_some() -> None:
    base = noise(3.0, episodes=60)
    found = smoothed(base, Support(share=0.75, spread=2.0), np.random.default_rng(0))
    assert len(found) == 240 and np.array_equal(found.obs[:60], base.obs)
    assert found.obs[60:].mean() == pytest.approx(3.0, abs=0.1)
    assert found.obs[60:].std() == pytest.approx(math.sqrt(1 + 4), rel=0.05)
    for wrong in ({"share": 1.0}, {"share": 0.0}, {"spread": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Support(**wrong)


def test_supported_logit_is_the_log_ratio_to_the_smoothed_density(made_up: Problem) -> None:
    """log N(x; 1, 1) - log (N(x; 0, 1) + N(x; 0, 2)) / 2 for half of the negatives with noise of one deviation.

    Without that noise it rises on and on, at x = 4 to 3.5; with it, it has turned by then.
    """
    config = SupportIRL(ratio=Ratio(updates=1500, penalty=0.0, learning_rate=3e-3))
    reward, _ = fit_supported(made_up, config, np.random.default_rng(0))
    x = torch.linspace(-1, 4, 51)[:, None]
    with torch.no_grad():
        logit = reward.logit(reward.features(x), torch.zeros_like(x))
    broad = torch.distributions.Normal(0.0, torch.tensor([1.0, math.sqrt(2)])).log_prob(x).exp().mean(-1).log()
    exact = torch.distributions.Normal(1.0, 1.0).log_prob(x[:, 0]) - broad
    assert (logit - exact)[:41].abs().max() < 0.35 and (logit - exact).abs().max() < 1


def test_gradient_penalty_flattens_the_reward(made_up: Problem) -> None:
    spreads = []
    for penalty in (0.0, 10.0):
        reward, _ = fit_ratio(made_up, Ratio(updates=200, penalty=penalty), np.random.default_rng(0))
        x = torch.linspace(-2, 2, 21)[:, None]
        spreads.append(reward(x, x, x).std().item())
    assert spreads[1] < spreads[0] / 2


def test_value_of_a_constant_reward_is_the_geometric_series() -> None:
    one = GivenReward(lambda obs, acts, next_obs: torch.ones(obs.shape[:-1]))
    value = fit_value(noise(0.0), one, Valuing(discount=0.9, updates=600), np.random.default_rng(0))
    assert value(torch.zeros(5, 1)).mean().item() == pytest.approx(10.0, rel=0.1)


def test_graph_joins_episodes_and_stays_where_it_pays() -> None:
    """One episode leads from 0 to 2, another from 2 by 3, where it rests shortly and is paid, on to 5."""
    ways = [[0, 1, 2, 1.5, 1, 0.5, 0, 0, 0], [2, 3, 3, 4, 5, 5, 5, 5, 5]]
    data = Trajectories(np.array(ways, np.float32)[..., None], np.zeros((2, 8, 1), np.float32))
    rewards = (data.obs[:, 1:, 0] == 3).astype(np.float32)
    nodes, values = graph_values(data, rewards, discount=0.5, stride=1, radius=0.01)
    found = dict(zip(nodes[:, 0].tolist(), values.tolist(), strict=True))
    assert found[3] == pytest.approx(2.0, rel=1e-3)  # 1 + 1/2 + 1/4 ..: the data stay for one step only
    assert found[2] == pytest.approx(2.0, rel=1e-3)  # the next state is paid
    assert found[0] == pytest.approx(0.5, rel=1e-3)  # by way of the other episode
    assert found[5] == 0.0
    at_three = GivenReward(lambda obs, acts, next_obs: (next_obs[..., 0] == 3).float())
    config = Valuing(discount=0.5, steps=1, radius=0.01, updates=600, batch=64)
    value = fit_value(data, at_three, config, np.random.default_rng(0))
    assert value(torch.tensor([[3.0], [5.0]])).tolist() == pytest.approx([2.0, 0.0], abs=0.1)


def test_values_over_more_steps_than_an_episode_has_are_refused() -> None:
    one = GivenReward(lambda obs, acts, next_obs: torch.ones(obs.shape[:-1]))
    for radius, said in ((0.0, "window of 51 steps does not fit episodes of 50"), (0.3, "51 steps between nodes")):
        with pytest.raises(ValueError, match=said):
            fit_value(noise(0.0), one, Valuing(steps=51, radius=radius, updates=1), np.random.default_rng(0))


def test_value_takes_the_better_of_two_ways() -> None:
    """From 0 half of the data go to +1, where the reward is 1, half to -1, where it is 0."""
    turns = np.where(np.arange(60) % 2, 1.0, -1.0)
    obs = np.concatenate([np.zeros((60, 1, 1)), np.tile(turns[:, None, None], (1, 40, 1))], 1)
    data = Trajectories(obs, np.zeros((60, 40, 1)))
    at_plus = GivenReward(lambda obs, acts, next_obs: (next_obs[..., 0] > 0.5).float())
    values = [
        fit_value(data, at_plus, Valuing(discount=0.9, expectile=e, steps=5, updates=600), np.random.default_rng(0))
        for e in (0.5, 0.95)
    ]
    middle, better = (v(torch.zeros(1, 1)).item() for v in values)
    assert middle < 6.5
    assert better > 8.0


def test_weights_sum_to_one_favour_the_better_and_are_capped() -> None:
    rng = np.random.default_rng(0)
    advantage, value = (torch.as_tensor(rng.normal(size=1000)) for _ in range(2))
    found = weights(advantage, value)
    assert found.sum().item() == pytest.approx(1.0)
    assert found[torch.argmax(advantage + value)] == found.max()
    assert found.max() / found.median() <= HEAVIEST * 1.5
    assert weights(advantage.float(), torch.zeros(1000)).isfinite().all()
    sharp = weights(advantage, value, sharpness=2.0)
    assert torch.allclose(sharp, found**2 / (found**2).sum())


def test_weights_that_look_ahead_tell_a_start_up_from_standing(monkeypatch) -> None:
    """Half of the episodes stand at 0; the others do so too for a window's length, but then earn one a step."""
    obs = np.zeros((40, 41, 1), np.float32)
    obs[20:, 9:] = 1.0
    acts = np.repeat(np.arange(2, dtype=np.float32), 20)[:, None, None] * np.ones((1, 40, 1), np.float32)
    given = problem(Trajectories(obs, acts), Trajectories(obs, acts))
    pays = GivenReward(lambda obs, acts, next_obs: next_obs[..., 0])
    value = Value(obs=1)  # the same at 0 as that of all starts there
    monkeypatch.setattr("methods.value_irl.PIECE", 300)  # so that windows are drawn more than once
    shares = []
    for ahead in (0, 20):
        config = ValueIRL(demonstrated=False, tuning=FineTuning(pool=1000, ahead=ahead, value=0.0))
        seen, done, chance = weighted(given, 4, pays, value, config, np.random.default_rng(0))
        assert seen.shape == (1000, 5, 1) and done.shape == (1000, 4, 1)
        stands = (seen == 0).all(1)[:, 0].numpy()
        shares.append(chance[stands & (done[:, 0, 0].numpy() == 1)].sum() / chance[stands].sum())
    assert shares[0] < 0.25 and shares[1] > 0.5


def test_the_policy_learns_from_demonstrations_too() -> None:
    """Base data are never where it pays; demonstrations, shorter by ten steps, always are."""
    given = problem(noise(9.0, episodes=20, steps=40), noise(0.0))
    pays = GivenReward(lambda obs, acts, next_obs: (next_obs[..., 0] > 4.5).float())
    config = ValueIRL(value=Valuing(updates=600), tuning=FineTuning(pool=2000))
    value = fit_value(known(given, True), pays, config.value, np.random.default_rng(0))
    obs, _, chance = weighted(given, 8, pays, value, config, np.random.default_rng(0))
    demonstrated = obs[:, 0, 0].numpy() > 4.5
    assert demonstrated.mean() == pytest.approx(1 / 3, abs=0.05)
    assert chance[demonstrated].mean() > 2 * chance[~demonstrated].mean()
    assert known(given, demonstrated=False) is given.base


@pytest.mark.parametrize("refit", [False, True])
def test_what_is_learnt_has_the_units_of_the_weighted_windows_if_asked(refit: bool) -> None:
    """It pays where demonstrations are, nine standard deviations away from the base data."""
    given = problem(noise(9.0, episodes=20, steps=40), noise(0.0))
    pays = GivenReward(lambda obs, acts, next_obs: (next_obs[..., 0] > 4.5).float())
    tuning = FineTuning(pool=2000, batch=16, updates=1, sharpness=3.0, refit=refit)
    config = ValueIRL(base=TOY, value=Valuing(updates=600), tuning=tuning)
    value = fit_value(known(given, True), pays, config.value, np.random.default_rng(0))
    o, a = given.base.obs.shape[-1], given.base.acts.shape[-1]
    diffuser = Diffuser(obs=o, acts=a, tokens=4, skip=1, steps=4, width=8, blocks=1)
    diffuser.codec.fit(given.base)
    policy = regressed(given, pays, value, config, np.random.default_rng(1), [])
    tuned = fine_tuned(given, diffuser, pays, value, config, np.random.default_rng(1), [])
    if refit:
        assert policy.mean[0] > 7 and tuned.codec.mean[0] > 7 and tuned.codec.std[0] < 4
    else:
        assert torch.equal(policy.mean, value.mean) and torch.equal(tuned.codec.mean, diffuser.codec.mean)
    assert abs(diffuser.codec.mean[0]) < 0.5  # the base model is left as it was


def test_planner_takes_the_candidate_of_highest_worth() -> None:
    torch.manual_seed(0)
    diffuser = Diffuser(obs=2, acts=1, tokens=4, skip=2, steps=4, width=16, blocks=1).requires_grad_(False)
    reward = StepReward(obs=2, acts=1, inputs=("next_obs",))
    worth = window_reward(diffuser.codec, reward, None, 0.9)
    obs = np.zeros((8, 2), np.float32)
    found = []
    for candidates in (1, 32):
        planning = Planning(candidates=candidates, temperature=1.0, inner=0)
        seen, acts = Planner.of(planning, diffuser, reward, None, 0.9).plan(obs, np.random.default_rng(0))
        assert acts.shape == (8, 8, 1)
        assert np.array_equal(seen[:, 0], obs)
        with torch.no_grad():
            padded = torch.tensor(np.repeat(seen, 2, 1))
            found.append(float(worth(diffuser.codec.encode(padded, torch.tensor(acts))).mean()))
    assert found[1] > found[0]


def test_matrices_by_columns_hold_what_they_held(tmp_path) -> None:
    diffuser = Diffuser(obs=2, acts=1, tokens=4, skip=2, steps=4, width=16, blocks=1).requires_grad_(False)
    before = copy.deepcopy(diffuser)
    planner = Planner.of(Planning(), diffuser)
    planner.save(tmp_path / "planner")
    again = Part.load(tmp_path / "planner")
    assert isinstance(again, Planner)
    for made in (planner, again):
        assert all(torch.equal(a, b) for a, b in zip(made.diffuser.parameters(), before.parameters(), strict=True))
        assert made.diffuser.net.inlet.weight.t().is_contiguous() and made.diffuser.net.inlet.weight.shape == (16, 16)
    plans = [made.plan(np.ones((3, 2), np.float32), np.random.default_rng(0))[1] for made in (planner, again)]
    assert np.array_equal(*plans)


def test_planner_refuses_to_carry_out_more_than_it_plans() -> None:
    diffuser = Diffuser(obs=2, acts=1, tokens=4, skip=2, steps=4, width=16, blocks=1)
    with pytest.raises(ValueError, match="execute = 5 exceeds the window of 4 tokens"):
        Planner.of(Planning(execute=5), diffuser)
    with pytest.raises(ValueError, match="scale"):
        Planning(scale=0.0)


def test_base_model_is_trained_once_and_a_damaged_one_again(made_up: Problem, monkeypatch, tmp_path) -> None:
    first = base_model(made_up, TOY)
    path = tmp_path / "cache" / f"{key(made_up, TOY)}.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "train", lambda *_: pytest.fail("trained twice"))
        again = base_model(made_up, TOY)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    whole = path.read_bytes()
    for damaged in (whole[:100], whole[:-1] + bytes([whole[-1] ^ 1])):  # cut short, and one bit of one weight
        path.write_bytes(damaged)
        rebuilt = base_model(made_up, TOY)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), rebuilt.parameters(), strict=True))


@pytest.mark.parametrize(("updates", "said"), [(1, "weights .* not finite"), (20, "base_loss (nan|inf)")])
def test_a_base_model_that_diverges_is_not_kept(made_up: Problem, tmp_path, updates: int, said: str) -> None:
    wild = TOY.model_copy(update={"learning_rate": math.inf, "updates": updates})
    with pytest.raises(Diverged, match=rf"{said}.*lower base.learning_rate"):
        base_model(made_up, wild)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_a_base_model_of_another_task_is_refused(made_up: Problem, tmp_path) -> None:
    base_model(made_up, TOY)
    wider = Trajectories(np.zeros((2, 51, 3), np.float32), np.zeros((2, 50, 2), np.float32))
    for kept in ("cache", "shipped"):
        with pytest.raises(
            ValueError, match=f"{kept}.*another task: it has 1 observations and 1 actions, made-up has 3"
        ):
            base_model(problem(wider, wider), TOY)
        ship(made_up, TOY)


def test_base_models_differ_by_data_and_settings(made_up: Problem) -> None:
    other = problem(made_up.demos, made_up.base, "other data")
    keys = {key(made_up, TOY), key(other, TOY), key(made_up, TOY.model_copy(update={"seed": 1}))}
    assert len(keys) == 3


def test_models_shipped_before_a_setting_existed_keep_their_names(made_up: Problem) -> None:
    """The name is that of the settings it was trained with; a younger one counts where it is set."""
    before = TOY.model_dump(exclude={"octaves", "relative", "half", "network", "device"})
    described = json.dumps([made_up.base_id, before], sort_keys=True)
    assert key(made_up, TOY) == f"{made_up.task}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"
    variants = ({}, {"octaves": 1}, {"relative": True}, {"half": True}, {"network": "unet"})
    assert len({key(made_up, TOY.model_copy(update=variant)) for variant in variants}) == 5


def test_models_lie_on_the_gpu_if_there_is_one_or_where_they_are_asked_to(made_up: Problem, monkeypatch) -> None:
    chosen = {device: TOY.model_copy(update={"device": device}) for device in ("auto", "cpu", "cuda")}
    assert len({key(made_up, config) for config in chosen.values()}) == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [str(config.place()) for config in chosen.values()] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [str(chosen[device].place()) for device in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(ValueError, match="device = 'cuda': this process sees no GPU; take 'auto' or 'cpu'"):
        base_model(made_up, chosen["cuda"])


def test_a_planner_brings_rewards_and_values_to_its_diffuser_and_windows_follow() -> None:
    model, reward = Diffuser(obs=1, acts=1, tokens=4, skip=1, steps=2).to("meta"), StepReward(obs=1, acts=1)
    planner = Planner.of(Planning(), model, reward, Value(obs=1))
    assert {weights.device.type for weights in planner.parameters()} == {"meta"}
    assert {weights.device.type for weights in reward.parameters()} == {"cpu"}
    assert model.codec.encode(torch.zeros(2, 5, 1), torch.zeros(2, 4, 1)).device.type == "meta"


def test_shipped_model_comes_first_and_is_half_as_precise(made_up: Problem, monkeypatch) -> None:
    trained = base_model(made_up, TOY)
    ship(made_up, TOY)
    monkeypatch.setattr(pretraining, "train", lambda *_: pytest.fail("a shipped model was trained again"))
    monkeypatch.setenv("IRLBENCH_CACHE", "/nowhere/at/all")
    shipped = base_model(made_up, TOY)
    for mine, theirs in zip(trained.parameters(), shipped.parameters(), strict=True):
        assert theirs.dtype == torch.float32
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def test_the_thesis_method_learns_through_a_unet_that_is_saved_and_built_again(made_up: Problem) -> None:
    base = TOY.model_copy(update={"network": "unet", "width": 8})
    first, again = base_model(made_up, base), base_model(made_up, base)  # trained, and from the cache
    x, t = torch.randn(2, base.tokens, 2), torch.tensor([0, 3])
    assert isinstance(again.net, TemporalUNet) and torch.equal(first.denoised(x, t), again.denoised(x, t))
    config = DiffusionIRL(base=base, updates=3, batch=4, hidden=(8,))
    assert all(row["gradient_norm"] > 0 for row in fit_thesis(made_up, config, np.random.default_rng(0)).curve)


def test_thesis_method_refuses_an_unknown_similarity(made_up: Problem) -> None:
    config = DiffusionIRL(base=TOY, similarity="cosine")
    with pytest.raises(ValueError, match="choose from mse, mmd-gaussian, mmd-matern"):
        fit_thesis(made_up, config, np.random.default_rng(0))


@pytest.mark.parametrize("losses", [[1.0, 101.0], [1.0, 99.0, math.nan], [1.0] * 10 + [11.0]])
def test_thesis_method_ends_when_its_loss_leaves_all_bounds(made_up: Problem, monkeypatch, losses: list[float]) -> None:
    """Tenfold ends it once ten losses are known; before, one batch says little of the next."""
    steps = iter([*losses, 1.0])
    monkeypatch.setitem(SIMILARITIES, "mse", lambda samples, targets: mse(samples, targets).clamp(1, 1) * next(steps))
    config = DiffusionIRL(base=TOY, hidden=(8,), updates=len(losses) + 1, batch=4)
    with pytest.raises(Diverged, match=rf"at update {len(losses)}.*lower learning_rate") as raised:
        fit_thesis(made_up, config, np.random.default_rng(0))
    assert [row["loss"] for row in raised.value.curve] == losses[:-1]  # the last good part of it


@pytest.mark.parametrize(
    ("part", "loss", "before"),
    [
        ("ratio", "classifier_loss", set()),
        ("value", "value_loss", {"classifier_loss"}),
        ("tuning", "tuning_loss", {"classifier_loss", "value_loss"}),
    ],
)
def test_value_recipe_ends_when_a_loss_leaves_all_bounds(made_up: Problem, part: str, loss: str, before: set) -> None:
    settings = {name: {"updates": 60} for name in ("ratio", "value", "tuning")}
    settings["tuning"] |= {"pool": 100, "batch": 16}
    settings[part] |= {"learning_rate": 1e30}
    with pytest.raises(Diverged, match=rf"{loss} .* at update .*lower {part}.learning_rate \(1e\+30\)") as raised:
        fit_value_irl(made_up, ValueIRL(base=TOY, **settings), np.random.default_rng(0))
    found = {name for row in raised.value.curve for name in row} - {"gradient_steps"}
    assert found == before | {loss}  # the last good part of it


def test_regression_on_weights_ends_when_its_loss_leaves_all_bounds(made_up: Problem, monkeypatch) -> None:
    rng, adam = np.random.default_rng(0), torch.optim.Adam
    value = fit_value(made_up.base, fit_ratio(made_up, Ratio(updates=1), rng)[0], Valuing(updates=1), rng)
    config = ValueIRL(base=TOY, tuning=FineTuning(pool=100, batch=16, updates=60))
    monkeypatch.setattr(torch.optim, "Adam", lambda weights, rate: adam(weights, 1e30))
    with pytest.raises(Diverged, match="regression_loss"):
        regressed(made_up, GivenReward(lambda *step: step[0].sum(-1)), value, config, rng, [])


def test_thesis_method_lowers_its_loss(made_up: Problem) -> None:
    config = DiffusionIRL(
        base=TOY, hidden=(32,), updates=40, batch=32, learning_rate=1e-2, planning=Planning(scale=3.0, stop=0)
    )
    losses = [row["loss"] for row in fit_thesis(made_up, config, np.random.default_rng(0)).curve]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
