"""All figures by number, drawn and written."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from reports import artefacts, mazes, plots, studies
from reports.frame import Runs
from reports.plots import Drawing
from reports.style import HOUSE
from results.schema import Record
from results.store import Store

Maker = Callable[[Runs, mazes.Load, Sequence[Record]], Iterable[Drawing]]
FIGURES: dict[str, tuple[str, Maker]] = {  # number and name as typed; what it shows, and who draws it
    "1 rewards": (
        "True and learnt reward of staying at each place, one scale, demonstrations on top",
        lambda runs, load, _: mazes.rewards(runs, load),
    ),
    "2 paths": ("Ways taken from seen and unseen starts", lambda runs, load, _: mazes.paths(runs, load)),
    "3 film": ("The guided reverse process, from noise to plans", lambda runs, load, _: mazes.films(runs, load)),
    "4 curves": ("True score over environment steps and over CPU seconds", lambda runs, *_: [plots.curves(runs)]),
    "5 scores": ("Score and ERC with 95 % intervals", lambda runs, *_: plots.scores(runs)),
    "6 understanding": (
        "Return against reward quality, one point per run: who imitates without understanding",
        lambda runs, *_: [plots.understanding(runs)],
    ),
    "7 profiles": (
        "Performance profiles and probability of improvement",
        lambda runs, *_: [plots.profiles(runs), plots.improvement(runs)],
    ),
    "8 demos": (
        "Score and ERC over the number of demonstrations",
        lambda runs, load, records: studies.sweep(records, studies.DEMOS, "demos", "demonstrations"),
    ),
    "9 guidance": (
        "Score and ERC over the guidance scale; dashed: no scale",
        lambda runs, load, records: studies.sweep(records, studies.SCALE, "guidance", "guidance scale"),
    ),
    "10 failures": (
        "Where the thesis' method loses, and the worst run of each method",
        lambda runs, load, _: [studies.failure_modes(runs), *mazes.paths(runs, load, worst=True)],
    ),
    "11 bodies": (
        "Learnt against true reward per step, and gait strips",
        lambda runs, load, _: [*studies.steps(runs, load), *studies.gaits(runs, load)],
    ),
}


@dataclass(frozen=True)
class Shown:
    """A figure that was written: its number, its file's stem, what it shows and what it leaves out."""

    number: int
    stem: Path
    caption: str
    notes: list[str]


def figures(
    runs: Runs, records: Sequence[Record], store: Store, folder: Path, wanted: str = ""
) -> tuple[list[Shown], list[str]]:
    """Draws all figures, or those of one ``wanted`` number or name, as PDF and PNG into an existing folder.

    Args:
        runs: what is reported on.
        records: all there are: some figures read other suites' too.

    Returns:
        what was drawn, and what is not in it.

    Raises:
        ValueError: ``wanted`` is no figure.
    """
    if wanted and not any(wanted in key.split() for key in FIGURES):
        raise ValueError(f"figure {wanted!r} is unknown: choose from {', '.join(FIGURES)} (number or name)")
    shown: list[Shown] = []
    problems: list[str] = []

    @cache
    def load(id: str) -> Mapping[str, artefacts.Array]:
        try:
            return artefacts.load(store.folder(id))
        except ValueError as error:
            problems.append(f"artefacts of {id} are not drawn: {error}")
            return {}

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user has set
        seaborn.set_theme("paper", "ticks")
        matplotlib.style.use(HOUSE)  # ours over seaborn's
        for key, (caption, made) in FIGURES.items():
            number, name = key.split()
            if wanted not in ("", number, name):
                continue
            drawing = None
            for drawing in made(runs, load, records):
                if drawing.figure is None:
                    problems.append(f"figure {number}, {drawing.name}, is not drawn: {'; '.join(drawing.notes)}")
                    continue
                problems += [f"figure {number}, {drawing.name}: {note}" for note in drawing.notes]
                save(drawing.figure, folder / drawing.name)
                shown.append(Shown(int(number), folder / drawing.name, caption, drawing.notes))
            if drawing is None:
                problems.append(f"figure {number}, {name}, is not drawn: no run left artefacts for it")
    return shown, problems


def save(figure: Figure, stem: Path) -> None:
    """``stem.pdf`` and ``stem.png``, the same bytes for the same figure; the PNG says its :func:`data_hash`."""
    FigureCanvasAgg(figure)
    metadata = {"Software": None, "Data": data_hash(figure)}
    figure.savefig(stem.with_suffix(".png"), metadata=metadata)
    figure.set_layout_engine("none")  # everything has its place now
    FigureCanvasPdf(figure)
    figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})


def data_hash(figure: Figure) -> str:
    """16 hex digits over what a figure shows, to four decimals: the same where fonts and versions draw other pixels."""
    digest = hashlib.sha256()
    for ax in figure.axes:
        shown: list[Any] = [line.get_xydata() for line in ax.lines] + [image.get_array() for image in ax.images]
        for c in ax.collections:
            shown += [c.get_offsets(), *(path.vertices for path in c.get_paths()), c.get_array()]
        for array in shown:
            known = np.ma.filled(0.0 if array is None else array, 0.0)
            digest.update(np.round(known, 4).astype(np.float32).tobytes())
        texts = [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
        digest.update("\0".join(text.get_text() for text in texts).encode())
    return digest.hexdigest()[:16]
