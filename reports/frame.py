"""Records as a tidy table: one row per expected run, whatever became of it, and from that one row per cell."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.statistics import Interval, mean_interval, whole
from results.schema import COSTS, METRICS, Record

ABSENT = {"id": "", "variant": "", "status": "missing", "reason": "no record", "reward_kind": ""}
Place = tuple[str, str, int]  # method (with its variant), task, seed


def entry(name: str, variant: str) -> str:
    """How a method is called where its suite runs through something: ``bc (demos=3)``; elsewhere by its name."""
    return f"{name} ({variant})" if variant else name


def rng_for(*names: str) -> np.random.Generator:
    """The same resamples for the same names, wherever and in whatever order they are asked for."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def _terms(record: Record) -> str:
    """All that decides a run but its demonstrations."""
    return record.model_dump_json(
        include={"method", "task", "seed", "base_seed", "step_budget", "eval_starts", "reoptimise", "code", "config"}
    )


def with_defaults(records: Iterable[Record]) -> list[Record]:
    """The records, and in sweeps over demonstrations the runs with a task's own number of them.

    Those are runs of a suite without a sweep at the same time, and kept under its name.
    """
    records, sweeps = list(records), dict[str, set[str]]()
    for r in records:
        if r.variant == f"demos={r.demos}":
            sweeps.setdefault(_terms(r), set()).add(r.suite)
    return records + [
        r.model_copy(update={"suite": suite, "variant": f"demos={r.demos}"})
        for r in records
        if not r.variant
        for suite in sorted(sweeps.get(_terms(r), ()))
    ]


def main_suite(records: Iterable[Record]) -> list[Record]:
    """The records of the largest suite, those aside that run through something."""
    plain = [r for r in records if not r.variant]
    sizes = Counter(r.suite for r in plain)
    largest = min(sizes, key=lambda name: (-sizes[name], name), default="")
    return [r for r in plain if r.suite == largest]


@dataclass(frozen=True)
class Runs:
    """What a report is made of.

    ``table`` has a row per (task, method, seed) with ``id, method, title, control, task, task_title, seed, variant,
    status, reason, reward_kind``, the costs and every metric of the schema (NaN where there is none).
    """

    table: pd.DataFrame
    records: dict[str, Record]  # behind it, by id
    notes: list[str]  # what a reader must know about the selection

    @cached_property
    def tasks(self) -> dict[str, str]:
        """Names and titles of the tasks, in order."""
        return dict(zip(self.table.task, self.table.task_title, strict=True))

    @cached_property
    def methods(self) -> dict[str, str]:
        """Names and titles of the methods, contestants first, then controls."""
        rows = self.table.sort_values("control", kind="stable")
        return dict(zip(rows.method, rows.title, strict=True))

    @cached_property
    def controls(self) -> set[str]:
        """Names of the methods that are yardsticks, not contestants."""
        return set(self.table.method[self.table.control])

    @cached_property
    def cells(self) -> dict[tuple[str, str], pd.DataFrame]:
        """The rows of each (task, method), by seed."""
        return {(str(t), str(m)): rows for (t, m), rows in self.table.groupby(["task", "method"])}

    @cached_property
    def known(self) -> dict[tuple[str, str, str], "Estimate"]:
        """What :func:`estimate` has found so far: every table, figure and the page ask again."""
        return {}

    def of(self, task: str, method: str) -> pd.DataFrame:
        """The rows of one cell, by seed; none where the method has no run on the task."""
        return self.cells.get((task, method), self.table[:0])

    def seeds(self, method: str, tasks: Iterable[str] = ()) -> list[list[int]]:
        """Of a method's runs per task (of all, if none is named): only runs of equal seeds make pairs."""
        return [self.of(t, method).seed.tolist() for t in tasks or self.tasks]

    @property
    def n(self) -> str:
        """How many seeds the cells have, ``3`` or ``3 to 5``."""
        least, most = self.table.groupby(["task", "method"]).seed.nunique().agg(["min", "max"])
        return f"{least}" if least == most else f"{least} to {most}"

    def curves(self, task: str, method: str) -> list[list[dict[str, float]]]:
        """What each run of a cell logged on its way."""
        return [self.records[id].curve for id in self.of(task, method).id if id]

    def strata(self, metric: str, tasks: Iterable[str] = ()) -> dict[str, list[NDArray[np.float64]]]:
        """By method, per task (of all, if none is named) the values of its runs; NaN where a run has none."""
        return {m: [self.of(t, m)[metric].to_numpy(float) for t in tasks or self.tasks] for m in self.methods}

    def complete(self, metric: str, tasks: Iterable[str] = ()) -> dict[str, list[NDArray[np.float64]]]:
        """Of these, the methods with a value of every run on every task."""
        return {m: values for m, values in self.strata(metric, tasks).items() if whole(values)}


def levelled(records: Iterable[Record]) -> list[Record]:
    """Records as they were measured, but their re-optimised scores have as 100 the mean of agents on the true reward.

    Each record's own score has as its 100 the agent of its seed, a single run that varies as much as what it measures.
    """
    records = list(records)
    for suffix in ("", "_changed"):
        value, reference, score = (f"reoptimised_{kind}{suffix}" for kind in ("return", "reference", "score"))
        alike: dict[tuple[str, str, int], list[Record]] = {}
        for r in records:
            if r.metrics.keys() >= {value, reference, score}:
                alike.setdefault((r.suite, r.task, r.reoptimise), []).append(r)
        made = dict[tuple[str, str], Record]()  # a run that suites share stands in each
        for runs in alike.values():
            ends = dict[int, tuple[float, float]]()  # by seed, returns of random actions and of the agent
            for r in sorted(runs, key=lambda r: abs(r.metrics[score] - 100)):  # far from 100 it gives the former best
                got, top, share = r.metrics[value], r.metrics[reference], r.metrics[score] / 100
                ends |= {r.seed: ((got - share * top) / (1 - share), top)} if share != 1 else {}
            low, high = np.mean(list(ends.values()), 0) if ends else (0.0, 0.0)
            for r in runs if high > low else ():
                level = 100 * (r.metrics[value] - low) / (high - low)
                made[r.suite, r.id] = r.model_copy(update={"metrics": r.metrics | {score: float(level)}})
        records = [made.get((r.suite, r.id), r) for r in records]
    return records


