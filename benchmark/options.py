"""Options that commands share, and what they lead to."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.errors import as_user_error, unknown

if TYPE_CHECKING:
    from benchmark.cell import Cell
    from benchmark.registry import Registry
    from results.store import Store

Suite = Annotated[str, typer.Argument(help="Name of a suite, or path of a YAML file.")]
Methods = Annotated[list[str] | None, typer.Option("--method", help="Name, or package.module:NAME. Repeatable.")]
Assigned = Annotated[
    list[str] | None, typer.Option("--set", help="method.key=value, in YAML; keys: list --json. Repeatable.")
]
Results = Annotated[Path, typer.Option(help="Folder of the records.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Name, YAML file, or package.module:TASK. Repeatable.")]
Seeds = Annotated[str | None, typer.Option(help="As in 0-4, 0,2 or 3.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Out = Annotated[Path | None, typer.Option(help="Folder of tables and figures; reports/out/SUITE if none.")]
RESULTS, OUT, REFERENCE = Path("results/runs"), Path("reports/out"), Path("results/reference")


def discovered() -> "Registry":
    """All methods and tasks, those in the folder where the user stands included."""
    from benchmark.registry import discover

    if "" not in sys.path:
        sys.path.insert(0, "")  # as ``python -m`` does
    return discover()


def seeds_of(text: str) -> list[int]:
    """Seeds from ``0-4``, ``0,2`` or ``3``; a UserError for anything else."""
    from benchmark.suite import parse_seeds

    with as_user_error(ValueError):
        return list(parse_seeds(text))


def grid_of(
    suite: str,
    methods: list[str] | None = None,
    tasks: list[str] | None = None,
    seeds: str | None = None,
    assigned: list[str] | None = None,
) -> tuple[str, list["Cell"], "Registry"]:
    """The suite's name, its cells as these options narrow or change them, and what there is to run.

    Args:
        suite: name or path.
        methods, tasks: names; all of the suite's if none.
        seeds: as in ``0-4`` or ``0,2``; the suite's if None.
        assigned: ``method.key=value``, each.

    Raises:
        UserError: one of them names nothing that is there, or cannot be read.
    """
    from benchmark.suite import grid, parse_assignments

    settings, chosen = parse_assignments(assigned or []), seeds_of(seeds) if seeds is not None else []
    registry = discovered()
    return *grid(suite, registry, methods or [], tasks or [], chosen, settings), registry


def open_store(folder: Path, write: bool = False) -> "Store":
    """A folder of records, ready to be written where ``write``; a UserError where it cannot be."""
    from results.store import Store, StoreError

    store = Store(folder)
    if write:
        with as_user_error(StoreError):
            store.prepare()
    return store


def warn(text: str) -> None:
    """Says on stderr what a user should know."""
    print(f"warning: {text}", file=sys.stderr)


def warn_corrupt(store: "Store") -> None:
    """Names the files that hold no record."""
    for found in store.load()[1]:
        warn(f"{found.path} holds no record and is skipped: {found.reason}")


def warn_unavailable(registry: "Registry") -> None:
    """Names the modules that could not be imported, and settings tuned for tasks that are not there."""
    for place, error in registry.unavailable.items():
        warn(f"{place} is unavailable: {error}")
    for method, _ in registry.methods.values():
        for task in method.tuned.keys() - registry.tasks.keys():
            warn(f"tuned settings of {method.name}: {unknown('task', task, registry.tasks)}")
