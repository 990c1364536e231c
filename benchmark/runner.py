"""From cells to records: what is left to do, who does it, what becomes of what went wrong."""

import math
import signal
import statistics
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from filelock import FileLock, Timeout

from benchmark.cell import Cell
from benchmark.executors import Died, Executor, Finished, Left, Progressed
from envs.checkpoint import ASKED
from results.schema import Record
from results.store import Store


class Interrupt:
    """While entered, the first Ctrl-C (or a SIGTERM) only asks to stop; the second one is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        ASKED.to_stop = False
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = ASKED.to_stop = True  # the latter for a cell in this process


POLL = 0.5  # seconds between looks at cells that another run holds


class Listener:
    """Is told what happens; a display. This one hears nothing."""

    def started(self, cell: Cell) -> None: ...

    def progressed(self, cell: Cell, fraction: float, values: dict[str, float]) -> None: ...

    def finished(self, cell: Cell, record: Record) -> None: ...

    def left(self, cell: Cell) -> None: ...

    def stopping(self) -> None: ...


class Past:
    """What cells took before.

    Learning counts from the cell's own suite where that ran, else from any, in proportion to the budget where steps
    were taken, and to the updates of learners that make one every so many steps; where base models ship, runs that may
    have trained one count only if there are no others. Scoring counts from the cell's method, or from any where agents
    are trained on the reward, which costs most.

    Args:
        records: to learn from.
        cpu: of processors, not of a clock on the wall, which runs on while other programs have the core.
    """

    def __init__(self, records: Iterable[Record] = (), cpu: bool = False) -> None:
        self._cpu = cpu
        self._learning: dict[tuple[str, str, str, bool], list[tuple[float, float]]] = {}
        self._scoring: dict[tuple[str | int, ...], list[float]] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Learns from one more, if it ended well."""
        if record.status != "ok":
            return
        seconds = record.cpu_seconds if self._cpu else record.wall_seconds - record.score_seconds
        took = seconds, _work(record) if record.env_steps else 0
        for suite, ships in product((record.suite, ""), {_ships(record), False}):
            self._learning.setdefault((record.method, record.task, suite, ships), []).append(took)
        for method in {record.method, "" if record.reoptimise else record.method}:
            self._scoring.setdefault((method, record.task, record.reoptimise), []).append(record.score_seconds)

    def seconds(self, cell: Cell) -> float | None:
        """Median seconds of such cells; None where there were none."""
        of = cell.method, cell.task
        places = product(sorted({_ships(cell), False}, reverse=True), (cell.suite, ""))
        learning = next((found for ships, suite in places if (found := self._learning.get((*of, suite, ships)))), [])
        scoring = self._scoring.get((*of, cell.reoptimise)) or self._scoring.get(("", cell.task, cell.reoptimise))
        if not learning or not scoring:
            return None
        took = [seconds * _work(cell) / work if work else seconds for seconds, work in learning]
        return statistics.median(took) + statistics.median(scoring)


def _work(run: Cell | Record) -> float:
    """What learning that takes environment steps costs in proportion to."""
    return run.step_budget / float(run.config.get("steps_per_update", 1))


def _ships(run: Cell | Record) -> bool:
    """Whether the base model of a run, if it has one, comes with the project: that of base data 0 does."""
    return "base" in run.config and run.base_seed == 0


@dataclass(frozen=True)
class Plan:
    """The grid, split by what stands in the store."""

    done: list[tuple[Cell, Record]]
    todo: list[Cell]  # longest first where past records tell; what nothing is known of comes before
    past: Past = field(default_factory=Past)

    @property
    def estimate(self) -> tuple[float, int]:
        """Seconds of what is to do (a cell keeps one core busy), and of how many cells nothing is known."""
        known = [self.past.seconds(cell) for cell in self.todo]
        return sum(s for s in known if s is not None), known.count(None)


def plan(
    cells: Sequence[Cell], store: Store, retry: Collection[str] = (), also: Iterable[Record] = (), cpu: bool = False
) -> Plan:
    """What is left to do: of a grid, where records of a status in ``retry`` do not count.

    What cells take, of processors if ``cpu``, is learnt from the store's records and those given ``also``.
    """
    known = {record.id: record for record in store.load()[0]}
    past = Past([*known.values(), *also], cpu)
    done = [(cell, known[cell.id]) for cell in cells if cell.id in known and known[cell.id].status not in retry]
    standing = {cell.id for cell, _ in done}
    todo = [cell for cell in cells if cell.id not in standing]
    todo.sort(key=lambda cell: -seconds if (seconds := past.seconds(cell)) is not None else -math.inf)
    return Plan(done, todo, past)


def run(
    todo: Sequence[Cell],
    store: Store,
    executor: Executor,
    listener: Listener,
    provenance: dict[str, Any],
    interrupt: Interrupt | None = None,
) -> None:
    """Runs cells until each has a record. A cell that another process holds is left to it.

    Args:
        todo: cells to run, in this order.
        store: prepared.
        provenance: for records of cells that died.
        interrupt: once asked, no cell is started any more and running ones are asked to leave.

    Raises:
        KeyboardInterrupt: all running cells have left as asked, or were ended; finished cells keep their records.
    """
    pending, interrupt, asked = list(todo), interrupt or Interrupt(), False
    before = {cell.id: store.get(cell.id) for cell in todo}
    locks: dict[str, FileLock] = {}

    def close(cell: Cell, record: Record) -> None:
        locks.pop(cell.id).release()
        listener.finished(cell, record)

    try:
        while pending or locks:
            if interrupt.asked and not asked:
                pending, asked = [], True
                listener.stopping()
                executor.ask()
            for cell in pending[:]:
                if executor.free() < 1:
                    break
                lock = store.lock(cell.id)
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
            if not locks and pending:
                time.sleep(POLL)
            for event in executor.events():
                match event:
                    case Progressed(cell, fraction, values):
                        listener.progressed(cell, fraction, values)
                    case Finished(cell, record):
                        close(cell, record)
                    case Died(cell):
                        close(cell, _bury(event, store, provenance))
                    case Left(cell):
                        locks.pop(cell.id).release()
                        listener.left(cell)
        if interrupt.asked:
            raise KeyboardInterrupt
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
