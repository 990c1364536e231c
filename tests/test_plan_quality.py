"""Diagnostics of plans, on windows whose answers are known: real episodes, and real ones spoilt."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.plan_quality import PLACE, Plans, one_step_error, plan_quality, wall_crossings
from benchmark.pose import pose
from benchmark.registry import load_task
from benchmark.score import PLANS, score
from envs.halfcheetah import TASK
from envs.maze2d import LARGE_TASK, UMAZE_TASK
from envs.problem import Floats, Task, Trajectories
from methods.base import Learned, PolicyPart
from methods.planner import Planner


def windows(task: Task, tokens: int, skip: int) -> tuple[np.ndarray, np.ndarray]:
    pieces = task.demos(2, 0).trajectories.windows(tokens * skip)
    return pieces.obs[:, : tokens * skip : skip].copy(), pieces.acts.copy()


@pytest.mark.parametrize("task", [UMAZE_TASK, LARGE_TASK], ids=lambda task: task.name)
def test_real_episodes_stay_within_the_walls_and_shifted_ones_do_not(task: Task) -> None:
    base: Trajectories = task.demos(10, 0).trajectories
    assert wall_crossings(task.picture["walls"], base.obs) == 0
    assert wall_crossings(task.picture["walls"], base.obs + np.array([100, 0, 0, 0])) == 1
    assert wall_crossings(task.picture["walls"], base.obs + np.array([0.5, 0.5, 0, 0])) > 0.9


def test_a_jump_over_a_wall_counts_and_a_tile_ends_at_three_tenths() -> None:
    walls = UMAZE_TASK.picture["walls"]  # the U's inner wall is at row 2, columns 1 and 2
    jump, edge = np.array([[[1.0, 1.0], [3.0, 1.0]]]), np.array([[[1.29, 1.0], [1.29, 1.0]]])
    assert wall_crossings(walls, jump) == 1
    assert wall_crossings(walls, edge) == 0
    assert wall_crossings(walls, edge + 0.02 * np.array([1, 0])) == 1


@pytest.mark.parametrize(("tokens", "skip"), [(8, 4), (32, 1)])
def test_real_windows_are_what_the_simulator_does_and_displaced_tokens_are_off_by_so_much(
    tokens: int, skip: int
) -> None:
    obs, acts = windows(UMAZE_TASK, tokens, skip)
    assert one_step_error(UMAZE_TASK, obs, acts, PLACE) < 1e-5
    obs[:, -1, 0] += 0.3  # the last token alone: no step starts there
    assert one_step_error(UMAZE_TASK, obs, acts, PLACE) == pytest.approx(0.3 / (tokens - 1), rel=1e-3)


def test_halfcheetah_is_measured_in_deviations_and_one_token_has_no_step() -> None:
    obs, acts = windows(TASK, 4, 1)
    deviation = obs.std((0, 1))
    assert one_step_error(TASK, obs, acts, deviation) < 1e-3
    assert one_step_error(TASK, obs, np.zeros_like(acts), deviation) > 0.1
    with pytest.raises(ValueError, match="at least two tokens"):
        one_step_error(TASK, obs[:, :1], acts[:, :1], deviation)


class Straight(PolicyPart):
    """Plans to stay where it is, and its plans say so, or claim to be ``off`` cells away."""

    def __init__(self, acts: int, off: float = 0.0) -> None:
        super().__init__(acts=acts, off=off)
        self.acts, self.off = acts, off

    def plan(self, obs: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        planned = np.repeat(obs[:, None], 2, 1)
        planned[:, 1, 0] += self.off
        return planned, np.zeros((len(obs), 2, self.acts), np.float32)

    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        return np.zeros((len(obs), self.acts), np.float32)


def test_the_record_of_a_planner_says_how_good_its_plans_are() -> None:
    task = load_task("envs.maze2d", "maze2d-umaze")
    posed = pose(task, 0, 1, 0, 0, False, lambda fraction, values: None)
    assert issubclass(Planner, Plans)
    near, far = (score(task, Learned(Straight(2, off), None, "none"), posed, 0, 2, "test") for off in (0.0, 100.0))
    assert near.metrics["plan_wall_crossings"] == 0 and far.metrics["plan_wall_crossings"] == 1
    assert near.metrics["plan_one_step_error"] < 0.2  # what the ball rolls on
    assert far.metrics["plan_one_step_error"] == pytest.approx(100, abs=0.2)
    assert near.spread["plan_one_step_error"].n == PLANS


def test_without_walls_only_the_error_is_found_and_without_a_way_back_a_note_says_why() -> None:
    base, rng = TASK.demos(2, 0).trajectories, np.random.default_rng(0)
    (found,) = plan_quality(TASK, Straight(6), base, 8, rng)
    assert found.name == "plan_one_step_error" and found.value is not None and found.value > 0.1
    (none,) = plan_quality(replace(TASK, states_of=None), Straight(6), base, 8, rng)
    assert none.value is None and "states_of" in none.undefined
