"""What a run leaves for figures: arrays by name. Drawn by ``reports``, which never runs a method.

No number is scored from them, so this file takes no part in a record's identity.
"""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmark.bodies import photographs
from benchmark.metrics import window_sums
from benchmark.pose import Posed
from envs.own import RecordedTask
from envs.problem import Task, Trajectories
from envs.rollout import Rollout
from envs.seeding import stream
from methods.base import Learned, TrajectoryRewardPart
from methods.planner import Planner

Arrays = dict[str, NDArray[Any]]
FILM_STEPS, FILM_PLANS = 6, 16  # moments of a reverse process, plans in each
OWN = 4  # own episodes of each kind whose rewards are kept
GAIT_FRAMES, GAIT_EVERY = 10, 4  # frames, and steps between them


def pictures(task: Task, learned: Learned, posed: Posed, runs: Mapping[str, Rollout], seed: int) -> Arrays:
    """Everything that the figures of a run need beside its record.

    Args:
        task: what was learnt on.
        learned: policy and reward.
        posed: the problem, for its demonstrations.
        runs: the policy's roll-outs from ``seen`` and ``unseen`` starts.
        seed: decides the noise of sampled plans.
    """
    if "walls" not in task.picture:
        return own_rewards(task, learned, runs) | gait(task, runs)
    found = maze(task, learned, posed, runs)
    if isinstance(learned.policy, Planner):
        found |= film(task, learned.policy, stream("film", task.name, seed))
    return found


def maze(task: Task, learned: Learned, posed: Posed, runs: Mapping[str, Rollout]) -> Arrays:
    """Paths, demonstrations, and both rewards on the task's grid of states.

    Args:
        task: a maze.
        learned: its reward is mapped, if there is one.
        posed: the problem, for its demonstrations.
        runs: the policy's roll-outs from ``seen`` and ``unseen`` starts.
    """
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


def film(task: Task, planner: Planner, rng: np.random.Generator) -> Arrays:
    """The planner's reverse process from one seen and one unseen start: ``[2, moments, plans, H, 2]`` positions.

    ``film_left`` says how many diffusion steps are left at each moment, T for noise and 0 for plans.

    Args:
        task: a maze.
        planner: what plans.
        rng: decides the noise.
    """
    frames: dict[int, NDArray[np.float32]] = {}
    starts = np.stack([task.seen_starts[-1], task.unseen_starts[-1]])
    obs = np.repeat(task.make_env(2).observe(starts), FILM_PLANS, 0)

    def watch(left: int, x: Tensor) -> None:
        plans = planner.diffuser.codec.decode(x.detach())[0][:: planner.planning.candidates, :, :2]
        frames[left] = plans.cpu().numpy().reshape(2, FILM_PLANS, -1, 2)

    chosen = planner.plan(obs, rng, watch)[0][..., :2].reshape(2, FILM_PLANS, -1, 2)
    left = np.unique(np.linspace(planner.diffuser.steps, 0, FILM_STEPS).round().astype(int))[::-1]
    return {"film": np.stack([*(frames[t] for t in left[:-1]), chosen], 1), "film_left": left}


def own_rewards(task: Task, learned: Learned, runs: Mapping[str, Rollout]) -> Arrays:
    """True and learnt reward along the policy's own episodes, per step or per window of the reward: ``[episodes, T]``.

    Episodes from seen starts come first, then as many from unseen ones.
    """
    if learned.reward is None:
        return {}
    states = np.concatenate([runs[kind].states[:OWN] for kind in ("seen", "unseen")])
    parts = [runs[kind].trajectories[:OWN] for kind in ("seen", "unseen")]
    own = Trajectories(np.concatenate([p.obs for p in parts]), np.concatenate([p.acts for p in parts]))
    length = learned.reward.length if isinstance(learned.reward, TrajectoryRewardPart) else 1
    pieces = own.windows(length)  # all episodes' first windows, then all their second ones
    learnt = learned.returns(pieces).reshape(-1, len(own)).T
    true = window_sums(np.asarray(task.reward(states[:, :-1], own.acts, states[:, 1:])), length)
    return {"own_true": true.T, "own_learnt": learnt}


def gait(task: Task, runs: Mapping[str, Rollout]) -> Arrays:
    """The body at the poses that MuJoCo computes, seen from the side, from mid-episode on.

    ``gait [2, frames, capsules, 2, 2]`` holds (x, z) in metres of both ends of its capsules from one seen and one
    unseen start, ``gait_pixels`` uint8 ``[2, frames, height, width, 3]`` what
    MuJoCo renders; the last is left out where there is no OpenGL.
    """
    if isinstance(task, RecordedTask):  # its physics may be no MuJoCo
        return {}
    model = task.make_env(1).model
    capsules = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_CAPSULE)
    data, frames, first = mujoco.MjData(model), [], task.horizon // 2
    if not len(capsules) or first < GAIT_FRAMES * GAIT_EVERY:
        return {}
    shown = slice(first, first + GAIT_FRAMES * GAIT_EVERY, GAIT_EVERY)
    poses = np.concatenate([runs[kind].states[0, shown, : model.nq] for kind in ("seen", "unseen")])
    for pose in poses:
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        axis = data.geom_xmat[capsules].reshape(-1, 3, 3)[..., 2] * model.geom_size[capsules, 1:2]
        ends = data.geom_xpos[capsules, None] + axis[:, None] * np.array([[-1.0], [1.0]])
        frames.append(ends[..., [0, 2]])
    found = {"gait": np.stack(frames).reshape(2, GAIT_FRAMES, len(capsules), 2, 2)}
    pixels = photographs(model, poses)
    return found if pixels is None else found | {"gait_pixels": pixels.reshape(2, GAIT_FRAMES, *pixels.shape[1:])}
