"""The tables: what stands in which column, what is bold, what is said where a number is missing."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.claims import SIGHT, claims
from reports.frame import Estimate, Runs, estimate, in_range, rng_for
from reports.render import Cell, Line, Section, Table
from reports.statistics import (
    MIN_SEEDS,
    Interval,
    Strata,
    failures_as_worst,
    interval,
    paired_difference,
    pooled_iqm,
    pooled_mean,
    probability_of_improvement,
)
from reports.style import short
from reports.wording import NONE, about, bounds, conditions, ended, label, number, short_label
from results.schema import COSTS, METRICS

MAIN = ("score_seen", "score_unseen", "d4rl_score", "erc_pearson", "erc_pearson_mixture")
HEADLINE = ("score_seen", "score_unseen", "erc_pearson")
AGGREGATE = ("normalized_score", "erc_pearson")
WITHIN = "Within one run"
TIED = "whose paired difference to it has an interval that holds 0"
MARKED = (
    f"† control, a yardstick, not a contestant;{SIGHT} settings chosen in sight of true results on evaluated seeds."
)
SCORE, TARGET, WORST = "normalized_score", 100.0, " §"  # the last marks rows with a run that failed


def reading(runs: Runs) -> str:
    """How to read a table of means, for its caption."""
    return (
        f"Mean over n = {runs.n} seeds [95 % interval: Student's, bootstrap variance of seeds; n<"
        f"{MIN_SEEDS}: too few for one]. Bold: best contestant and those {TIED} (only cells in which every run ended "
        f"well compete). {MARKED} k/N ok: only k of N runs ended well and the mean is over these."
    )


def cell(found: Estimate, metric: str, bold: bool = False) -> Cell:
    """A metric's entry; where no run has it, why."""
    if found.n == 0:
        return Cell(NONE) if found.ok else Cell("/".join(sorted(found.statuses)))
    limits = [f"n<{MIN_SEEDS}"] * (found.n < MIN_SEEDS)
    what = "ok" if found.n == found.ok else "values"
    limits += [f"{found.n}/{found.expected} {what}"] * (found.n < found.expected)
    equal = metric in COSTS and found.interval and found.interval.low == found.interval.high
    return Cell(number(found.mean, metric), bounds(None if equal else found.interval, metric), ", ".join(limits), bold)


def value_cell(value: float, ends: Interval | None, metric: str, bold: bool) -> Cell:
    """A statistic over seeds with its interval, which only too few seeds leave out."""
    return Cell(number(value, metric), bounds(ends, metric), "" if ends else f"n<{MIN_SEEDS}", bold)


def incomplete(strata: Strata) -> Cell:
    """How many of a method's runs have a value, in the place of a statistic that needs all."""
    values = np.concatenate([*strata])
    have = np.isfinite(values).sum()
    return Cell(f"{have}/{len(values)} values" if have else NONE)


def columns(name: str, value: float, ends: Interval | None) -> dict[str, float]:
    """A value and its interval as entries of a row of data."""
    low, high = ends or (math.nan, math.nan)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def winners(runs: Runs, task: str, metric: str) -> set[str]:
    """The best contestant by its mean, and those that the paired difference over seeds cannot tell from it.

    Only methods compete all of whose expected runs have the metric, three at least: fewer give no interval.
    """
    found = {m: estimate(runs, task, m, metric) for m in runs.methods}
    values = {m: [runs.of(task, m)[metric].to_numpy(float)] for m, e in found.items() if e.n == e.expected}
    return tied(runs, values, about(metric).better, pooled_mean, "tie", task, metric, tasks=[task])


