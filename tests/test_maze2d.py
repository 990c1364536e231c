"""Maze2D: what its kinds of reward pay, that variants share what they should, and D4RL where it is installed."""

import numpy as np
import pytest
import torch

from benchmark.registry import discover
from benchmark.suite import load_suite, settings_of
from envs.maze2d import LARGE, TASKS, UMAZE, UMAZE_TASK, cells
from envs.problem import Task
from envs.rollout import rollout
from envs.seeding import stream

VARIANTS = {task.name: task for task in (UMAZE_TASK, *TASKS)}


def at(task: Task, *xy: tuple[float, float]) -> list[float]:
    """Reward of arriving at positions."""
    states = np.array([[*place, 0.0, 0.0] for place in xy])
    return list(task.reward(states, np.zeros((len(xy), 2)), states))


def test_rewards_by_hand() -> None:
    assert at(UMAZE_TASK, (1, 1), (1, 2)) == [1.0, pytest.approx(np.exp(-1))]
    assert at(VARIANTS["maze2d-umaze-sparse"], (1, 1), (1, 1.5), (1, 1.51)) == [1, 1, 0]
    assert at(VARIANTS["maze2d-umaze-corner"], (3.2, 3.2), (1.6, 1.6)) == [1.0, pytest.approx(0.5)]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_expert_collects_nearly_all_there_is_and_oracles_see_the_same(name: str) -> None:
    task = VARIANTS[name]
    run = rollout(task.make_env(16), task.expert(), task.unseen_starts, stream("e"))
    true = task.reward(run.states[:, :-1], run.trajectories.acts, run.states[:, 1:])
    assert true[:, -1].min() > 0.95
    obs, acts = torch.tensor(run.trajectories.obs), torch.tensor(run.trajectories.acts)
    assert np.abs(task.observed_reward(obs[:, :-1], acts, obs[:, 1:]).numpy() - true).mean() < 0.01


def test_variants_share_base_episodes_and_settings_but_not_rewards() -> None:
    corner, main = VARIANTS["maze2d-umaze-corner"].base(0), UMAZE_TASK.base(0)
    assert corner.id == main.id
    assert corner.trajectories.content_hash() == main.trajectories.content_hash()
    assert np.corrcoef(corner.returns, main.returns)[0, 1] < 0.5
    nodwell = VARIANTS["maze2d-umaze-nodwell"].base(0)
    assert nodwell.id != main.id
    speed = [np.linalg.norm(data.trajectories.obs[..., 2:], axis=-1).mean() for data in (nodwell, main)]
    assert speed[0] > 1.2 * speed[1]
    found, suite = discover(), load_suite("quick")[1]
    method = found.method("diffusion-irl-value")[0]
    for variant, (task, _) in found.tasks.items():
        if task.kin and variant not in method.tuned:
            assert settings_of(method, task, suite, {}) == settings_of(method, found.task(task.kin)[0], suite, {})


def test_the_corner_is_the_largest_x_plus_y() -> None:
    assert max(cells(UMAZE), key=sum) == (3, 3) and max(cells(LARGE), key=sum) == (7, 10)
