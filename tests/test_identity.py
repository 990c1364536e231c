"""What makes a cell another one: an edit reruns the cells that it can change, and no others."""

from pathlib import Path

import pytest

from benchmark import provenance, registry
from benchmark.suite import cells, load_suite
from tests.desk import ROOT


def forget() -> None:
    for cached in (provenance.code_hash, provenance.imports, provenance._source, provenance._digest):
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


def test_an_edit_reruns_only_the_cells_whose_method_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, original = registry.discover(), provenance._source
    name, suite = load_suite("smoke")

    def ids() -> dict[str, str]:
        provenance.code_hash.cache_clear()
        return {cell.method: cell.id for cell in cells(name, suite, found, tasks=["maze2d-umaze"])}

    before, edited = ids(), tmp_path / "similarity.py"
    edited.write_text((ROOT / "methods" / "similarity.py").read_text() + "\nEDITED = True\n")
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_source", lambda m: edited if m == "methods.similarity" else original(m))
        after = ids()
    forget()
    changed = {method for method in before if before[method] != after[method]}
    thesis = {method for method, (_, module) in found.methods.items() if module == "methods.diffusion_irl"}
    assert thesis and thesis <= changed
    assert not changed & {"gail", "airl", "maxent", "dac", "bc", "sqil", "expert", "random", "unguided-diffuser"}


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
    for changes in ({"seeds": [1]}, {"base_seed": 1}, {"step_budget": {"all": 5}}, {"demos": {"all": 3}}):
        assert not ids(**changes) & same, changes
    assert not ids(eval_starts=1) & same
