"""Diagnostics of plans, on windows whose answers are known: real episodes, and real ones spoilt."""

import numpy as np
import pytest

from benchmark.plan_quality import one_step_error, wall_crossings
from envs.halfcheetah import TASK
from envs.maze2d import LARGE_TASK, UMAZE_TASK
from envs.problem import Task, Trajectories

PLACE = np.array([1, 1, np.inf, np.inf])


def windows(task: Task, tokens: int, skip: int) -> tuple[np.ndarray, np.ndarray]:
    pieces = task.demos(2, 0).trajectories.windows(tokens * skip, tokens * skip)
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
