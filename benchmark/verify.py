"""Recorded cells run again: does each metric fall where the recorded seeds say that it would?"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError
from scipy import stats

from benchmark.cell import Cell
from benchmark.errors import UserError
from benchmark.registry import Registry
from benchmark.suite import identified
from results.schema import METRICS, Record

LEVEL = 0.95
TOLERATED = 0.1  # share of metrics outside their intervals; chance alone puts 1 - LEVEL of them there
SAME = ("python", "versions", "platform", "cpu")  # provenance with which equal bits are promised


@dataclass(frozen=True)
class Finding:
    """One metric of one cell, as recorded and as it came out again; of a cell that ended otherwise, the metric is
    ``status``."""

    cell: str
    metric: str
    recorded: float | str
    again: float | str | None
    low: float | None = None
    high: float | None = None
    n: int = 0

    @property
    def verdict(self) -> str:
        """``within``, ``outside`` or, of a single seed and another value, ``no interval``."""
        if self.again == self.recorded:
            return "within"
        if isinstance(self.again, str) or self.again is None:
            return "outside"
        if self.low is None or self.high is None:
            return "no interval"
        return "within" if self.low <= self.again <= self.high else "outside"


def prediction_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Where one more draw falls with probability :data:`LEVEL`, given ``n`` draws of the same normal variable.

    Mean plus and minus Student's quantile of ``n - 1`` degrees of freedom times ``sd * sqrt(1 + 1 / n)`` (Hahn and
    Meeker 1991, section 4.1), widened by rounding errors; None for fewer than two.
    """
    n = len(values)
    if n < 2:
        return None
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd * math.sqrt(1 + 1 / n) + 1e-9 * max(1.0, abs(mean))
    return mean - half, mean + half


def drawn(records: Sequence[Record], share: float, seed: int) -> list[Record]:
    """A random share of records, one at least; those of cells that ran out of time are none to wait for.

    Args:
        records: to draw from.
        share: in (0, 1].
        seed: of the draw; equal seeds, equal records.

    Raises:
        UserError: there is none.
    """
    candidates = sorted((r for r in records if r.status != "timeout"), key=lambda r: r.id)
    if not candidates:
        raise UserError("there are no records to verify")
    count = max(1, round(share * len(candidates)))
    chosen = np.random.default_rng(seed).choice(len(candidates), count, replace=False)
    return [candidates[i] for i in sorted(chosen)]


def cell_of(record: Record, registry: Registry) -> Cell:
    """The cell that left a record, as the present code runs it: its id differs where the code has changed.

    Raises:
        UserError: there is no such method or task any more, or the method takes no such settings.
    """
    method, task = registry.method(record.method), registry.task(record.task)
    try:
        config = method[0].config(**record.config).model_dump(mode="json")
    except ValidationError as error:
        raise UserError(f"{record.method} takes other settings than record {record.id} holds: {error}") from error
    decides = {name: getattr(record, name) for name in ("seed", "demos", "step_budget", "base_seed", "eval_starts")}
    rest = {"variant": record.variant, "suite": record.suite, "timeout_s": max(600.0, 10 * record.wall_seconds)}
    return identified(method, task, record.reoptimise, {**decides, "config": config}, **rest)


def _but_seed(record: Record) -> tuple[str | int | None, ...]:
    settings = json.dumps(record.config, sort_keys=True)
    decided = record.demos, record.step_budget, record.eval_starts, record.reoptimise, record.code, settings
    return record.suite, record.method, record.task, record.variant, *decided


def judged(records: Sequence[Record], again: Mapping[str, Record]) -> Iterator[Finding]:
    """What came out, metric by metric; durations apart.

    Args:
        records: all recorded.
        again: new record by the id of the recorded one.
    """
    for old in records:
        if (new := again.get(old.id)) is None:
            continue
        cell = f"{old.method} · {old.task} · seed {old.seed}" + f" · {old.variant}" * bool(old.variant)
        if new.status != old.status:
            yield Finding(cell, "status", old.status, f"{new.status} {new.reason}".strip())
            continue
        kin = [r for r in records if r.status == "ok" and _but_seed(r) == _but_seed(old)]
        for name, value in old.metrics.items():
            if name in METRICS and METRICS[name].group == "cost":
                continue
            values = [r.metrics[name] for r in kin if name in r.metrics]
            low, high = prediction_interval(values) or (None, None)
            yield Finding(cell, name, value, new.metrics.get(name), low, high, len(values))


def same_origin(old: Record, new: Record) -> bool:
    """Whether code, versions and processor are equal, so that metrics must be, bit by bit."""
    return old.code == new.code and all(old.provenance.get(k) == new.provenance.get(k) for k in SAME)


def holds(findings: Sequence[Finding]) -> bool:
    """Whether all cells ended as recorded, with few (:data:`TOLERATED`) of the metrics that have intervals outside."""
    outside = [found for found in findings if found.verdict == "outside"]
    told = sum(found.verdict != "no interval" for found in findings)
    return told > 0 and not any(f.metric == "status" for f in outside) and len(outside) <= TOLERATED * told


def _shown(value: float | str | None) -> str:
    return "none" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def text(findings: Sequence[Finding], equal: int, promised: bool) -> str:
    """A table of the findings and what they come to: how many are ``equal`` bit by bit, and whether all should be."""
    head = ("cell and metric", "recorded", "again", f"{LEVEL:.0%} interval (seeds)", "verdict")
    rows = [head]
    for cell in dict.fromkeys(found.cell for found in findings):
        rows.append((cell, "", "", "", ""))
        for f in (found for found in findings if found.cell == cell):
            interval = "-" if f.low is None or f.high is None else f"{f.low:.4g} to {f.high:.4g} ({f.n})"
            rows.append((f"  {f.metric}", _shown(f.recorded), _shown(f.again), interval, f.verdict))
    widths = [max(len(row[k]) for row in rows if row is head or row[1]) for k in range(len(head))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counts = {v: sum(f.verdict == v for f in findings) for v in ("within", "outside", "no interval")}
    told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    lines += ["", f"{len(findings)} metrics: {told}; {equal} equal bit by bit"]
    if promised:
        short = "as they must be" if equal == len(findings) else "and all should be: something decides besides the seed"
        lines[-1] += f", with equal code, versions and processor, {short}"
    if {found.verdict for found in findings} <= {"no interval"}:
        lines.append("NOT reproduced: nothing can be judged, an interval takes two seeds of a cell")
    else:
        lines.append("reproduced" if holds(findings) else "NOT reproduced")
    return "\n".join(lines)
