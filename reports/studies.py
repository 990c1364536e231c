"""Figures of what a suite runs through, of where the diffusion method loses, and of bodies that move."""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from reports.artefacts import Array
from reports.frame import Runs, estimate, rng_for, with_defaults
from reports.mazes import SMALL, Load, each
from reports.plots import KEY, Drawing, beside, grid, legend, without
from reports.render import DAGGER, clean, slug
from reports.statistics import mean_interval
from reports.style import COLUMN, FAINT, INK, SEEN, UNSEEN, look, short, two_lines
from reports.wording import number, short_label
from results.schema import METRICS, Record

DEMOS, SCALE = "demos=", "planning.scale="
APART = 1.04  # factor between neighbouring methods' places along a setting
DASHED: Any = (0, (4, 2))
UNGUIDED = "unguided-diffuser"  # has no scale, and stands beside the guided wherever it ran
BASE = "#9a9a9a"  # steps of the base data
FAMILY = ("diffusion-irl-mse", "diffusion-irl-mmd-gaussian", "diffusion-irl-mmd-matern")


def sweep(records: Sequence[Record], prefix: str, file: str, axis: str) -> Iterator[Drawing]:
    """Score and ERC against one setting: a line per method with 95 % intervals; what has no setting is a level line.

    Each suite that runs through ``prefix``, e.g. ``demos=``, gets a figure, as their budgets may differ.
    """
    records = with_defaults(records)
    swept = [r for r in records if r.variant.startswith(prefix) and "," not in r.variant]  # through one setting only
    suites = sorted({r.suite for r in swept})
    if not suites:
        yield Drawing(file, None, [f"no records of a suite that runs through {axis}: `python -m benchmark run {file}`"])
    for suite in suites:
        name = file if len(suites) == 1 else f"{file}-{slug(suite)}"
        yield _sweep(*part(records, [r for r in swept if r.suite == suite], prefix), prefix, name, axis)


def _sweep(own: Sequence[Record], level: Collection[str], prefix: str, file: str, axis: str) -> Drawing:
    tasks = {r.task: r.task_title for r in sorted(own, key=lambda r: r.task, reverse=True)}
    methods = {r.method: r for r in sorted(own, key=lambda r: (r.control, r.title))}
    metrics = ("normalized_score", "erc_pearson")
    figure = Figure(figsize=(COLUMN, 0.25 + 1.1 * len(tasks) + KEY * math.ceil(len(methods) / 2)))
    axes = figure.subplots(len(tasks), 2, sharex=True, sharey="col", squeeze=False)
    for row, (task, title) in zip(axes, tasks.items(), strict=True):
        for ax, metric in zip(row, metrics, strict=True):
            for k, method in enumerate(methods):
                values: dict[float, list[float]] = {}
                for r in own:
                    if (r.task, r.method, r.status) == (task, method, "ok") and metric in r.metrics:
                        at = math.nan if method in level else setting(r, prefix)
                        values.setdefault(at, []).append(r.metrics[metric])
                aside = APART ** (k - (len(methods) - 1) / 2)
                _sweep_line(ax, method, values, aside, rng_for("sweep", task, method, metric))
            if not ax.lines:
                _empty(ax)
            ax.set_xscale("log")
            ax.set_xticks(sorted({setting(r, prefix) for r in own if r.method not in level}))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_locator(NullLocator())
            for line in (0, 100 if metric == "normalized_score" else 1):
                ax.axhline(line, color=FAINT, lw=0.6, zorder=0)
        row[0].set_ylabel(short(clean(title)))
    for ax, metric in zip(axes[0], metrics, strict=True):
        ax.set_title(short_label(metric))
    for ax in axes[-1]:
        ax.set_xlabel(axis)
    marks = [
        Line2D([], [], color=look(m)[0], ms=3, **({"ls": DASHED} if m in level else {"marker": look(m)[1]}))
        for m in methods
    ]
    names = [short(clean(r.title)) + DAGGER * r.control for r in methods.values()]
    figure.legend(marks, names, loc="outside lower center", ncols=2)
    lost = sum(r.status != "ok" for r in own)
    return Drawing(file, figure, [f"{lost} of {len(own)} runs did not end well and are left out"] if lost else [])


