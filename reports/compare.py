"""What changed between two sets of results: the check of a pull request that touches a method."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from reports.frame import entry, rng_for
from reports.render import Cell, Line, Section, Table
from reports.statistics import MIN_SEEDS, paired_difference
from reports.wording import NONE, about, bounds, number
from results.schema import COSTS, METRICS, Record

COMPARED = ("normalized_score", "score_seen", "score_unseen", "erc_pearson", "cpu_seconds")
LOST = "no longer ends well: "
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


def _results(record: Record) -> dict[str, float]:
    """Its metrics but durations, which no two runs share."""
    return {name: value for name, value in record.metrics.items() if name in METRICS and METRICS[name].group != "cost"}


def _ends(old: dict[int, Record], new: dict[int, Record]) -> tuple[list[str], bool]:
    """What is on one side of a cell only and what ended otherwise, in words; and whether there is more to compare."""
    if not old or not new:
        count = len(new or old)
        return [f"only {'after' if new else 'before'}, {count} run{'s' * (count > 1)}"], False
    said, shared = [], sorted(old.keys() & new.keys())
    if lost := [s for s in shared if old[s].status == "ok" != new[s].status]:
        said.append(LOST + "; ".join(f"seed {s}: {new[s].status}, {new[s].reason[:80]}" for s in lost))
    for side, seeds in (("before", old.keys() - new.keys()), ("after", new.keys() - old.keys())):
        if seeds:
            said.append(f"only {side}: seeds {', '.join(map(str, sorted(seeds)))}")
    if shared and all(old[s].id == new[s].id and _results(old[s]) == _results(new[s]) for s in shared):
        return [*said, "the same runs"], False
    return said, True


def _difference(
    key: Key, old: dict[int, Record], new: dict[int, Record], metric: str
) -> tuple[list[Cell], dict[str, object]] | None:
    """One metric of a cell, paired by seed: entries, and the same as numbers; None where no run has it."""
    shared = [s for s in sorted(old.keys() & new.keys()) if old[s].status == new[s].status == "ok"]
    pairs = [(_value(old[s], metric), _value(new[s], metric)) for s in shared]
    known = np.array([p for p in pairs if None not in p], float)
    if not len(known):
        had = [all(pair[side] is None for pair in pairs) for side in (1, 0)]  # before only, after only
        if all(had):
            return None
        word = "only before" if had[0] else "only after"
        numbers = {"metric": metric, "before": np.nan, "after": np.nan, "difference": np.nan, "n": 0, "verdict": word}
        return [Cell(about(metric).label), *[Cell(NONE)] * 3, Cell(word, bold=True)], numbers
    gap, ends = paired_difference([known[:, 1]], [known[:, 0]], rng_for("compare", *map(str, key), metric))
    word = "not told apart" if ends else f"n<{MIN_SEEDS}"
    if ends and not ends.low <= 0 <= ends.high:
        word = "better" if gap * about(metric).better > 0 else "worse"
    elif (known[:, 0] == known[:, 1]).all():
        word = "equal"
    before, after = known.mean(0)
    cells = [Cell(about(metric).label), Cell(number(before, metric)), Cell(number(after, metric))]
    cells.append(Cell(number(gap, metric), bounds(ends, metric), f"n={len(known)}"))
    cells.append(Cell(word, bold=word in ("better", "worse")))
    numbers = {"metric": metric, "before": before, "after": after, "difference": gap, "n": len(known), "verdict": word}
    return cells, numbers


def compare(before: Sequence[Record], after: Sequence[Record], metrics: Sequence[str] = COMPARED) -> tuple[Table, bool]:
    """Differences of means over the seeds that both sides have, paired by seed, with 95 % intervals.

    Args:
        before, after: records of the two sides; cells meet by suite, task, method, demonstrations and budget.
        metrics: names of metrics or costs.

    Returns:
        one line per cell on both sides and metric, then what is on one side only and what ended otherwise; and
        whether anything became worse (an interval on the worse side of 0, a run that no longer ends well, a metric
        that is gone) or cannot be compared: a cell of which the two sides share no seed.

    Raises:
        ValueError: one side is empty, or has two records of one place.
    """
    if not before or not after:
        raise ValueError(f"two sets of records are needed, got {len(before)} and {len(after)}")
    ours, theirs = _cells(before), _cells(after)
    sections, rows, worse = [], list[dict[str, object]](), False
    for task in sorted({k[1] for k in ours.keys() | theirs.keys()}):
        lines: list[Line] = []
        for key in sorted(k for k in ours.keys() | theirs.keys() if k[1] == task):
            old, new = ours.get(key, {}), theirs.get(key, {})
            some = next(iter((new or old).values()))
            said, told = _ends(old, new)
            lines += [Line(entry(some.title, some.variant), some.control, [Cell(x), *[Cell(NONE)] * 4]) for x in said]
            worse |= not old.keys() & new.keys() or any(text.startswith(LOST) for text in said)
            for metric in metrics if told else ():
                if (row := _difference(key, old, new, metric)) is None:
                    continue
                shown, numbers = row
                worse |= numbers["verdict"] in ("worse", "only before") and metric in METRICS
                lines.append(Line(entry(some.title, some.variant), some.control, shown))
                rows.append(dict(zip(("suite", "task", "method", "demos", "budget"), key, strict=True)) | numbers)
        sections.append(Section(next(r.task_title for r in (*before, *after) if r.task == task), lines))
    caption = (
        "After against before, over the seeds that both have; difference paired by seed with 95 % interval. Of many "
        "comparisons some intervals miss 0 by chance: one in twenty."
    )
    return Table("compare", caption, ["", "Before", "After", "Difference", ""], sections, pd.DataFrame(rows)), worse