def tied(
    runs: Runs,
    values: Mapping[str, Strata],
    sign: int,
    statistic: Callable[..., Any],
    *key: str,
    tasks: Sequence[str] = (),
) -> set[str]:
    """The contestant of the best statistic, and those that the paired difference to it cannot tell from it.

    Args:
        runs: says who is no contestant.
        values: by method, per task float ``[n_k]`` of all its runs, finite; fewer than three on a task do not compete.
        sign: +1 where higher is better, -1 where lower is.
        statistic: of strata, as :func:`reports.statistics.pooled_mean`.
        key: names the draws.
        tasks: whose values these are; all if none is named.
    """
    rivals = {m: v for m, v in values.items() if m not in runs.controls and min(map(len, v)) >= MIN_SEEDS}
    if not rivals:
        return set()
    best = max(rivals, key=lambda m: sign * float(statistic(*rivals[m])))
    found = {best}
    for method, ours in rivals.items():
        if runs.seeds(method, tasks) == runs.seeds(best, tasks):
            _, gap = paired_difference(rivals[best], ours, rng_for(*key, best, method))
            found |= {method} if gap and gap.low <= 0 <= gap.high else set()
    return found


def _lines(runs: Runs, cells: Mapping[str, Sequence[Cell]]) -> list[Line]:
    return [_line(runs, method, own) for method, own in cells.items()]


def _line(runs: Runs, method: str, cells: Sequence[Cell], mark: str = "") -> Line:
    title = runs.methods[method] + SIGHT * (method in claims().in_sight) + mark
    return Line(title, method in runs.controls, cells)


def _metrics(runs: Runs, task: str, metrics: Sequence[str]) -> dict[str, list[Cell]]:
    """By method, its entries on a task."""
    bold = {metric: winners(runs, task, metric) for metric in metrics}
    return {m: [cell(estimate(runs, task, m, k), k, m in bold[k]) for k in metrics] for m in runs.methods}


def _identities(runs: Runs) -> dict[str, dict[str, Any]]:
    """What a method's row of data says of the method."""
    return {m: {"method": m, "title": title, "control": m in runs.controls} for m, title in runs.methods.items()}


