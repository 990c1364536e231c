"""What changed between two sets of results: the check of a pull request that touches a method."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from reports.frame import entry, rng_for
from reports.render import Cell, Line, Section, Table
from reports.statistics import MIN_SEEDS, paired_difference
from reports.tables import NONE, bounds, number
from results.schema import COSTS, METRICS, Record

COMPARED = ("normalized_score", "score_seen", "score_unseen", "erc_pearson", "cpu_seconds")
Key = tuple[str, str, str, int, int]  # suite, task, method with its variant, demonstrations, budget


def _cells(records: Iterable[Record]) -> dict[Key, dict[int, Record]]:
    found: dict[Key, dict[int, Record]] = {}
    for r in records:
        key = (r.suite, r.task, entry(r.method, r.variant), r.demos, r.step_budget)
        if r.seed in found.setdefault(key, {}):
            raise ValueError(f"{found[key][r.seed].id} and {r.id} are both of {key[2]} on {r.task}, seed {r.seed}")
        found[key][r.seed] = r
    return found


def _value(record: Record, metric: str) -> float | None:
    if record.status != "ok":
        return None
    return float(getattr(record, metric)) if metric in COSTS else record.metrics.get(metric)


def _said(run: Record, text: str) -> Line:
    """A line of words in the place of numbers."""
    return Line(entry(run.title, run.variant), run.control, [Cell(text), *[Cell(NONE)] * 4])


def compare(before: Sequence[Record], after: Sequence[Record], metrics: Sequence[str] = COMPARED) -> tuple[Table, bool]:
    """Differences of means over the seeds that both sides have, paired by seed, with 95 % intervals.

    Args:
        before, after: records of the two sides; cells meet by suite, task, method, demonstrations and budget.
        metrics: names of metrics or costs.

    Returns:
        one line per cell on both sides and metric, then what is on one side only and what ended otherwise; and
        whether anything became worse (an interval on the worse side of 0, a run that no longer ends well) or cannot be
        compared: a cell of which the two sides share no seed.

    Raises:
        ValueError: one side is empty, or has two records of one place.
    """
    if not before or not after:
        raise ValueError(f"two sets of records are needed, got {len(before)} and {len(after)}")
    ours, theirs = _cells(before), _cells(after)
    sections, rows, worse = [], [], False
    for task in sorted({k[1] for k in ours.keys() | theirs.keys()}):
        lines = []
        for key in sorted(k for k in ours.keys() | theirs.keys() if k[1] == task):
            old, new = ours.get(key, {}), theirs.get(key, {})
            some = next(iter((new or old).values()))
            shared = sorted(old.keys() & new.keys())
            worse |= not shared
            if not old or not new:
                some_runs = f"{len(new or old)} run{'s' * (len(new or old) > 1)}"
                lines.append(_said(some, f"only {'after' if new else 'before'}, {some_runs}"))
                continue
            lost = [s for s in shared if old[s].status == "ok" != new[s].status]
            if lost:
                worse = True
                reasons = "; ".join(f"seed {s}: {new[s].status}, {new[s].reason[:80]}" for s in lost)
                lines.append(_said(some, f"no longer ends well: {reasons}"))
            for side, seeds in (("before", old.keys() - new.keys()), ("after", new.keys() - old.keys())):
                if seeds:
                    lines.append(_said(some, f"only {side}: seeds {', '.join(map(str, sorted(seeds)))}"))
            same = all(old[s].id == new[s].id and old[s].metrics == new[s].metrics for s in shared) and bool(shared)
            if same:
                lines.append(_said(some, "the same runs"))
                continue
            for metric in metrics:
                pairs = [(_value(old[s], metric), _value(new[s], metric)) for s in shared]
                known = np.array([p for p in pairs if None not in p], float)
                if not len(known):
                    continue
                gap, ends = paired_difference([known[:, 1]], [known[:, 0]], rng_for("compare", *map(str, key), metric))
                sign = (METRICS.get(metric) or COSTS[metric]).better
                word = "not told apart" if ends else f"n<{MIN_SEEDS}"
                if ends and not ends.low <= 0 <= ends.high:
                    good = gap * sign > 0
                    worse |= not good and metric in METRICS
                    word = "better" if good else "worse"
                elif (known[:, 0] == known[:, 1]).all():
                    word = "equal"
                name = (METRICS.get(metric) or COSTS[metric]).label
                cells = [name, number(known[:, 0].mean(), metric), number(known[:, 1].mean(), metric)]
                shown = [
                    *map(Cell, cells),
                    Cell(number(gap, metric), bounds(ends, metric), f"n={len(known)}"),
                    Cell(word, bold=word in ("better", "worse")),
                ]
                lines.append(Line(entry(some.title, some.variant), some.control, shown))
                rows.append(
                    dict(zip(("suite", "task", "method", "demos", "budget"), key, strict=True))
                    | {
                        "metric": metric,
                        "before": known[:, 0].mean(),
                        "after": known[:, 1].mean(),
                        "difference": gap,
                        "n": len(known),
                        "verdict": word,
                    }
                )
        sections.append(Section(next(r.task_title for r in (*before, *after) if r.task == task), lines))
    caption = (
        "After against before, over the seeds that both have; difference paired by seed with 95 % interval. Of many "
        "comparisons some intervals miss 0 by chance: one in twenty."
    )
    return Table("compare", caption, ["", "Before", "After", "Difference", ""], sections, pd.DataFrame(rows)), worse
