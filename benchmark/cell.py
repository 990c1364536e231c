"""One cell of the grid, from its plain description to its record."""

import contextlib
import dataclasses
import errno
import random
import resource
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from benchmark.bfloat16 import emulate
from benchmark.pictures import pictures
from benchmark.pose import pose
from benchmark.references import kept, occupancy, place, references
from benchmark.registry import load_method, load_task, task_code
from benchmark.score import Judge, score
from envs.checkpoint import ASKED
from envs.d4rl_scores import REFERENCES
from envs.datasets import write_arrays
from envs.own import NO_DEMONSTRATOR, RecordedTask
from envs.rollout import Rollout, Uniform
from envs.seeding import seed_of, stream
from methods.base import Learned
from methods.controls import Withheld
from results.schema import Record, Status
from results.store import Store

Progress = Callable[[float, dict[str, float]], None]
STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
KEEP_LEARNED_BYTES = 1_000_000


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run to be made, as plain data: it travels to any worker."""

    id: str  # of the record it will leave
    method: str
    task: str
    method_module: str  # where a worker finds them
    task_module: str
    title: str  # as printed
    task_title: str
    seed: int  # of the demonstrations and the method's draws
    demos: int
    step_budget: int  # environment steps the method may take
    base_seed: int  # of the base data
    eval_starts: int | None  # of each kind; None for all
    config: dict[str, Any]  # all settings of the method, defaults included
    code: str  # hash of the sources that decide the result
    control: bool  # whether the method may see the true reward
    suite: str
    timeout_s: float
    memory_mib: int | None = None  # above which it is ended; None for no limit
    gpus: float = 0.0  # share of one that a cluster sets aside for it
    tuning_trials: int = 0  # configurations that the study behind its settings tried
    reoptimise: int = 0  # environment steps of fresh agents on the learnt reward; 0 for none
    variant: str = ""  # what the suite runs through, as in ``demos=3``

    @property
    def place(self) -> tuple[str, str, int, str]:
        """Method, task, seed, variant: where it stands in its suite."""
        return self.method, self.task, self.seed, self.variant

    def __str__(self) -> str:
        return " · ".join([self.method, self.task, f"seed {self.seed}", *[self.variant] * bool(self.variant)])

    def record(self, status: Status, provenance: dict[str, Any], **rest: Any) -> Record:
        """The record of this cell."""
        origin = {**provenance, "finished": datetime.now(UTC).isoformat(timespec="microseconds")}
        shared = {name: getattr(self, name) for name in Record.model_fields if hasattr(self, name)}
        return Record(status=status, provenance=origin, **shared, **rest)


def fix_globals(cell: Cell) -> None:
    """Sets every global generator, the thread count and slow products, so that a run depends on its cell alone."""
    seed = seed_of("globals", cell.method, cell.task, cell.seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # for libraries that draw from it
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    emulate()


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # not Linux: the peak stays that of the process
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _finite_curve(curve: list[dict[str, float]]) -> tuple[list[dict[str, float]], list[str]]:
    kept = [{k: float(v) for k, v in row.items() if np.isfinite(v)} for row in curve]
    lost = sorted({k for row in curve for k, v in row.items() if not np.isfinite(v)})
    return kept, [f"curve: values of {', '.join(lost)} that are not finite were left out"] if lost else []


def _keep_learned(learned: Learned, folder: Path) -> None:
    parts = [part for part in (learned.policy, learned.reward) if part is not None]
    if sum(t.numel() * t.element_size() for part in parts for t in part.state_dict().values()) < KEEP_LEARNED_BYTES:
        folder.mkdir()
        learned.save(folder)


def device_of(learned: Learned) -> str:
    """Where the policy lies, and so where it was learnt: ``cpu``, or a GPU's name."""
    types = {weights.device.type for weights in learned.policy.parameters()}
    return torch.cuda.get_device_name() if "cuda" in types else "cpu"


def keep_references(task: RecordedTask, code: str) -> None:
    """Writes where :func:`references` looks what a demonstrator that cannot be run earned, and where it was: by its
    demonstrations. ``code`` is the hash of the task's sources and data.
    """
    path = place(task, code)
    with FileLock(f"{path}.recorded.lock"):
        if kept(path) is not None:
            return
        space, known = task.make_env(1).action_space, task.demos(task.recorded, 0)
        found = references(dataclasses.replace(task, expert=lambda: Uniform(space)), f"{code} at random")
        visited = occupancy(Rollout(np.zeros(0), known.trajectories))
        for kind, starts in (("seen", task.seen_starts), ("unseen", task.unseen_starts)):
            found[f"expert_{kind}"] = np.full(len(starts), known.returns.mean(dtype=np.float64))
            found[f"occupancy_{kind}"] = visited[np.arange(len(starts)) % len(visited)]
        write_arrays(path, **found)


