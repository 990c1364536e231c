"""The report: from a folder of records to tables, figures and a summary of what is missing."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import wrap

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from reports import artefacts, mazes, plots
from reports.frame import Runs, entry, gather
from reports.plots import Drawing
from reports.render import Table, clean, latex, markdown, markdown_text, plain
from reports.robust import matrices, worst_case
from reports.style import RC
from reports.tables import HEADLINE, TABLES, conditions, ended_all, headline
from results.schema import METRICS
from results.store import Store

PARTS = ("tables", "figures", "summary.md")
WIDTH = 110  # of the terminal's legend, characters
SIGNS = "* best contestant, or not told apart from it over seeds   † control   ! not every run ended well"


def legend(metrics: Sequence[str]) -> str:
    """What the columns of the terminal's table mean."""
    lines = [f"{METRICS[m].label} ({METRICS[m].unit}): {METRICS[m].source}" for m in metrics]
    return "\n".join([*(part for line in lines for part in wrap(line, WIDTH, subsequent_indent="  ")), SIGNS])


def build(
    records: Path,
    out: Path,
    suite: str | None = None,
    expected: Mapping[str, tuple[str, str, int, str]] | None = None,
    metrics: Sequence[str] = HEADLINE,
) -> str:
    """Writes ``out/tables``, ``out/figures`` and ``out/summary.md``, each replaced as a whole once all are made.

    Args:
        records: folder of records and artefacts.
        out: folder of the report, created if need be; nothing else in it is touched.
        suite: which suite's records to take; None for all.
        expected: id to (method, task, seed, variant) of every run that should be there: exactly these records are
            taken, whichever suite ran them, and absent ones are reported missing.
        metrics: what the terminal's table shows, names of :data:`results.schema.METRICS`.

    Returns:
        the main table and what is missing, for the terminal.

    Raises:
        ValueError: there is no record to report on; says what to run.
    """
    store = Store(records)
    found, corrupt = store.load()
    chosen = [r for r in found if (r.id in expected if expected else suite in (None, r.suite))]
    if not chosen:
        raise ValueError(
            f"no records{f' of suite {suite!r}' if suite else ''} in {records}: "
            f"run `python -m benchmark run {suite or 'quick'}` first"
        )
    if expected:  # a run that two suites share is called as this one calls it
        chosen = [r.model_copy(update={"variant": expected[r.id][3]}) for r in chosen]
    runs = gather(chosen, [(entry(m, v), t, s) for m, t, s, v in expected.values()] if expected else None)
    problems = [f"{c.path.name} holds no record and is skipped: {c.reason}" for c in corrupt]
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=out))
    try:
        made = [table(runs) for table in (*TABLES, worst_case)]
        _write_tables(made, work / "tables")
        np.savez(work / "tables" / "scores.npz", **matrices(runs))  # type: ignore[arg-type]
        problems += _write_figures(runs, store, work / "figures")
        (work / "summary.md").write_text(summary(runs, suite, problems), encoding="utf-8")
        for part in PARTS:
            _replace(work / part, out / part)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    front = headline(runs, metrics)
    title = f"Suite {suite}: " * bool(suite) + ended_all(runs) + f" Seeds: {runs.table.seed.nunique()}."
    return "\n".join([clean(title), "", plain(front), legend(metrics)])


def summary(runs: Runs, suite: str | None, problems: list[str]) -> str:
    """What the report rests on and what it lacks, as Markdown."""
    lines = ["# Summary", "", f"Suite: {markdown_text(suite or 'all records')}. {ended_all(runs)}", ""]
    lines += [*(f"- {markdown_text(line)}" for line in conditions(runs)), ""]
    for title, items in (("About the records", runs.notes), ("Skipped or not drawn", problems)):
        if items:
            lines += [f"## {title}", "", *(f"- {markdown_text(item)}" for item in items), ""]
    notes = [f"{r.title}, {r.task_title}, seed {r.seed}: {n}" for r in runs.records.values() for n in r.notes]
    if notes:
        lines += ["## Metrics that could not be computed", "", *(f"- {markdown_text(n)}" for n in sorted(notes)), ""]
    if (runs.table.status != "ok").any():
        lines += ["Runs that did not end well, with reasons: [tables/failures.md](tables/failures.md)", ""]
    return "\n".join(lines)


def _write_tables(tables: list[Table], folder: Path) -> None:
    folder.mkdir()
    for table in tables:
        (folder / f"{table.name}.md").write_text(markdown(table), encoding="utf-8")
        (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
        table.data.to_csv(folder / f"{table.name}.csv", index=False, float_format="%.6g", lineterminator="\n")


def _write_figures(runs: Runs, store: Store, folder: Path) -> list[str]:
    """Draws all figures; returns what is not in them."""
    folder.mkdir()
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
        matplotlib.rcParams.update(RC)
        for drawing in _drawings(runs, load):
            if drawing.figure is None:
                problems.append(f"figure {drawing.name} is not drawn: {'; '.join(drawing.notes)}")
            else:
                problems += [f"figure {drawing.name}: {note}" for note in drawing.notes]
                save(drawing.figure, folder / drawing.name)
    return problems


def _drawings(runs: Runs, load: mazes.Load) -> Iterator[Drawing]:
    for figure in plots.FIGURES:
        yield from figure(runs)
    for picture in mazes.FIGURES:
        yield from picture(runs, load)


def save(figure: Figure, stem: Path) -> None:
    """``stem.pdf`` and ``stem.png``, the same bytes for the same figure."""
    FigureCanvasAgg(figure)
    figure.savefig(stem.with_name(stem.name + ".png"), metadata={"Software": None})
    figure.set_layout_engine("none")  # everything has its place now
    FigureCanvasPdf(figure)
    figure.savefig(stem.with_name(stem.name + ".pdf"), metadata={"CreationDate": None})


def _replace(new: Path, old: Path) -> None:
    """Puts ``new`` in the place of ``old``, file or folder."""
    if old.is_dir() and not old.is_symlink():
        aside = new.with_name(new.name + ".old")
        os.rename(old, aside)
    os.replace(new, old)
