"""What planned windows are worth as predictions: whether they stay within the walls, and do what the simulator does.

The simulator is known here, to tell where planning fails; no method sees any of it.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchmark.reward_quality import Finding
from envs.problem import Floats, Task, Trajectories
from results.schema import Spread

NEAR = 0.7  # a tile k of a maze spans positions k - 0.7 .. k + 0.3
PLACE = np.array([1, 1, np.inf, np.inf])  # mazes: an error is one of position, in cells


@runtime_checkable
class Plans(Protocol):
    """A policy that says what it means to do, as :class:`methods.planner.Planner`."""

    def plan(self, obs: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """One window from each observation ``[n, O]``: observations ``[n, H, O]`` and actions ``[n, H * skip, A]``."""


def wall_crossings(walls: NDArray[np.bool_], obs: Floats) -> float:
    """Share of windows with the ball's centre inside a wall, at a token or halfway to the next.

    Args:
        walls: ``[rows, columns]``, as in ``Task.picture``.
        obs: ``[n, H, O]``, position first; outside of the layout counts as wall.

    Returns:
        in [0, 1].
    """
    places = obs[..., :2].astype(np.float64)
    places = np.concatenate([places, (places[:, 1:] + places[:, :-1]) / 2], 1)
    around = np.pad(walls, 1, constant_values=True)
    tiles = np.clip(np.floor(places + NEAR).astype(int) + 1, 0, np.array(around.shape) - 1)
    return float(around[tiles[..., 0], tiles[..., 1]].any(1).mean())


def one_step_error(task: Task, obs: Floats, acts: Floats, unit: Floats) -> float:
    """Mean distance between a token and where the simulator goes from the token before by the actions between them.

    Args:
        task: with ``states_of``.
        obs: planned, ``[n, H, O]``.
        acts: planned, ``[n, H * skip, A]``.
        unit: ``[O]``, divides each observation's difference; infinite where it shall not count.

    Returns:
        Euclidean distance in units, >= 0.

    Raises:
        ValueError: the task cannot be set to an observation, or a window has no second token.
    """
    n, tokens, width = obs.shape
    if task.states_of is None or tokens < 2:
        raise ValueError(f"{task.name}, windows of {tokens} tokens: states_of and at least two tokens are needed")
    steps = acts.reshape(n, tokens, -1, acts.shape[-1])[:, :-1].reshape(n * (tokens - 1), -1, acts.shape[-1])
    env = task.make_env(len(steps))
    reached = env.reset_to(task.states_of(obs[:, :-1].reshape(-1, width)))
    for k in range(steps.shape[1]):
        reached = env.step(steps[:, k])
    apart = (reached - obs[:, 1:].reshape(-1, width)) / unit
    return float(np.linalg.norm(apart, axis=1).mean())


def plan_quality(task: Task, planner: Plans, base: Trajectories, n: int, rng: np.random.Generator) -> Iterator[Finding]:
    """How far plans of a run, or of its base model alone, are what the simulator does.

    Args:
        task: the task.
        planner: guided as its policy is.
        base: held-out base episodes; plans start from states of theirs.
        n: plans.
        rng: decides states and the noise of sampling.
    """
    obs = base.obs[rng.integers(len(base), size=n), rng.integers(base.obs.shape[1], size=n)]
    planned, acts = planner.plan(obs, rng)
    maze, spread = "walls" in task.picture, Spread(n=len(planned))
    if maze:
        yield Finding("plan_wall_crossings", wall_crossings(task.picture["walls"], planned), "", spread)
    name = "plan_one_step_error"
    try:
        error = one_step_error(task, planned, acts, PLACE if maze else base.obs.std((0, 1)) + 1e-8)
    except ValueError as undefined:
        yield Finding(name, None, str(undefined), None)
    else:
        yield Finding(name, error if np.isfinite(error) else None, "the simulator left the finite", spread)
