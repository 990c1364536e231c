"""Data sets from and to files: our npz, Minari's HDF5 folders, and (read only) D4RL's HDF5.

Every file is checked before it is used; a message says which file, which key, what is wrong and what to do. Nothing is
unpickled, and what is written appears whole or not at all.
"""

import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box

from envs.problem import Dataset, Floats, Task, Trajectories

HDF5_SUFFIXES = (".hdf5", ".h5")
NO_END = (
    "termination leaks the reward (when an episode ends tells good states from bad ones), so episodes have one fixed "
    "length here: record them again in an environment that goes on to its time limit, in an absorbing state if need "
    "be; in a task of your own, `absorbing: true` makes such states of the ends"
)

# what numpy, h5py and Minari raise on files that are damaged
DAMAGE: tuple[type[Exception], ...] = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)
DAMAGE += (AssertionError, ArithmeticError, EOFError, zipfile.BadZipFile, zlib.error)


class FormatError(ValueError):
    """A file that cannot be used, or a place that cannot be written: which, why, and what to do."""


class Episode(NamedTuple):
    """One episode as a file has it: float32 ``obs [T+1, O]``, ``acts [T, A]``, ``rewards [T]``; whether it ended."""

    obs: Floats
    acts: Floats
    rewards: Floats
    ended: bool = False

    def absorbed(self, steps: int) -> "Episode":
        """Where it terminated before ``steps``, it stays: the last observation again, actions and rewards 0."""
        lacking = max(0, steps - len(self.acts)) if self.ended else 0
        obs = np.concatenate([self.obs, np.repeat(self.obs[-1:], lacking, 0)])
        return Episode(obs, np.pad(self.acts, ((0, lacking), (0, 0))), np.pad(self.rewards, (0, lacking)))


def content_hash(trajectories: Trajectories, rewards: Floats) -> str:
    """16 hex digits over shapes and values of episodes and rewards: equal data, equal hash, whatever the format."""
    rewards = np.ascontiguousarray(rewards, np.float32)
    return hashlib.sha256(trajectories.content_hash().encode() + rewards.tobytes()).hexdigest()[:16]


def load(path: str | Path, horizon: int | None = None, absorbing: bool = False) -> Dataset:
    """Reads a data set whose id is its content hash.

    Args:
        path: ``*.npz`` with ``obs [N, T+1, O]``, ``acts [N, T, A]``, ``rewards [N, T]``; a folder of a Minari data set
            (HDF5); or D4RL's ``*.hdf5`` with flat ``observations [M, O]``, ``actions [M, A]``, ``rewards [M]``,
            ``terminals [M]`` and, if it has them, ``timeouts [M]`` and ``next_observations [M, O]``.
        horizon: keep the first so many steps of each episode, >= 1; None keeps all. A D4RL file without ``timeouts``
            is cut into pieces of so many recorded steps, so it must be given there.
        absorbing: episodes that terminate stay where they did, with actions and rewards 0, up to ``horizon``, which
            must be given; else they are refused.

    D4RL files without ``next_observations`` do not hold where the last step of an episode led. That step is dropped,
    so that every observation returned was recorded: episodes of L recorded steps come back with L - 1. Recorded steps
    after the last timeout, or too few to fill a piece, are left out.

    Raises:
        FormatError: not such a file, damaged, keys missing, wrong shapes, values not finite, no episode, episodes that
            terminate, that differ in length, or that are shorter than ``horizon``.
    """
    path = Path(path)
    if absorbing and horizon is None:
        raise FormatError(f"{path}: absorbing states need a horizon to last up to; give one")
    if horizon is not None and horizon < 1:
        raise FormatError(f"horizon {horizon}: it must be at least 1")
    if not path.exists():
        raise FormatError(f"{path}: no such file or folder")
    if path.is_dir():
        episodes = _read_minari(path, absorbing)
    elif path.suffix == ".npz":
        episodes = _read_npz(path)
    elif path.suffix in HDF5_SUFFIXES:
        episodes, horizon = _read_d4rl(path, horizon, absorbing)
    else:
        raise FormatError(
            f"{path}: format unknown; give *.npz, a D4RL file (*{', *'.join(HDF5_SUFFIXES)}) or the folder of a "
            f"Minari data set"
        )
    if absorbing and horizon is not None:
        episodes = [one.absorbed(horizon) for one in episodes]
    return _stack(path, episodes, horizon)


