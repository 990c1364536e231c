"""What the README shows works."""

import re
from pathlib import Path

from benchmark.conformance import examine
from benchmark.registry import discover
from methods.base import Method

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_method_shown_passes_the_checks_of_a_method() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    found: dict[str, object] = {}
    exec(code, found)
    method = found["METHOD"]
    assert isinstance(method, Method)
    results = examine(method, discover().task("maze2d-umaze")[0])
    assert [r.message for r in results if not r.passed] == []


def test_targets_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"bench", "test"} <= shown <= targets


def test_paths_shown_exist() -> None:
    shown = set(re.findall(r"`((?:envs|methods|baselines|benchmark|results|reports)/[\w./-]*)`", README))
    missing = {p for p in shown if not (ROOT / p).exists()} - {"reports/out/"}
    assert shown
    assert not missing
