"""What random actions and the demonstrator earn on a task's evaluation starts: the 0 and the 100 of every score."""

import hashlib
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from envs.datasets import UNREADABLE, truth_dir, write_arrays
from envs.problem import Floats, Task
from envs.rollout import Rollout, Uniform, rollout
from envs.seeding import stream

REPEATS = 4  # episodes per start
MOMENTS = 64  # of an episode, whose states stand for all that it visits


def true_returns(task: Task, run: Rollout) -> NDArray[np.float64]:
    """Undiscounted true return of each episode, float64 ``[n]``."""
    rewards = task.reward(run.states[:, :-1], run.trajectories.acts, run.states[:, 1:])
    returns: NDArray[np.float64] = np.asarray(rewards, np.float64).sum(1)
    return returns


def occupancy(run: Rollout) -> Floats:
    """Observations at :data:`MOMENTS` even moments of each episode, float32 ``[n, MOMENTS, O]``."""
    obs = run.trajectories.obs
    return obs[:, np.linspace(1, obs.shape[1] - 1, MOMENTS).round().astype(int)]


def _measure(task: Task) -> dict[str, NDArray[np.floating]]:
    found: dict[str, NDArray[np.floating]] = {}
    for kind, starts in (("seen", task.seen_starts), ("unseen", task.unseen_starts)):
        env = task.make_env(REPEATS * len(starts))
        for who, policy in (("random", Uniform(env.action_space)), ("expert", task.expert())):
            run = rollout(env, policy, np.repeat(starts, REPEATS, 0), stream("reference", task.name, kind, who))
            found[f"{who}_{kind}"] = true_returns(task, run).reshape(-1, REPEATS).mean(1)
        found[f"occupancy_{kind}"] = occupancy(run)[::REPEATS]  # the expert's
    return found


def place(task: Task, code: str) -> Path:
    """The cached file of a task's references; ``code`` is the hash of the task's sources."""
    digest = hashlib.sha256(code.encode() + task.seen_starts.tobytes() + task.unseen_starts.tobytes())
    return truth_dir() / f"{task.name}-references-{digest.hexdigest()[:16]}.npz"


def kept(path: Path) -> dict[str, NDArray[np.floating]] | None:
    """What a file holds; None where it is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except UNREADABLE:
        return None


def references(task: Task, code: str) -> dict[str, NDArray[np.floating]]:
    """Mean true return per start, under ``random_seen``, ``expert_seen``, ``random_unseen``, ``expert_unseen``.

    And the expert's :func:`occupancy` from each start, under ``occupancy_seen`` and ``occupancy_unseen``.

    Args:
        task: the task.
        code: hash of the task's sources; with the starts it names the cached file.
    """
    path = place(task, code)
    with FileLock(f"{path}.lock"):
        if (found := kept(path)) is None:
            found = _measure(task)
            write_arrays(path, **found)
        return found
