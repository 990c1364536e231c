"""All figures by number, drawn and written."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from reports import artefacts, mazes, plots, studies
from reports.frame import Runs
from reports.plots import Drawing
from reports.style import RC
from results.schema import Record
from results.store import Store

# number and name as typed; what it shows
FIGURES = {
    "1 rewards": "True and learnt reward of staying at each place, one scale, demonstrations on top",
    "2 paths": "Ways taken from seen and unseen starts",
    "3 film": "The guided reverse process, from noise to plans",
    "4 curves": "True score over environment steps and over CPU seconds",
    "5 scores": "Score and ERC with 95 % intervals",
    "6 understanding": "Return against reward quality, one point per run: who imitates without understanding",
    "7 profiles": "Performance profiles and probability of improvement",
    "8 demos": "Score and ERC over the number of demonstrations",
    "9 guidance": "Score and ERC over the guidance scale; dashed: no scale",
    "10 failures": "Where the thesis' method loses, and the worst run of each method",
    "11 bodies": "Learnt against true reward per step, and gait strips",
}


@dataclass(frozen=True)
class Shown:
    """A figure that was written: its number, its file's stem, what it shows and what it leaves out."""

    number: int
    stem: Path
    caption: str
    notes: list[str]


def _makers(runs: Runs, load: mazes.Load, records: Sequence[Record]) -> list[Callable[[], Iterator[Drawing]]]:
    """In the order of :data:`FIGURES`."""
    return [
        lambda: mazes.rewards(runs, load),
        lambda: mazes.paths(runs, load),
        lambda: mazes.films(runs, load),
        lambda: plots.curves(runs),
        lambda: plots.scores(runs),
        lambda: plots.understanding(runs),
        lambda: (d for made in (plots.profiles, plots.improvement) for d in made(runs)),
        lambda: studies.sweep(records, studies.DEMOS, "demos", "demonstrations"),
        lambda: studies.sweep(records, studies.SCALE, "guidance", "guidance scale"),
        lambda: (d for made in (studies.failure_modes(runs, load), mazes.worst(runs, load)) for d in made),
        lambda: (d for made in (studies.steps, studies.gaits) for d in made(runs, load)),
    ]


def figures(
    runs: Runs, records: Sequence[Record], store: Store, folder: Path, wanted: str = ""
) -> tuple[list[Shown], list[str]]:
    """Draws all figures, or those of one number or name, as PDF and PNG into an existing folder.

    Args:
        runs: what is reported on.
        records: all there are: some figures read other suites' too.
        store: where the artefacts stand.
        folder: takes the files.
        wanted: ``6`` or ``understanding``; all if empty.

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
        seaborn.set_theme("paper", "ticks", rc=RC)  # ours over seaborn's
        for (key, caption), made in zip(FIGURES.items(), _makers(runs, load, records), strict=True):
            number, name = key.split()
            count = 0
            for drawing in made() if wanted in ("", number, name) else []:
                count += 1
                if drawing.figure is None:
                    problems.append(f"figure {number}, {drawing.name}, is not drawn: {'; '.join(drawing.notes)}")
                    continue
                problems += [f"figure {number}, {drawing.name}: {note}" for note in drawing.notes]
                save(drawing.figure, folder / drawing.name)
                shown.append(Shown(int(number), folder / drawing.name, caption, drawing.notes))
            if not count and wanted in ("", number, name):
                problems.append(f"figure {number}, {name}, is not drawn: no run left artefacts for it")
    return shown, problems


def save(figure: Figure, stem: Path) -> None:
    """``stem.pdf`` and ``stem.png``, the same bytes for the same figure; the PNG says its :func:`data_hash`."""
    FigureCanvasAgg(figure)
    metadata = {"Software": None, "Data": data_hash(figure)}
    figure.savefig(stem.with_name(stem.name + ".png"), metadata=metadata)
    figure.set_layout_engine("none")  # everything has its place now
    FigureCanvasPdf(figure)
    figure.savefig(stem.with_name(stem.name + ".pdf"), metadata={"CreationDate": None})


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