def part(records: Sequence[Record], swept: Sequence[Record], prefix: str) -> tuple[list[Record], set[str]]:
    """The records of a sweep, whichever suite ran them, and those of its methods that have no such setting.

    A cell that another suite has left is not run again for the one that sweeps, and its record bears no variant or
    another: it is known by being equal to a swept one but for the setting. Demonstrations: see :func:`with_defaults`.
    """
    if prefix == DEMOS:
        return [*swept], set()
    suites, methods = {r.suite for r in swept}, {r.method for r in swept}
    same, places = {_but(r, prefix) for r in swept}, {_place(r) for r in swept}
    own = [r for r in records if _but(r, prefix) in same]
    near = [r for r in records if r.method not in methods and _place(r) in places]
    level = [r for r in near if r.suite in suites or r.method == UNGUIDED]
    return own + level, {r.method for r in level}


def _empty(ax: Axes) -> None:
    """Says in a panel why it is empty."""
    ax.text(0.5, 0.5, "none recorded", transform=ax.transAxes, ha="center", va="center", style="italic")


def setting(r: Record, prefix: str) -> float:
    """The swept setting of a run."""
    if prefix == DEMOS:
        return float(r.demos)
    group, name = prefix.removesuffix("=").split(".")
    return float(r.config[group][name])


def _place(r: Record) -> tuple[str | int, ...]:
    return r.task, r.seed, r.demos, r.step_budget, r.base_seed


def _but(r: Record, prefix: str) -> tuple[str | int, ...]:
    """What decides a run, one setting apart."""
    group, name = prefix.removesuffix("=").split(".")
    config = {k: {**v, name: ...} if k == group and isinstance(v, dict) else v for k, v in r.config.items()}
    return r.method, *_place(r), r.code, str(config)


def _sweep_line(
    ax: Axes, method: str, values: dict[float, list[float]], aside: float, rng: np.random.Generator
) -> None:
    """Means over a setting with intervals, moved ``aside`` by a factor; a level line for those without, NaN."""
    colour, marker = look(method)
    at = sorted(values)
    if not at:
        return
    means, ends = [float(np.mean(values[x])) for x in at], [mean_interval(values[x], rng) for x in at]
    if math.isnan(at[0]):
        ax.axhline(means[0], color=colour, ls=DASHED)
        if ends[0]:
            ax.axhspan(*ends[0], color=colour, alpha=0.15, lw=0)
        return
    placed = [x * aside for x in at]
    ax.plot(placed, means, color=colour, marker=marker, ms=2.8, mec="white", mew=0.2)
    for x, found in zip(placed, ends, strict=True):
        if found:
            ax.plot([x, x], found, color=colour, lw=0.7, alpha=0.6)


