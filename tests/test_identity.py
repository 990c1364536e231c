"""What makes a cell another one: an edit reruns the cells that it can change, and no others."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmark import provenance, registry
from benchmark.suite import cells, load_suite
from tests.conftest import copy_checkout


@pytest.fixture(autouse=True)
def nothing_stays_cached() -> Iterator[None]:
    yield
    forget()


def forget() -> None:
    for cached in (provenance.code_hash, provenance.imports, provenance._source, provenance.digest, provenance._before):
        cached.cache_clear()


def test_the_code_hash_follows_what_a_method_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "plug"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "method.py").write_text("def f():\n    from plug import helper\n    import numpy\n")
    (package / "helper.py").write_text("x = 1")
    (package / "other.py").write_text("x = 1")

    def digest() -> str:
        forget()
        return provenance.code_hash("plug.method")

    assert {"plug.method", "plug.helper"} <= provenance.sources(["plug.method"]).keys()
    before = digest()
    (package / "other.py").write_text("x = 2")
    assert digest() == before
    (package / "helper.py").write_text("x = 2")
    assert digest() != before


@pytest.mark.parametrize("words", ["from .helper import x", "from . import helper", "from ..near.helper import x"])
def test_the_code_hash_follows_relative_imports(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    inner = tmp_path / "plug_around" / "near"
    inner.mkdir(parents=True)
    (inner / "__init__.py").write_text("from .method import METHOD\n")
    (inner.parent / "__init__.py").touch()
    (inner / "method.py").write_text(f"{words}\nMETHOD = 1\n")
    (inner / "helper.py").write_text("x = 1")
    forget()
    assert "plug_around.near.helper" in provenance.sources(["plug_around.near"])


def test_words_about_code_change_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest(source: str) -> str:
        (tmp_path / "plug_words.py").write_text(source)
        forget()
        return provenance.code_hash("plug_words")

    plain = digest("def f(x):\n    return x + 1\n")
    assert digest('"""Says."""\n\ndef f(x):\n    """Adds."""\n    return (x\n        + 1)  # one\n') == plain
    assert digest("def f(x):\n    return x + 2\n") != plain
    assert digest("def f(x):\n    'a'\n") != digest("def f(x):\n    return 'a'\n")


def test_an_edit_listed_as_neutral_changes_no_hash_and_the_next_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(provenance, "NEUTRAL", tmp_path / "neutral.yaml")
    file, listed = tmp_path / "plug_neutral.py", {"plug_neutral.py": {"before": "", "now": "", "why": "a sum commutes"}}

    def found(source: str) -> str:
        file.write_text(source)
        (tmp_path / "neutral.yaml").write_text(json.dumps(listed))
        forget()
        return provenance.code_hash("plug_neutral")

    before = found("def f(x):\n    return x + 1\n")
    listed["plug_neutral.py"]["before"] = provenance.digest(file)
    assert found("def f(x):\n    return 1 + x\n") != before
    listed["plug_neutral.py"]["now"] = provenance.digest(file)
    assert found("def f(x):\n    return 1 + x\n") == before
    assert found("def f(x):\n    return 2 + x\n") != before


def test_what_is_listed_as_neutral_is_the_code_that_stands() -> None:
    for name, edit in yaml.safe_load(provenance.NEUTRAL.read_text()).items():
        assert edit.keys() == {"before", "now", "why"} and edit["why"], name
        now = provenance.digest(provenance.ROOT / name)
        assert now == edit["now"] != edit["before"], (
            f"{name} is now {now}: enter that if it is neutral, else delete {name}"
        )


def test_an_edit_reruns_only_the_cells_whose_method_imports_it(tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path / "copy")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def ids() -> dict[tuple[str, str], str]:
        command = [sys.executable, "-m", "benchmark", "run", "smoke", "--dry-run", "--json"]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=True)
        return {(cell["method"], cell["task"]): cell["id"] for cell in json.loads(done.stdout)["todo"]}

    before = ids()
    for words in ("README.md", "docs/protocol.md", "reports/ANALYSIS.md"):
        (copy / words).write_text((copy / words).read_text() + "edited\n")
    for code in ("benchmark/runner.py", "benchmark/display.py", "reports/page.py"):
        (copy / code).write_text((copy / code).read_text() + "\nEDITED = True\n")
    assert ids() == before
    (copy / "methods/similarity.py").write_text((copy / "methods/similarity.py").read_text() + "\nEDITED = True\n")
    after = ids()
    thesis = {f"diffusion-irl-{similarity}" for similarity in ("mse", "mmd-gaussian", "mmd-matern")}
    assert {cell for cell in before if before[cell] != after[cell]} == {cell for cell in before if cell[0] in thesis}
    assert len({cell[0] for cell in before}) > 12 and len({cell[0] for cell in before} & thesis) == 3


def test_the_code_hash_covers_harness_and_data_but_not_other_methods() -> None:
    found = provenance.sources(["methods.diffusion_irl", "envs.halfcheetah", *provenance.HARNESS])
    assert {"methods.diffuser", "methods.base", "benchmark.metrics", "benchmark.references", "envs.physics"} <= set(
        found
    )
    assert not any(name.startswith(("baselines", "reports", "benchmark.runner", "torch")) for name in found)


def test_identity_changes_with_what_decides_the_result(tmp_path: Path) -> None:
    found = registry.discover()
    base = load_suite("smoke")[1]

    def ids(**changes: object) -> set[str]:
        suite = base.model_copy(update={"methods": ["expert"], "tasks": ["maze2d-umaze"], **changes})
        return {cell.id for cell in cells("any", suite, found)}

    same = ids()
    assert ids(timeout_s=1.0, description="other") == same
    for changes in ({"seeds": [1]}, {"base_seed": 1}, {"step_budget": {"all": 5}}, {"demos": {"all": 4}}):
        assert not ids(**changes) & same, changes
    assert not ids(eval_starts=1) & same