def check_against(dataset: Dataset, task: Task) -> None:
    """Refuses data that a task's environment could not have made.

    Raises:
        FormatError: observations or actions of another dimension, or actions out of bounds.
    """
    env, trajectories = task.make_env(1), dataset.trajectories
    for key, array, space in (
        ("observations", trajectories.obs, env.observation_space),
        ("actions", trajectories.acts, env.action_space),
    ):
        if array.shape[-1:] != space.shape:
            raise FormatError(
                f"{key} {list(array.shape)} have dimension {array.shape[-1]}, task {task.name} has {space.shape[0]}: "
                f"give data of this task, or name the task they are of"
            )
    outside = np.argwhere((trajectories.acts < env.action_space.low) | (trajectories.acts > env.action_space.high))
    if len(outside):
        index = tuple(outside[0])
        low, high = env.action_space.low[index[-1]], env.action_space.high[index[-1]]
        raise FormatError(
            f"actions {list(trajectories.acts.shape)}: {trajectories.acts[index]:g} at {[int(i) for i in index]} is "
            f"outside [{low:g}, {high:g}] of task {task.name} ({len(outside)} such values): "
            f"clip or rescale them as the environment did when it recorded them"
        )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its name on success and is removed on failure.

    Raises:
        FormatError: ``path`` exists.
    """
    if path.exists():
        raise FormatError(f"{path} exists: delete it or give another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.rename(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def save_npz(dataset: Dataset, path: str | Path) -> None:
    """Writes ``obs``, ``acts`` and ``rewards``, exactly.

    Raises:
        FormatError: ``path`` exists or does not end in ``.npz``.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise FormatError(f"{path}: the name must end in .npz")
    with whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, obs=dataset.trajectories.obs, acts=dataset.trajectories.acts, rewards=dataset.rewards)
        file.flush()
        os.fsync(file.fileno())


def save_minari(dataset: Dataset, path: str | Path, observation_space: Box, action_space: Box) -> None:
    """Writes a Minari data set (HDF5), exactly; ``MINARI_DATASETS_PATH`` set to its parent, Minari finds it by name.

    Args:
        dataset: the episodes; every one ends by truncation.
        path: the new folder; its name is the data set's id and ends in a version, e.g. ``mine-v0``.
        observation_space, action_space: of the environment the episodes come from.

    Raises:
        FormatError: ``path`` exists or its name is no id.
    """
    import minari
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    path = Path(path)
    if not re.fullmatch(r"\w[-\w]*-v\d+", path.name):
        raise FormatError(
            f"{path}: the folder's name is the id of the data set and must end in a version, as in mine-v0"
        )
    trajectories, steps = dataset.trajectories, dataset.trajectories.steps
    ends = np.arange(steps) == steps - 1
    with whole(path) as temporary:
        temporary.mkdir()
        storage = MinariStorage.new(temporary / "data", observation_space, action_space)
        storage.update_metadata({"dataset_id": path.name, "minari_version": minari.__version__})
        storage.update_episodes(
            EpisodeBuffer(
                observations=obs, actions=acts, rewards=rewards, terminations=np.zeros(steps, bool), truncations=ends
            )
            for obs, acts, rewards in zip(trajectories.obs, trajectories.acts, dataset.rewards, strict=True)
        )


