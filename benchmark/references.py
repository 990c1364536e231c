"""What random actions and the demonstrator earn on a task's evaluation starts: the 0 and the 100 of every score."""

import hashlib
import json
import os

import numpy as np
from filelock import FileLock
from gymnasium.spaces import Box
from numpy.typing import NDArray

from envs.datasets import truth_dir
from envs.problem import Floats, Policy, Task
from envs.rollout import Rollout, rollout
from envs.seeding import stream

REPEATS = 4  # episodes per start


class Uniform(Policy):
    """Actions drawn uniformly from the action space."""

    def __init__(self, space: Box) -> None:
        self._low, self._high = space.low, space.high

    def begin(self, n: int) -> None:
        """Keeps no state."""

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        return rng.uniform(self._low, self._high, (len(obs), len(self._low))).astype(np.float32)


def true_returns(task: Task, run: Rollout) -> NDArray[np.float64]:
    """Undiscounted true return of each episode, float64 ``[n]``."""
    rewards = task.reward(run.states[:, :-1], run.trajectories.acts, run.states[:, 1:])
    returns: NDArray[np.float64] = np.asarray(rewards, np.float64).sum(1)
    return returns


def _measure(task: Task) -> dict[str, list[float]]:
    found = {}
    for kind, starts in (("seen", task.seen_starts), ("unseen", task.unseen_starts)):
        env = task.make_env(REPEATS * len(starts))
        for who, policy in (("random", Uniform(env.action_space)), ("expert", task.expert())):
            run = rollout(env, policy, np.repeat(starts, REPEATS, 0), stream("reference", task.name, kind, who))
            found[f"{who}_{kind}"] = true_returns(task, run).reshape(-1, REPEATS).mean(1).tolist()
    return found


def references(task: Task, code: str) -> dict[str, list[float]]:
    """Mean true return per start, under ``random_seen``, ``expert_seen``, ``random_unseen``, ``expert_unseen``.

    Args:
        task: the task.
        code: hash of the task's sources; with the starts it names the cached file.
    """
    digest = hashlib.sha256(code.encode() + task.seen_starts.tobytes() + task.unseen_starts.tobytes())
    path = truth_dir() / f"{task.name}-references-{digest.hexdigest()[:16]}.json"
    with FileLock(f"{path}.lock"):
        try:
            found: dict[str, list[float]] = json.loads(path.read_text())
        except (OSError, ValueError):  # absent or damaged: measured again
            found = _measure(task)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(found))
            os.replace(temporary, path)
    return found
