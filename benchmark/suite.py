"""Suites: plain YAML, validated, unrolled into the grid of cells."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from benchmark.cell import Cell
from benchmark.errors import UserError, unknown
from benchmark.provenance import HARNESS, code_hash
from benchmark.registry import Registry
from envs.problem import Task
from methods.base import Method
from results.schema import cell_id

FOLDER = Path(__file__).parent / "suites"
ALL: Literal["all"] = "all"


def parse_seeds(given: Any) -> Any:
    """Seeds from ``0-4``, ``0,2``, ``3`` or a list of numbers.

    Raises:
        ValueError: anything else.
    """
    if isinstance(given, list):
        return given
    seeds: list[int] = []
    for piece in str(given).split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", piece)
        if not match:
            raise ValueError(f"seeds {given!r}: numbers are needed, as in 0-4, 0,2 or 3")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"seeds {given!r}: {first} comes after {last}")
        seeds += range(first, last + 1)
    return list(dict.fromkeys(seeds))


Count = Annotated[int, Field(ge=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(parse_seeds), Field(min_length=1)]


class Suite(BaseModel):
    """A grid of runs. Where tasks or methods are keys, ``all`` stands for each one not named.

    Args:
        description: what it is for, and what it leaves out.
        methods, tasks: names, or ``all``.
        seeds: list, or text such as ``0-4``.
        base_seed: one seed for the base data of every cell, or ``cell``: that of the cell.
        step_budget: environment steps by task; the task's own where it says nothing.
        demos: demonstrations by task; the task's own where it says nothing.
        eval_starts: evaluation starts of each kind; None for all.
        timeout_s: seconds after which a cell is ended.
        smoke: whether methods run with their smoke settings.
        settings: method to task to settings that differ from the method's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    description: str
    methods: Literal["all"] | list[str] = ALL
    tasks: Literal["all"] | list[str] = ALL
    seeds: Seeds
    base_seed: Annotated[int, Field(ge=0)] | Literal["cell"] = "cell"
    step_budget: dict[str, Count] = {}
    demos: dict[str, Count] = {}
    eval_starts: Count | None = None
    timeout_s: float = Field(gt=0)
    smoke: bool = False
    settings: dict[str, dict[str, dict[str, Any]]] = {}


def _explain(error: ValidationError, what: str, keys: Sequence[str]) -> UserError:
    # a misspelt key explains the missing one better than the other way round
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return UserError(f"{what}: {unknown('key', place, keys)}")
    return UserError(f"{what}: {place} = {first['input']!r}: {first['msg']}. Keys: {', '.join(keys)}")


def suite_names() -> list[str]:
    """The suites that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_suite(name: str) -> tuple[str, Suite]:
    """A suite by name, or from a YAML file by path.

    Returns:
        its name and content.

    Raises:
        UserError: unknown name, no such file, or content that is no suite.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if path.parent == FOLDER and name not in suite_names():
        raise unknown("suite", name, suite_names())
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"suite {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"suite {path} holds a {type(content).__name__}; keys and values are needed")
    try:
        return path.stem, Suite(**content)
    except ValidationError as error:
        raise _explain(error, f"suite {path.name}", list(Suite.model_fields)) from error


def parse_assignments(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``method.key=value`` texts as method to {key: value}; values are read as YAML.

    Raises:
        UserError: a text of another form.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        match = re.fullmatch(r"([^.=]+)\.([^=]+)=(.*)", text, re.DOTALL)
        if not match:
            raise UserError(f"--set {text!r}: the form is method.key=value, e.g. bc.epochs=5")
        try:
            found.setdefault(match[1], {})[match[2]] = yaml.safe_load(match[3])
        except yaml.YAMLError as error:
            raise UserError(f"--set {text!r}: the value is no YAML: {error}") from error
    return found


def settings_of(method: Method, task: Task, suite: Suite, assigned: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a method on a task: defaults, tuned, smoke, the suite's, then those assigned.

    Raises:
        UserError: an unknown key or a value of a wrong type.
    """
    own = suite.settings.get(method.name, {})
    merged = {
        **method.tuned.get(task.name, method.tuned.get(task.family, {})),
        **(method.smoke if suite.smoke else {}),
        **own.get(ALL, {}),
        **own.get(task.name, {}),
        **assigned,
    }
    try:
        return method.config(**merged).model_dump(mode="json")
    except ValidationError as error:
        raise _explain(error, f"settings of {method.name}", list(method.config.model_fields)) from error


def _check_names(suite: Suite, registry: Registry) -> None:
    for key in {*suite.step_budget, *suite.demos, *(t for own in suite.settings.values() for t in own)} - {ALL}:
        registry.task(key)
    if not registry.unavailable:  # a method of a module that cannot be imported is not unknown
        for name in suite.settings:
            registry.method(name)


def cells(
    name: str,
    suite: Suite,
    registry: Registry,
    methods: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (),
    assigned: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Cell]:
    """The grid, seed by seed, method by method.

    Args:
        name: of the suite.
        suite: its content.
        registry: what there is to run.
        methods, tasks, seeds: instead of the suite's own, where given.
        assigned: method to settings that win over all others.

    Raises:
        UserError: unknown names, or settings that a method does not take.
    """
    _check_names(suite, registry)
    method_names = list(methods) or (list(registry.methods) if suite.methods == ALL else list(suite.methods))
    task_names = list(tasks) or (list(registry.tasks) if suite.tasks == ALL else list(suite.tasks))
    chosen = [registry.method(method) for method in dict.fromkeys(method_names)]
    posed = [registry.task(task) for task in dict.fromkeys(task_names)]
    assigned = assigned or {}
    for method in assigned:
        if method not in (running := [found.name for found, _ in chosen]):
            raise unknown("method in --set", method, running)

    def cell(seed: int, method: Method, method_module: str, task: Task, task_module: str) -> Cell:
        identity: dict[str, Any] = {
            "method": method.name,
            "task": task.name,
            "seed": seed,
            "demos": suite.demos.get(task.name, suite.demos.get(ALL, task.default_demos)),
            "step_budget": suite.step_budget.get(task.name, suite.step_budget.get(ALL, task.step_budget)),
            "base_seed": seed if suite.base_seed == "cell" else suite.base_seed,
            "eval_starts": suite.eval_starts,
            "config": settings_of(method, task, suite, assigned.get(method.name, {})),
            "code": code_hash(method_module, task_module, *HARNESS),
        }
        return Cell(
            id=cell_id(**identity),
            method_module=method_module,
            task_module=task_module,
            title=method.title,
            task_title=task.title,
            control=method.control,
            suite=name,
            timeout_s=suite.timeout_s,
            **identity,
        )

    return [
        cell(seed, method, method_module, task, task_module)
        for seed in (seeds or suite.seeds)
        for method, method_module in chosen
        for task, task_module in posed
    ]
