"""Suites: plain YAML, validated, unrolled into the grid of cells."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from benchmark.cell import Cell
from benchmark.errors import UserError, as_user_error, demand, unknown
from benchmark.provenance import HARNESS
from benchmark.registry import Registry, task_code
from envs.own import RecordedTask, line_of
from envs.problem import Task
from methods.base import Method
from methods.tuned import laid_over, trials, with_settings
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

    A file may also ``include`` another suite, by name or by path beside it: its own keys are laid over that one's, and
    ``null`` drops one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    description: str  # what it is for, and what it leaves out
    methods: Literal["all"] | list[str] = ALL
    tasks: Literal["all"] | list[str] = ALL
    seeds: Seeds  # list, or text such as ``0-4``
    base_seed: Annotated[int, Field(ge=0)] | Literal["cell"] = "cell"  # of the base data: one for all, or the cell's
    # environment steps by task, or by task and method; the task's own where this says nothing
    step_budget: dict[str, Count | dict[str, Count]] = {}
    demos: dict[str, Count | Annotated[list[Count], Field(min_length=1)]] = {}  # by task; a list is run through
    eval_starts: Count | None = None  # of each kind; None for all
    timeout_s: float = Field(gt=0)  # after which a cell is ended; waiting for a core does not count
    memory_mib: Count | None = None  # above which a cell is ended
    gpus: dict[str, Annotated[float, Field(ge=0)]] = {}  # share of one by method, set aside by ``--executor ray``
    smoke: bool = False  # whether methods run with their smoke settings
    studies: Path | None = None  # folder, beside the file, of ``tune --into``: these choices over the methods' own
    settings: dict[str, dict[str, dict[str, Any]]] = {}  # method, task, then as in ``planning.scale``
    reoptimise: dict[str, dict[str, Count]] = {}  # method, task, then environment steps of agents on the learnt reward
    # method, setting, values to run through
    sweep: dict[str, dict[str, Annotated[list[Any], Field(min_length=1)]]] = {}
    also: list[str] = []  # suites that are run along with it, each reported under its own name
    _files: dict[Path, str] = PrivateAttr({})  # texts that it was read from, to say where an error stands
    _studies: dict[tuple[str, str], dict[str, Any]] = PrivateAttr({})  # what its folder holds, by method and task

    def budget(self, method: str, task: Task) -> int:
        """The environment steps that it gives a method on a task."""
        given = _of(self.step_budget, task.name, task.step_budget)
        return int(_of(given, method, task.step_budget) if isinstance(given, dict) else given)

    def demonstrations(self, task: Task) -> list[int]:
        """The numbers of demonstrations that it runs a task with."""
        given = _of(self.demos, task.name, task.default_demos)
        return given if isinstance(given, list) else [given]

    def study(self, method: str, task: Task) -> dict[str, Any] | None:
        """Its own study of a method on a task, or else on the task's family; None without one."""
        return self._studies.get((method, task.name), self._studies.get((method, task.family)))


def _of(given: Mapping[str, Any], name: str, default: Any) -> Any:
    """What stands under a name, else under ``all``, else the default."""
    return given.get(name, given.get(ALL, default))


def _explain(
    error: ValidationError, what: str, model: type[BaseModel], files: Mapping[Path, str], *above: tuple[str, ...]
) -> UserError:
    """In words, and with the line of the first of ``files`` in which the key stands, below keys of ``above`` if any."""
    # a misspelt key explains the missing one better than the other way round
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    for (path, text), over in product(files.items(), above or [()]):
        if line := line_of(text, (*over, *first["loc"]), len(over) + 1):
            what += f" ({path}, line {line})"
            break
    place = ".".join(str(part) for part in first["loc"])
    for part in first["loc"][:-1]:
        inner = model.model_fields[str(part)].annotation if part in model.model_fields else None
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
    keys = [".".join(map(str, (*first["loc"][:-1], key))) for key in model.model_fields]
    if first["type"] == "extra_forbidden":
        return UserError(f"{what}: {unknown('key', place, keys)}")
    return UserError(f"{what}: {place} = {first['input']!r}: {first['msg']}. Keys: {', '.join(keys)}")


