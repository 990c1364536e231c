"""Metrics against values worked out by hand and by scipy, and scores of rewards whose quality is known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark import reward_quality
from benchmark.metrics import (
    correlation,
    mmd,
    normalized,
    pearson,
    pearson_distance,
    sliced_wasserstein,
    spearman,
    window_sums,
)
from benchmark.pictures import maze
from benchmark.pose import Posed, held_out_fraction, pose
from benchmark.references import place, references, true_returns
from benchmark.registry import load_task
from benchmark.reward_quality import NotFinite
from benchmark.score import Score, score
from envs.problem import Task, Trajectories
from methods.base import Learned, PolicyPart, RewardPart, TrajectoryRewardPart
from methods.controls import GivenPolicy
from results.schema import METRICS

PAIRS = st.integers(3, 40).flatmap(
    lambda n: st.tuples(*[arrays(np.float64, n, elements=st.floats(-1e3, 1e3, width=32)) for _ in range(2)])
)


def test_pearson_by_hand() -> None:
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert pearson([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert pearson([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(0.0)
    assert pearson([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)


def test_spearman_by_hand() -> None:
    assert spearman([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(np.sqrt(3) / 2)


@given(PAIRS)
def test_correlations_agree_with_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    if min(x.std(), y.std()) > 1e-2:
        assert pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y)[0], abs=1e-9)
        assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y)[0], abs=1e-9)


def test_what_is_not_defined_is_none() -> None:
    for metric in (pearson, spearman):
        assert metric([1, 1, 1], [1, 2, 3]) is None
        assert metric([1, 2, 3], [0, 0, 0]) is None
        assert metric([1], [2]) is None
        # equal sums that differ by rounding
        assert metric(np.float32([0.1, np.nextafter(np.float32(0.1), 1), 0.1]), [1, 2, 3]) is None
    assert normalized(1.0, random=2.0, expert=2.0) is None
    assert normalized(1.0, random=3.0, expert=2.0) is None


def test_small_values_are_not_taken_for_constant() -> None:
    assert pearson([1e-9, 2e-9, 3e-9], [1, 2, 3]) == pytest.approx(1.0)


def test_distance_and_score_by_hand() -> None:
    assert [pearson_distance(r) for r in (1.0, -1.0, 0.5)] == [0.0, 1.0, 0.5]
    assert [normalized(v, random=-10.0, expert=30.0) for v in (-10.0, 30.0, 10.0)] == [0.0, 100.0, 50.0]


def test_window_sums_by_hand_and_in_the_order_of_windows() -> None:
    values = np.arange(14).reshape(2, 7)
    assert window_sums(values, 3).tolist() == [[3, 24], [12, 33]]
    assert window_sums(values, 7).tolist() == [[21, 70]]
    obs, acts = np.zeros((2, 8, 1)), values[..., None]
    pieces = Trajectories(obs, acts).windows(3)
    assert window_sums(values, 3).ravel().tolist() == pieces.acts[..., 0].sum(1).tolist()


def test_correlation_within_rows_is_blind_to_their_means() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 40, 6))
    levels = 100 * np.random.default_rng(1).normal(size=(40, 1))
    rng = np.random.default_rng(2)
    assert correlation(x + levels, x, rng, within=True).value == pytest.approx(1)
    assert correlation(x + levels, y, rng, within=True).value == pytest.approx(
        correlation(x, y, rng, within=True).value
    )
    assert correlation(x + levels, y - levels, rng).value == pytest.approx(-1, abs=0.01)
    assert correlation(np.exp(x), x, rng, ranks=True)[:2] == (pytest.approx(1), pytest.approx(1))
    assert correlation(x * 0, y, rng) == (None, None, None, 240)


@pytest.mark.parametrize("ranks", [False, True])
def test_the_interval_of_a_correlation_counts_rows_not_entries(ranks: bool) -> None:
    """Entries of a row are copies, so the interval is that of the rows, and holds what it promises."""
    source, held, widths = np.random.default_rng(3), 0, []
    for _ in range(200):
        x = source.normal(size=(60, 1))
        y = 0.6 * x + 0.8 * source.normal(size=(60, 1))
        found = correlation(np.repeat(x, 4, 1), np.repeat(y, 4, 1), source, ranks=ranks)
        held += found.low <= (6 / np.pi * np.arcsin(0.3) if ranks else 0.6) <= found.high  # type: ignore[operator]
        widths.append(found.high - found.low)  # type: ignore[operator]
    assert 0.9 < held / 200 < 0.98
    if not ranks:  # Fisher's interval of 60 pairs
        fisher = np.diff(np.tanh(np.arctanh(0.6) + np.array([-1.96, 1.96]) / np.sqrt(57)))[0]
        assert np.mean(widths) == pytest.approx(fisher, rel=0.1)


def test_mmd_against_a_sum_by_hand() -> None:
    x, y = np.array([[0.0], [2.0]]), np.array([[0.0], [1.0]])  # the median distance within y is 1
    kernel = lambda d: np.exp(-(d**2) / 2)  # noqa: E731
    expected = kernel(2) + kernel(1) - 2 * (kernel(0) + kernel(1) + kernel(2) + kernel(1)) / 4
    assert mmd(x, y) == pytest.approx(np.sqrt(max(0, expected)))
    a, b = np.random.default_rng(0).normal(size=(2, 500, 3))
    assert mmd(a, b) < 0.1 < 0.5 < mmd(a + 2, b) < mmd(a + 20, b) <= np.sqrt(2)


def test_sliced_wasserstein_of_a_shift() -> None:
    x = np.random.default_rng(0).normal(size=(100, 1))
    assert sliced_wasserstein(x, x + 3, 0) == pytest.approx(3)
    y = np.random.default_rng(0).normal(size=(100, 5))
    shift = np.array([3.0, 0, 0, 0, 4])  # a direction sees |cos| of it: its square is 1 / 5 in the mean
    assert sliced_wasserstein(y, y + shift, 0, projections=1000) == pytest.approx(5 / np.sqrt(5), rel=0.1)
    assert sliced_wasserstein(y, y + shift, 1) == sliced_wasserstein(y, y + shift, 1)


@pytest.mark.parametrize(("episodes", "expected"), [(1000, 0.25), (400, 0.25), (350, 100 / 350), (100, 1 / 3)])
def test_held_out_share(episodes: int, expected: float) -> None:
    assert held_out_fraction(episodes) == pytest.approx(expected)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances from few samples, for speed: exact cases stay exact."""
    for name, value in {"PAIRS": (200, 100), "SHAPED": 200, "LEVELLED": 10_000, "UNIFORM": 512}.items():
        monkeypatch.setattr(reward_quality, name, value)