def failure_modes(runs: Runs) -> Drawing:
    """Where the thesis' method loses, link by link: the planner unguided, guided by the learnt and by the true reward;
    how the reward ranks windows within a start and over starts; plans against the physics; how training went."""
    family = [m for m in FAMILY if m in runs.methods]
    if not family:
        return Drawing("failures", None, ["no run of the thesis' method"])
    figure = Figure(figsize=(COLUMN, 5.2))
    ratios = [*map(len, LINKS.values()), 3.5]
    axes = figure.subplots(len(ratios), len(runs.tasks), sharey="row", squeeze=False, height_ratios=ratios)
    for row in (*axes[:-2], axes[-1]):  # between them errors, whose unit is the task's
        for ax in row[1:]:
            ax.sharex(row[0])
    missing: set[str] = set()
    for column, (task, title) in zip(axes.T, runs.tasks.items(), strict=True):
        column[0].set_title(two_lines(clean(title)))
        for ax, rows in zip(column, LINKS.values(), strict=False):
            for j, (_, metric, control) in enumerate(rows):
                for k, method in enumerate(family):
                    missing |= _dot(ax, runs, task, control or method, metric, j + 0.2 * (k - 1), look(method))
            if ax.lines:
                ax.axvline(0, color=FAINT, lw=0.6, zorder=0)
            else:
                _empty(ax)
                ax.tick_params(labelbottom=False, bottom=False)
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.set_yticks(range(len(rows)), [name for name, *_ in rows], linespacing=1)
            ax.locator_params(axis="x", nbins=3)
            ax.xaxis.set_major_formatter("{x:g}")
        for method in family:
            _training(column[-1], runs, task, method)
        column[-1].set(yscale="log", xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
        column[-1].xaxis.set_major_formatter("{x:g}")
        column[-1].yaxis.set_major_formatter("{x:g}")
    for row, said in zip(axes, [*LINKS, "share of updates"], strict=True):
        row[len(row) // 2].set_xlabel(said)
    axes[-1][0].set_ylabel("gradient norm\n(dashed: loss)", fontsize=6)
    legend(figure, runs, family)
    return Drawing("failures", figure, [f"not recorded: {'; '.join(sorted(missing))}"] if missing else [])


# of each part of figure 10: what is measured, and its rows: name, metric, control in whose place the method stands else
LINKS: dict[str, list[tuple[str, str, str]]] = {
    "score": [
        ("guided by\nnothing", "normalized_score", "unguided-diffuser"),
        ("learnt\nreward", "normalized_score", ""),
        ("true\nreward", "normalized_score", "oracle-diffuser"),
    ],
    "correlation": [
        ("windows,\nsame start", "window_pearson_within", ""),
        ("windows,\nany start", "window_pearson_overall", ""),
        ("episodes\n(ERC)", "erc_pearson", ""),
    ],
    "share of plans through a wall": [
        ("base\nmodel", "plan_wall_crossings", "unguided-diffuser"),
        ("guided", "plan_wall_crossings", ""),
    ],
    "one-step error: cells of position; HalfCheetah: sd of states": [
        ("base\nmodel", "plan_one_step_error", "unguided-diffuser"),
        ("guided", "plan_one_step_error", ""),
    ],
}


def _dot(ax: Axes, runs: Runs, task: str, method: str, metric: str, row: float, style: tuple[str, str]) -> set[str]:
    """Mean and interval of a metric in a row; the metric's name where no run has it."""
    found = estimate(runs, task, method, metric)
    if not found.n:
        return {METRICS[metric].label}
    if found.interval:
        ax.plot(found.interval, [row] * 2, color=style[0], lw=0.7)
    ax.plot(found.mean, row, color=style[0], marker=style[1], ms=3, mec="white", mew=0.2)
    return set()


def _training(ax: Axes, runs: Runs, task: str, method: str) -> None:
    """Gradient norm and loss of a method's runs over the updates, medians over runs of means over twentieths."""
    for name, style in (("gradient_norm", "-"), ("loss", (0, (3, 2)))):
        curves = [[abs(r[name]) for r in curve if name in r] for curve in runs.curves(task, method)]
        parts = [[np.mean(piece) for piece in np.array_split(c, 20)] for c in curves if len(c) >= 20]
        if parts:
            ax.plot(np.linspace(0, 1, 20), np.median(parts, 0), color=look(method)[0], ls=style)


def steps(runs: Runs, load: Load) -> Iterator[Drawing]:
    """Learnt against true reward per step (or per window of the reward): base data, and the policy's own episodes."""
    for task, _, found in each(runs, load, ("own_true", "own_learnt")):
        figure, axes = grid(len(found), min(3, len(found)), 0.9, 0.4, sharex=True)
        dots: dict[str, Any] = {"ls": "", "marker": ".", "alpha": 0.5, "rasterized": True}
        for ax, (method, (seed, arrays)) in zip(axes, found.items(), strict=True):
            if "true_steps" in arrays:
                ax.plot(arrays["true_steps"], arrays["learnt_steps"], ms=0.8, color=BASE, **dots)
            true, learnt = arrays["own_true"], arrays["own_learnt"]
            per = round(1000 / true.shape[1]) if true.shape[1] < 1000 else 1
            half = len(true) // 2
            for part, colour in ((slice(half, None), UNSEEN), (slice(half), SEEN)):
                thin = max(1, true[part].size // 800)
                ax.plot(true[part].ravel()[::thin] / per, learnt[part].ravel()[::thin], ms=1, color=colour, **dots)
            said = f"seed {seed}" + (f", {per} steps" if per > 1 else "")
            ax.set_title(f"{beside(runs, method)}\n{said}", **SMALL)
            ax.tick_params(labelbottom=True)
            ax.locator_params(nbins=3)
        figure.supxlabel("True reward of a step")
        figure.supylabel("Learnt reward (own unit)")
        marks = [
            Line2D([], [], ls="", marker=".", ms=5, color=c, label=label)
            for c, label in ((BASE, "held-out base data"), (SEEN, "own, seen starts"), (UNSEEN, "own, unseen starts"))
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=3)
        yield Drawing(f"steps-{slug(task)}", figure, without(runs, found, "no learnt reward kept"))


def gaits(runs: Runs, load: Load) -> Iterator[Drawing]:
    """Gait strips: MuJoCo's body at equal intervals from mid-episode on, a row per method, seen and unseen start.

    Pixels that MuJoCo rendered where the cell was scored; where it had no OpenGL, the same poses drawn as capsules.
    """
    for task, title, found in each(runs, load, ("gait",)):
        figure = Figure(figsize=(COLUMN, 0.25 * len(found) + 0.35))
        axes = figure.subplots(len(found), 2, squeeze=False)
        for row, (method, (seed, arrays)) in zip(axes, found.items(), strict=True):
            scores = runs.of(task, method).set_index("seed").to_dict("index")[seed]
            for k, (ax, kind, colour) in enumerate(zip(row, ("seen", "unseen"), (SEEN, UNSEEN), strict=True)):
                if "gait_pixels" in arrays:
                    ax.imshow(np.concatenate([*arrays["gait_pixels"][k, ::2] / 255], 1), interpolation="antialiased")
                    ax.set(xticks=[], yticks=[])
                    ax.spines[:].set_visible(False)
                else:
                    _strip(ax, arrays["gait"][k, ::2], colour)
                said = number(scores[f"score_{kind}"], f"score_{kind}", 0)
                ax.text(1.01, 0.5, said, transform=ax.transAxes, va="center", fontsize=6)
            row[0].set_ylabel(beside(runs, method), fontsize=6, rotation=0, ha="right", va="center")
        for ax, label in zip(axes[0], ("seen start", "unseen start"), strict=True):
            ax.set_title(f"{label} (right: score)", **SMALL)
        figure.suptitle(f"{title}: body every 0.4 s from mid-episode on, moved apart")
        notes = without(runs, found, "no gait")
        if drawn := [clean(runs.methods[m]) for m, (_, arrays) in found.items() if "gait_pixels" not in arrays]:
            notes.append(f"drawn from poses, not rendered, as the run had no OpenGL: {'; '.join(drawn)}")
        yield Drawing(f"gaits-{slug(task)}", figure, notes)


def _strip(ax: Axes, bodies: Array, colour: str) -> None:
    """Capsules ``[frames, capsules, 2, 2]`` side by side, the torso's centre of each frame at its own place."""
    apart = 1.5
    for k, body in enumerate(bodies):
        moved = body - [body[0, :, 0].mean() - apart * k, 0]
        alpha = 0.35 + 0.6 * k / len(bodies)
        ax.add_collection(LineCollection(list(moved), colors=colour, linewidths=1.0, capstyle="round", alpha=alpha))
    ax.axhline(0, color=INK, lw=0.5)
    ax.set(xlim=(-1, apart * (len(bodies) - 1) + 1), ylim=(-0.12, 1.7), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
