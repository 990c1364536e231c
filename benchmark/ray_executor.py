"""Cells on a Ray cluster: the checkout travels as working directory, each cell runs in a process group on some node.

Where nodes see the results folder, artefacts and state go through it and a cell whose node is lost goes on elsewhere;
otherwise artefacts come back through the object store and such a cell starts anew.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.cell import Cell
from benchmark.errors import UserError
from benchmark.executors import REPORT_EVERY, Died, Event, Finished, Left, Processes, Progressed
from benchmark.provenance import ROOT
from benchmark.runner import Interrupt, Listener, run
from envs.datasets import cache_dir
from results.schema import Record
from results.store import LOCKS, WORK, Store

LEFT_BEHIND = (".git", ".venv", "/results/*/", "/reports/out", "__pycache__")
RETRIES = 5  # of a cell whose node or Ray worker is lost; a cell that fails is not tried again
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def _inner(results: Path | None, id: str) -> Path:
    """Where a node works on a cell: in the results folder if it sees that, else in its own temporary folder."""
    return (results / WORK if results else Path(tempfile.gettempdir()) / "irlbench") / f"{id}.ray"


class _Teller(Listener):
    """Tells the run how far a cell is, on whichever node."""

    def __init__(self, told: Queue) -> None:
        self._queue: Any = told.actor

    def progressed(self, cell: Cell, fraction: float, values: dict[str, float]) -> None:
        self._queue.put_nowait.remote((cell.id, fraction, values))  # nobody waits for it to arrive


@ray.remote
def _run(
    described: dict[str, Any], results: str, cache: str, provenance: dict[str, Any], told: Queue
) -> tuple[Any, Any]:
    """Runs one cell on this node; its record, and its files where the results folder is not seen from here."""
    cell = Cell(**described)
    own = Path(tempfile.gettempdir()) / "irlbench-cache"
    os.environ |= {"PYTHONPATH": os.getcwd(), "IRLBENCH_CACHE": cache if Path(cache).is_dir() else str(own)}
    # not just a folder of that name: the run's lock of the cell is there
    seen = (Path(results) / LOCKS / f"{cell.id}.json").exists()
    store = Store(_inner(Path(results) if seen else None, cell.id))
    store.prepare()
    if store.get(cell.id) is None:  # it stands if a node was lost between writing and reporting it
        executor = Processes(1, store, provenance, [cell.method_module, cell.task_module])
        with Interrupt() as interrupt:  # cancelled, it writes down where it is
            run([cell], store, executor, _Teller(told), provenance, interrupt)
    record, files = store.get(cell.id), {}
    assert record is not None
    if not seen:
        folder = store.folder(cell.id)
        files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        shutil.rmtree(store.root, ignore_errors=True)
    return record.model_dump(), files


class RayCluster:
    """Runs cells on a Ray cluster, one core each, as many at a time as it has; without address one on this machine."""

    def __init__(self, store: Store, provenance: dict[str, Any], address: str | None = None) -> None:
        self._store, self._provenance = store, {**provenance, "executor": "ray"}
        self._seen_as = str(store.root.absolute())
        self._running: dict[Any, tuple[Cell, Any]] = {}
        environment = {"working_dir": str(ROOT), "excludes": [*LEFT_BEHIND], "env_vars": THREADS}
        ray.init(address=address, runtime_env=environment, log_to_driver=False, configure_logging=False)
        # where nothing can be lost without this process; a soft affinity was seen to lead elsewhere
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._told = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    @property
    def workers(self) -> int:
        """Cores of the cluster as it stands."""
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))

    def free(self) -> int:
        return self.workers - len(self._running)

    def submit(self, cell: Cell) -> None:
        task = _run.options(num_cpus=1, num_gpus=cell.gpus, max_retries=RETRIES, num_returns=2, name=str(cell))
        returned: Any = task.remote(asdict(cell), self._seen_as, str(cache_dir()), self._provenance, self._told)
        self._running[returned[0]] = cell, returned[1]

    def events(self) -> Sequence[Event]:
        if not self._running:
            return []
        ready, _ = ray.wait([*self._running], timeout=REPORT_EVERY)
        running, told = {cell.id: cell for cell, _ in self._running.values()}, list[Any]()
        with contextlib.suppress(RayError):  # a display is not worth a run
            told = self._told.get_nowait_batch(self._told.qsize())
        progress = [Progressed(running[id], *how) for id, *how in told if id in running]
        return [*progress, *(self._ended(reference, *self._running.pop(reference)) for reference in ready)]

    def _ended(self, reference: Any, cell: Cell, files: Any) -> Event:
        try:
            record, content = Record(**ray.get(reference)), ray.get(files)
        except TaskCancelledError:
            return Left(cell)
        except RayTaskError as error:
            raise UserError(f"a node could not run {cell}: {error.cause}; finished cells are kept") from error
        except RayError as error:  # lost more often than it may be
            return Died(cell, "failed", f"{type(error).__name__}: {str(error).splitlines()[0]}", 0.0, str(error))
        inner = Store(_inner(self._store.root, cell.id))
        for name, data in content.items():
            path = inner.folder(cell.id) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self._store.adopt(record, inner.folder(cell.id))
        shutil.rmtree(inner.root, ignore_errors=True)
        return Finished(cell, record)

    def ask(self) -> None:
        for reference in self._running:
            ray.cancel(reference)

    def stop(self) -> None:
        with contextlib.suppress(RayError):
            for reference in self._running:
                ray.cancel(reference, force=True)
        self._running.clear()
        ray.shutdown()
