"""Fresh agents on learnt rewards: what decides their score, and what does not."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.cell import run_cell
from benchmark.pose import Posed, pose
from benchmark.registry import discover
from benchmark.reoptimise import reoptimised
from benchmark.suite import Suite, cells
from envs.maze2d import UMAZE_TASK
from methods.base import Learned, RewardPart, TrajectoryRewardPart
from methods.controls import RandomPolicy
from results.store import Store

STEPS = 2_400
POLICY = RandomPolicy([-1, -1], [1, 1])


class Affine(RewardPart):
    """The true reward, shifted and scaled."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__(scale=scale, shift=shift)
        self.scale, self.shift = scale, shift

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        return self.scale * UMAZE_TASK.observed_reward(obs, acts, next_obs) + self.shift


class Windows(TrajectoryRewardPart):
    length = 4


@cache
def posed() -> Posed:
    return pose(UMAZE_TASK, 0, 2, 0, 0, False, lambda fraction, values: None)


def found(reward: RewardPart | TrajectoryRewardPart | None, steps: int = STEPS) -> dict[str, float | None]:
    kind = "none" if reward is None else "trajectory" if isinstance(reward, Windows) else "raw"
    learned = Learned(POLICY, reward, kind)
    return {f.name: f.value for f in reoptimised(UMAZE_TASK, learned, posed(), steps, 0, "envs.maze2d")}


def test_the_true_reward_scores_100_at_any_scale() -> None:
    plain, scaled, opposite = found(Affine(1, 0)), found(Affine(1024, 1024)), found(Affine(-1, 0))
    for suffix in ("", "_changed"):
        assert plain[f"reoptimised_return{suffix}"] == plain[f"reoptimised_reference{suffix}"]
        if plain[f"reoptimised_score{suffix}"] is not None:  # a few steps need not beat random actions
            assert plain[f"reoptimised_score{suffix}"] == pytest.approx(100)
        gap = scaled[f"reoptimised_return{suffix}"] - plain[f"reoptimised_return{suffix}"]  # type: ignore[operator]
        assert abs(gap) < 30
        assert opposite[f"reoptimised_return{suffix}"] != plain[f"reoptimised_return{suffix}"]
    assert plain["reoptimised_reference"] != plain["reoptimised_reference_changed"]


@pytest.mark.slow
def test_an_agent_on_the_true_reward_comes_near_the_expert_and_one_on_the_opposite_does_not() -> None:
    true, opposite = found(Affine(1, 0), 40_000), found(Affine(-1, 0), 40_000)
    for suffix in ("", "_changed"):
        assert true[f"reoptimised_score{suffix}"] == pytest.approx(100)
        assert opposite[f"reoptimised_score{suffix}"] < 20  # type: ignore[operator]
        assert true[f"reoptimised_reference{suffix}"] > 180  # type: ignore[operator]


def test_what_has_no_reward_of_steps_has_a_reason() -> None:
    for reward in (None, Windows()):
        assert found(reward) == {"reoptimised_score": None}


def test_a_suite_asks_for_it_and_only_then_it_is_in_the_id(tmp_path: Path) -> None:
    suite = Suite(description="x", seeds="0", base_seed=0, methods=["expert"], tasks=["maze2d-umaze"], timeout_s=60)
    asked = suite.model_copy(update={"reoptimise": {"all": {"all": STEPS}}, "eval_starts": 2})
    registry = discover()
    (plain,), (cell,) = cells("x", suite, registry), cells("x", asked, registry)
    assert plain.id != cell.id and (plain.reoptimise, cell.reoptimise) == (0, STEPS) and plain.code != cell.code
    store = Store(tmp_path)
    store.prepare()
    record = run_cell(cell, store, {}, lambda fraction, values: None)
    assert record.status == "ok" and record.reoptimise == STEPS
    assert record.metrics["reoptimised_return"] == record.metrics["reoptimised_reference"]
    assert record.score_seconds > record.cpu_seconds  # the control learns nothing; scoring is no cost of the method
    assert np.isfinite([*record.metrics.values()]).all()
