"""What a run left for figures: arrays by name, checked before anything is drawn from them."""

import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# number of axes of each array; paths and demonstrations are [episodes, T+1, 2], maps [gx, gy]
AXES = {
    "reward_map": 2,
    "true_map": 2,
    "walls": 2,
    "goal": 1,
    "grid_xy": 3,
    "paths_seen": 3,
    "paths_unseen": 3,
    "demos": 3,
    "true_steps": 1,
    "learnt_steps": 1,
    "film": 5,  # [2, moments, plans, H, 2]
    "film_left": 1,
    "own_true": 2,  # [episodes, T]
    "own_learnt": 2,
    "gait": 5,  # [2, frames, capsules, 2, 2]
    "gait_pixels": 5,  # [2, frames, height, width, 3], 0 to 255
}


def load(folder: Path) -> dict[str, Array]:
    """The arrays in the ``folder`` of a run, float64 by name; none where the run left none.

    Raises:
        ValueError: the file cannot be read, or an array in it is not what its name says.
    """
    path = folder / "artefacts.npz"
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name], np.float64) for name in AXES if name in stored}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    for name, array in arrays.items():
        if array.ndim != AXES[name] or array.size == 0 or not np.isfinite(array).all():
            raise ValueError(f"{path}: {name} must be finite with {AXES[name]} axes, got shape {list(array.shape)}")
    return arrays


KEEP = {"paths_seen": (8, 4), "paths_unseen": (8, 4), "demos": (5, 4), "own_true": (2, 1), "own_learnt": (2, 1)}


def thin(folder: Path, into: Path) -> int:
    """Copies what figures show of a run at half precision: of episodes a few, of their steps every fourth.

    What is such a copy already, which half precision tells, is copied as it is.

    Returns:
        the size of the copy in bytes; 0 where the run left none.
    """
    arrays, source, copy = load(folder), folder / "artefacts.npz", into / "artefacts.npz"
    if not arrays:
        return 0
    into.mkdir(parents=True, exist_ok=True)
    with np.load(source, allow_pickle=False) as stored:
        thinned = any(stored[name].dtype == np.float16 for name in arrays)
    if thinned:
        shutil.copyfile(source, copy)
        return copy.stat().st_size
    for name, (episodes, every) in KEEP.items():
        if name in arrays:
            n = len(arrays[name])
            rows = [*range(0, n, max(1, n // episodes))]  # own episodes: seen starts first, then unseen
            arrays[name] = arrays[name][rows[:episodes], ::every]
    for name in ("true_steps", "learnt_steps"):
        if name in arrays:
            arrays[name] = arrays[name][:500]
    if "film" in arrays:
        arrays["film"] = arrays["film"][:, :, :8]
    # what a method learnt has no known range and keeps single precision
    kinds = {"gait_pixels": np.uint8, "reward_map": np.float32, "own_learnt": np.float32, "learnt_steps": np.float32}
    kept: dict[str, Any] = {k: v.astype(kinds.get(k, np.float16)) for k, v in arrays.items()}
    np.savez_compressed(copy, **kept)
    return copy.stat().st_size
