"""Tests run on one thread each and share one cache of built data, apart from the user's."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import pytest
import torch

if TYPE_CHECKING:
    from tests.desk import Desk

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One cache for all workers of the session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "cache"
    os.environ["IRLBENCH_CACHE"] = str(folder)
    return folder


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> "Desk":
    """A user in an empty folder."""
    from tests.desk import Desk

    return Desk(tmp_path, capsys, monkeypatch)


def copy_checkout(target: Path) -> Path:
    """Copies the checkout's sources, tracked or new, without tests and records: a place where a test may write."""
    root = Path(__file__).parents[1]
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    for name in subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines():
        if (root / name).is_file() and not name.startswith(("tests/", "results/reference")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target / name)
    return target
