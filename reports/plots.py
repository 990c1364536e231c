"""Figures of numbers: scores, learning curves, return against reward quality."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from reports.frame import Runs, estimate, rng_for
from reports.render import DAGGER, clean
from reports.statistics import performance_profile, probability_of_improvement
from reports.style import COLUMN, FAINT, INK, look, short, two_lines
from results.schema import METRICS

CLOCKS = {"env_steps": "environment steps", "cpu_seconds": "CPU seconds"}
KEY = 0.125  # inches of one line of a legend


@dataclass(frozen=True)
class Drawing:
    """A figure, or why there is none, and what it leaves out."""

    name: str
    figure: Figure | None
    notes: list[str] = field(default_factory=list)


def name_of(runs: Runs, method: str) -> str:
    """The method's title as printed in a legend, controls marked."""
    return short(clean(runs.methods[method])) + DAGGER * (method in runs.controls)


def beside(runs: Runs, method: str) -> str:
    """The same on two lines, for an axis or above a panel."""
    return two_lines(clean(runs.methods[method])) + DAGGER * (method in runs.controls)


def without(runs: Runs, shown: Collection[str], why: str, but: Collection[str] = ()) -> list[str]:
    """A note on the methods that a figure does not show, if any; ``but`` are not worth one."""
    lost = [clean(title) for m, title in runs.methods.items() if m not in shown and m not in but]
    return [f"{why}: {'; '.join(lost)}"] if lost else []


