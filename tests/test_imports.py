"""Holds the one-way rule: which package may import which."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "envs": {"envs"},
    "results": {"results"},
    "methods": {"methods", "envs"},
    "baselines": {"baselines", "methods", "envs"},
    "reports": {"reports", "results"},
    "benchmark": {"benchmark", "baselines", "methods", "envs", "results", "reports"},
}
FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    """Every module or member that a source imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(path: str, source: str) -> list[str]:
    """Imports of ours that a file of this path may not have."""
    package, file = path.split("/")[0], path.split("/")[-1].removesuffix(".py")
    found = []
    for name in imported(source):
        top, _, rest = name.partition(".")
        if top in ALLOWED and top not in ALLOWED[package]:
            found.append(f"{path} imports {name}: {package} may import {', '.join(sorted(ALLOWED[package]))} only")
        member = rest.split(".")[0]
        if package == top == "baselines" and not member.startswith("_") and member != file:
            found.append(f"{path} imports {name}: a baseline never imports another")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down_only(path: Path) -> None:
    assert not offences(str(path.relative_to(ROOT)), path.read_text())


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("envs/a.py", "from methods.base import Method"),
        ("methods/a.py", "def f():\n    import results.store"),
        ("reports/a.py", "import methods.base"),
        ("baselines/a.py", "from baselines.b import f"),
        ("baselines/a.py", "from baselines import b"),
        ("results/a.py", "import envs"),
    ],
)
def test_the_rule_can_fail(path: str, source: str) -> None:
    assert offences(path, source)


def test_shared_helpers_of_baselines_are_allowed() -> None:
    assert not offences("baselines/a.py", "from baselines._sac import SAC\nimport baselines._imitation")


def test_only_the_harness_reads_true_rewards() -> None:
    for package in ("methods", "baselines"):
        for path in (ROOT / package).rglob("*.py"):
            assert not {"envs.problem.Task", "envs.problem.Dataset"} & set(imported(path.read_text())), path
