"""The report: from a folder of records to tables, figures and a summary of what is missing."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np

from reports import claims, gallery, page
from reports.frame import Runs, entry, gather
from reports.render import Table, clean, html_table, latex, markdown, markdown_text, plain
from reports.tables import HEADLINE, MARKED, TABLES, headline, matrices
from reports.wording import conditions, ended_all
from results.schema import METRICS, Record
from results.store import Store

Expected = Mapping[str, tuple[str, str, int, str]]  # id of a run to its method, task, seed and variant
PARTS = ("tables", "figures", "summary.md", "index.html")
WIDTH = 110  # of the terminal's legend, characters
SIGNS = f"* best contestant, or not told apart from it over seeds   ! not every run ended well   {MARKED}"


def legend(metrics: Sequence[str]) -> str:
    """What the columns of the terminal's table mean."""
    lines = [*(f"{METRICS[m].label} ({METRICS[m].unit}): {METRICS[m].source}" for m in metrics), SIGNS]
    return "\n".join(part for line in lines for part in wrap(line, WIDTH, subsequent_indent="  "))


def build(
    records: Path,
    out: Path,
    suite: str | None = None,
    expected: Expected | None = None,
    metrics: Sequence[str] = HEADLINE,
) -> str:
    """Writes tables, figures, a summary and the page into ``out``, each replaced as a whole once all are made.

    Args:
        records: folder of records and artefacts.
        out: folder of the report; nothing else in it is touched.
        suite: which suite's records to take; None for all.
        expected: id to (method, task, seed, variant) of every run that should be there: exactly these records are
            taken, whichever suite ran them, and absent ones are reported missing.
        metrics: what the terminal's table shows.

    Returns:
        the main table and what is missing, for the terminal.

    Raises:
        ValueError: there is no record to report on; says what to run.
    """
    store, runs, found, problems = select(records, suite, expected)
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=out))
    try:
        (work / "figures").mkdir()
        evidence = [*runs.records.values(), *(r for r in found if r.suite != suite)]
        made = [claims.table(evidence), *(table(runs) for table in TABLES)]
        _write_tables(made, work / "tables")
        np.savez(work / "tables" / "scores.npz", **matrices(runs))  # type: ignore[arg-type]
        shown, lacking = gallery.figures(runs, found, store, work / "figures")
        problems += lacking
        (work / "summary.md").write_text(summary(runs, suite, problems), encoding="utf-8")
        whole = page.page(runs, found, store, made, shown, problems, suite, evidence)
        (work / "index.html").write_text(whole, encoding="utf-8")
        for part in PARTS:
            _replace(work / part, out / part)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    title = f"Suite {suite}: " * bool(suite) + ended_all(runs) + f" Seeds: {runs.table.seed.nunique()}."
    return "\n".join([clean(title), "", plain(headline(runs, metrics)), legend(metrics)])


def one_figure(
    records: Path, out: Path, wanted: str, suite: str | None = None, expected: Expected | None = None
) -> tuple[list[Path], list[str]]:
    """Draws the figures of one number or name into ``out/figures``; returns their PNGs, and what is not in them.

    Raises:
        ValueError: there is no record to report on, or no such figure.
    """
    store, runs, found, _ = select(records, suite, expected)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    shown, problems = gallery.figures(runs, found, store, out / "figures", wanted)
    return [s.stem.with_suffix(".png") for s in shown], problems


def select(records: Path, suite: str | None, expected: Expected | None) -> tuple[Store, Runs, list[Record], list[str]]:
    """The store, the runs to report on, all its records, and what is wrong with it; see :func:`build`."""
    store = Store(records)
    found, corrupt = store.load()
    chosen = [r for r in found if (r.id in expected if expected else suite in (None, r.suite))]
    if not chosen:
        raise ValueError(
            f"no records{f' of suite {suite!r}' if suite else ''} in {records}: "
            f"run `python -m benchmark run {suite or 'quick'}` first"
        )
    if expected:  # a run that two suites share is called as this one calls it
        called = {"suite": suite} if suite else {}
        chosen = [r.model_copy(update={"variant": expected[r.id][3], **called}) for r in chosen]
    runs = gather(chosen, [(entry(m, v), t, s) for m, t, s, v in expected.values()] if expected else None)
    return store, runs, found, [f"{c.path.name} holds no record and is skipped: {c.reason}" for c in corrupt]


def summary(runs: Runs, suite: str | None, problems: list[str]) -> str:
    """What the report rests on and what it lacks, as Markdown."""
    lines = ["# Summary", "", f"Suite: {markdown_text(suite or 'all records')}. {ended_all(runs)}", ""]
    lines += [*(f"- {markdown_text(line)}" for line in conditions(runs)), ""]
    lacking: dict[str, list[int]] = {}
    for r in runs.records.values():
        for note in r.notes:
            lacking.setdefault(f"{note}: {r.title}, {r.task_title}, seeds ", []).append(r.seed)
    notes = sorted(what + ", ".join(map(str, sorted(seeds))) for what, seeds in lacking.items())
    parts = {"About the records": runs.notes, "Skipped or not drawn": problems}
    for title, items in (parts | {"Metrics that could not be computed": notes}).items():
        if items:
            lines += [f"## {title}", "", *(f"- {markdown_text(item)}" for item in items), ""]
    if (runs.table.status != "ok").any():
        lines += ["Runs that did not end well, with reasons: [tables/failures.md](tables/failures.md)", ""]
    return "\n".join(lines)


def _write_tables(tables: list[Table], folder: Path) -> None:
    folder.mkdir()
    for table in tables:
        for ending, text in (("md", markdown(table)), ("tex", latex(table)), ("html", html_table(table))):
            (folder / f"{table.name}.{ending}").write_text(text, encoding="utf-8")
        table.data.to_csv(folder / f"{table.name}.csv", index=False, float_format="%.6g", lineterminator="\n")


def _replace(new: Path, old: Path) -> None:
    """Puts ``new`` in the place of ``old``, file or folder."""
    if old.is_dir() and not old.is_symlink():
        aside = new.with_name(new.name + ".old")
        os.rename(old, aside)
    os.replace(new, old)
