"""What is built can be installed elsewhere and found there: wheel, sdist, and a plug-in package beside it."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import copy_checkout

ROOT = Path(__file__).parents[1]
PLUGIN = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "guest"
version = "1"
[project.entry-points."irlbench.methods"]
guest = "guest.method"
broken = "guest.broken"
[project.entry-points."irlbench.tasks"]
guest = "guest.task"
broken-task = "guest.broken"
[tool.setuptools]
packages = ["guest"]
""",
    "guest/__init__.py": "",
    "guest/broken.py": "raise RuntimeError('not today')\n",
    "guest/task.py": """
from dataclasses import replace
from envs import maze2d
TASK = replace(maze2d.UMAZE_TASK, name="guest-maze", title="Guest maze")
""",
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@dataclass(frozen=True)
class Built:
    """A copy of the sources, and what was built from it: the checkout gets no build folders."""

    copy: Path
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    copy, dist = copy_checkout(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, cwd=copy)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return Built(copy, wheel, sdist)


def test_wheel_and_sdist_hold_code_and_data(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        inside = set(archive.namelist())
    with tarfile.open(built.sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("benchmark", "methods", "baselines", "envs", "results", "reports"):
        needed = {str(path.relative_to(built.copy)) for path in (built.copy / folder).rglob("*") if path.is_file()}
        assert needed - inside == set()
        assert needed - source == set()
    assert {name.split("/")[0] for name in inside if ".dist-info" not in name} <= {
        *("benchmark", "methods", "baselines", "envs", "results", "reports")
    }


def test_a_plug_in_package_is_found_and_runs_in_a_fresh_environment(built: Built, tmp_path: Path) -> None:
    package = tmp_path / "package"
    method = (ROOT / "baselines" / "_template.py").read_text(encoding="utf-8").replace('"mine"', '"guest"')
    for name, text in {**PLUGIN, "guest/method.py": method}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # the dependencies are this environment's; its own editable irlbench is not seen through a path file
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for what in (built.wheel, package):
        install = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site)
        run(sys.executable, "-m", "pip", *install, what, cwd=tmp_path)

    home = tmp_path / "elsewhere"
    home.mkdir()
    found = json.loads(run(python, "-m", "benchmark", "list", "--json", cwd=home))
    assert str(site) in run(python, "-c", "import benchmark; print(benchmark.__file__)", cwd=home)
    assert found["methods"]["guest"]["module"] == "guest.method"
    assert found["tasks"]["guest-maze"]["title"] == "Guest maze"
    broken = dict.fromkeys(("entry point broken", "entry point broken-task"), "RuntimeError: not today")
    assert found["unavailable"] == broken

    for name, task in (("guest", "guest-maze"), ("guest.method:METHOD", "maze2d-umaze")):
        command = ("run", "smoke", "--method", name, "--task", task, "--workers", "0", "--no-report")
        run(python, "-m", "benchmark", *command, cwd=home)
    records = [json.loads(path.read_text()) for path in (home / "results" / "runs").glob("*.json")]
    assert sorted((r["method"], r["task"], r["status"]) for r in records) == [
        ("guest", "guest-maze", "ok"),
        ("guest", "maze2d-umaze", "ok"),
    ]


def test_folders_of_the_same_names_in_the_working_directory_are_not_taken_for_ours(tmp_path: Path) -> None:
    for name in ("baselines", "envs", "methods", "reports", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    code = "import sys; sys.path.insert(0, ''); import benchmark, baselines, envs, methods, reports, results"
    run(sys.executable, "-c", code, cwd=tmp_path)