def suite_names() -> list[str]:
    """The suites that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _read(name: str, beside: Path, files: dict[Path, str]) -> tuple[Path, dict[str, Any]]:
    """Path and content, what it includes put under it; ``files`` gets the text of each file that was read."""
    path = beside / name if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if path.parent == FOLDER and path.stem not in suite_names():
        raise unknown("suite", name, suite_names())
    if (resolved := path.resolve()) in files:
        raise UserError(f"suite {path} includes itself")
    with as_user_error(OSError, ValueError, yaml.YAMLError, before=f"suite {path} cannot be read: "):
        files[resolved] = path.read_text(encoding="utf-8")
        content = yaml.safe_load(files[resolved])
    if not isinstance(content, dict):
        raise UserError(f"suite {path} holds a {type(content).__name__}; keys and values are needed")
    if odd := [key for key in content if not isinstance(key, str)]:
        raise UserError(f"suite {path}: key {odd[0]!r} is no text: YAML reads numbers, dates, on and no as others")
    if isinstance(folder := content.get("studies"), str):
        content["studies"] = path.parent / folder
        if not content["studies"].is_dir():
            raise UserError(
                f"suite {path}: studies = {folder!r} is no folder; `python -m benchmark tune --into` makes one"
            )
    if "include" in content:
        content = laid_over(_read(str(content.pop("include")), path.parent, files)[1], content)
    return path, {key: value for key, value in content.items() if value is not None}


def _read_studies(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """By method and task, the studies that ``tune`` has left in a folder."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        with as_user_error(OSError, ValueError, before=f"study {path} cannot be read: "):
            study = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(study, dict) or not {"method", "task", "chosen", "trials"} <= study.keys():
            raise UserError(f"{path} is no study: method, task, chosen and trials are needed, as `tune --into` writes")
        found[study["method"], study["task"]] = study
    return found


def load_suite(name: str, beside: Path = Path()) -> tuple[str, Suite]:
    """Name and content of a suite by name, or from a YAML file by path, which starts at ``beside``.

    Raises:
        UserError: unknown name, no such file, or content that is no suite.
    """
    files: dict[Path, str] = {}
    path, content = _read(name, beside, files)
    try:
        suite = Suite(**content)
    except ValidationError as error:
        raise _explain(error, f"suite {path.name}", Suite, files) from error
    suite._files = files
    suite._studies = _read_studies(suite.studies) if suite.studies else {}
    return path.stem, suite


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
        with as_user_error(yaml.YAMLError, ValueError, before=f"--set {text!r}: the value is no YAML: "):
            found.setdefault(match[1], {})[match[2]] = yaml.safe_load(match[3])
    return found


def _window(config: BaseModel) -> tuple[int, int]:
    """Tokens of a base model's windows and steps of each; no tokens where a method has no base model."""
    base = getattr(config, "base", None)
    return getattr(base, "tokens", 0), getattr(base, "skip", 1)


