"""What others build on says what it takes: all that is public has a docstring, which names every argument."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

MODULES = (
    "methods.base",
    "methods.policies",
    "methods.rewards",
    "envs.problem",
    "envs.own",
    "benchmark.distances",
    "benchmark.sampled_distances",
)


def public(module: str) -> Iterator[tuple[str, Any]]:
    """Name and object of every public class, function and method that a module defines, overrides apart."""
    for name, thing in vars(import_module(module)).items():
        defined = inspect.isclass(thing) or inspect.isfunction(thing)
        if name.startswith("_") or not defined or thing.__module__ != module:
            continue
        yield name, thing
        for part, inner in vars(thing).items() if inspect.isclass(thing) else ():
            called = inner.fget if isinstance(inner, property) else getattr(inner, "__func__", inner)
            inherited = any(hasattr(base, part) for base in thing.__bases__)
            if inspect.isfunction(called) and called.__name__ == part and not part.startswith("_") and not inherited:
                yield f"{name}.{part}", called


@pytest.mark.parametrize("module", MODULES)
def test_every_argument_is_named(module: str) -> None:
    missing = []
    for name, thing in public(module):
        told = thing.__doc__ or ""
        own = vars(thing).get("__init__", object) if inspect.isclass(thing) else thing
        fields = {field for base in getattr(thing, "__mro__", ())[1:] for field in inspect.get_annotations(base)}
        taken = [p for p in inspect.signature(own).parameters.values() if p.name not in fields | {"self", "cls"}]
        arguments = [p.name for p in taken if p.kind is p.POSITIONAL_OR_KEYWORD and own is not object]
        if not told or told.startswith(f"{thing.__name__}("):  # what dataclass writes where nobody did
            missing.append(name)
        missing += [f"{name}: {one}" for one in arguments if not re.search(rf"\b{one}\b", told)]
    assert missing == []
