"""D4RL's original files: where they lie, and what they must hold."""

import hashlib
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import as_user_error, demand
from envs.formats import FormatError, whole

ROOT = "http://rail.eecs.berkeley.edu/datasets/offline_rl"  # as in d4rl 1.1, d4rl/infos.py
LICENCE = "CC BY 4.0"  # of D4RL's data sets, as its README states
TIMEOUT_S = 20


@dataclass(frozen=True)
class Original:
    """One file."""

    path: str  # below :data:`ROOT`
    sha256: str | None = None  # as TensorFlow Datasets records it (d4rl_mujoco_halfcheetah/checksums.tsv), if it does


_HALFCHEETAH = {
    "random": "25407aef85b5d16c0f36b4149341edb4acc6a9e88c1db529b2de19e7464874ba",
    "medium": "41324e8487a9556d8cfa4538827f8937f4d63dae3030825ebc9f3a726ed08ca0",
    "medium-replay": "48d494a4770c11f48260736dec090b78bdca8375647ed4d24bfa5b6610c7f683",
    "full-replay": "27fdf7ea86e5a2cbd24d611ae9e703c86ec2e8e52823abc69dd9af6afb3a36c0",
    "medium-expert": "015db75dae5bbe8e94029b71fa0bafc2073365df0c94744e71031189f3f79c06",
    "expert": "d9fe53bb994eb1e20a99b4fa3412cd76a1bb7966a7ff55e0fcbdd6081bd2965f",
}
ORIGINALS = {
    f"maze2d-{size}{dense}-v1": Original(f"maze2d/maze2d-{size}{dense or '-sparse'}-v1.hdf5")
    for dense in ("", "-dense")
    for size in ("umaze", "large")
} | {
    f"halfcheetah-{kind}-v2": Original(f"gym_mujoco_v2/halfcheetah_{kind.replace('-', '_')}-v2.hdf5", digest)
    for kind, digest in _HALFCHEETAH.items()
}


def fetch(name: str, folder: Path, root: str = ROOT) -> str:
    """Downloads a file whole or not at all, and compares its checksum where one is known.

    Args:
        name: a key of :data:`ORIGINALS`.
        folder: gets ``<name>.hdf5``.
        root: of a mirror.

    Returns:
        what was written, in one sentence.

    Raises:
        UserError: unknown name, no connection, a file that exists, or one that is not the original.
    """
    demand("D4RL file", [name], ORIGINALS)
    original, target = ORIGINALS[name], folder / f"{name}.hdf5"
    address = f"{root}/{original.path}"
    with as_user_error(OSError, FormatError, before=f"{name} was not fetched from {address}: "), whole(target) as part:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer, open(part, "wb") as file:
            shutil.copyfileobj(answer, file)
        with open(part, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if original.sha256 not in (None, found):
            raise FormatError(f"{address} has SHA-256 {found}, the original {original.sha256}: not kept")
    checked = "as published" if original.sha256 else "compared with nothing: no published checksum is known"
    return f"{target}: SHA-256 {found}, {checked}; licence {LICENCE}"
