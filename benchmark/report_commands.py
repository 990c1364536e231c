"""Commands that read records: ``report``, ``figures``, ``keep``, ``compare``, ``readme``. They run no method."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.errors import UserError, as_user_error, demand
from benchmark.options import OUT, REFERENCE, RESULTS, Out, Results, Suite, grid_of, open_store, warn, warn_corrupt

if TYPE_CHECKING:
    from results.schema import Record
    from results.store import Store

app = typer.Typer()
Expected = dict[str, tuple[str, str, int, str]]  # id of a run to its method, task, seed and variant


def write_report(
    store: "Store", out: Path, suite: str, expected: Expected | None, metrics: list[str] | None = None
) -> str:
    """Writes all tables and figures; returns the printed table, and where what lies."""
    from reports.build import build
    from reports.tables import HEADLINE

    text = build(store.root, out, suite, expected, metrics or HEADLINE)
    return f"{text}\n\nPage: {out}/index.html   Tables and figures: {out}/   Records: {store.root}/"


@app.command()
def report(
    suite: Suite = "quick",
    results: Results = RESULTS,
    out: Out = OUT,
    metric: Annotated[list[str] | None, typer.Option(help="What the printed table shows. Repeatable.")] = None,
) -> None:
    """Tables and figures of a suite from its records."""
    from results.schema import METRICS

    demand("metric", metric or [], METRICS)
    store, name, expected = _to_report(suite, results)
    print(write_report(store, out, name, expected, metric))


def _to_report(suite: str, results: Path, also: bool = False) -> tuple["Store", str, Expected | None]:
    """The store, the suite's name, and its runs by id, with those of suites that run along if ``also``; None for all
    records of that name, made by other code. Runs of more seeds than the suite's own are its runs too."""
    name, cells, _ = grid_of(suite)
    store = open_store(results)
    records = store.load()[0]
    ids, own = {record.id for record in records}, {cell.seed for cell in cells}
    if more := {record.seed for record in records if record.suite == name} - own:
        cells += [cell for cell in grid_of(suite, seeds=",".join(map(str, more)))[1] if cell.id in ids]
    cells = [cell for cell in cells if also or cell.suite == name]
    if ids & {cell.id for cell in cells}:
        return store, name, {cell.id: cell.place for cell in cells}
    if not any(record.suite == name for record in records):
        raise UserError(f"no records of suite {suite!r} in {results}: run `python -m benchmark run {suite}` first")
    warn(f"the records of suite {name!r} in {results} were made by other code or settings than stand here")
    return store, name, None


@app.command()
def figures(
    figure: Annotated[str, typer.Argument(help="Number or name, as 6 or understanding.")],
    suite: Suite = "quick",
    results: Results = RESULTS,
    out: Out = OUT,
) -> None:
    """Draw one figure of a suite from its records."""
    from reports.build import one_figure

    store, name, expected = _to_report(suite, results)
    with as_user_error(ValueError):
        drawn, problems = one_figure(store.root, out, figure, name, expected)
    for problem in problems:
        warn(problem)
    for path in drawn:
        print(path)


def _place(record: "Record") -> tuple[str, str, str, int, str]:
    return record.suite, record.method, record.task, record.seed, record.variant


@app.command()
def keep(
    suite: Suite = "quick",
    results: Results = RESULTS,
    into: Annotated[Path, typer.Option(help="Folder that gets them.")] = REFERENCE,
) -> None:
    """Copy a suite's records, and what figures show of the first and worst run of each cell, over its older ones.

    A run that it shares with another suite is kept under its name.
    """
    import shutil

    from reports import artefacts
    from results.store import Store

    store, name, expected = _to_report(suite, results, also=True)
    names = {cell.id: cell.suite for cell in grid_of(suite)[1]}
    found = [r for r in store.load()[0] if (r.id in expected if expected else r.suite == name)]
    records = [r.model_copy(update={"suite": names.get(r.id, r.suite)}) for r in found]
    into.mkdir(parents=True, exist_ok=True)
    ids, places = {r.id for r in records}, {_place(r) for r in records}
    for old in Store(into).load()[0]:  # made by other code or settings
        if old.id not in ids and (old.suite == name or _place(old) in places):
            Store(into).path(old.id).unlink()
            shutil.rmtree(Store(into).folder(old.id), ignore_errors=True)
    for record in records:
        Store(into).commit(record)
    sizes: dict[str, int] = {}
    for key in ("seed", "normalized_score"):
        drawn: dict[tuple[str, ...], str] = {}
        for record in sorted(records, key=lambda r: r.metrics.get(key, r.seed)):
            if record.status == "ok":
                drawn.setdefault((record.suite, record.method, record.task, record.variant), record.id)
        sizes |= {id: artefacts.thin(store.folder(id), into / id) for id in drawn.values()}
    print(f"{len(records)} records and {sum(sizes.values()) / 1e6:.1f} MB of artefacts of {len(sizes)} runs in {into}")


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="RECORDS_A", help="Folder of records, e.g. of the main branch.")],
    after: Annotated[Path, typer.Argument(metavar="RECORDS_B", help="Folder of records, e.g. of a change.")],
    metric: Annotated[list[str] | None, typer.Option(help="What to compare. Repeatable.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Which methods, all if not given. Repeatable.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if anything became worse, or stands on one side only.")
    ] = False,
) -> None:
    """What changed between two sets of results, with intervals, as Markdown."""
    from reports import compare as comparison
    from reports.render import markdown
    from results.schema import COSTS, METRICS

    demand("metric", metric or [], METRICS | COSTS)
    sides, known = [], set[str]()
    for store in (open_store(before), open_store(after)):
        warn_corrupt(store)
        if not (records := store.load()[0]):
            raise UserError(f"no records in {store.root}: `python -m benchmark run --results {store.root}` makes some")
        known |= {r.method for r in records}
        sides.append([r for r in records if not method or r.method in method])
    demand("method", method or [], known)
    with as_user_error(ValueError):
        table, worse = comparison.compare(sides[0], sides[1], metric or comparison.COMPARED)
    print(markdown(table))
    raise typer.Exit(1 if worse and strict else 0)


@app.command()
def readme(
    results: Results = REFERENCE,
    path: Annotated[Path, typer.Option(help="The page whose generated blocks are made anew.")] = Path("README.md"),
) -> None:
    """Make README blocks, reports/ANALYSIS.md, and the records' manifest, figure and digests anew from records."""
    from reports.readme import regenerate

    if open_store(results).load()[1]:
        raise UserError(f"{results} holds files that are no records: remove them first")
    with as_user_error(OSError, ValueError, before=f"{path}: "):
        changed = regenerate(results, path)
    print("\n".join(f"{p}: made anew" for p in changed) or "nothing to change")
