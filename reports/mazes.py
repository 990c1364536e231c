"""Figures of mazes: true and learnt rewards as heat maps, and the ways that policies took."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from reports.artefacts import Array
from reports.frame import Runs
from reports.plots import Drawing, beside, grid, without
from reports.render import clean, slug
from reports.style import COLUMN, FAINT, INK, SEEN, UNSEEN, WALL, short
from reports.wording import number

Load = Callable[[str], Mapping[str, Array]]
Chosen = dict[str, tuple[int, Mapping[str, Array]]]  # by method: the seed of the run shown, and what it left
# positions are those of the ball's joints: a wall cell (i, j) covers [i - 0.7, i + 0.3] x [j - 0.7, j + 0.3] of them,
# as its body stands 1.2 from the origin and the boxes' centres at whole numbers from 1
WALL_OFFSET = -0.7
SHADES = (-2.0, 4.0)  # standard deviations from the mean over free places
PATHS_SHOWN = 16
SMALL: dict[str, Any] = {"fontsize": 6, "pad": 1.5, "linespacing": 1}  # titles of panels


def chosen(runs: Runs, load: Load, task: str, keys: tuple[str, ...], worst: bool = False) -> Chosen:
    """Per method, the lowest seed whose run left all the arrays, and these; or the ``worst`` run, if it left them."""
    found: Chosen = {}
    table = runs.table[(runs.table.task == task) & (runs.table.status == "ok")]
    if worst:
        table = table.sort_values("normalized_score", kind="stable").drop_duplicates("method")
    for row in table.itertuples():
        if row.method not in found:
            arrays = load(str(row.id))
            if all(key in arrays for key in keys):
                found[str(row.method)] = int(row.seed), arrays  # type: ignore[arg-type]
    return found


def each(runs: Runs, load: Load, keys: tuple[str, ...], worst: bool = False) -> Iterator[tuple[str, str, Chosen]]:
    """The tasks that something was :func:`chosen` of, their titles as printed, and what."""
    for task, title in runs.tasks.items():
        if found := chosen(runs, load, task, keys, worst):
            yield task, short(clean(title)), found


def _maze(ax: Axes, walls: Array, goal: Array, star: float = 4.5) -> None:
    """Walls as in the layout's text: rows downward, columns rightward."""
    rows, columns = walls.shape
    blocks = np.argwhere(walls > 0)[:, None, ::-1] + np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) + WALL_OFFSET
    ax.add_collection(PolyCollection(list(blocks), color=WALL, lw=0.2, zorder=3))
    ax.plot(goal[1], goal[0], marker="*", ms=star, mfc="#FFD500", mec=INK, mew=0.3, ls="", zorder=5)
    # of the outer walls a rim is enough
    ax.set(xlim=(0, columns - 1.4), ylim=(rows - 1.4, 0), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_facecolor(WALL)


def _lines(paths: Array, colour: str, width: float, alpha: float) -> LineCollection:
    shown = paths[:PATHS_SHOWN, :, ::-1]  # (x, y) = (row, column) is drawn at (column, row)
    return LineCollection(list(shown), colors=colour, linewidths=width, alpha=alpha, zorder=4)


def _panels(count: int, shape: tuple[int, ...], title: str, rim: float) -> tuple[Figure, list[Axes]]:
    """A grid of maze-shaped panels that fills a column's width, as many abreast as their shape allows."""
    rows, columns = shape[0] - 1.4, shape[1] - 1.4
    across = min(count, 4 if columns <= 1.2 * rows else 3)
    width = (COLUMN - 0.1) / max(across, 3)
    figure, axes = grid(count, across, width * rows / columns + 0.31, rim)
    figure.suptitle(title)
    return figure, axes


def _title(runs: Runs, task: str, method: str, seed: int, metrics: tuple[str, ...], digits: int) -> str:
    """Name of the method, and beneath it how well the run shown did."""
    cell = runs.of(task, method).set_index("seed").to_dict("index")[seed]
    said = " / ".join(number(cell[m], m, digits) for m in metrics if np.isfinite(cell[m]))
    return f"{beside(runs, method)}\n{said}, seed {seed}"


def free(walls: Array, grid: Array) -> NDArray[np.bool_]:
    """Which grid points ``[gx, gy, 2]`` lie outside the walls, bool ``[gx, gy]``."""
    cells = np.floor(grid - WALL_OFFSET).astype(int)
    i, j = cells[..., 0], cells[..., 1]
    inside = (i >= 0) & (j >= 0) & (i < walls.shape[0]) & (j < walls.shape[1])
    found: NDArray[np.bool_] = inside & (walls[np.where(inside, i, 0), np.where(inside, j, 0)] == 0)
    return found


def standardised(values: Array, where: NDArray[np.bool_]) -> Array:
    """Mean 0 and deviation 1 over the places ``where``, which leaves what a reward prefers unchanged; NaN elsewhere."""
    spread = values[where].std()
    return np.where(where, (values - values[where].mean()) / (spread if spread > 0 else 1.0), np.nan)


def rewards(runs: Runs, load: Load) -> Iterator[Drawing]:
    """True and learnt reward over each maze on one scale, demonstrations on top."""
    keys = ("reward_map", "true_map", "walls", "goal", "grid_xy")
    for task, title in runs.tasks.items():
        found = chosen(runs, load, task, keys)
        if not found:
            if chosen(runs, load, task, ("walls",)):
                yield Drawing(f"rewards-{slug(task)}", None, ["no run left a map of a step reward"])
            continue
        first = next(iter(found.values()))[1]
        maps = [("True reward", first["true_map"], first)]
        for method, (seed, arrays) in found.items():
            maps.append((_title(runs, task, method, seed, ("erc_pearson",), 2), arrays["reward_map"], arrays))
        heading = f"{short(clean(title))}: reward of staying at each place, ERC of the run"
        figure, axes = _panels(len(maps), first["walls"].shape, heading, 0.55)
        for ax, (name, values, arrays) in zip(axes, maps, strict=True):
            grid = arrays["grid_xy"]
            shaded = standardised(values, free(arrays["walls"], grid))
            image = ax.pcolormesh(
                grid[..., 1], grid[..., 0], shaded, cmap="viridis", vmin=SHADES[0], vmax=SHADES[1], rasterized=True
            )
            _maze(ax, arrays["walls"], arrays["goal"])
            if "demos" in arrays:
                ax.add_collection(_lines(arrays["demos"], "white", 0.35, 0.8))
            ax.set_title(name, **SMALL)
        bar = figure.colorbar(
            image, ax=axes, location="bottom", shrink=0.6, aspect=40, pad=0.02, extend="both", fraction=0.05
        )
        bar.set_label("standard deviations from the mean over free places; white: demonstrations", fontsize=6)
        yield Drawing(f"rewards-{slug(task)}", figure, without(runs, found, "no map of a step reward"))


def paths(runs: Runs, load: Load, worst: bool = False) -> Iterator[Drawing]:
    """The ways taken from the evaluation starts, a panel per method; or those of its ``worst`` run that ended well."""
    keys = ("paths_seen", "paths_unseen", "walls", "goal")
    said = "ways taken" + " in the worst run of each method" * worst
    for task, title, found in each(runs, load, keys, worst):
        methods = [m for m in runs.methods if m in found]
        heading = f"{title}: {said}\nnumbers: score from seen / unseen starts"
        figure, axes = _panels(len(methods), found[methods[0]][1]["walls"].shape, heading, 0.5)
        for ax, method in zip(axes, methods, strict=True):
            seed, arrays = found[method]
            _maze(ax, arrays["walls"], arrays["goal"])
            for key, colour in (("paths_unseen", UNSEEN), ("paths_seen", SEEN)):
                ax.add_collection(_lines(arrays[key], colour, 0.45, 0.7))
                starts = arrays[key][:PATHS_SHOWN, 0]
                ax.plot(starts[:, 1], starts[:, 0], "o", ms=1.6, color=colour, mec="white", mew=0.2, zorder=5)
            ax.set_facecolor(FAINT)
            ax.set_title(_title(runs, task, method, seed, ("score_seen", "score_unseen"), 0), **SMALL)
        _legend(figure)
        yield Drawing(f"{'worst' if worst else 'paths'}-{slug(task)}", figure, without(runs, found, "no paths"))


def _legend(figure: Figure) -> None:
    """What is drawn in each maze, beneath all panels."""
    marks = [
        Line2D([], [], color=SEEN, marker="o", ms=2.5, label="from seen starts"),
        Line2D([], [], color=UNSEEN, marker="o", ms=2.5, label="from unseen starts"),
        Line2D([], [], ls="", marker="*", ms=5, mfc="#FFD500", mec=INK, mew=0.3, label="goal"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=3)


def _frame(found: Chosen) -> tuple[Array, Array]:
    """Corners of the part of a maze that holds the goal and every method's plans, with a cell around them."""
    arrays = [a for _, a in found.values()]
    points = np.concatenate([a["goal"][None] for a in arrays] + [a["film"][:, -1].reshape(-1, 2) for a in arrays])
    low = np.maximum(points.min(0) - 1, 0)
    return low, np.minimum(points.max(0) + 1, np.array(arrays[0]["walls"].shape) - 1.4)


def films(runs: Runs, load: Load) -> Iterator[Drawing]:
    """The guided reverse process as a film strip: noise on the left, plans on the right, a row per method."""
    for task, title, found in each(runs, load, ("film", "film_left", "walls", "goal")):
        moments = max(len(a["film_left"]) for _, a in found.values())
        low, high = _frame(found)
        width = (COLUMN - 0.85) / moments
        height = max(0.2, width * (high - low)[0] / (high - low)[1] + 0.03)  # two lines of the method's name at least
        figure = Figure(figsize=(COLUMN, len(found) * height + 0.65))
        axes = figure.subplots(len(found), moments, squeeze=False)
        for line, (method, (_, arrays)) in zip(axes, found.items(), strict=True):
            for k, ax in enumerate(line):
                if k >= len(arrays["film_left"]):
                    ax.remove()
                    continue
                _maze(ax, arrays["walls"], arrays["goal"], 3)
                ax.set(xlim=(low[1], high[1]), ylim=(high[0], low[0]), facecolor=FAINT)
                for plans, colour in zip(arrays["film"], (SEEN, UNSEEN), strict=True):
                    ax.add_collection(_lines(plans[k], colour, 0.3, 0.6))
                    ax.plot(*plans[k, 0, 0, ::-1], "o", ms=1.6, color=colour, mec="white", mew=0.2, zorder=5)
                left = int(arrays["film_left"][k])
                if ax is axes[0, k]:
                    ax.set_title({0: "plans"}.get(left, f"{left}" if k else f"noise, {left}"), **SMALL)
            line[0].set_ylabel(beside(runs, method), fontsize=6, rotation=0, ha="right", va="center")
        figure.suptitle(f"{title}: plans from one start of each kind\nabove: steps of diffusion left")
        _legend(figure)
        yield Drawing(f"film-{slug(task)}", figure, without(runs, found, "no diffusion planner, or none kept"))