def data(runs: Runs, metrics: Sequence[str], methods: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per task and method: means, interval ends, values used, and how the runs ended.

    And, for what records say it of, how many episodes or steps a run's value rests on at least (``_samples``) and half
    of its own 95 % interval (``_within``).
    """
    rows, identities = [], _identities(runs)
    said = {metric for record in runs.records.values() for metric in record.spread}
    for task, task_title in runs.tasks.items():
        for method in runs.methods if methods is None else methods:
            found = [estimate(runs, task, method, metric) for metric in metrics]
            ends = found[0] if found else estimate(runs, task, method, MAIN[0])
            row = {"task": task, "task_title": task_title} | identities[method] | {"expected": ends.expected}
            row |= {s: ends.statuses[s] for s in ("ok", "failed", "timeout", "skipped", "missing")}
            for metric, value in zip(metrics, found, strict=True):
                row |= columns(metric, value.mean, value.interval) | {f"{metric}_n": value.n}
                if metric in said:
                    row |= {f"{metric}_samples": min(value.samples, default=0), f"{metric}_within": value.within}
            rows.append(row)
    return pd.DataFrame(rows)


def main(runs: Runs) -> Table:
    """Scores and ERC of every method on every task."""
    sections, metrics = [], [m for m in MAIN if m != "d4rl_score" or measured(runs, [m])]
    for task, title in runs.tasks.items():
        entries = _metrics(runs, task, metrics)
        for method, own in entries.items():
            own.append(Cell(ended(estimate(runs, task, method, MAIN[0]))))
        sections.append(Section(title, _lines(runs, entries)))
    caption = f"Imitation and reward quality. Score: {METRICS['score_seen'].unit}. {reading(runs)} "
    caption += "; ".join(conditions(runs)) + "."
    return Table("main", caption, [*map(label, metrics), "Runs"], sections, data(runs, metrics))


def headline(runs: Runs, metrics: Sequence[str] = HEADLINE) -> Table:
    """Some metrics in one block, tasks side by side, for the terminal and the README."""
    entries = [_metrics(runs, task, metrics) for task in runs.tasks]
    lines = _lines(runs, {m: [c for of_task in entries for c in of_task[m]] for m in runs.methods})
    groups = [(title, len(metrics)) for title in runs.tasks.values()]
    header = [*map(short_label, metrics)] * len(groups)
    caption = f"Score ({METRICS['score_seen'].unit}) and reward quality. {reading(runs)}"
    return Table("headline", caption, header, [Section("", lines)], data(runs, metrics), groups)


def measured(runs: Runs, metrics: Sequence[str]) -> list[str]:
    """Those of the metrics that any run has."""
    return [m for m in metrics if runs.table[m].notna().any()]


def certainty(runs: Runs, task: str, metrics: Sequence[str]) -> list[Cell]:
    """How sure one run's values are: half of its own 95 % interval, mean over contestants, and how much it rests on."""
    cells = []
    for metric in metrics:
        own = [r for r in runs.records.values() if r.task == task and not r.control]
        found = [r.spread[metric] for r in own if metric in r.spread]
        halves = [spread.half for spread in found if spread.half is not None]
        counts = sorted({spread.n for spread in found})
        size = f"n={counts[0]:,}" + f" to {counts[-1]:,}" * (len(counts) > 1) if counts else ""
        cells.append(Cell("±" + number(float(np.mean(halves)), metric) if halves else NONE, "", size))
    return cells


def of_group(group: str) -> list[str]:
    """The metrics of a group of the schema."""
    return [m for m in METRICS if METRICS[m].group == group]


def _grouped(name: str, metrics: Sequence[str], said: str, runs: Runs) -> Table:
    """A table of those of the metrics that any run has; of the methods, those that can have them."""
    metrics = measured(runs, metrics)
    of_reward = name not in ("imitation", "planning")
    header = [*["Kind"] * of_reward, *map(label, metrics)]
    if not metrics:
        return Table(name, f"{said}No run has one of these. {reading(runs)}", header, [], data(runs, [], []))
    kinds = {m: sorted({*runs.table.reward_kind[runs.table.method == m]} - {"", "none"}) for m in runs.methods}
    shown = [*runs.methods]
    if of_reward:
        shown = [m for m in shown if kinds[m]]
    elif name == "planning":
        shown = [m for m in shown if runs.table.loc[runs.table.method == m, metrics].notna().any(axis=None)]
    sections = []
    for task, title in runs.tasks.items():
        entries = _metrics(runs, task, metrics)
        own = {m: [Cell("/".join(kinds[m]))] * of_reward + entries[m] for m in shown}
        sections.append(Section(title, _lines(runs, own)))
    if any(metric in record.spread for record in runs.records.values() for metric in metrics):
        blank = [Cell("")] * of_reward
        lines = [Line(t, False, [*blank, *certainty(runs, k, metrics)]) for k, t in runs.tasks.items()]
        sections.append(Section(WITHIN, lines))
        said += f"{WITHIN}: half of a 95 % interval over its own n episodes or steps, mean over contestants. "
    if without := [title for m, title in runs.methods.items() if m not in shown]:
        said += f"Without {'a reward' if of_reward else 'one'} in any run, so not listed: {'; '.join(without)}. "
    return Table(name, said + reading(runs), header, sections, data(runs, metrics, shown))


KIND = "Kind: what the method calls its reward (raw, shaped, or of whole trajectories). "
OF_IMITATION = "Imitation: scores, returns, and distances to the demonstrator's states. "
OF_RETURNS = f"Reward quality: returns, by measure and coverage. {KIND}"
OF_STEPS = f"Reward quality: steps and windows, by measure and coverage. {KIND}"
RETURNS = [m for m in of_group("correlation") if m.startswith("erc_")]
STEPS = [m for m in of_group("correlation") if m not in RETURNS]
imitation = partial(_grouped, "imitation", of_group("imitation"), OF_IMITATION)
planning = partial(_grouped, "planning", of_group("planning"), "Plans of diffusion planners against the simulator. ")
erc = partial(_grouped, "erc", RETURNS, OF_RETURNS)
reward = partial(_grouped, "reward", STEPS, OF_STEPS)
distance = partial(_grouped, "distance", of_group("distance"), f"Distances between learnt and true reward. {KIND}")
reoptimised = partial(
    _grouped, "reoptimised", of_group("reoptimised"), f"Fresh agents trained on the learnt reward alone. {KIND}"
)


def _iqm(strata: list[NDArray[np.float64]], metric: str, part: str, method: str) -> tuple[float, Interval | None]:
    """Interquartile mean of a method over a part of the tasks, with its interval: the same wherever it stands."""
    ends = interval(strata, pooled_iqm, rng_for("iqm", part, method, metric))
    return float(pooled_iqm(*strata)), in_range(ends, metric)


def iqms(runs: Runs) -> Table:
    """Interquartile means of each task and of all, with 95 % intervals; methods with a failure are not aggregated."""
    tasks = [*runs.tasks]
    cells: dict[str, list[Cell]] = {m: [] for m in runs.methods}
    rows = _identities(runs)
    for metric, (name, part) in product(AGGREGATE, [*((t, [t]) for t in tasks), ("all", tasks)]):
        complete = runs.complete(metric, part)
        bold = tied(runs, complete, METRICS[metric].better, pooled_iqm, "iqm", name, metric, tasks=part)
        for m, strata in runs.strata(metric, part).items():
            if m not in complete:
                cells[m].append(incomplete(strata))
                continue
            value, ends = _iqm(strata, metric, name, m)
            cells[m].append(value_cell(value, ends, metric, m in bold))
            named = f"{metric}_{name}"
            rows[m] |= columns(named, value, ends) | {f"{named}_n": sum(map(len, strata))}
    caption = (
        f"Interquartile means over n = {runs.n} seeds (all: over tasks and seeds) with 95 % bootstrap "
        f"intervals; n<{MIN_SEEDS}: too few seeds for one. Bold: best contestant and those {TIED}. k/N values: a run "
        f"has none, so there is no mean. {MARKED}"
    )
    header = [*runs.tasks.values(), "all"] * len(AGGREGATE)
    groups = [(label(metric), len(tasks) + 1) for metric in AGGREGATE]
    sections = [Section("", _lines(runs, cells))]
    return Table("iqm", caption, header, sections, pd.DataFrame([*rows.values()]), groups)


def cost(runs: Runs) -> Table:
    """What a run took."""
    metrics = [*COSTS, *measured(runs, of_group("cost"))]
    sections = [Section(title, _lines(runs, _metrics(runs, task, metrics))) for task, title in runs.tasks.items()]
    caption = f"Cost of a run; without interval: the same in all. {reading(runs)} k/N values: the other runs have none."
    return Table("cost", caption, [*map(label, metrics)], sections, data(runs, metrics))


def aggregate(runs: Runs) -> Table:
    """One line per method over all tasks, compared with the best contestant; incomplete methods are not aggregated."""
    cells, rows = {m: list[Cell]() for m in runs.methods}, _identities(runs)
    for metric in AGGREGATE:
        for method, (shown, numbers) in _aggregate(runs, metric).items():
            cells[method] += shown
            rows[method] |= numbers
    groups = [(label(metric), 3) for metric in AGGREGATE]
    caption = (
        "Over all tasks and seeds: interquartile mean, mean paired difference to the contestant with the highest one, "
        "and the probability that a run does better than a run of that contestant on the same task, with 95 % "
        f"stratified bootstrap intervals (seeds within tasks; n<{MIN_SEEDS}: too few for one). A method with a failed, "
        "missing or undefined value anywhere is not aggregated: k/N values. A probability without interval: every pair "
        f"was won, or lost, on each task. n = {runs.n} seeds a task. Bold: the best "
        f"contestant and those {TIED}. {MARKED}"
    )
    header = ["IQM", "mean difference to best", "P(better than best)"] * len(AGGREGATE)
    sections = [Section("", _lines(runs, cells))]
    return Table("aggregate", caption, header, sections, pd.DataFrame([*rows.values()]), groups)


def _aggregate(runs: Runs, metric: str) -> dict[str, tuple[list[Cell], dict[str, float]]]:
    """By method, its IQM and what sets it apart from the best contestant: entries, and the same as numbers."""
    sign, complete = METRICS[metric].better, runs.complete(metric)
    rivals = {m: float(pooled_iqm(*v)) for m, v in complete.items() if m not in runs.controls}
    best = max(rivals, key=lambda m: sign * rivals[m], default=None)
    bold = tied(runs, complete, sign, pooled_iqm, "iqm", "all", metric)
    made = {}
    for method, strata in runs.strata(metric).items():
        numbers: dict[str, float] = {}
        for what in ("iqm", "difference", "improvement"):
            numbers |= columns(f"{metric}_{what}", math.nan, None)
        if method not in complete:
            made[method] = [incomplete(strata), Cell(NONE), Cell(NONE)], numbers
            continue
        found = {"iqm": _iqm(strata, metric, "all", method)}
        if best and method != best and runs.seeds(method) == runs.seeds(best):
            rng = rng_for("best", method, best, metric)
            found["difference"] = paired_difference(strata, complete[best], rng)
            ours, theirs = ([sign * values for values in side] for side in (strata, complete[best]))
            found["improvement"] = probability_of_improvement(ours, theirs, rng)
        cells = []
        for what, (value, within) in found.items():
            numbers |= columns(f"{metric}_{what}", value, within)
            unit = "erc_pearson" if what == "improvement" else metric  # the decimals of a share
            few = "" if found["iqm"][1] else f"n<{MIN_SEEDS}"
            cells.append(Cell(number(value, unit), bounds(within, unit), few, what == "iqm" and method in bold))
        cells += [Cell("best" if method == best else NONE)] * (3 - len(cells))
        made[method] = cells, numbers
    return made


def failures(runs: Runs) -> Table:
    """Every run that did not end well, with its reason."""
    bad = runs.table[runs.table.status != "ok"]
    lines = []
    for r in bad.itertuples():
        said = map(str, (r.task_title, r.seed, r.status, short(str(r.reason), 200)))
        lines.append(Line(str(r.title), bool(r.control), [*map(Cell, said)]))
    many = f"{len(bad)} of {len(runs.table)} expected runs did not end well."
    caption = many if len(bad) else "Every run ended well."
    columns = ["method", "task", "seed", "status", "reason"]
    return Table("failures", caption, ["Task", "Seed", "Status", "Reason"], [Section("", lines)], bad[columns])


def worst_case(runs: Runs) -> Table:
    """IQM and optimality gap over tasks and seeds; a run that failed counts as the worst of its task."""
    known = {m: values for m, values in runs.strata(SCORE).items() if all(map(len, values))}
    lines, rows = [], []
    if known and all(np.isfinite(np.concatenate(of_task)).any() for of_task in zip(*known.values(), strict=True)):
        filled, marked = failures_as_worst(known)
        gaps = {m: [np.maximum(0, TARGET - s) for s in v] for m, v in filled.items()}
        iqms = tied(runs, filled, 1, pooled_iqm, "worst")
        bold = {"iqm": iqms, "gap": tied(runs, gaps, -1, pooled_mean, "worst", "gap")}
        for method in filled:
            cells, row = [], {"method": method, "failures_as_worst": method in marked}
            for name, strata, statistic in (("iqm", filled[method], pooled_iqm), ("gap", gaps[method], pooled_mean)):
                value, ends = float(statistic(*strata)), interval(strata, statistic, rng_for("worst", name, method))
                cells.append(value_cell(value, ends, SCORE, method in bold[name]))
                row |= columns(name, value, ends)
            lines.append(_line(runs, method, cells, WORST * (method in marked)))
            rows.append(row)
    lines = lines or [Line("no task has a score of every method", False, [Cell(NONE), Cell(NONE)])]
    caption = (
        f"Failures as the worst: every run that gave no score counts as the worst score of its task;{WORST} such runs "
        f"are in the row. Interquartile mean, and optimality gap to {TARGET:g} (Agarwal et al. 2021), over tasks and "
        f"seeds (n = {runs.n} a task), with 95 % intervals (n<{MIN_SEEDS}: too few seeds "
        f"for one). Bold: best contestant and those {TIED}. {MARKED}"
    )
    header = ["IQM ↑", "Optimality gap ↓"]
    return Table("worst_case", caption, header, [Section("", lines)], pd.DataFrame(rows))


TABLES = (main, iqms, aggregate, imitation, planning, erc, reward, distance, reoptimised, cost, failures, worst_case)


def matrices(runs: Runs) -> dict[str, NDArray[np.float64]]:
    """Method to scores ``[runs, tasks]`` for rliable: of the methods whose every run gave one, as many on each task."""
    found = runs.complete(SCORE).items()
    return {method: np.stack(values, 1) for method, values in found if len({*map(len, values)}) == 1}