class Still(PolicyPart):
    def forward(self, obs, rng):  # type: ignore[no-untyped-def]
        return np.zeros((len(obs), 2), np.float32)


class Scaled(RewardPart):
    """The true reward, scaled."""

    def __init__(self, scale: float) -> None:
        super().__init__(scale=scale)
        self.scale = scale

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        return self.scale * task().observed_reward(obs, acts, next_obs)


class ScaledWindows(TrajectoryRewardPart):
    """The true reward of windows of 7 steps."""

    length = 7

    def forward(self, obs: torch.Tensor, acts: torch.Tensor) -> torch.Tensor:
        return task().observed_reward(obs[:, :-1], acts, obs[:, 1:]).sum(-1)


class Shaped(Scaled):
    """The true reward, scaled and shaped by a potential."""

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        potential = lambda x: 20 * torch.sin(x[..., :2]).sum(-1)  # noqa: E731
        return super().forward(obs, acts, next_obs) + task().discount * potential(next_obs) - potential(obs)


class Fragile(Scaled):
    """Not finite where no data are."""

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        far = (next_obs[..., 2:].abs() > 4.2).all(-1) | ((next_obs - obs)[..., :2].abs() > 0.2).any(-1)
        return super().forward(obs, acts, next_obs) + torch.where(far, torch.inf, 0.0)


class Clock(RewardPart):
    """Counts the transitions that it is asked for, and the calls."""

    def __init__(self, horizon: int) -> None:
        super().__init__(horizon=horizon)
        self.horizon, self.count = horizon, 0

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        self.count += obs[..., 0].numel()
        return ((self.count + torch.arange(obs[..., 0].numel())) % self.horizon).reshape(obs.shape[:-1]).float()


@cache
def task() -> Task:
    return load_task("envs.maze2d", "maze2d-umaze")


@cache
def posed() -> Posed:
    return pose(task(), 0, 3, 100, 0, False, lambda fraction, values: None)


def scored(learned: Learned) -> Score:
    found = score(task(), learned, posed(), 0, 2, "test")
    found.artefacts |= maze(task(), learned, posed(), found.runs)
    return found


