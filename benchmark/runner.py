"""From cells to records: what is left to do, who does it, what becomes of what went wrong."""

import statistics
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from filelock import FileLock, Timeout

from benchmark.cell import Cell
from benchmark.executors import Died, Executor, Finished, Progressed
from results.schema import Record
from results.store import Store

POLL = 0.5  # seconds between looks at cells that another run holds


class Listener(Protocol):
    """Is told what happens; a display."""

    def started(self, cell: Cell) -> None: ...

    def progressed(self, cell: Cell, fraction: float, values: dict[str, float]) -> None: ...

    def finished(self, cell: Cell, record: Record) -> None: ...


@dataclass(frozen=True)
class Plan:
    """The grid, split by what stands in the store.

    Args:
        done: cells whose record stands.
        todo: the others, longest first where past records tell; what nothing is known of comes before.
        seconds: (method, task) to median seconds of past records.
    """

    done: list[tuple[Cell, Record]]
    todo: list[Cell]
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)


def plan(cells: Sequence[Cell], store: Store, retry: Collection[str] = ()) -> Plan:
    """What is left to do.

    Args:
        cells: the grid.
        store: past records.
        retry: statuses whose records are to be made again.
    """
    records, _ = store.load()
    known = {record.id: record for record in records}
    times: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if record.status == "ok":
            times.setdefault((record.method, record.task), []).append(record.wall_seconds)
    seconds = {key: statistics.median(values) for key, values in times.items()}
    done = [(cell, known[cell.id]) for cell in cells if cell.id in known and known[cell.id].status not in retry]
    standing = {cell.id for cell, _ in done}
    todo = [cell for cell in cells if cell.id not in standing]
    todo.sort(key=lambda cell: -seconds.get((cell.method, cell.task), float("inf")))
    return Plan(done, todo, seconds)


def run(todo: Sequence[Cell], store: Store, executor: Executor, listener: Listener, provenance: dict[str, Any]) -> None:
    """Runs cells until each has a record. A cell that another process holds is left to it.

    Args:
        todo: cells to run, in this order.
        store: where records go; prepared.
        executor: runs them.
        listener: is told.
        provenance: for records of cells that died.

    Raises:
        KeyboardInterrupt: passed on after all running cells were ended; finished cells keep their records.
    """
    pending = list(todo)
    before = {cell.id: store.get(cell.id) for cell in todo}
    locks: dict[str, FileLock] = {}

    def close(cell: Cell, record: Record) -> None:
        locks.pop(cell.id).release()
        listener.finished(cell, record)

    try:
        while pending or locks:
            for cell in pending[:]:
                if executor.free() < 1:
                    break
                lock = FileLock(store.lock_path(cell.id))
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    continue
                pending.remove(cell)
                locks[cell.id] = lock
                record = store.get(cell.id)
                if record is not None and record != before[cell.id]:  # another run was faster
                    close(cell, record)
                    continue
                listener.started(cell)
                executor.submit(cell)
            if not locks:
                time.sleep(POLL)
            for event in executor.events():
                match event:
                    case Progressed(cell, fraction, values):
                        listener.progressed(cell, fraction, values)
                    case Finished(cell, record):
                        close(cell, record)
                    case Died(cell):
                        close(cell, _bury(event, store, provenance))
    finally:
        executor.stop()
        for lock in locks.values():
            lock.release()


def _bury(died: Died, store: Store, provenance: dict[str, Any]) -> Record:
    """The record of a cell that could not write its own."""
    (store.workspace(died.cell.id) / "error.txt").write_text(f"{died.reason}\n\n{died.output}")
    record = died.cell.record(died.status, provenance, reason=died.reason, wall_seconds=died.wall_seconds)
    store.commit(record)
    return record
