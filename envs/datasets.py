"""Datasets from recipes, cached as npz under an id that names recipe, arguments and seed; true rewards lie apart."""

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from envs.physics import BatchEnv
from envs.problem import Dataset, Floats, Policy, Trajectories
from envs.rollout import rollout

# what reading an npz raises that is not whole
UNREADABLE = (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def cache_dir() -> Path:
    """Where built artefacts live: ``$IRLBENCH_CACHE``, else ``results/cache`` of the checkout."""
    root = Path(os.environ.get("IRLBENCH_CACHE") or Path(__file__).parents[1] / "results" / "cache")
    root.mkdir(parents=True, exist_ok=True)
    return root


def truth_dir() -> Path:
    """Where what tells of the true reward lies: beside :func:`cache_dir`, which methods use too, never in it."""
    root = cache_dir().resolve()
    root = root.with_name(f"{root.name}-truth")
    root.mkdir(exist_ok=True)
    return root


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes an npz file whole or not at all."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


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
    path, truth = cache_dir() / f"{id}.npz", truth_dir() / f"{id}.npz"
    with FileLock(f"{path}.lock"):
        try:
            with np.load(path, allow_pickle=False) as shown, np.load(truth, allow_pickle=False) as file:
                return Dataset(Trajectories(shown["obs"], shown["acts"]), file["rewards"], id)
        except UNREADABLE:  # or absent: rebuilt, never used
            trajectories, rewards = build()
            write_arrays(truth, rewards=rewards)
            write_arrays(path, obs=trajectories.obs, acts=trajectories.acts)
            return Dataset(trajectories, rewards, id)