def latest(records: Iterable[Record]) -> list[Record]:
    """The last finished of each suite, task, method, variant and seed: the others' code or settings have changed."""
    ordered = sorted(records, key=lambda r: str(r.provenance.get("finished", "")))
    return list({(r.suite, r.task, r.method, r.variant, r.seed): r for r in ordered}.values())


def gather(records: Iterable[Record], expected: Sequence[Place] | None = None) -> Runs:
    """Puts records in order and adds a row for each run that should be there and is not.

    Args:
        records: at most one of each (method, task, seed).
        expected: (method, task, seed) of every run that should be there, which also gives the order of tasks; None for
            every method on every task with every seed that occurs.

    Raises:
        ValueError: no records, or several of one method, task and seed: which one counts is not ours to choose.
    """
    by_place: dict[Place, Record] = {}
    for record in records:
        place = entry(record.method, record.variant), record.task, record.seed
        if place in by_place:
            raise ValueError(
                f"records {by_place[place].id} and {record.id} are both of {record.method} on {record.task}, seed "
                f"{record.seed}, with different settings or code: report on one suite at a time"
            )
        by_place[place] = record
    if not by_place:
        raise ValueError("there are no records to report on")
    if expected is None:
        names, tasks, seeds = {p[0] for p in by_place}, {p[1] for p in by_place}, {p[2] for p in by_place}
        mazes_first = sorted(tasks, reverse=True)  # as in our suites
        expected = [(m, t, s) for t in mazes_first for m in names for s in seeds]
    task_order = list(dict.fromkeys([t for _, t, _ in expected] + sorted({t for _, t, _ in by_place}, reverse=True)))
    method_titles = {p[0]: entry(r.title, r.variant) for p, r in by_place.items()}
    task_titles = {r.task: r.task_title for r in by_place.values()}
    controls = {p[0] for p, r in by_place.items() if r.control}
    places = sorted(
        {*expected, *by_place},
        key=lambda p: (task_order.index(p[1]), p[0] in controls, method_titles.get(p[0], p[0]).lower(), p[0], p[2]),
    )
    rows, level = [], {r.id: r for r in levelled(by_place.values())}
    for method, task, seed in places:
        found = by_place.get((method, task, seed))
        row: dict[str, object] = {"method": method, "title": method_titles.get(method, method), "seed": seed}
        row |= {"control": method in controls, "task": task, "task_title": task_titles.get(task, task)}
        row |= ABSENT | dict.fromkeys([*COSTS, *METRICS], math.nan)
        if found:
            row |= {name: getattr(found, name) for name in (*ABSENT, *COSTS)}
            row |= {name: value for name, value in level[found.id].metrics.items() if name in METRICS}
        rows.append(row)
    settings: dict[tuple[str, str], set[str]] = {}
    for (method, task, _), r in sorted(by_place.items()):
        decided = r.code, r.demos, r.step_budget, sorted(r.config.items())
        settings.setdefault((method, task), set()).add(repr(decided))
    mixed = [cell for cell, found in settings.items() if len(found) > 1]
    notes = [f"{method} on {task}: the seeds ran with different code or settings." for method, task in mixed]
    return Runs(pd.DataFrame(rows), {r.id: r for r in by_place.values()}, notes)


@dataclass(frozen=True)
class Estimate:
    """One metric of one method on one task, over seeds."""

    mean: float  # over the runs that have the metric; NaN if none has
    interval: Interval | None  # 95 %, within the metric's range; None below three values
    n: int  # runs that have the metric
    statuses: Counter[str]  # how many of the expected runs ended how
    samples: Sequence[int]  # episodes, windows or transitions that each run's value rests on, where its record says
    within: float  # half of one run's own 95 % interval over these, mean over runs; NaN where no record has one

    @property
    def expected(self) -> int:
        """Runs that should be there."""
        return self.statuses.total()

    @property
    def ok(self) -> int:
        """Runs that ended well."""
        return self.statuses["ok"]


def in_range(found: Interval | None, metric: str) -> Interval | None:
    """The part of an interval that a metric can reach."""
    low, high = METRICS[metric].range if metric in METRICS else (-math.inf, math.inf)
    return found and Interval(max(found.low, low), min(found.high, high))


def estimate(runs: Runs, task: str, method: str, metric: str) -> Estimate:
    """Mean and interval of a metric or cost over the seeds of one cell; failed runs are counted, not averaged."""
    if (task, method, metric) in runs.known:
        return runs.known[task, method, metric]
    cell = runs.of(task, method)
    used = cell[(cell.status == "ok") & np.isfinite(cell[metric].astype(float))]
    values = used[metric].to_numpy(float)
    found = mean_interval(values, rng_for(task, method, metric))
    spreads = [spread for id in used.id if (spread := runs.records[id].spread.get(metric))]
    halves = [half for spread in spreads if (half := spread.half) is not None]
    made = Estimate(
        mean=float(values.mean()) if len(values) else math.nan,
        interval=in_range(found, metric),
        n=len(values),
        statuses=Counter(map(str, cell.status)),
        samples=[spread.n for spread in spreads],
        within=float(np.mean(halves)) if halves else math.nan,
    )
    return runs.known.setdefault((task, method, metric), made)