def _numbers(where: str, array: Any, shape: str) -> Floats:
    """``array`` as float32, refused unless it holds finite numbers on as many axes as ``shape`` names."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise FormatError(f"{where} is not an array of numbers {shape}; store it as one (float32)")
    if array.ndim != shape.count(",") + 1:
        raise FormatError(f"{where} has shape {list(array.shape)}; it must be {shape}")
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        raise FormatError(
            f"{where} {list(array.shape)} is not finite at {bad[0].tolist()} ({len(bad)} such values): "
            f"remove or repair these episodes"
        )
    return numbers


def _same_length(path: Path, arrays: dict[str, Any]) -> None:
    if len({len(array) for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
        raise FormatError(f"{path}: lengths differ: {shapes}; the file was cut or mixed, record or download it again")


def _demand(path: Path, found: Iterable[str], needed: Iterable[str], hint: str) -> None:
    missing = [key for key in needed if key not in found]
    if missing:
        raise FormatError(
            f"{path}: missing {', '.join(missing)}; it has {', '.join(sorted(found)) or 'nothing'}. {hint}"
        )


def _read_npz(path: Path) -> list[Episode]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except DAMAGE as error:
        raise FormatError(
            f"{path}: not a whole npz file of plain arrays ({error}); write it again, e.g. by numpy.savez"
        ) from error
    shapes = {"obs": "[N, T+1, O]", "acts": "[N, T, A]", "rewards": "[N, T]"}
    _demand(path, arrays, shapes, f"Needed: {', '.join(f'{key} {shape}' for key, shape in shapes.items())}")
    found = {key: _numbers(f"{path}: {key}", arrays[key], shape) for key, shape in shapes.items()}
    _same_length(path, found)
    return [Episode(*one) for one in zip(*found.values(), strict=True)]


def _read_minari(path: Path, absorbing: bool) -> list[Episode]:
    from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage

    folder = next((place for place in (path, path / "data") if (place / METADATA_FILE_NAME).is_file()), None)
    if folder is None:
        raise FormatError(
            f"{path}: no {METADATA_FILE_NAME} in it or in its folder data; give a Minari data set's folder"
        )
    try:
        metadata = MinariStorage.read_raw_metadata(folder)
        # spaces that are missing would make Minari build the environment that the file names, and so run its code
        _demand(
            folder / METADATA_FILE_NAME,
            metadata,
            ("data_format", "observation_space", "action_space", "total_episodes"),
            "Write the data set again with Minari, both spaces given",
        )
        if metadata["data_format"] != "hdf5":
            raise FormatError(f"{path}: data_format is {metadata['data_format']!r}; convert the data set to 'hdf5'")
        storage = MinariStorage.read(folder)
        read = list(storage.get_episodes(range(storage.total_episodes)))
    except FormatError:
        raise
    except DAMAGE as error:
        raise FormatError(
            f"{path}: not a whole Minari data set ({type(error).__name__}: {error}); download or write it again"
        ) from error
    episodes = []
    for i, one in enumerate(read):
        where = f"{path}: episode_{i}/"
        ended = bool(np.any(one["terminations"]))
        if ended and not absorbing:
            step = int(np.argmax(one["terminations"]))
            raise FormatError(f"{where}terminations is true at step {step}: {NO_END}")
        episodes.append(
            Episode(
                _numbers(f"{where}observations", one["observations"], "[T+1, O]"),
                _numbers(f"{where}actions", one["actions"], "[T, A]"),
                _numbers(f"{where}rewards", one["rewards"], "[T]"),
                ended,
            )
        )
    return episodes


def _read_d4rl(path: Path, horizon: int | None, absorbing: bool) -> tuple[list[Episode], int | None]:
    """The episodes, and the length still to be cut to."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            wanted = ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations")
            keys = list(file)
            _demand(
                path,
                keys,
                wanted[:4],
                "These are D4RL's keys; a Minari data set is read by its folder, not by the file in it",
            )
            raw = {key: file[key][()] for key in wanted if key in keys}
    except FormatError:
        raise
    except DAMAGE as error:
        raise FormatError(f"{path}: not a whole HDF5 file of arrays ({error}); download or write it again") from error
    shapes = {"observations": "[M, O]", "next_observations": "[M, O]", "actions": "[M, A]"}
    flat = {key: _numbers(f"{path}: {key}", array, shapes.get(key, "[M]")) for key, array in raw.items()}
    _same_length(path, flat)
    if flat["terminals"].any() and not absorbing:
        count, row = int(flat["terminals"].sum()), int(flat["terminals"].argmax())
        raise FormatError(f"{path}: terminals is true {count} times, first at row {row}: {NO_END}")
    rows = len(flat["rewards"])
    if "timeouts" in flat:
        ends = np.flatnonzero(flat["timeouts"] + flat["terminals"]) + 1
        starts = np.concatenate([[0], ends[:-1]])
    elif horizon is None or flat["terminals"].any():
        raise FormatError(f"{path}: no timeouts, so where episodes end is not known; give a horizon to cut them by")
    else:
        starts = np.arange(0, rows - horizon + 1, horizon)
        ends, horizon = starts + horizon, None
    if not len(ends):
        raise FormatError(
            f"{path}: no whole episode in its {rows} steps; give a longer file or, without timeouts, a shorter horizon"
        )
    return [_piece(flat, int(start), int(end)) for start, end in zip(starts, ends, strict=True)], horizon


def _piece(flat: dict[str, Floats], start: int, end: int) -> Episode:
    """Steps ``start..end`` of a flat file; the last one only where the file says what it led to."""
    obs, following = flat["observations"][start:end], flat.get("next_observations")
    known = end - 1 if following is None else end  # steps of which it is known where they led
    if following is not None:
        obs = np.concatenate([obs, following[end - 1 : end]])
    return Episode(obs, flat["actions"][start:known], flat["rewards"][start:known], bool(flat["terminals"][end - 1]))


def _stack(path: Path, episodes: list[Episode], horizon: int | None) -> Dataset:
    if not episodes:
        raise FormatError(f"{path}: it has no episode; at least one is needed")
    for i, (obs, acts, rewards, _) in enumerate(episodes):
        if not len(acts):
            raise FormatError(f"{path}: episode {i} has no step whose next observation is known; remove it")
        if not len(obs) - 1 == len(acts) == len(rewards):
            raise FormatError(
                f"{path}: episode {i}: observations {list(obs.shape)}, actions {list(acts.shape)}, rewards "
                f"{list(rewards.shape)}; it must have one observation more than actions, and one reward per action"
            )
    lengths = [len(one.acts) for one in episodes]
    shortest = int(np.argmin(lengths))
    if horizon is None and min(lengths) != max(lengths):
        raise FormatError(
            f"{path}: episodes differ in length, from {min(lengths)} steps (episode {shortest}) to {max(lengths)}; "
            f"give a horizon of at most {min(lengths)} to cut all of them to it, or remove the short ones"
        )
    steps = lengths[0] if horizon is None else horizon
    if lengths[shortest] < steps:
        raise FormatError(
            f"{path}: episode {shortest} has {lengths[shortest]} usable steps, fewer than the horizon {steps}; "
            f"give a horizon of at most {lengths[shortest]}, or remove the short episodes"
        )
    try:
        trajectories = Trajectories(
            np.stack([one.obs[: steps + 1] for one in episodes]), np.stack([one.acts[:steps] for one in episodes])
        )
        rewards = np.stack([one.rewards[:steps] for one in episodes])
    except ValueError as error:  # dimensions that differ between episodes
        raise FormatError(f"{path}: {error}; all episodes must be of one environment") from error
    return Dataset(trajectories, rewards, content_hash(trajectories, rewards))
