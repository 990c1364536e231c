"""Environment steps per second of batched physics, beside Gymnasium's SyncVectorEnv and the bare physics call."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box

from benchmark.perf import Row
from envs import halfcheetah, maze2d
from envs.problem import Task

N, SECONDS, TURNS, SYNC = 256, 0.5, 5, 16
BARE = "the bare physics call"


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


def rate(step: Callable[[], Any], steps: int) -> float:
    """Environment steps per CPU second of a call that makes ``steps`` of them on this thread."""
    count, began = 0, time.process_time()
    while (spent := time.process_time() - began) < SECONDS:
        step()
        count += steps
    return count / spent


def calls(task: Task, singles: Mapping[str, Any]) -> dict[str, tuple[Callable[[], Any], int]]:
    """The rivals as (call, environment steps it makes).

    Args:
        task: what is stepped.
        singles: rival to what :func:`gymnasium.make` takes: it adds wrappers by itself, as it does for everyone.
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
        inner._rollout.rollout(
            inner._models,
            inner._data,
            inner._full,
            inner._controls,
            skip_checks=True,
            nstep=bare.frame_skip,
            state=inner._out,
            sensordata=inner._sensors,
        )
        inner._full[:] = inner._out[:, -1]

    found: dict[str, tuple[Callable[[], Any], int]] = {"ours": (lambda: env.step(next(drawn)), N), BARE: (physics, N)}
    for against, made in singles.items():
        sync = gymnasium.vector.SyncVectorEnv([partial(gymnasium.make, made)] * SYNC)
        sync.reset(seed=0)
        found[against] = partial(lambda sync: sync.step(next(drawn)[:SYNC]), sync), SYNC
    return found


def measure() -> Iterator[Row]:
    """Both kinds of task at 256 environments on one thread; the rivals take turns, each at its best."""
    plain = EnvSpec("PlainMaze-v0", f"{__name__}:PointMaze", max_episode_steps=maze2d.UMAZE_TASK.horizon)
    registered = "irlbench/Maze2D-UMaze-v0"
    singles: dict[str, Any]
    for name, task, singles, required in (
        ("Maze2D U-Maze", maze2d.UMAZE_TASK, {"a plain maze": plain, registered: f"envs.registered:{registered}"}, 5.0),
        ("HalfCheetah", halfcheetah.TASK, {"HalfCheetah-v4": "HalfCheetah-v4"}, 1.8),
    ):
        found = calls(task, singles)
        turns = [{who: rate(*call) for who, call in found.items()} for _ in range(TURNS)]
        best = {who: max(turn[who] for turn in turns) for who in found}
        for who in (*singles, BARE):
            yield Row(
                name=f"{name}: environment steps, one thread",
                ours=best["ours"],
                unit="env steps/s",
                reference=best[who],
                against=who if who == BARE else f"Gymnasium's SyncVectorEnv of {who}",
                required=0.8 if who == BARE else None if who == registered else required,
            )
