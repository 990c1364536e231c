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

from benchmark.metrics import normalized, pearson, pearson_distance, spearman, window_sums
from benchmark.pose import Posed, held_out_fraction, pose
from benchmark.references import references, true_returns
from benchmark.registry import load_task
from benchmark.score import NotFinite, Score, score
from envs.problem import Task, Trajectories
from methods.base import Learned, PolicyPart, RewardPart, TrajectoryRewardPart

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
    pieces = Trajectories(obs, acts).windows(3, 3)
    assert window_sums(values, 3).ravel().tolist() == pieces.acts[..., 0].sum(1).tolist()


@pytest.mark.parametrize(("episodes", "expected"), [(1000, 0.25), (400, 0.25), (350, 100 / 350), (100, 1 / 3)])
def test_held_out_share(episodes: int, expected: float) -> None:
    assert held_out_fraction(episodes) == pytest.approx(expected)


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


@cache
def task() -> Task:
    return load_task("envs.maze2d", "maze2d-umaze")


@cache
def posed() -> Posed:
    return pose(task(), 0, 3, 100, 0, False, lambda fraction, values: None)


def scored(learned: Learned) -> Score:
    return score(task(), learned, posed(), 0, 2, "test")


def test_a_perfect_reward_correlates_perfectly() -> None:
    found = scored(Learned(Still(), Scaled(3.0), "raw"))
    for name in ("erc_pearson", "erc_spearman", "erc_pearson_mixture", "step_pearson", "window_pearson"):
        assert found.metrics[name] == pytest.approx(1.0, abs=1e-3), name
    assert found.metrics["erc_distance"] == pytest.approx(0.0, abs=0.02)
    assert not found.notes
    assert found.artefacts["reward_map"] == pytest.approx(3 * found.artefacts["true_map"], rel=1e-3)


def test_a_reversed_reward_correlates_negatively() -> None:
    found = scored(Learned(Still(), Scaled(-1.0), "raw"))
    assert found.metrics["erc_pearson"] == pytest.approx(-1.0, abs=1e-3)
    assert found.metrics["erc_distance"] == pytest.approx(1.0, abs=1e-3)


def test_a_reward_of_windows_is_compared_over_the_steps_it_covers() -> None:
    found = scored(Learned(Still(), ScaledWindows(), "trajectory"))
    for name in ("erc_pearson", "erc_spearman", "erc_pearson_mixture", "window_pearson"):
        assert found.metrics[name] == pytest.approx(1.0, abs=1e-3), name
    assert "step_pearson" not in found.metrics
    assert found.artefacts["reward_map"] == pytest.approx(7 * found.artefacts["true_map"], rel=1e-3)  # staying
    covered = posed().held_out.rewards[:, : 300 // 7 * 7].sum(1)
    assert found.artefacts["true_returns"] == pytest.approx(covered, rel=1e-5)


def test_a_constant_reward_has_notes_and_no_correlation() -> None:
    found = scored(Learned(Still(), Scaled(0.0), "raw"))
    assert not {name for name in found.metrics if name.startswith("erc") or name.endswith("pearson")}
    assert {note.split(":")[0] for note in found.notes} >= {"erc_pearson", "erc_distance", "step_pearson"}


def test_no_reward_no_reward_metrics() -> None:
    found = scored(Learned(Still(), None, "none"))
    assert found.metrics.keys() == {"return_seen", "return_unseen", "score_seen", "score_unseen", "normalized_score"}
    assert not found.notes


def test_a_reward_that_is_not_finite_is_refused() -> None:
    with pytest.raises(NotFinite, match="133 of 133 episodes"):
        scored(Learned(Still(), Scaled(float("inf")), "raw"))


def test_references_are_measured_once_and_rank_the_expert_above_random() -> None:
    found = references(task(), "test")
    assert found == references(task(), "test")
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
