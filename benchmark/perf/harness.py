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
IDLE, BUSY = "random", "sqil"  # a method that learns nothing, and one that keeps a core busy
STEPS, CELLS, TURNS = 10_000, 8, 3  # environment steps of a busy cell, which then takes some seconds


def seconds(todo: Sequence[Cell], workers: int, preload: Sequence[str]) -> tuple[float, float]:
    """Wall seconds of a run, and of scoring within."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.prepare()
        executor, began = Processes(workers, store, {}, preload), time.monotonic()
        run(todo, store, executor, Listener(), {})
        wall, records = time.monotonic() - began, store.load()[0]
        assert all(record.status == "ok" for record in records), records
        return wall, sum(record.score_seconds for record in records)


def grid(method: str, count: int, **changes: object) -> list[Cell]:
    """Cells of one method that differ by their seed alone."""
    return cells("perf", SUITE.model_copy(update=changes), discover(), [method], [], range(count))


def measure() -> Iterator[Row]:
    """Seconds of a cell that learns nothing; throughput of two workers against one, by turns, each at its best."""
    idle, busy = grid(IDLE, CELLS), grid(BUSY, CELLS, step_budget={"all": STEPS})
    preload = sorted({module for cell in idle + busy for module in (cell.method_module, cell.task_module)})
    seconds(idle[:1], 1, preload)  # builds what cells share and starts the server that forks workers
    wall, scoring = seconds(idle, 1, preload)
    name = "harness overhead: a cell that learns nothing, started, posed and written"
    yield allowed(name, (wall - scoring) / CELLS, "s a cell", 1.0)
    scored = f"{name}, scored on {SUITE.eval_starts} starts of each kind"
    yield allowed(scored, wall / CELLS, "s a cell", 1.0)
    if (os.cpu_count() or 1) < 2:
        return
    turns = [{workers: seconds(busy, workers, preload)[0] for workers in (1, 2)} for _ in range(TURNS)]
    one, two = (min(turn[workers] for turn in turns) for workers in (1, 2))
    name = f"two workers, {CELLS} equal cells of {one / CELLS:.1f} s ({BUSY}, U-Maze), best of {TURNS} turns"
    ours, alone = (3600 * CELLS / wall for wall in (two, one))
    yield Row(name=name, ours=ours, unit="cells/h", reference=alone, against="one worker", required=1.85)
