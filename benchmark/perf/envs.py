"""Environment steps per second of batched physics, beside Gymnasium's SyncVectorEnv and the bare physics call."""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box

from benchmark.perf import Row, rate
from envs import halfcheetah, maze2d
from envs.problem import Task

N, SECONDS, TURNS, SYNC = 256, 0.5, 5, 16


class PointMaze(gymnasium.Env[Any, Any]):
    """The same maze as one plain Gymnasium environment: faster than the registered one, which is a batch of one."""

    def __init__(self) -> None:
        self._model = maze2d.model(maze2d.UMAZE)
        self._data = mujoco.MjData(self._model)
        self._goal = np.array(maze2d.goal_cell(maze2d.UMAZE), float)
        self.observation_space, self.action_space = Box(-np.inf, np.inf, (4,), np.float64), Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._data.qpos[:], self._data.qvel[:] = (1, 1), 0
        return np.concatenate([self._data.qpos, self._data.qvel]), {}

    def step(self, action: Any) -> Any:
        self._data.qvel[:] = self._data.qvel.clip(-maze2d.MAX_SPEED, maze2d.MAX_SPEED)
        self._data.ctrl[:] = action
        mujoco.mj_step(self._model, self._data)
        obs = np.concatenate([self._data.qpos, self._data.qvel])
        return obs, np.exp(-np.linalg.norm(obs[:2] - self._goal)), False, False, {}


def calls(task: Task, single: str | EnvSpec) -> list[tuple[Callable[[], Any], int]]:
    """Ours, the bare physics and Gymnasium's batch as (call, environment steps it makes).

    Args:
        task: what is stepped.
        single: what :func:`gymnasium.make` takes: it adds wrappers by itself, as it does for everyone.
    """
    rng = np.random.default_rng(0)
    env, bare = task.make_env(N), task.make_env(N)
    batches = rng.uniform(-1, 1, (64, N, *env.action_space.shape)).astype(np.float32)
    drawn = itertools.cycle(batches)
    starts = np.repeat(task.seen_starts, N // len(task.seen_starts), 0)
    env.reset_to(starts)
    bare.reset_to(starts)
    bare.step(batches[0])
    inner: Any = bare  # its buffers serve the bare call too

    def physics() -> None:
        inner._controls[:] = next(drawn)[:, None]
        given = inner._models, inner._data, inner._full, inner._controls
        kept = {"state": inner._out, "sensordata": inner._sensors}
        inner._rollout.rollout(*given, skip_checks=True, nstep=bare.frame_skip, **kept)
        inner._full[:] = inner._out[:, -1]

    sync = gymnasium.vector.SyncVectorEnv([partial(gymnasium.make, single)] * SYNC)
    sync.reset(seed=0)
    return [(lambda: env.step(next(drawn)), N), (physics, N), (lambda: sync.step(next(drawn)[:SYNC]), SYNC)]


def measure() -> Iterator[Row]:
    """Both kinds of task at 256 environments on one thread; the rivals take turns, each at its best."""
    plain = EnvSpec("PlainMaze-v0", f"{__name__}:PointMaze", max_episode_steps=maze2d.UMAZE_TASK.horizon)
    for task, single, against, required in (
        (maze2d.UMAZE_TASK, plain, "Gymnasium's SyncVectorEnv of a plain maze", 5.0),
        (halfcheetah.TASK, "HalfCheetah-v4", "Gymnasium's SyncVectorEnv of HalfCheetah-v4", 1.8),
    ):
        found = calls(task, single)
        turns = [[rate(*call, SECONDS, time.process_time) for call in found] for _ in range(TURNS)]
        ours, bare, theirs = np.max(turns, 0).tolist()
        timed = partial(Row, name=f"{task.title}: environment steps, one thread", ours=ours, unit="env steps/s")
        yield timed(reference=theirs, against=against, required=required)
        yield timed(reference=bare, against="the bare physics call", required=0.8)
