"""Every method that is found, on its smoke settings, against every check. A new method is tested by being there."""

from dataclasses import replace
from functools import partial

import pytest

from benchmark.conformance import examine
from benchmark.registry import discover
from envs.problem import Task
from methods.base import Method
from tests import toys

FOUND = discover()
METHODS = sorted(FOUND.methods)
TASKS = [name for name in ("maze2d-umaze", "halfcheetah") if name in FOUND.tasks]


def test_nothing_is_unavailable() -> None:
    assert not FOUND.unavailable
    assert not {task for method, _ in FOUND.methods.values() for task in method.tuned} - FOUND.tasks.keys()


@pytest.mark.parametrize("task", sorted(name for name, (task, _) in FOUND.tasks.items() if task.kin))
def test_a_variant_of_a_task_fits_a_method(task: str) -> None:
    assert [result for result in examine(FOUND.method("bc")[0], FOUND.task(task)[0]) if not result.passed] == []


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_method(method: str, task: str) -> None:
    results = examine(FOUND.method(method)[0], FOUND.task(task)[0])
    assert [f"{result.name}: {result.message}" for result in results if not result.passed] == []


def failures(method: Method, task: Task) -> set[str]:
    return {result.name for result in examine(method, task) if not result.passed}


def test_a_failure_is_placed_in_the_methods_own_file_even_through_a_partial() -> None:
    for method in (toys.RAISES, replace(toys.RAISES, fit=partial(toys.RAISES.fit))):
        (failed,) = (r for r in examine(method, FOUND.task("maze2d-umaze")[0]) if not r.passed)
        assert failed.name == "fit" and "(toys.py, line " in failed.message


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (toys.PROPER, set()),
        (toys.GOOD, {"repeatable"}),  # draws from global generators
        (toys.RAISES, {"fit"}),
        (toys.NAN_REWARD, {"reward_fits"}),
        (toys.GREEDY, {"fit"}),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_the_checks_can_fail(method: Method, expected: set[str]) -> None:
    assert failures(method, FOUND.task("maze2d-umaze")[0]) == expected
