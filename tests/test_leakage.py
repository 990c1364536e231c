"""A method that searches everything it is given for the true reward, and finds nothing."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.cell import run_cell
from benchmark.pose import pose
from benchmark.registry import discover
from benchmark.suite import Suite, cells
from envs.datasets import cache_dir, truth_dir
from envs.metered import BudgetExceeded, Meter, MeteredEnv
from envs.physics import BatchEnv
from envs.problem import Dataset, Privileged, Problem, Task
from envs.vecenv import MeteredVecEnv
from methods.base import Config, Learned, Method
from results.store import Store
from tests.toys import ToyConfig, learned

# numbers that any record of a task may repeat by chance say nothing
ENOUGH = 20


def inside(thing: Any) -> Iterator[tuple[str, Any]]:
    """What can be reached from an object in one step, by fields, items, closures and defaults.

    Not by a function's module: that is importing the task, which a reader of the method's source sees at once.
    """
    if isinstance(thing, dict):
        yield from ((f"[{key!r}]", value) for key, value in thing.items())
        yield from (("key", key) for key in thing)
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from ((f"[{i}]", value) for i, value in enumerate(thing))
    elif isinstance(thing, functools.partial):
        yield from (("func", thing.func), ("args", thing.args), ("keywords", thing.keywords))
    elif isinstance(thing, FunctionType):
        yield from (
            ("closure", thing.__closure__),
            ("defaults", thing.__defaults__),
            ("kwdefaults", thing.__kwdefaults__),
        )
        yield "wrapped", getattr(thing, "__wrapped__", None)
    elif isinstance(thing, CellType):
        yield "cell", thing.cell_contents
    elif isinstance(thing, MethodType):
        yield from (("self", thing.__self__), ("func", thing.__func__))
    elif not isinstance(thing, type | ModuleType):
        slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
        fields = {**getattr(thing, "__dict__", {}), **{name: getattr(thing, name, None) for name in slots}}
        yield from ((f".{name}", value) for name, value in fields.items())


def walk(roots: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every object that can be reached, once, with the way to it."""
    seen: dict[int, Any] = {}
    queue = list(roots.items())
    while queue:
        path, thing = queue.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing  # kept alive: an id is used again
        yield path, thing
        queue += [(path + step, value) for step, value in inside(thing)]