def grid(count: int, across: int, each: float, rim: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a column with ``count`` panels; ``each`` row of them and the ``rim`` are in inches."""
    down = math.ceil(count / across)
    figure = Figure(figsize=(COLUMN, down * each + rim))
    axes = list(figure.subplots(down, across, squeeze=False, **shared).flat)
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


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
        notes = without(runs, shown, f"no {name} in any run")
        if not shown:
            yield Drawing(file, None, notes)
            continue
        figure = Figure(figsize=(COLUMN, 0.8 + 0.2 * len(shown)))
        axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for ax, (task, title) in zip(axes, tasks.items(), strict=True):
            for row, method in enumerate(shown):
                _bar(ax, runs, task, method, pair, row)
            ax.set_title(two_lines(clean(title)))
            ax.set_ylim(len(shown) - 0.4, -0.6)
            low, high = METRICS[pair[0]].range
            if math.isfinite(low):
                ax.set(xlim=(low - 0.12, high + 0.12), xticks=np.linspace(low, high, 3))
                ax.xaxis.set_major_formatter("{x:g}")
            else:
                ax.locator_params(axis="x", nbins=4)
            for line in {0.0, high if math.isfinite(high) else 100.0}:
                ax.axvline(line, color=FAINT, lw=0.6, zorder=0)
            for row, method in enumerate(shown):
                _said(ax, runs, task, method, pair[0], row)
            if 0 < (border := sum(m not in runs.controls for m in shown)) < len(shown):
                ax.axhline(border - 0.5, color=INK, lw=0.4, ls=(0, (4, 3)))
            ax.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(shown)), [beside(runs, m) for m in shown], linespacing=1)
        figure.supxlabel(axis)
        marks = [
            Line2D([], [], ls="", marker="o", ms=3.5, color=INK, label=kind[0]),
            Line2D([], [], ls="", marker="o", ms=3.5, mfc="white", mec=INK, mew=0.8, label=kind[1]),
            Line2D([], [], color=INK, lw=1, label="95 % interval (none below 3 runs)"),
            Line2D([], [], ls="", marker="|", ms=4, mew=0.8, color=INK, alpha=0.6, label="one run"),
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=2)
        yield Drawing(file, figure, notes)


def _bar(ax: Axes, runs: Runs, task: str, method: str, pair: tuple[str, str], row: int) -> None:
    colour = look(method)[0]
    cell = runs.of(task, method)
    for metric, shift, fill in zip(pair, (-0.16, 0.16), (colour, "white"), strict=True):
        found = estimate(runs, task, method, metric)
        if found.n:
            values = cell[metric][cell.status == "ok"].dropna()
            ax.plot(values, [row + shift] * len(values), "|", color=colour, ms=3, mew=0.6, alpha=0.6)
            if found.interval:
                ax.plot(found.interval, [row + shift] * 2, color=colour, lw=0.8)
            ax.plot(found.mean, row + shift, "o", mfc=fill, mec=colour, ms=2.8, mew=0.7)


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
    ax.text(x, row, text, transform=ax.get_yaxis_transform(), va="center", ha=side, fontsize=6, style="italic")


def understanding(runs: Runs) -> Drawing:
    """Return against reward quality, one point per run: who imitates without understanding."""
    table = runs.table.dropna(subset=["normalized_score", "erc_pearson"])
    methods = [m for m in runs.methods if m in set(table.method)]
    notes = without(runs, methods, "no run with both score and ERC")
    tasks = {t: title for t, title in runs.tasks.items() if t in set(table.task)}
    if not methods:
        return Drawing("understanding", None, notes)
    figure = Figure(figsize=(COLUMN, 1.9 + KEY * math.ceil(len(methods) / 2)))
    axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    low, high = min(0.0, table.normalized_score.min()), max(100.0, table.normalized_score.max())
    margin = 0.08 * (high - low)
    for ax, (task, title) in zip(axes, tasks.items(), strict=True):
        for at in (100, 0):
            ax.axhline(at, color=FAINT, lw=0.6, zorder=0)
        ax.axvline(0, color=FAINT, lw=0.6, zorder=0)
        for method in methods:
            rows = table[(table.task == task) & (table.method == method)]
            colour, marker = look(method)
            layer = 2 if method in runs.controls else 3
            points: dict[str, Any] = {"marker": marker, "ms": 3.2, "mec": "white", "mew": 0.25, "zorder": layer}
            ax.plot(rows.erc_pearson, rows.normalized_score, ls="", color=colour, **points)
        ax.set(xticks=(-1, 0, 1), xlim=(-1.12, 1.12), ylim=(low - margin, high + margin), title=two_lines(clean(title)))
        ax.set_xlabel(METRICS["erc_pearson"].label)
    axes[0].set_ylabel(f"Score ({METRICS['normalized_score'].unit})")
    figure.suptitle("upper left: imitates without understanding\nupper right: imitates and understands", fontsize=6)
    legend(figure, runs, methods)
    return Drawing("understanding", figure, notes)


def curves(runs: Runs) -> Drawing:
    """True score against environment steps and CPU seconds: means over seeds, single seeds thin.

    Policies shown on the way are scored after the run, from a few starts; no method sees the score.
    """
    found = {(t, m): _scored(runs, t, m) for t in runs.tasks for m in runs.methods}
    tasks = [t for t in runs.tasks if any(found[t, m] for m in runs.methods)]
    methods = [m for m in runs.methods if any(found[t, m] for t in runs.tasks)]
    notes = without(runs, methods, "no score on the way", runs.controls)
    if not methods:
        return Drawing("curves", None, notes)
    figure = Figure(figsize=(COLUMN, 0.25 + 1.1 * len(tasks) + KEY * math.ceil(len(methods) / 2)))
    axes = figure.subplots(len(tasks), 2, sharey=True, squeeze=False)
    for row, task in zip(axes, tasks, strict=True):
        for ax, clock in zip(row, CLOCKS, strict=True):
            for method in methods:
                colour, marker = look(method)
                seeds = [s for s in found[task, method] if s[clock][-1] > 0]
                for one in seeds:
                    ax.plot(one[clock], one["score"], color=colour, lw=0.4, alpha=0.35)
                if seeds:
                    points = min(len(one["score"]) for one in seeds)
                    mean = {k: np.mean([one[k][:points] for one in seeds], 0) for k in (clock, "score")}
                    ax.plot(mean[clock], mean["score"], color=colour, marker=marker, ms=2.5, mec="white", mew=0.2)
            for line in (0, 100):
                ax.axhline(line, color=FAINT, lw=0.6, zorder=0)
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))
            ax.locator_params(axis="x", nbins=4)
        row[0].set_ylabel(f"{short(clean(runs.tasks[task]))}\nScore, both starts")
    for ax, label in zip(axes[-1], CLOCKS.values(), strict=True):
        ax.set_xlabel(label)
    legend(figure, runs, methods)
    return Drawing("curves", figure, notes)


def _scored(runs: Runs, task: str, method: str) -> list[dict[str, np.ndarray]]:
    """Per run with more than one scored policy: its clocks and scores."""
    found = []
    for curve in runs.curves(task, method):
        rows = [r for r in curve if {"score", *CLOCKS} <= r.keys()]
        if len(rows) > 1:
            found.append({key: np.array([r[key] for r in rows], float) for key in ("score", *CLOCKS)})
    return found


def legend(figure: Figure, runs: Runs, methods: Sequence[str]) -> None:
    """One mark per method beneath all panels."""
    marks = [
        Line2D([], [], ls="", marker=look(m)[1], color=look(m)[0], ms=3.5, label=name_of(runs, m)) for m in methods
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, handletextpad=0.1)


def profiles(runs: Runs) -> Drawing:
    """Performance profiles: the share of runs, tasks alike, that score more than so much (Agarwal et al. 2021)."""
    strata, notes = _scores_of_all(runs)
    if not strata:
        return Drawing("profiles", None, notes)
    known = np.concatenate([s for values in strata.values() for s in values])
    taus = np.linspace(min(0.0, known.min()), max(100.0, known.max()), 41)
    found = {m: performance_profile(v, taus, rng_for("profile", m)) for m, v in strata.items()}
    figure, axes = grid(len(found), min(len(found), 3 if len(found) <= 9 else 4), 0.85, 0.5, sharex=True, sharey=True)
    for ax, (method, (own, ends)) in zip(axes, found.items(), strict=True):
        for share, _ in found.values():
            ax.plot(taus, share, color="0.75", lw=0.5)
        colour, _ = look(method)
        band = np.array([[*e] if e else [v, v] for e, v in zip(ends, own, strict=True)]).T
        ax.fill_between(taus, *band, color=colour, alpha=0.25, lw=0)
        ax.plot(taus, own, color=colour, lw=1.2)
        ax.set(xticks=(0, 50, 100), yticks=(0, 0.5, 1), ylim=(-0.03, 1.03))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.tick_params(labelbottom=True)
        ax.set_title(beside(runs, method), fontsize=6, linespacing=1)
    figure.supxlabel(f"Score τ ({METRICS['normalized_score'].unit})")
    figure.suptitle("share of runs that score more than τ; grey: the other methods")
    return Drawing("profiles", figure, notes)


def improvement(runs: Runs) -> Drawing:
    """The probability that a run of the row's method does better than one of the column's on the same task."""
    strata, notes = _scores_of_all(runs)
    if len(strata) < 2:
        return Drawing("improvement", None, [*notes, "two methods with whole results are needed"])
    methods = sorted(strata, key=lambda m: -np.mean([s.mean() for s in strata[m]]))
    n = len(methods)
    figure = Figure(figsize=(COLUMN, 1.0 + 0.13 * n))
    ax = figure.subplots()
    chance = np.full((n, n), np.nan)
    for i, ours in enumerate(methods):
        for j, theirs in enumerate(methods[:i]):
            won, ends = probability_of_improvement(strata[ours], strata[theirs], rng_for("improvement", ours, theirs))
            chance[i, j], chance[j, i] = won, 1 - won
            told = bool(ends and not ends.low <= 0.5 <= ends.high)
            for a, b, value in ((i, j, won), (j, i, 1 - won)):
                ink, weight = "white" if abs(value - 0.5) > 0.3 else INK, "bold" if told else "normal"
                said = f"{100 * value:.0f}"
                if said not in ("0", "100"):
                    ax.text(b, a, said, ha="center", va="center", fontsize=6, color=ink, weight=weight)
    image = ax.imshow(100 * chance, cmap="PuOr", vmin=0, vmax=100, aspect="auto")
    ax.xaxis.tick_top()
    ax.set_xticks(range(n), [str(k + 1) for k in range(n)])
    ax.set_yticks(range(n), [f"{name_of(runs, m)}  {k + 1}" for k, m in enumerate(methods)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=ax, location="bottom", shrink=0.8, aspect=40, pad=0.03)
    bar.set_label("P(row scores higher than column), %\nbold: interval without 50\nnot written: 0 and 100")
    return Drawing("improvement", figure, notes)


def _scores_of_all(runs: Runs) -> tuple[dict[str, list[NDArray[np.float64]]], list[str]]:
    """Scores by task of the contestants whose every run has one, and a note on the others."""
    found = {m: v for m, v in runs.complete("normalized_score").items() if m not in runs.controls}
    return found, without(runs, found, "not every run has a score", runs.controls)
