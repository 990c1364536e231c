"""References of tasks whose demonstrator cannot be run: what it earned and where it was stand in its demonstrations."""

import dataclasses

import numpy as np
from filelock import FileLock

from benchmark.references import kept, occupancy, place, references
from envs.datasets import write_arrays
from envs.own import RecordedTask
from envs.rollout import Rollout, Uniform


def keep_references(task: RecordedTask, code: str) -> None:
    """Writes the file in which :func:`benchmark.references.references` looks for what it would else measure.

    Args:
        task: the task.
        code: hash of the task's sources and data.
    """
    path = place(task, code)
    with FileLock(f"{path}.recorded.lock"):
        if kept(path) is not None:
            return
        space, known = task.make_env(1).action_space, task.demos(task.recorded, 0)
        found = references(dataclasses.replace(task, expert=lambda: Uniform(space)), f"{code} at random")
        visited = occupancy(Rollout(np.zeros(0), known.trajectories))
        for kind, starts in (("seen", task.seen_starts), ("unseen", task.unseen_starts)):
            found[f"expert_{kind}"] = np.full(len(starts), known.returns.mean(dtype=np.float64))
            found[f"occupancy_{kind}"] = visited[np.arange(len(starts)) % len(visited)]
        write_arrays(path, **found)
