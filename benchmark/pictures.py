"""What a run leaves for figures: arrays by name. Drawn by ``reports``, which never runs a method."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.pose import Posed
from envs.problem import Task, Trajectories
from envs.rollout import Rollout
from methods.base import Learned, TrajectoryRewardPart

Arrays = dict[str, NDArray[Any]]


def pictures(task: Task, learned: Learned, posed: Posed, runs: Mapping[str, Rollout]) -> Arrays:
    """Everything that the figures of a run need beside its record; empty where the task draws nothing.

    Args:
        task: the task, true reward included.
        learned: what the method returned.
        posed: what it was posed.
        runs: its roll-outs from ``seen`` and ``unseen`` starts.
    """
    return maze(task, learned, posed, runs) if "walls" in task.picture else {}


def maze(task: Task, learned: Learned, posed: Posed, runs: Mapping[str, Rollout]) -> Arrays:
    """Paths, demonstrations, and both rewards on the task's grid of states."""
    grid = task.picture["grid"]
    states = grid.reshape(-1, grid.shape[-1])
    acts = np.zeros((len(states), *posed.problem.action_space.shape), np.float32)
    found: Arrays = {
        "walls": task.picture["walls"],
        "goal": task.picture["goal"],
        "grid_xy": grid[..., :2],
        "true_map": task.reward(states, acts, states).reshape(grid.shape[:2]),
        "paths_seen": runs["seen"].trajectories.obs[..., :2],
        "paths_unseen": runs["unseen"].trajectories.obs[..., :2],
        "demos": posed.problem.demos.obs[..., :2],
    }
    if learned.reward is not None:
        obs = task.make_env(1).observe(states)
        length = learned.reward.length if isinstance(learned.reward, TrajectoryRewardPart) else 1
        # staying there for one step, or for one window
        still = Trajectories(np.repeat(obs[:, None], length + 1, 1), np.repeat(acts[:, None], length, 1))
        found["reward_map"] = learned.returns(still).reshape(grid.shape[:2])
    return found