def _outcome(cell: Cell, work: Path, state: Path, progress: Progress) -> dict[str, Any]:
    """Poses, fits and scores; everything in the record but identity, times and provenance."""
    method, task = load_method(cell.method_module, cell.method), load_task(cell.task_module, cell.task)
    rng = stream("fit", cell.method, cell.task, cell.seed)
    given = method.control and not isinstance(task, RecordedTask)  # such a task has nothing to hand over
    posed = pose(task, cell.seed, cell.demos, cell.step_budget, cell.base_seed, given, progress, state, rng)
    if reason := method.unsupported(posed.problem):
        return {"status": "skipped", "reason": reason}
    code = task_code(task, cell.task_module)
    if isinstance(task, RecordedTask):
        keep_references(task, code)
    judge, checkpoint = Judge(task, cell.eval_starts, code), posed.problem.checkpoint

    def look(policy: Any) -> None:
        with contextlib.suppress(Exception):  # what it does wrong is said in the end
            progress(0.0, {"score": judge(policy), "env_steps": posed.problem.meter.used})

    _reset_peak()
    began, ASKED.look = time.process_time(), look
    try:
        learned = method.learn(posed.problem, method.config(**cell.config), rng)
    except Withheld:
        if not method.control:
            raise
        return {"status": "skipped", "reason": f"it needs the demonstrator or the true reward: {NO_DEMONSTRATOR}"}
    finally:
        ASKED.look = None
    fitted, peak = time.process_time(), _peak_mib()
    progress(1.0, {})
    try:
        found = score(task, learned, posed, cell.seed, cell.eval_starts, code, judge)
    except Exception as error:
        error.curve = learned.curve  # type: ignore[attr-defined]  # how it was learnt, for the record of the failure
        raise
    if (value := found.metrics.get("normalized_score")) is not None:
        progress(1.0, {"score": value, "env_steps": posed.problem.meter.used})
    if cell.task in REFERENCES:  # a unit for comparison with papers; the same return on another scale
        found.put("d4rl_score", REFERENCES[cell.task].score(found.metrics["return_seen"]))
    if cell.reoptimise and isinstance(task, RecordedTask):
        found.notes.append(
            "re-optimisation: its 100 is an agent on the true reward, which is not known step by step here"
        )
    elif cell.reoptimise:
        from benchmark.reoptimise import reoptimised  # costs much, so only where it is asked for

        for finding in reoptimised(task, learned, posed, cell.reoptimise, cell.seed, cell.task_module):
            found.put(*finding)
    try:
        found.artefacts |= pictures(task, learned, posed, found.runs, cell.seed)
    except Exception as error:  # a run is not lost for a picture
        found.notes.append(f"pictures: {type(error).__name__}: {error}")
    narrow: dict[str, Any] = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in found.artefacts.items()}
    np.savez_compressed(work / "artefacts.npz", **narrow)
    if not cell.control:  # a control may wrap what cannot be saved
        _keep_learned(learned, work / "learned")
    curve, notes = _finite_curve(learned.curve + found.curve)
    wall, cpu = checkpoint.before
    return {
        "status": "ok",
        "device": device_of(learned),
        "wall_seconds": wall,
        "cpu_seconds": cpu + fitted - began - checkpoint.aside,
        "score_seconds": time.process_time() - fitted + checkpoint.aside,
        "peak_memory_mib": peak,
        "notes": found.notes + notes,
        "reward_kind": learned.reward_kind,
        "metrics": found.metrics,
        "spread": found.spread,
        "curve": curve,
        "env_steps": posed.problem.meter.used,
        "gradient_steps": learned.gradient_steps,
    }


def run_cell(cell: Cell, store: Store, provenance: dict[str, Any], progress: Progress) -> Record:
    """Runs one cell and commits its record and artefacts, whatever happens inside.

    ``progress`` gets (fraction in [0, 1], {name: value}) now and then. The record is ``ok``, ``skipped``, or ``failed``
    with the reason, the traceback beside it in ``error.txt``.
    """
    with store.hold(cell.id):
        work = store.workspace(cell.id)
        fix_globals(cell)
        wall, cpu = time.monotonic(), time.process_time()
        try:
            outcome = _outcome(cell, work, store.state_folder(cell.id), progress)
        except (Exception, SystemExit) as error:
            if isinstance(error, OSError) and error.errno in STORAGE:
                raise  # not the method's failure: the run stops
            (work / "error.txt").write_text(traceback.format_exc())
            kept, notes = _finite_curve(getattr(error, "curve", []))  # an error may carry what was learnt before it
            outcome = {"status": "failed", "reason": f"{type(error).__name__}: {error}", "curve": kept, "notes": notes}
        outcome["wall_seconds"] = outcome.get("wall_seconds", 0.0) + time.monotonic() - wall
        origin = provenance | {"device": outcome.pop("device", provenance.get("device"))}
        record = cell.record(
            provenance=origin, **{"cpu_seconds": time.process_time() - cpu, "peak_memory_mib": _peak_mib(), **outcome}
        )
        store.commit(record)
        return record
