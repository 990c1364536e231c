"""All tasks at once, with failed runs counted as the worst score, and the matrix of scores for other tools."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.frame import Runs, rng_for
from reports.render import Cell, Line, Section, Table
from reports.statistics import (
    MIN_SEEDS,
    Strata,
    failures_as_worst,
    gap_to,
    interval,
    pooled_iqm,
    pooled_mean,
    score_matrices,
)
from reports.tables import NONE, TIED, bounds, number, tied

METRIC, TARGET = "normalized_score", 100.0
MARK = " ‡"


def strata(runs: Runs) -> dict[str, Strata]:
    """Method to its scores per task, NaN where a run has none; without methods that never ran on some task."""
    ok = runs.table.status == "ok"
    table = runs.table.assign(value=runs.table[METRIC].astype(float).where(ok))
    found = {
        method: [rows["value"].to_numpy() for _, rows in table[table.method == method].groupby("task", sort=False)]
        for method in runs.methods
    }
    return {method: values for method, values in found.items() if len(values) == len(runs.tasks)}


def worst_case(runs: Runs) -> Table:
    """IQM and optimality gap over tasks and seeds; a run that failed counts as the worst of its task."""
    known: Mapping[str, Strata] = strata(runs)
    any_of_task = [np.isfinite(np.concatenate([v[k] for v in known.values()])).any() for k in range(len(runs.tasks))]
    lines, rows = [], []
    if known and all(any_of_task):
        filled, marked = failures_as_worst(known, better=1)
        rivals = {m: v for m, v in filled.items() if m not in runs.controls and min(map(len, v)) >= MIN_SEEDS}
        gaps = {m: [np.maximum(0, TARGET - s) for s in v] for m, v in rivals.items()}
        bold = {"iqm": tied(rivals, 1, pooled_iqm, "worst"), "gap": tied(gaps, -1, pooled_mean, "worst", "gap")}
        for method, values in filled.items():
            cells, row = [], {"method": method, "failures_as_worst": method in marked}
            for name, statistic in (("iqm", pooled_iqm), ("gap", gap_to(TARGET))):
                value, ends = float(statistic(*values)), interval(values, statistic, rng_for("worst", name, method))
                few = "" if min(map(len, values)) >= MIN_SEEDS else f"n<{MIN_SEEDS}"
                cells.append(Cell(number(value, METRIC), bounds(ends, METRIC), few, method in bold[name]))
                low, high = ends or (np.nan, np.nan)
                row |= {name: value, f"{name}_low": low, f"{name}_high": high}
            lines.append(Line(runs.methods[method] + MARK * (method in marked), method in runs.controls, cells))
            rows.append(row)
    lines = lines or [Line("no task has a score of every method", False, [Cell(NONE), Cell(NONE)])]
    caption = (
        f"Failures as the worst: every run that gave no score counts as the worst score of its task;{MARK} such runs "
        f"are in the row. Interquartile mean, and optimality gap to {TARGET:g} (Agarwal et al. 2021), over tasks and "
        f"seeds (n = {len(runs.table) // len(runs.methods)} runs), with 95 % intervals (n<{MIN_SEEDS}: too few seeds "
        f"for one). Bold: best contestant and those {TIED}. † control."
    )
    header = ["IQM ↑", "Optimality gap ↓"]
    return Table("worst_case", caption, header, [Section("", lines)], pd.DataFrame(rows))


def matrices(runs: Runs) -> dict[str, NDArray[np.float64]]:
    """Method to scores ``[runs, tasks]`` for rliable: of the methods whose every run gave one."""
    whole = {
        method: values
        for method, values in strata(runs).items()
        if len({len(v) for v in values}) == 1 and np.isfinite(np.concatenate([*values])).all()
    }
    return score_matrices(whole)
