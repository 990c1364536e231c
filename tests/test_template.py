"""A method of one's own starts from a file that passes every check as it stands."""

import importlib.util
from pathlib import Path

import pytest

from benchmark.conformance import examine
from benchmark.errors import UserError
from benchmark.registry import discover, methods_in, new_method


def test_a_new_method_passes_all_checks_as_it_stands(tmp_path: Path) -> None:
    path = new_method("my-method", tmp_path)
    spec = importlib.util.spec_from_file_location("my_method", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (method,) = methods_in(module)
    assert (method.name, method.title, path.name) == ("my-method", "My-method", "my_method.py")
    assert [r.message for r in examine(method, discover().task("maze2d-umaze")[0]) if not r.passed] == []


@pytest.mark.parametrize("name", ["gail", "My Method", "../evil", "my-method"])
def test_names_that_are_taken_or_no_names_write_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "my_method.py").write_text("mine\n")
    with pytest.raises(UserError, match=r"is there already|only lower-case"):
        new_method(name, tmp_path)
    assert [path.read_text() for path in tmp_path.rglob("*")] == ["mine\n"]
