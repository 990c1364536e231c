"""Presence is registration: what stands in methods/, baselines/ and envs/, or is named by an entry point, is found."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import baselines
import envs
import methods
from benchmark.errors import UserError, as_user_error, unknown
from benchmark.provenance import code_hash
from envs import own
from envs.own import SUFFIXES
from envs.problem import Task
from methods.base import Method

T = TypeVar("T", Method, Task)
FOLDER = Path(baselines.__file__).parent
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")  # names reach file names, so nothing else is let in


@dataclass(frozen=True)
class Registry:
    """All that was found.

    Args:
        methods, tasks: name to (object, module it came from).
        unavailable: module or entry point to the error that kept it out.
    """

    methods: dict[str, tuple[Method, str]] = field(default_factory=dict)
    tasks: dict[str, tuple[Task, str]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def method(self, name: str) -> tuple[Method, str]:
        """The method called ``name``, or the one at ``package.module:NAME``, which joins the registry.

        Raises:
            UserError: there is none.
        """
        if ":" in name:
            name = self._add_reference(Method, name, self.methods)
        return self._find("method", name, self.methods)

    def task(self, name: str) -> tuple[Task, str]:
        """The task called ``name``, or the one that a YAML file or a ``package.module:TASK`` gives, which joins it.

        Raises:
            UserError: there is none.
        """
        if name.endswith(SUFFIXES):
            name = self._add_file(Path(name).absolute())
        elif ":" in name:
            name = self._add_reference(Task, name, self.tasks)
        return self._find("task", name, self.tasks)

    def _find(self, kind: str, name: str, found: dict[str, tuple[T, str]]) -> tuple[T, str]:
        if name in found:
            return found[name]
        for place, error in self.unavailable.items():
            if place.rsplit(".", 1)[-1].replace("_", "-") == name:
                raise UserError(f"{kind} {name!r} is unavailable: {place}: {error}")
        raise unknown(kind, name, found)

    def _add_file(self, path: Path) -> str:
        with as_user_error(own.TaskError):
            task, place = own.load_task(path), f"{own.__name__}:{path}"
        if self.tasks.get(task.name, (task, place))[1] != place:
            raise UserError(f"task {path}: the name {task.name!r} is taken by {self.tasks[task.name][1]}")
        self.tasks.setdefault(task.name, (task, place))
        return task.name

    def _add_reference(self, kind: type[T], reference: str, known: dict[str, tuple[T, str]]) -> str:
        module_name, _, attribute = reference.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (Exception, SystemExit) as error:
            what = f"{kind.__name__.lower()} {reference!r}"
            raise UserError(f"{what} cannot be imported: {type(error).__name__}: {error}") from error
        if not isinstance(found, kind):
            raise UserError(
                f"{reference!r} is a {type(found).__name__}; it must be a {kind.__name__} of {kind.__module__}"
            )
        check_name(found.name)
        if found.name in known and known[found.name][0] is not found:
            raise UserError(f"{reference!r}: the name {found.name!r} is taken by {known[found.name][1]}")
        known[found.name] = (found, module_name)
        return found.name


def check_name(name: str) -> None:
    """Refuses names that are not lower-case words joined by hyphens.

    Raises:
        UserError: with the rule.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"name {name!r}: only lower-case letters, digits and hyphens are allowed")


def methods_in(module: ModuleType) -> list[Method]:
    """The methods a module exports as ``METHOD`` or ``METHODS``.

    Raises:
        TypeError: ``METHODS`` is no list; a module of ``baselines`` exports neither.
    """
    single, several = [module.METHOD] if hasattr(module, "METHOD") else [], getattr(module, "METHODS", [])
    if not isinstance(several, list | tuple):
        raise TypeError(f"METHODS is a {type(several).__name__}, not a list; a single method is called METHOD")
    if not single and not several and module.__name__.startswith(f"{baselines.__name__}."):
        raise TypeError("exports no METHOD")
    return [*single, *several]


def tasks_in(module: ModuleType) -> list[Task]:
    """The tasks that stand at a module's top level, alone or listed as ``TASKS``."""
    found = [value for value in vars(module).values() if isinstance(value, Task)]
    return [*found, *(task for task in getattr(module, "TASKS", []) if task not in found)]


def load_method(module: str, name: str) -> Method:
    """The method ``name`` of an importable module."""
    loaded = importlib.import_module(module)
    exported = [*methods_in(loaded), *(value for value in vars(loaded).values() if isinstance(value, Method))]
    return next(method for method in exported if method.name == name)


def load_task(module: str, name: str) -> Task:
    """The task ``name`` of an importable module, or of ``envs.own:/path/of/a.yaml``."""
    module, _, path = module.partition(":")
    if path:
        return own.load_task(path)
    return next(task for task in tasks_in(importlib.import_module(module)) if task.name == name)


def task_code(task: Task, module: str, *others: str) -> str:
    """Hash of all that a task is made of: its sources and, of a recorded one, its data; ``others``' sources with it."""
    code = code_hash(module.partition(":")[0], *others)
    return f"{code}-{task.fingerprint}" if isinstance(task, own.RecordedTask) else code


def _modules(package: ModuleType) -> Iterator[str]:
    for found in pkgutil.iter_modules(package.__path__):
        if not found.name.startswith("_"):
            yield f"{package.__name__}.{found.name}"


def _register(known: dict[str, tuple[T, str]], values: list[T], kind: type[T], module: str) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"exports a {type(value).__name__} where a {kind.__name__} is needed")
        check_name(value.name)
        if value.name in known:
            raise ValueError(f"the name {value.name!r} is taken by {known[value.name][1]}")
        known[value.name] = (value, module)


def discover() -> Registry:
    """Imports every module of methods/, baselines/ and envs/ and the entry points ``irlbench.methods`` and ``.tasks``.

    A module that cannot be imported, or exports something that is no method, is listed as unavailable.
    """
    registry = Registry()
    places = [("tasks", name, name) for name in _modules(envs)]
    places += [("methods", name, name) for package in (methods, baselines) for name in _modules(package)]
    places += [
        (kind, f"entry point {entry.name}", entry.module)
        for kind in ("tasks", "methods")
        for entry in entry_points(group=f"irlbench.{kind}")
    ]
    for kind, place, module in places:
        try:
            loaded = importlib.import_module(module)
            if kind == "tasks":
                _register(registry.tasks, tasks_in(loaded), Task, module)
            else:
                _register(registry.methods, methods_in(loaded), Method, module)
        except (Exception, SystemExit) as error:
            registry.unavailable[place] = f"{type(error).__name__}: {error}"
    return registry


def new_method(name: str, folder: Path = FOLDER) -> Path:
    """Copies ``baselines/_template.py`` under a new name, lower-case words joined by hyphens; the path of the new file.

    Raises:
        UserError: a name that is no name or is taken; nothing is written then.
    """
    check_name(name)
    path = folder / f"{name.replace('-', '_')}.py"
    if name in (known := discover().methods) or path.exists():
        raise UserError(f"method {name!r} is there already, in {known[name][1] if name in known else path}")
    text = (FOLDER / "_template.py").read_text(encoding="utf-8")
    text = text[text.index("import numpy") :].replace('"mine"', f'"{name}"').replace('"Mine"', f'"{name.capitalize()}"')
    path.write_text(f'"""{name.capitalize()}: say in a line what it learns, and how."""\n\n{text}', encoding="utf-8")
    return path