def arrays_of(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every array, or list of numbers, in a data file."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            yield from ((f"{path.name}:{name}", file[name]) for name in file)
    elif path.suffix == ".json":
        for way, thing in walk({path.name: json.loads(path.read_text())}):
            if isinstance(thing, list) and thing and isinstance(thing[0], int | float):
                yield way, np.array(thing, float)


@dataclasses.dataclass
class Truth:
    """What must not be found: the true rewards and returns of a task's data."""

    task: Task
    known: list[np.ndarray] = dataclasses.field(default_factory=list)

    def learn(self, *data: Dataset) -> "Truth":
        for each in data:
            self.known += [each.rewards.ravel(), each.returns]
        return self

    def tells(self, path: str, thing: Any) -> bool:
        """Whether an object is, or gives, the true reward."""
        if isinstance(thing, Task | Dataset | Privileged) or thing in self.functions(thing):
            return True
        if isinstance(thing, str):
            return Path(thing).is_file() and Path(thing).resolve().is_relative_to(truth_dir())
        if isinstance(thing, torch.Tensor):
            thing = thing.detach().numpy()
        return isinstance(thing, np.ndarray) and thing.dtype.kind == "f" and self.repeats(thing)

    def functions(self, thing: Any) -> list[Any]:
        return [self.task.reward, self.task.observed_reward, self.task.demos, self.task.base] if callable(thing) else []

    def repeats(self, array: np.ndarray) -> bool:
        """Whether an array holds true rewards or returns, to the last bit of float32, in whatever order."""
        values = array.astype(np.float32)
        return any(np.isin(np.unique(truth)[:: len(truth) // 200 + 1], values).sum() >= ENOUGH for truth in self.known)


def found_in(problem: Problem, truth: Truth) -> list[str]:
    """Every place that tells of the true reward: objects, what the environment returns, data files."""
    rng = np.random.default_rng(0)
    env, vec = problem.make_env(2, rng), MeteredVecEnv(problem.make_env(2, rng))
    acts = np.zeros((2, *problem.action_space.shape), np.float32)
    given: dict[str, Any] = {"problem": problem, "env": env, "vec": vec}
    given["outputs"] = [env.reset(), env.step(acts), vec.reset()]
    for _ in range(problem.horizon):  # to the end of an episode, where infos are
        obs, rewards, over, infos = vec.step(acts)
        assert not rewards.any()
    given["infos"] = [obs, over, infos]
    reached = list(walk(given))
    assert any(isinstance(thing, BatchEnv) for _, thing in reached)  # what the environment wraps is searched too
    places = [path for path, thing in reached if truth.tells(path, thing)]
    for file in cache_dir().rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a file that another worker's test has planted and removed again
            places += [path for path, array in arrays_of(file) if truth.tells(path, array)]
    return places


def snoop(problem: Problem, config: Config, rng: np.random.Generator) -> Learned:
    """Fails if it finds anything. It knows what to look for from the task, as only a test may."""
    task = discover().task(problem.task)[0]
    truth = Truth(task).learn(task.base(0), task.demos(len(problem.demos), 0))
    if places := found_in(problem, truth):
        raise AssertionError(f"the true reward is told by {places}")
    return learned(problem, ToyConfig(), rng)


SNOOP = Method(name="snoop", title="Snoop", source="this project's tests", fit=snoop)
TASKS = ["maze2d-umaze", "halfcheetah"]


@pytest.mark.parametrize("name", TASKS)
def test_nothing_that_a_method_is_given_tells_of_the_true_reward(name: str, tmp_path: Path) -> None:
    """Run by the harness, as any method."""
    suite = Suite(description="audit", methods=[], seeds="0", base_seed=0, eval_starts=2, timeout_s=600)
    registry = discover()
    (cell,) = cells("audit", suite, registry, ["tests.test_leakage:SNOOP"], [name])
    store = Store(tmp_path)
    store.prepare()
    record = run_cell(cell, store, {}, lambda fraction, values: None)
    assert record.status == "ok", record.reason


@functools.cache
def problem(privileged: bool = False) -> Problem:
    task = discover().task("maze2d-umaze")[0]
    return pose(task, 0, 2, 10_000, 0, privileged, lambda fraction, values: None).problem


def planted(kind: str) -> Problem:
    """A problem with one leak."""
    task = discover().task("maze2d-umaze")[0]
    good = problem()
    match kind:
        case "privileged":
            return problem(privileged=True)
        case "closure":
            changed = lambda fraction, values: task.horizon  # noqa: E731
        case "default":
            data = task.base(0)
            changed = lambda fraction, values, kept=data: None  # noqa: E731
        case "rewards":
            changed = functools.partial(print, task.base(0).rewards.copy())
        case "returns":
            changed = functools.partial(print, [task.base(0).returns * 1.0])
        case "file":
            changed = functools.partial(print, str(next(truth_dir().glob("maze2d-umaze-base*.npz"))))
    base_env = good._base_env
    fields = {f.name: getattr(good, f.name) for f in dataclasses.fields(good) if f.init}
    return Problem(**fields | {"base_env": base_env, "progress": changed})


@pytest.mark.parametrize("kind", ["privileged", "closure", "default", "rewards", "returns", "file"])
def test_a_leak_is_found(kind: str) -> None:
    task = discover().task("maze2d-umaze")[0]
    truth = Truth(task).learn(task.base(0))
    assert not [path for path, thing in walk({"problem": problem()}) if truth.tells(path, thing)]
    assert [path for path, thing in walk({"problem": planted(kind)}) if truth.tells(path, thing)]


def test_a_leak_in_the_data_files_is_found() -> None:
    task = discover().task("maze2d-umaze")[0]
    truth = Truth(task).learn(task.base(0))
    path = cache_dir() / "leak.npz"
    np.savez(path, anything=task.base(0).rewards)
    try:
        assert any(place.startswith("leak.npz") for place in found_in(problem(), truth))
    finally:
        path.unlink()


def test_the_budget_has_no_open_door() -> None:
    meter = Meter(3)
    for name in ("budget", "used"):
        with pytest.raises(AttributeError):
            setattr(meter, name, 10**9)
    env = MeteredEnv(problem()._base_env(2), meter, np.random.default_rng(0))
    env.reset()
    env.step(np.zeros((2, 2), np.float32))
    with pytest.raises(BudgetExceeded):
        env.step(np.zeros((2, 2), np.float32))
    assert not [name for name in dir(problem()) if name == "base_env"]