def test_a_perfect_reward_correlates_perfectly() -> None:
    found = scored(Learned(Still(), Scaled(3.0), "raw"))
    for name, metric in METRICS.items():
        if metric.group == "correlation" and metric.better > 0:
            # near the goal float32 ties ranks
            assert found.metrics[name] == pytest.approx(1.0, abs=0.01 if "spearman" in name else 1e-3), name
            spread = found.spread[name]
            assert spread.low is not None and spread.low <= 1 and spread.n > 100, name
        if metric.group in ("correlation", "distance") and metric.better < 0:
            assert found.metrics[name] == pytest.approx(0.0, abs=0.02), name
    assert not found.notes
    assert found.artefacts["reward_map"] == pytest.approx(3 * found.artefacts["true_map"], rel=1e-3)


def test_a_reversed_reward_correlates_negatively() -> None:
    found = scored(Learned(Still(), Scaled(-1.0), "raw"))
    assert found.metrics["erc_pearson"] == pytest.approx(-1.0, abs=1e-3)
    for name in ("erc_distance", "erc_distance_uniform", "epic_distance", "dard_distance", "starc_distance"):
        assert found.metrics[name] == pytest.approx(1.0, abs=1e-3), name


def test_shaping_is_forgotten_by_distances_and_not_by_correlations() -> None:
    found = scored(Learned(Still(), Shaped(3.0), "shaped"))
    assert max(found.metrics[f"{name}_distance"] for name in ("epic", "dard")) < 1e-3
    assert found.metrics["starc_distance"] < 0.05  # as far as its features span the potential
    assert found.metrics["step_pearson"] < 0.9


def test_a_reward_that_counts_time_scores_nothing() -> None:
    """It sees steps in random order, so that what it counts tells nothing of the time in an episode."""
    found = scored(Learned(Still(), Clock(task().horizon), "raw"))
    for name in ("erc_pearson", "erc_pearson_mixture", "step_pearson", "step_pearson_mixture", "window_pearson"):
        low, high = found.spread[name].low, found.spread[name].high
        assert low is not None and high is not None
        assert low - 0.02 < 0 < high + 0.02 and abs(found.metrics[name]) < 0.25, name
    assert min(found.metrics[f"{name}_distance"] for name in ("epic", "dard", "starc")) > 0.6


def test_a_reward_of_windows_is_compared_over_the_steps_it_covers() -> None:
    found = scored(Learned(Still(), ScaledWindows(), "trajectory"))
    for name in ("erc_pearson", "erc_spearman", "erc_pearson_mixture", "window_pearson"):
        assert found.metrics[name] == pytest.approx(1.0, abs=1e-3), name
    assert {note.split(":")[0] for note in found.notes} == {
        "step_pearson",
        "step_spearman",
        "epic_distance",
        "dard_distance",
        "starc_distance",
    }
    assert not {note.split(":")[0] for note in found.notes} & found.metrics.keys()
    assert found.artefacts["reward_map"] == pytest.approx(7 * found.artefacts["true_map"], rel=1e-3)  # staying
    covered = posed().held_out.rewards[:, : 300 // 7 * 7].sum(1)
    assert found.artefacts["true_returns"] == pytest.approx(covered, rel=1e-5)


def test_a_constant_reward_has_notes_and_no_correlation() -> None:
    found = scored(Learned(Still(), Scaled(0.0), "raw"))
    assert not {name for name in found.metrics if name.startswith("erc") or name.endswith("pearson")}
    assert {note.split(":")[0] for note in found.notes} >= {"erc_pearson", "erc_distance", "step_pearson"}


def test_no_reward_no_reward_metrics() -> None:
    found = scored(Learned(Still(), None, "none"))
    imitation = {name for name, metric in METRICS.items() if metric.group == "imitation"}
    assert found.metrics.keys() == imitation - {"d4rl_score"}  # which a cell derives from return_seen
    assert not found.notes


def test_the_demonstrators_own_behaviour_is_near_it_and_rest_is_far() -> None:
    near, far = (scored(Learned(p, None, "none")).metrics for p in (GivenPolicy(task().expert()), Still()))
    assert 0 <= near["occupancy_mmd"] < far["occupancy_mmd"] / 4 < 0.25
    assert 0 <= near["occupancy_wasserstein"] < far["occupancy_wasserstein"] / 4
    assert near["normalized_score"] == pytest.approx(100, abs=5)


def test_a_reward_that_is_not_finite_is_refused() -> None:
    with pytest.raises(NotFinite, match="133 of 133 episodes"):
        scored(Learned(Still(), Scaled(float("inf")), "raw"))


def test_a_reward_that_breaks_off_the_data_loses_only_what_is_measured_there() -> None:
    found = scored(Learned(Still(), Fragile(1.0), "raw"))
    assert found.metrics["erc_pearson"] == pytest.approx(1, abs=1e-3)
    broken = {"erc_pearson_uniform", "epic_distance"}
    assert {note.split(":")[0] for note in found.notes} >= broken and not broken & found.metrics.keys()
    assert any("not finite" in note for note in found.notes)


def test_references_are_measured_once_and_rank_the_expert_above_random() -> None:
    found = references(task(), "test")
    assert all(np.array_equal(found[name], again) for name, again in references(task(), "test").items())
    path = place(task(), "test")
    whole = path.read_bytes()
    for damaged in (whole[:50], whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]):  # cut short, and one bit
        path.write_bytes(damaged)
        assert all(np.array_equal(found[name], again) for name, again in references(task(), "test").items())
        assert path.read_bytes() != damaged
    for kind, starts in (("seen", task().seen_starts), ("unseen", task().unseen_starts)):
        assert len(found[f"random_{kind}"]) == len(starts)
        assert np.mean(found[f"expert_{kind}"]) > 2 * np.mean(found[f"random_{kind}"])
    worse = replace(task(), name="maze2d-other", expert=lambda: Still())
    assert np.mean(references(worse, "test")["expert_seen"]) < np.mean(found["expert_seen"])


