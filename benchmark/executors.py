"""Where cells run: in this process, or each in a process of its own."""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil

from benchmark.cell import Cell, run_cell
from envs.checkpoint import ASKED, Interrupted
from results.schema import Record
from results.store import Store

REPORT_EVERY = 0.2  # seconds between two reports of one cell
LEFT = 75  # exit code of a worker that left as asked: sysexits' "try again"
LOST = 255  # what multiprocessing says of a worker whose server is gone: a signal to the whole group ends that too
GRACE = 2.0  # seconds a worker gets to exit once its record stands


@dataclass(frozen=True)
class Progressed:
    """A cell says how far it is."""

    cell: Cell
    fraction: float
    values: dict[str, float]


@dataclass(frozen=True)
class Finished:
    """A cell left its record."""

    cell: Cell
    record: Record


@dataclass(frozen=True)
class Died:
    """A cell's process ended, or was ended, before it left a record."""

    cell: Cell
    status: Literal["failed", "timeout"]
    reason: str
    wall_seconds: float
    output: str


@dataclass(frozen=True)
class Left:
    """A cell stopped when asked to; its state is written and it goes on from there another time."""

    cell: Cell


Event = Progressed | Finished | Died | Left


class Executor(Protocol):
    """Runs cells. The runner asks it for events until all cells have finished, died or left."""

    @property
    def workers(self) -> int:
        """How many cells run at a time."""

    def free(self) -> int:
        """How many more cells can be taken now."""

    def submit(self, cell: Cell) -> None:
        """Takes a cell."""

    def events(self) -> Sequence[Event]:
        """What has happened since; waits a fraction of a second at most where that is possible.

        Raises:
            OSError: the store cannot be written.
        """

    def ask(self) -> None:
        """Asks all cells to write down where they are, and to leave; one that is nearly done may finish."""

    def stop(self) -> None:
        """Ends all that runs."""


class InProcess:
    """One cell at a time in this process: for debuggers. Time-outs do not hold here."""

    workers = 1

    def __init__(self, store: Store, provenance: dict[str, Any]) -> None:
        self._store, self._provenance = store, provenance
        self._waiting: list[Cell] = []

    def free(self) -> int:
        return 1 - len(self._waiting)

    def submit(self, cell: Cell) -> None:
        self._waiting.append(cell)

    def events(self) -> Sequence[Event]:
        found: list[Event] = []
        while self._waiting:
            cell = self._waiting.pop()
            try:
                found.append(Finished(cell, run_cell(cell, self._store, self._provenance, lambda share, values: None)))
            except Interrupted:
                found.append(Left(cell))
        return found

    def ask(self) -> None:
        ASKED.to_stop = True

    def stop(self) -> None:
        self._waiting.clear()


def _end_with_parent(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()  # nothing is ever sent: it returns when the other end is gone
    os.killpg(0, signal.SIGKILL)


def _work(cell: Cell, root: Path, provenance: dict[str, Any], pipe: Connection, gpus: dict[str, str]) -> None:
    """Body of a worker process: runs one cell, reports through ``pipe``, sends the record."""
    os.setsid()  # a group of its own: ended as a whole, and out of the terminal's reach
    os.environ |= gpus  # the server that it is forked from has those of its start
    store = Store(root)
    log = os.open(store.log_path(cell.id), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    last = 0.0

    def progress(fraction: float, values: dict[str, float]) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= REPORT_EVERY or "score" in values:  # it comes seldom
            last = now
            pipe.send((float(fraction), {k: float(v) for k, v in values.items()}))

    signal.signal(signal.SIGTERM, lambda number, frame: setattr(ASKED, "to_stop", True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pipe.send(run_cell(cell, store, provenance, progress).model_dump())
    except Interrupted:
        os._exit(LEFT)
    except OSError as error:
        pipe.send(str(error))


@dataclass
class _Worker:
    cell: Cell
    process: BaseProcess
    pipe: Connection
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def starved(self) -> float:
        """Seconds that its main thread waited for a core, where the system tells (Linux): a busy machine's fault."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9
        return 0.0

    def memory_mib(self) -> float:
        """Resident memory of the process and all that it started."""
        total = 0
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            for one in (process, *process.children(recursive=True)):
                total += one.memory_info().rss
        return total / 2**20

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.process.pid:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # a worker that has no group yet
        self.process.join()
        self.pipe.close()


class Processes:
    """Every cell in a fresh process, forked from a server that has imported everything once: nothing one cell leaves
    behind reaches another, and a crash takes one cell with it.

    Args:
        workers: cells at a time, each on one thread.
        preload: modules that the server imports.
    """

    def __init__(self, workers: int, store: Store, provenance: dict[str, Any], preload: Sequence[str]) -> None:
        self.workers, self._store, self._provenance = workers, store, provenance
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["benchmark.cell", *preload])
        self._running: list[_Worker] = []
        self._asked = False

    def free(self) -> int:
        return self.workers - len(self._running)

    def submit(self, cell: Cell) -> None:
        ours, theirs = self._context.Pipe()
        gpus = {name: value for name, value in os.environ.items() if name.endswith("VISIBLE_DEVICES")}
        given = cell, self._store.root.absolute(), self._provenance, theirs, gpus
        process = self._context.Process(target=_work, args=given)
        process.start()
        theirs.close()
        self._running.append(_Worker(cell, process, ours))

    def events(self) -> Sequence[Event]:
        ready = wait([worker.pipe for worker in self._running], timeout=REPORT_EVERY)
        found: list[Event] = []
        for worker in self._running[:]:
            if worker.pipe in ready:
                found += self._receive(worker)
        for worker in self._running[:]:
            late = worker.seconds > worker.cell.timeout_s and worker.seconds - worker.starved() > worker.cell.timeout_s
            if late and not worker.pipe.poll():  # its record may be on the way
                worker.end()
                found.append(self._died(worker, "timeout", f"stopped after timeout_s = {worker.cell.timeout_s:g} s"))
            elif (limit := worker.cell.memory_mib) is not None and (used := worker.memory_mib()) > limit:
                worker.end()
                found.append(self._died(worker, "failed", f"ended at {used:.0f} MiB of memory, above its {limit} MiB"))
        return found

    def _receive(self, worker: _Worker) -> list[Event]:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(GRACE)
            code = worker.process.exitcode
            worker.end()
            # one that is asked before it can listen dies of it
            if code == LEFT or (self._asked and code in (-signal.SIGTERM, LOST)):
                self._forget(worker)
                return [Left(worker.cell)]
            how = f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"exited with code {code}"
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            return [self._died(worker, "failed", f"worker {how} before it left a record{hint}")]
        if isinstance(message, str):
            raise OSError(message)
        if isinstance(message, tuple):
            return [Progressed(worker.cell, *message)]
        worker.process.join(GRACE)
        worker.end()
        self._forget(worker)
        return [Finished(worker.cell, Record(**message))]

    def _died(self, worker: _Worker, status: Literal["failed", "timeout"], reason: str) -> Died:
        log = self._store.log_path(worker.cell.id)
        output = log.read_text(errors="replace") if log.exists() else ""
        self._forget(worker)
        return Died(worker.cell, status, reason, worker.seconds, output)

    def _forget(self, worker: _Worker) -> None:
        self._running.remove(worker)
        self._store.log_path(worker.cell.id).unlink(missing_ok=True)

    def ask(self) -> None:
        self._asked = True
        for worker in self._running:
            worker.process.terminate()

    def stop(self) -> None:
        for worker in self._running[:]:
            worker.end()
            self._forget(worker)
