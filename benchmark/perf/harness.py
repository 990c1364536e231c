"""What the harness costs, and what a second worker gains."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.cell import Cell
from benchmark.executors import Processes
from benchmark.perf import Row, allowed
from benchmark.registry import discover
from benchmark.runner import Listener, run
from benchmark.suite import Suite, cells
from results.store import Store

SUITE = Suite(description="speed", seeds="0-7", base_seed=0, tasks=["maze2d-umaze"], eval_starts=4, timeout_s=600)
STEPS = 10_000  # of a cell whose learner keeps a core busy for some seconds


def seconds(todo: Sequence[Cell], workers: int) -> tuple[float, float]:
    """Wall seconds of a run, and of scoring within; its first cell, which warms up, runs before the clock starts."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.prepare()
        executor = Processes(workers, store, {}, sorted({cell.method_module for cell in todo} | {todo[0].task_module}))
        for part in (todo[:1], todo[1:]):
            began = time.monotonic()
            run(part, store, executor, Listener(), {})
        wall, timed = time.monotonic() - began, {cell.id for cell in todo[1:]}
        return wall, sum(record.score_seconds for record in store.load()[0] if record.id in timed)


def grid(method: str, count: int, **changes: object) -> list[Cell]:
    """Cells of one method that differ by their seed alone."""
    return cells("perf", SUITE.model_copy(update=changes), discover(), [method], [], range(count))


def measure() -> Iterator[Row]:
    """Seconds of a cell that learns nothing; throughput of two workers against one."""
    idle = grid("random", 9)
    wall, scoring = seconds(idle, 1)
    name = "harness overhead: a cell that learns nothing, started, posed and written"
    yield allowed(name, (wall - scoring) / (len(idle) - 1), "s a cell", 1.0)
    if (os.cpu_count() or 1) < 2:
        return
    busy = grid("sqil", 9, step_budget={"all": STEPS})
    one, two = (3600 * (len(busy) - 1) / seconds(busy, workers)[0] for workers in (1, 2))
    yield Row(
        name="two workers, 8 equal cells (sqil, U-Maze)",
        ours=two,
        unit="cells/h",
        reference=one,
        against="one worker",
        required=1.85,
    )
