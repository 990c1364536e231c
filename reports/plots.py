"""Figures of numbers: scores, learning curves, return against reward quality."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from reports.frame import Runs, estimate
from reports.render import DAGGER, clean, slug
from reports.style import FAINT, INK, TEXT, look, short
from results.schema import METRICS

CLOCKS = ("env_steps", "gradient_steps")
CLOCK_LABELS = {"env_steps": "environment steps", "gradient_steps": "gradient steps"}
CURVES_SHOWN = 4  # quantities of one method


@dataclass(frozen=True)
class Drawing:
    """A figure, or why there is none, and what it leaves out."""

    name: str
    figure: Figure | None
    notes: list[str] = field(default_factory=list)


def name_of(runs: Runs, method: str) -> str:
    """The method's title as printed beside an axis, controls marked."""
    return short(clean(runs.methods[method])) + DAGGER * (method in runs.controls)


def scores(runs: Runs) -> Iterator[Drawing]:
    """Score and ERC of every method on every task: seeds as dots, means with 95 % intervals."""
    pairs = (("score_seen", "score_unseen"), ("erc_pearson", "erc_pearson_mixture"))
    names = ("Score", "ERC")
    labels = (f"Score ({METRICS['score_seen'].unit})", "ERC: Pearson correlation of learnt and true returns")
    kinds = (("seen starts", "unseen starts"), ("base data", "base + expert data"))
    methods, tasks = list(runs.methods), runs.tasks
    for pair, name, axis, kind, file in zip(pairs, names, labels, kinds, ("scores", "erc"), strict=True):
        measured = set(runs.table.method[runs.table[list(pair)].notna().any(axis=1)])
        ended = set(runs.table.method[runs.table.status == "ok"])
        shown = [m for m in methods if m in measured or m not in ended] if measured else []
        left_out = [clean(runs.methods[m]) for m in methods if m not in shown]
        notes = [f"no {name} in any run: {'; '.join(left_out)}"] if left_out else []
        if not shown:
            yield Drawing(file, None, notes)
            continue
        figure = Figure(figsize=(TEXT, 0.75 + 0.26 * len(shown)))
        axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for ax, (task, title) in zip(axes, tasks.items(), strict=True):
            for row, method in enumerate(shown):
                _bar(ax, runs, task, method, pair, row)
            ax.set_title(short(clean(title)))
            ax.set_ylim(len(shown) - 0.4, -0.6)
            low, high = METRICS[pair[0]].range
            if math.isfinite(low):
                ax.set(xlim=(low - 0.05, high + 0.05), xticks=np.linspace(low, high, 5))
                ax.xaxis.set_major_formatter("{x:g}")
            for line in {0.0, high if math.isfinite(high) else 100.0}:
                ax.axvline(line, color=FAINT, lw=0.8, zorder=0)
            for row, method in enumerate(shown):
                _said(ax, runs, task, method, pair[0], row)
            if 0 < (border := sum(m not in runs.controls for m in shown)) < len(shown):
                ax.axhline(border - 0.5, color=INK, lw=0.4, ls=(0, (4, 3)))
            ax.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(shown)), [name_of(runs, m) for m in shown])
        figure.supxlabel(axis, fontsize=8)
        marks = [
            Line2D([], [], ls="", marker="o", ms=5, color=INK, label=kind[0]),
            Line2D([], [], ls="", marker="o", ms=5, mfc="white", mec=INK, label=kind[1]),
            Line2D([], [], color=INK, lw=1.2, label="95 % interval (none below 3 runs)"),
            Line2D([], [], ls="", marker="|", ms=5, color=INK, alpha=0.6, label="one run"),
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=4)
        yield Drawing(file, figure, notes)


def _bar(ax: Axes, runs: Runs, task: str, method: str, pair: tuple[str, str], row: int) -> None:
    colour = look(method)[0]
    cell = runs.of(task, method)
    for metric, shift, fill in zip(pair, (-0.16, 0.16), (colour, "white"), strict=True):
        found = estimate(runs, task, method, metric)
        if found.n:
            values = cell[metric][cell.status == "ok"].dropna()
            ax.plot(values, [row + shift] * len(values), "|", color=colour, ms=4, mew=0.8, alpha=0.6)
            if found.interval:
                ax.plot(found.interval, [row + shift] * 2, color=colour, lw=1.2)
            ax.plot(found.mean, row + shift, "o", mfc=fill, mec=colour, ms=4.2)


def _said(ax: Axes, runs: Runs, task: str, method: str, metric: str, row: int) -> None:
    """Writes into a row why a value, or a part of its runs, is not there; on the side that the marks leave free."""
    found = estimate(runs, task, method, metric)
    if found.n == found.expected:
        return
    text = f"{found.n}/{found.expected} runs" if found.n else "/".join(sorted(found.statuses))
    text = "undefined" if found.ok and not found.n else text
    low, high = ax.get_xlim()
    left = not found.n or found.mean > (low + high) / 2
    x, side = (0.03, "left") if left else (0.98, "right")
    ax.text(x, row, text, transform=ax.get_yaxis_transform(), va="center", ha=side, fontsize=6.5, style="italic")


