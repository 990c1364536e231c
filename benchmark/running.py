"""How ``run`` runs: its options that say how, not what, and what it prints. Imports what is needed when it is."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.cell import Cell
    from benchmark.executors import Executor
    from benchmark.runner import Plan
    from results.store import Store

INTERRUPTED = 130
Where = Literal["local", "ray"]  # cells run


@dataclass(frozen=True)
class How:
    """The options of ``run`` that say how, not what."""

    workers: int
    quiet: bool
    executor: Where = "local"
    address: str | None = None
    plain: bool = False
    tensorboard: Path | None = None


def print_plan(planned: "Plan", workers: int, as_json: bool) -> None:
    """Says what is done, what would run, and what it would cost."""
    seconds, unknown = planned.estimate
    hours = seconds / 3600
    if as_json:
        rows = [asdict(cell) | {"seconds": planned.past.seconds(cell)} for cell in planned.todo]
        known = {"cpu_hours": hours, "cells_without_estimate": unknown}
        print(json.dumps({"done": [cell.id for cell, _ in planned.done], "todo": rows, **known}, indent=1))
        return
    for cell, record in planned.done:
        print(f"{cell.id}  {record.status:8}{cell} · took {record.wall_seconds:.0f} s")
    for cell in planned.todo:
        usual = planned.past.seconds(cell)
        print(f"{cell.id}  to run  {cell} · {'time unknown' if usual is None else f'about {usual:.0f} CPU s'}")
    done, todo, workers = len(planned.done), len(planned.todo), max(1, workers)
    print(f"{done} cells done, {todo} cells to run", end="")
    if todo > unknown:
        print(f": about {hours:.2f} CPU hours, {hours / workers:.2f} hours with {workers} workers", end="")
    print(f"; how long {unknown} of them take is not known, nothing like them has run here" if unknown else "")


def _executor(how: How, store: "Store", origin: dict[str, Any], cells: list["Cell"]) -> "Executor":
    from benchmark.executors import InProcess, Processes

    if how.executor == "ray":
        try:
            from benchmark.ray_executor import RayCluster

            return RayCluster(store, origin, how.address)
        except ImportError as error:
            raise UserError("--executor ray needs Ray: pip install 'irlbench[ray]'") from error
        except (ConnectionError, ValueError) as error:
            raise UserError(f"Ray cluster {how.address or 'on this machine'}: {error}") from error
    if how.address is not None:
        raise UserError("--address is of a Ray cluster: add --executor ray")
    modules = sorted({module for cell in cells for module in (cell.method_module, cell.task_module)})
    return Processes(how.workers, store, origin, modules) if how.workers else InProcess(store, origin)


def execute(cells: list["Cell"], store: "Store", how: How, retry: list[str]) -> None:
    """Runs what is left of the cells.

    Raises:
        UserError: the store cannot be written, or there is no such cluster.
        typer.Exit: the user interrupted it.
    """
    from rich.console import Console

    from benchmark.display import Display, Events
    from benchmark.provenance import provenance
    from benchmark.runner import Interrupt, plan
    from benchmark.runner import run as run_cells

    planned = plan(cells, store, retry)
    console = Console(quiet=how.quiet)
    todo = f"{len(cells)} cells: {len(planned.done)} done, {len(planned.todo)} to run, into {store.root}"
    console.print(todo, soft_wrap=True, markup=False, highlight=False)
    if not planned.todo:
        return
    origin = provenance()
    executor = _executor(how, store, origin, cells)
    try:
        events = Events(how.tensorboard) if how.tensorboard is not None else None
        with Interrupt() as interrupt, Display(planned, executor.workers, console, how.plain, events) as display:
            run_cells(planned.todo, store, executor, display, origin, interrupt)
    except OSError as error:
        raise UserError(f"stopped, {store.root} could not be written: {error}; finished cells are kept") from error
    except KeyboardInterrupt:
        print("stopped: finished cells are kept; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
