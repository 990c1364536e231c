"""All tasks at once, with failed runs counted as the worst score, and the matrix of scores for other tools."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.frame import Runs, rng_for
from reports.render import Cell, Line, Section, Table
from reports.statistics import MIN_SEEDS, failures_as_worst, interval, pooled_iqm, pooled_mean
from reports.tables import TIED, columns, tied, value_cell
from reports.wording import NONE

METRIC, TARGET = "normalized_score", 100.0
MARK = " ‡"


def worst_case(runs: Runs) -> Table:
    """IQM and optimality gap over tasks and seeds; a run that failed counts as the worst of its task."""
    known = {m: values for m, values in runs.strata(METRIC).items() if all(map(len, values))}
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
                cells.append(value_cell(value, ends, METRIC, method in bold[name]))
                row |= columns(name, value, ends)
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
    """Method to scores ``[runs, tasks]`` for rliable: of the methods whose every run gave one, as many on each task."""
    found = runs.complete(METRIC).items()
    return {method: np.stack(values, 1) for method, values in found if len({*map(len, values)}) == 1}