def test_true_returns_come_from_states() -> None:
    from envs.rollout import rollout

    run = rollout(task().make_env(2), Still(), task().seen_starts[:2], np.random.default_rng(0))
    expected = [np.exp(-np.linalg.norm(states[1:, :2] - task().picture["goal"], axis=1)).sum() for states in run.states]
    assert true_returns(task(), run) == pytest.approx(expected)


def test_methods_share_demonstrations_base_and_held_out_episodes() -> None:
    again = pose(task(), 0, 3, 100, 0, True, lambda fraction, values: None)
    assert again.problem.demos.content_hash() == posed().problem.demos.content_hash()
    assert again.problem.base.content_hash() == posed().problem.base.content_hash()
    assert again.problem.base_id == posed().problem.base_id
    assert np.array_equal(again.held_out.rewards, posed().held_out.rewards)
    assert again.problem.privileged is not None and posed().problem.privileged is None
    other = pose(task(), 1, 3, 100, 0, False, lambda fraction, values: None)
    assert other.problem.demos.content_hash() != posed().problem.demos.content_hash()
    assert other.problem.base_id == posed().problem.base_id


def test_held_out_episodes_are_not_shown() -> None:
    shown = {episode.tobytes() for episode in posed().problem.base.obs}
    kept = {episode.tobytes() for episode in posed().held_out.trajectories.obs}
    assert not shown & kept and len(shown) + len(kept) == len(task().base(0))


def test_speed_is_the_time_of_the_first_policy_as_good_as_nine_tenths() -> None:
    class Way(PolicyPart):
        """The expert, or nothing."""

        def __init__(self, good: bool) -> None:
            super().__init__(good=good)
            self.policy = task().expert() if good else Still()

        def begin(self, n: int) -> None:
            self.policy.begin(n)

        def forward(self, obs, rng):  # type: ignore[no-untyped-def]
            return self.policy(obs, rng)

    shown = pose(task(), 0, 3, 100, 0, False, lambda fraction, values: None)
    checkpoint = shown.problem.checkpoint
    for fraction in np.linspace(0, 1, 33):
        checkpoint.show(fraction, lambda good=bool(fraction >= 0.5): Way(good))
    assert len(checkpoint.shown) == 9  # one in an eighth
    checkpoint.shown[:] = [(float(k), 10 * k, policy) for k, (*_, policy) in enumerate(checkpoint.shown)]
    found = score(task(), Learned(Way(True), None, "none"), shown, 0, None, "test")
    assert found.metrics["seconds_to_90"] == 4
    assert [row["env_steps"] for row in found.curve] == [10 * k for k in range(9)]
    assert found.curve[3]["score"] < 90 < found.curve[4]["score"]
    found = score(task(), Learned(Still(), None, "none"), shown, 0, None, "test")
    assert "seconds_to_90" not in found.metrics and found.notes
