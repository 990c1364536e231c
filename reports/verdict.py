"""What the records say of the thesis' method and its fix, each against the best rival of each task."""

from collections.abc import Sequence

from reports.frame import Runs, estimate, rng_for
from reports.statistics import paired_difference
from reports.tables import bounds, number
from results.schema import METRICS

THESIS = ("diffusion-irl-mse", "diffusion-irl-mmd-gaussian", "diffusion-irl-mmd-matern")
FIX = ("diffusion-irl-value",)
MEASURES = ("normalized_score", "erc_pearson")


def _best(runs: Runs, task: str, metric: str, methods: Sequence[str]) -> str | None:
    """The method of the highest mean among those all of whose runs have the metric."""
    whole = {m: found for m in methods if (found := estimate(runs, task, m, metric)).n == found.expected > 0}
    return max(whole, key=lambda m: METRICS[metric].better * whole[m].mean) if whole else None


def _comparison(runs: Runs, task: str, metric: str, family: Sequence[str], rivals: Sequence[str]) -> str:
    ours, theirs = (_best(runs, task, metric, methods) for methods in (family, rivals))
    name = METRICS[metric].short or METRICS[metric].label
    if ours is None or theirs is None:
        return f"{name}: no complete runs on one side"
    values = [runs.of(task, m).set_index("seed")[metric].astype(float) for m in (ours, theirs)]
    seeds = values[0].index.intersection(values[1].index)
    gap, interval = paired_difference(
        [values[0][seeds].to_numpy()], [values[1][seeds].to_numpy()], rng_for("verdict", task, metric, ours, theirs)
    )
    sign = METRICS[metric].better
    word = "not told apart from" if interval else "too few seeds to tell it from"
    if interval and sign * interval.low > 0 and sign * interval.high > 0:
        word = "better than"
    elif interval and sign * interval.low < 0 and sign * interval.high < 0:
        word = "worse than"
    means = [number(float(v.mean()), metric) for v in values]
    return (
        f"{name} {means[0]}, {word} {runs.methods[theirs]} {means[1]} "
        f"(difference {number(gap, metric)} {bounds(interval, metric) or 'without interval'})"
    )


def verdict(runs: Runs) -> list[str]:
    """One line per family and task: its best member against the best rival, with the paired difference.

    The best of each side is picked after the fact, on the same runs: a lead that small numbers of seeds flatter.

    Args:
        runs: all records of a suite.
    """
    known = set(THESIS) | set(FIX) | set(runs.controls)
    rivals = [m for m in runs.methods if m not in known]
    lines = []
    for title, family in (("The thesis' method, best similarity", THESIS), ("With one step reward and its value", FIX)):
        present = [m for m in family if m in runs.methods]
        for task, task_title in runs.tasks.items():
            found = "; ".join(_comparison(runs, task, metric, present, rivals) for metric in MEASURES)
            lines.append(f"- {title}, {task_title}: {found}.")
    return lines
