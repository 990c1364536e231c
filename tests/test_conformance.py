"""Every method that is found, on its smoke settings, against every check. A new method is tested by being there."""

from functools import cache

import pytest

from benchmark.conformance import DYNAMIC, STATIC, Fitted, examine, fit
from benchmark.registry import discover
from envs.problem import Task
from methods.base import Method
from tests import toys

FOUND = discover()
METHODS = sorted(FOUND.methods)
TASKS = [name for name in ("maze2d-umaze", "halfcheetah") if name in FOUND.tasks]


@cache
def fitted(method: str, task: str) -> Fitted:
    return fit(FOUND.method(method)[0], FOUND.task(task)[0])


def test_nothing_is_unavailable() -> None:
    assert not FOUND.unavailable


@pytest.mark.parametrize("check", STATIC, ids=lambda check: check.__name__)
@pytest.mark.parametrize("method", METHODS)
def test_description(method: str, check) -> None:  # type: ignore[no-untyped-def]
    check(FOUND.method(method)[0])


@pytest.mark.parametrize("check", DYNAMIC, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    ("method", "task"),
    [pytest.param(m, t, marks=pytest.mark.xdist_group(f"{m}-{t}")) for t in TASKS for m in METHODS],
)
def test_behaviour(method: str, task: str, check) -> None:  # type: ignore[no-untyped-def]
    check(fitted(method, task))


def failures(method: Method, task: Task) -> set[str]:
    return {result.name for result in examine(method, task) if not result.passed}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (toys.PROPER, set()),
        (toys.GOOD, {"repeatable"}),  # draws from global generators
        (toys.RAISES, {"fit"}),
        (toys.NAN_REWARD, {"reward_fits", "saved_and_loaded", "repeatable"}),  # NaN differs from itself
        (toys.GREEDY, {"fit"}),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_the_checks_can_fail(method: Method, expected: set[str]) -> None:
    assert failures(method, FOUND.task("maze2d-umaze")[0]) == expected
