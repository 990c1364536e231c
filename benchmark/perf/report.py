"""What a whole report costs: on as many records as suite ``paper`` and those that run along with it leave."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.cell import Cell
from benchmark.options import REFERENCE
from benchmark.perf import Row, allowed, seconds
from benchmark.registry import discover
from benchmark.suite import grid
from reports.artefacts import KEEP
from reports.build import build
from results.schema import Record
from results.store import Store

SUITE, ALLOWED = "paper", 60.0  # seconds
EPISODES = 16  # of each kind that a run leaves; reference records keep fewer, of fewer steps


def stand_in(cell: Cell, like: Record) -> Record:
    """A record of the cell that says nothing: another one's, each number moved at random."""
    rng = np.random.default_rng(int(cell.id, 16))
    moved = {name: value * (1 + 0.1 * rng.standard_normal()) for name, value in like.metrics.items()}
    known = {name: getattr(cell, name) for name in Record.model_fields.keys() & Cell.__annotations__.keys()}
    return like.model_copy(update=known | {"metrics": moved})


def fill(store: Store, cells: list[Cell]) -> None:
    """Writes a stand-in for each cell, with artefacts as large as a run's."""
    reference = Store(REFERENCE)
    records = {(r.method, r.task): r for r in reference.load()[0] if reference.folder(r.id).is_dir()}
    for cell in cells:
        task = next(t for _, t in records if cell.task.startswith(t))
        like = records.get((cell.method, task), records["gail", task])
        with np.load(reference.folder(like.id) / "artefacts.npz", allow_pickle=False) as kept:
            arrays = {name: kept[name].astype(np.float32) for name in kept}
        for name, (episodes, every) in KEEP.items():
            if name in arrays:
                longer = np.repeat(arrays[name], every, 1)
                arrays[name] = longer[np.arange(EPISODES if episodes == 8 else episodes) % len(longer)]
        np.savez_compressed(store.workspace(cell.id) / "artefacts.npz", **arrays)
        store.commit(stand_in(cell, like))


def measure() -> Iterator[Row]:
    """CPU seconds of ``make report``, but for starting Python: the wall seconds of one core with nothing else to do."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "records")
        store.prepare()
        name, cells = grid(SUITE, discover())
        fill(store, cells)
        expected, out = {cell.id: cell.place for cell in cells if cell.suite == name}, Path(folder) / "out"
        took = seconds(lambda: build(store.root, out, name, expected), times=1)
    yield allowed(f"the report of suite {SUITE}: {len(cells)} records", took, "CPU s", ALLOWED)
