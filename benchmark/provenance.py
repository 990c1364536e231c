"""Where a result comes from: code, versions, machine."""

import ast
import hashlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
NEUTRAL = Path(__file__).with_name("neutral.yaml")
HARNESS = ("benchmark.pose", "benchmark.score")  # the harness files that decide numbers, with all they import
DECISIVE = {"envs", "methods", "baselines", "benchmark"}  # results and reports only carry numbers on
PACKAGES = ("torch", "mujoco", "numpy", "scipy", "gymnasium", "stable-baselines3", "imitation")


@cache
def _source(module: str) -> Path | None:
    """The file of a module, found without importing it."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def imports(path: Path, module: str = "") -> tuple[str, ...]:
    """Every module that a file's import statements may name, wherever in the file they stand.

    Args:
        path: the file.
        module: its name, from which relative imports go.
    """
    found: list[str] = []
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join(filter(None, [*above, node.module]))
            found += [name, *(f"{name}.{alias.name}" for alias in node.names)]
    return tuple(filter(None, found))


def sources(modules: Iterable[str]) -> dict[str, Path]:
    """The modules' own files and, transitively, those they import within this project or their own package.

    Data files that lie in a folder ``policies/`` beside a module and start with its name belong to it.
    """
    queue = list(modules)
    packages = DECISIVE | {module.split(".")[0] for module in queue}
    found: dict[str, Path] = {}
    while queue:
        module = queue.pop()
        if module in found or module.split(".")[0] not in packages or (path := _source(module)) is None:
            continue
        found[module] = path
        queue += imports(path, module)
        for data in sorted((path.parent / "policies").glob(f"{path.stem}*")):
            found[f"{module}/{data.name}"] = data
    return found


def _meaning(node: Any) -> Any:
    """A syntax tree as nested lists without what runs nothing: comments, layout, docstrings; equal in all Pythons."""
    if isinstance(node, list):
        return [_meaning(inner) for inner in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if documented and ast.get_docstring(node) is not None:  # type: ignore[arg-type]
        fields["body"] = fields["body"][1:]
    return [type(node).__name__, *([name, _meaning(value)] for name, value in sorted(fields.items()))]


@cache
def digest(path: Path) -> str:
    """64 hex digits over a file; of Python, over its code without comments and docstrings."""
    content = path.read_bytes()
    if path.suffix == ".py":
        content = repr(_meaning(ast.parse(content))).encode()
    return hashlib.sha256(content).hexdigest()


@cache
def _before() -> dict[str, str]:
    """Digest of a file after edits that change no result, to the one before them."""
    return {edit["now"]: edit["before"] for edit in yaml.safe_load(NEUTRAL.read_text()).values()}


@cache
def code_hash(*modules: str) -> str:
    """16 hex digits over the sources of ``modules`` and all that they import of ours.

    Comments, docstrings, and edits that :data:`NEUTRAL` lists do not count.
    """
    found = hashlib.sha256()
    for name, path in sorted(sources(modules).items()):
        found.update(name.encode() + b"\0" + bytes.fromhex(_before().get(digest(path), digest(path))))
    return found.hexdigest()[:16]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def provenance() -> dict[str, Any]:
    """Commit, difference to it, versions and machine, as plain data."""
    diff = _git("diff", "HEAD")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "diff": hashlib.sha256(diff.encode()).hexdigest()[:16] if diff else "",
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": 1,
        "device": "cpu",
    }