def settings_of(method: Method, task: Task, suite: Suite, assigned: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a method on a task: defaults, tuned, the suite's study, smoke, the suite's, then those assigned.

    Where the default window is longer than an episode, the default is the longest that is not.

    Raises:
        UserError: an unknown key, a value of a wrong type, or a window that no episode holds.
    """
    own = suite.settings.get(method.name, {})
    merged: dict[str, Any] = {}
    tokens, skip = _window(method.config())
    most = {"base": {"tokens": max(1, task.horizon // skip)}} if tokens * skip > task.horizon else {}
    for layer in (
        most,
        method.tuned.get(task.name, method.tuned.get(task.family, {})),
        (suite.study(method.name, task) or {}).get("chosen", {}),
        method.smoke if suite.smoke else {},
        own.get(ALL, {}),
        own.get(task.name, {}),
        assigned,
    ):
        merged = with_settings(merged, layer)
    try:
        config = method.config(**merged)
    except ValidationError as error:
        places = (("settings", method.name, place) for place in (task.name, ALL))
        raise _explain(error, f"settings of {method.name}", method.config, suite._files, *places) from error
    tokens, skip = _window(config)
    if tokens * skip > task.horizon:
        data = task.data if isinstance(task, RecordedTask) else f"task {task.name}"
        raise UserError(
            f"{data}: episodes of {task.horizon} steps are shorter than the window of {method.name}, "
            f"{tokens} tokens of {skip} steps: base.tokens times base.skip must be at most {task.horizon}"
        )
    try:
        json.dumps(config.model_dump(), default=str, allow_nan=False)
    except ValueError as error:
        given = f"settings of {method.name}: {dict(assigned) or merged}"
        raise UserError(f"{given} hold a number that is not finite, which no record can: take a large one") from error
    return config.model_dump(mode="json")


def _check_names(suite: Suite, registry: Registry) -> None:
    inner = {task for by_method in (suite.settings, suite.reoptimise) for own in by_method.values() for task in own}
    studied, on = {method for method, _ in suite._studies}, {task for _, task in suite._studies}
    for key in {*suite.step_budget, *suite.demos, *inner, *on} - {ALL}:
        registry.task(key)
    if not registry.unavailable:  # a method of a module that cannot be imported is not unknown
        budgets = [name for given in suite.step_budget.values() if isinstance(given, dict) for name in given]
        for name in {*suite.settings, *suite.sweep, *suite.gpus, *suite.reoptimise, *budgets, *studied} - {ALL}:
            registry.method(name)


def identified(
    method: tuple[Method, str], task: tuple[Task, str], reoptimise: int, decides: Mapping[str, Any], **rest: Any
) -> Cell:
    """The cell of a method and a task (each with its module), under the id that all that decides its result gives it.

    What ``decides`` besides, and what not, are fields of :class:`Cell`.
    """
    code = task_code(*task, method[1], *["benchmark.reoptimise"] * bool(reoptimise), *HARNESS)
    identity: dict[str, Any] = {"method": method[0].name, "task": task[0].name, "code": code, **decides}
    identity |= {"reoptimise": reoptimise} if reoptimise else {}
    titles: dict[str, Any] = {"title": method[0].title, "task_title": task[0].title, "control": method[0].control}
    return Cell(id=cell_id(**identity), method_module=method[1], task_module=task[1], **titles, **identity, **rest)


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
        methods, tasks, seeds: instead of the suite's own, where given.
        assigned: method to settings that win over all others.

    Raises:
        UserError: unknown names, or settings that a method does not take.
    """
    _check_names(suite, registry)
    methods = methods or [*(registry.methods if suite.methods == ALL else suite.methods)]
    tasks = tasks or [*(registry.tasks if suite.tasks == ALL else suite.tasks)]
    chosen = [registry.method(method) for method in dict.fromkeys(methods)]
    among = [registry.task(task) for task in dict.fromkeys(tasks)]
    assigned = assigned or {}
    demand("method in --set", assigned, [found.name for found, _ in chosen])

    def made(seed: int, method: tuple[Method, str], task: tuple[Task, str]) -> Iterator[Cell]:
        (solver, _), (posed, _) = method, task
        given = assigned.get(solver.name, {})
        if isinstance(posed, RecordedTask) and (most := max(suite.demonstrations(posed))) > posed.recorded:
            raise UserError(f"{most} demonstrations of {posed.name}: {posed.recorded} are recorded; ask for fewer")
        reoptimise = _of(_of(suite.reoptimise, solver.name, {}), posed.name, 0)
        decides: dict[str, Any] = {
            "seed": seed,
            "step_budget": suite.budget(solver.name, posed),
            "base_seed": seed if suite.base_seed == "cell" else suite.base_seed,
            "eval_starts": suite.eval_starts,
        }
        rest: dict[str, Any] = {"suite": name, "timeout_s": suite.timeout_s, "memory_mib": suite.memory_mib}
        rest["gpus"] = _of(suite.gpus, solver.name, 0.0)
        own = suite.study(solver.name, posed)
        rest["tuning_trials"] = len(own["trials"]) if own else trials(solver.name, posed.family)
        named = isinstance(_of(suite.demos, posed.name, None), list)  # what is assigned is told apart from what is not
        swept = {key: values for key, values in suite.sweep.get(solver.name, {}).items() if key not in given}
        for demos, *values in product(suite.demonstrations(posed), *swept.values()):
            settings = {**dict(zip(swept, values, strict=True)), **given}
            axes = {"demos": demos, **settings} if named else settings
            rest["variant"] = ", ".join(f"{key}={value}" for key, value in axes.items())
            decides |= {"demos": demos, "config": settings_of(solver, posed, suite, settings)}
            yield identified(method, task, reoptimise, decides, **rest)

    return [cell for place in product(seeds or suite.seeds, chosen, among) for cell in made(*place)]


def grid(
    suite: str,
    registry: Registry,
    methods: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (),
    assigned: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[str, list[Cell]]:
    """The name of a suite given by name or path, its cells, then those of the suites that run along, each once.

    Arguments as for :func:`cells`; suites that run along keep those of their methods, tasks and seeds that are named.
    """
    name, content = load_suite(suite)
    found = {cell.id: cell for cell in cells(name, content, registry, methods, tasks, seeds, assigned)}
    named = (("method", methods), ("task", tasks), ("seed", seeds))
    for other in content.also:
        title, along = load_suite(other, Path(suite).parent)
        own = {m: given for m, given in (assigned or {}).items() if along.methods == ALL or m in along.methods}
        for cell in cells(title, along, registry, assigned=own):
            if all(not allowed or getattr(cell, key) in allowed for key, allowed in named):
                found.setdefault(cell.id, cell)
    return name, [*found.values()]
