"""How metrics, numbers, intervals and the ends of runs are put into words."""

from reports.frame import Estimate, Runs
from reports.statistics import Interval
from results.schema import COSTS, METRICS, Metric

ARROWS = {1: " ↑", -1: " ↓"}
NONE = "\N{EN DASH}"


def about(metric: str) -> Metric:
    """What the schema says of a metric or a cost."""
    return METRICS.get(metric) or COSTS[metric]


def label(metric: str) -> str:
    """The metric's label with an arrow towards better."""
    return about(metric).label + ARROWS[about(metric).better]


def short_label(metric: str) -> str:
    """The metric's label for narrow places."""
    return about(metric).short or about(metric).label


def number(value: float, metric: str, digits: int | None = None) -> str:
    """With as many decimals as the schema says or as asked for, thousands apart for costs."""
    decimals = about(metric).digits if digits is None else digits
    text = f"{value:{',' if metric in COSTS else ''}.{decimals}f}"
    return "\N{MINUS SIGN}" + text[1:] if text.startswith("-") and float(text.replace(",", "")) else text.lstrip("-")


def _bound(value: float, metric: str) -> str:
    """A digit more where it rounds to a zero that it is not: 0 is what most intervals are held against."""
    digits = about(metric).digits
    return number(value, metric, digits + (value != 0 and round(value, digits) == 0))


def bounds(found: Interval | None, metric: str) -> str:
    """``[low, high]``, or nothing."""
    return f"[{_bound(found.low, metric)}, {_bound(found.high, metric)}]" if found else ""


def ended(found: Estimate) -> str:
    """How the runs of a cell ended: ``3 ok`` or ``1/3 ok, 2 timeout``."""
    rest = [f"{count} {status}" for status, count in sorted(found.statuses.items()) if status != "ok"]
    return f"{found.ok} ok" if not rest else ", ".join([f"{found.ok}/{found.expected} ok", *rest])


def conditions(runs: Runs) -> list[str]:
    """What the runs on each task were given: ``U-Maze: 10 demonstrations, at most 100,000 environment steps``."""
    lines = []
    for task, title in runs.tasks.items():
        given = [r for r in runs.records.values() if r.task == task]
        demos = " or ".join(str(n) for n in sorted({r.demos for r in given}))
        steps = " or ".join(f"{n:,}" for n in sorted({r.step_budget for r in given}))
        if given:
            lines.append(f"{title}: {demos} demonstrations, at most {steps} environment steps")
    return lines


def ended_all(runs: Runs) -> str:
    """How all runs ended, e.g. ``96 of 99 runs ended well: 2 failed, 1 missing.``"""
    counts = runs.table.status.value_counts()
    rest = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()) if status != "ok")
    return f"{counts.get('ok', 0)} of {len(runs.table)} runs ended well" + (f": {rest}." if rest else ".")
