"""Datasets from recipes, cached as npz under an id that names recipe, arguments and seed."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from envs.physics import BatchEnv
from envs.problem import Dataset, Floats, Policy, Trajectories
from envs.rollout import rollout


def cache_dir() -> Path:
    """Where built artefacts live: ``$IRLBENCH_CACHE``, else ``results/cache`` of the checkout."""
    root = Path(os.environ.get("IRLBENCH_CACHE") or Path(__file__).parents[1] / "results" / "cache")
    root.mkdir(parents=True, exist_ok=True)
    return root


def record(
    make_env: Callable[[int], BatchEnv],
    make_policy: Callable[[], Policy],
    starts: Callable[[int, np.random.Generator], NDArray[np.float64]],
    reward: Callable[..., NDArray[np.float64]],
    n: int,
    seed: int,
) -> tuple[Trajectories, Floats]:
    """``n`` episodes of one policy and their true rewards.

    Args:
        make_env: ``n -> BatchEnv``.
        make_policy: a fresh policy.
        starts: ``(n, rng) -> states [n, S]``.
        reward: true reward on states.
        n: episodes.
        seed: decides starts and the policy's draws.

    Returns:
        the episodes and their rewards float32 ``[n, T]``.
    """
    rng = np.random.default_rng(seed)
    run = rollout(make_env(n), make_policy(), starts(n, rng), rng)
    rewards = reward(run.states[:, :-1], run.trajectories.acts, run.states[:, 1:])
    return run.trajectories, rewards.astype(np.float32)


def cached(id: str, build: Callable[[], tuple[Trajectories, Floats]]) -> Dataset:
    """The dataset under ``id``: read if it stands in the cache, else built once under a lock and written atomically."""
    path = cache_dir() / f"{id}.npz"
    with FileLock(f"{path}.lock"):
        try:
            with np.load(path, allow_pickle=False) as file:
                return Dataset(Trajectories(file["obs"], file["acts"]), file["rewards"], id)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):  # absent or damaged: rebuilt, never used
            trajectories, rewards = build()
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            with open(temporary, "wb") as file:
                np.savez(file, obs=trajectories.obs, acts=trajectories.acts, rewards=rewards)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            return Dataset(trajectories, rewards, id)