def understanding(runs: Runs) -> Iterator[Drawing]:
    """Return against reward quality, one point per run: who imitates without understanding."""
    table = runs.table.dropna(subset=["normalized_score", "erc_pearson"])
    methods = [m for m in runs.methods if m in set(table.method)]
    without = [clean(runs.methods[m]) for m in runs.methods if m not in methods]
    notes = [f"no run with both score and ERC: {'; '.join(without)}"] if without else []
    tasks = {t: title for t, title in runs.tasks.items() if t in set(table.task)}
    if not methods:
        yield Drawing("understanding", None, notes)
        return
    figure = Figure(figsize=(TEXT, 2.5 + 0.17 * math.ceil(len(methods) / 3)))
    axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    low, high = min(0.0, table.normalized_score.min()), max(100.0, table.normalized_score.max())
    margin = 0.08 * (high - low)
    for ax, (task, title) in zip(axes, tasks.items(), strict=True):
        ax.axhline(100, color=FAINT, lw=0.8, zorder=0)
        ax.axhline(0, color=FAINT, lw=0.8, zorder=0)
        ax.axvline(0, color=FAINT, lw=0.8, zorder=0)
        for method in methods:
            rows = table[(table.task == task) & (table.method == method)]
            colour, marker = look(method)
            ax.plot(
                rows.erc_pearson, rows.normalized_score, ls="", marker=marker, color=colour, ms=5, mec="white", mew=0.4
            )
        ax.set(
            xlabel=METRICS["erc_pearson"].label,
            xticks=np.linspace(-1, 1, 5),
            xlim=(-1.08, 1.08),
            ylim=(low - margin, high + 2 * margin),
            title=short(clean(title)),
        )
        for x, text, side in (
            (0.02, "imitates without\nunderstanding", "left"),
            (0.98, "imitates and\nunderstands", "right"),
        ):
            ax.text(
                x, 0.99, text, transform=ax.transAxes, ha=side, va="top", fontsize=6, color="#6a6a6a", style="italic"
            )
    axes[0].set_ylabel(f"Score ({METRICS['normalized_score'].unit})")
    marks = [Line2D([], [], ls="", marker=look(m)[1], color=look(m)[0], ms=5, label=name_of(runs, m)) for m in methods]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, columnspacing=1, handletextpad=0.1)
    yield Drawing("understanding", figure, notes)


def curves(runs: Runs) -> Iterator[Drawing]:
    """Learning curves of one task: a row per method, a column per quantity it logged, a line per seed.

    The quantities are each method's own (a method never sees its score), so no two rows share an axis.
    """
    for task, title in runs.tasks.items():
        file = f"curves-{slug(task)}"
        logged = {m: _logged(runs, task, m) for m in runs.methods}
        shown = {m: found for m, found in logged.items() if found}
        silent = [clean(runs.methods[m]) for m in runs.methods if not logged[m]]
        notes = [f"no learning curve: {'; '.join(silent)}"] if silent else []
        if not shown:
            yield Drawing(file, None, notes)
            continue
        columns = max(len({key for _, rows in found for key in rows[1]}) for found in shown.values())
        columns = min(columns, CURVES_SHOWN)
        figure = Figure(figsize=(TEXT, 0.4 + 1.05 * len(shown)))
        axes = figure.subplots(len(shown), columns, squeeze=False)
        for line, (method, found) in zip(axes, shown.items(), strict=True):
            keys = list(dict.fromkeys(key for _, rows in found for key in rows[1]))
            if len(keys) > columns:
                notes.append(f"{clean(runs.methods[method])}: {', '.join(map(clean, keys[columns:]))} not drawn")
            for ax, key in zip(line, keys, strict=False):
                for _, (xs, series) in found:
                    if key in series:
                        ax.plot(xs, series[key], color=look(method)[0], lw=0.9, alpha=0.75)
                ax.set_title(short(clean(key).replace("_", " "), 28), fontsize=7, pad=2)
                ax.xaxis.set_major_formatter(EngFormatter(sep=""))
                ax.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
                ax.yaxis.offsetText.set_fontsize(6)
                ax.locator_params(nbins=4)
            for ax in line[len(keys) :]:
                ax.remove()
            line[0].set_ylabel("\n".join(wrap(name_of(runs, method), 16)[:3]), fontsize=6.5)
            line[min(len(keys), columns) - 1].set_xlabel(CLOCK_LABELS[found[0][0]], fontsize=6, loc="right", labelpad=1)
        figure.suptitle(f"{short(clean(title))}: learning curves, one line per seed", fontsize=8)
        yield Drawing(file, figure, notes)


def _logged(runs: Runs, task: str, method: str) -> list[tuple[str, tuple[np.ndarray, dict[str, np.ndarray]]]]:
    """Per run with a curve: its clock, the clock's values, and each quantity along it."""
    found = []
    for run in runs.of(task, method).id:
        rows = runs.records[run].curve if run else []
        clock = next((c for c in CLOCKS if rows and c in rows[0]), None)
        keys = list(dict.fromkeys(k for row in rows for k in row if k not in CLOCKS))
        if clock and keys and len(rows) > 1:
            columns = {k: np.array([row.get(k, math.nan) for row in rows], float) for k in (clock, *keys)}
            found.append((clock, (columns.pop(clock), columns)))
    return found


FIGURES = (scores, understanding, curves)
