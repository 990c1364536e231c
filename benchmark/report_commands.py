"""Commands on records: ``report``, ``figures``, ``keep``, ``compare``, ``readme``, ``merge``. They run no method."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.errors import UserError, as_user_error, demand
from benchmark.options import OUT, REFERENCE, RESULTS, Out, Results, Suite, grid_of, open_store, warn, warn_corrupt

if TYPE_CHECKING:
    from results.schema import Record
    from results.store import Store

app = typer.Typer()
folders = typer.Typer(help="Folders of records: merge.", no_args_is_help=True)
Shown = Annotated[
    str | None, typer.Argument(help="Name of a suite, or path of a YAML file; quick, or the largest in --results.")
]
FIGURES = "1 rewards, 2 paths, 3 film, 4 curves, 5 scores, 6 understanding, 7 profiles, 8 demos, 9 guidance, "
FIGURES += "10 failures, 11 bodies"
Expected = dict[str, tuple[str, str, int, str]]  # id of a run to its method, task, seed and variant


def write_report(
    store: "Store", out: Path, suite: str, expected: Expected | None, metrics: list[str] | None = None
) -> str:
    """Writes all tables and figures; returns the printed table, and where what lies."""
    from reports.build import build
    from reports.tables import HEADLINE

    with as_user_error(ValueError):
        text = build(store.root, out, suite, expected, metrics or HEADLINE)
    return f"{text}\n\nPage: {out}/index.html   Tables and figures: {out}/   Records: {store.root}/"


@app.command()
def report(
    suite: Shown = None,
    results: Results = RESULTS,
    out: Out = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="What the printed table shows: names in results/metrics.yaml. Repeatable.")
    ] = None,
) -> None:
    """Tables and figures of a suite from its records."""
    from results.schema import METRICS

    demand("metric", metric or [], METRICS)
    store, name, expected = _to_report(suite, results)
    print(write_report(store, out or OUT / name, name, expected, metric))


def runs_of(suite: str, records: Sequence["Record"], lone: bool = False, kept: bool = False) -> tuple[str, Expected]:
    """The suite's name and its runs by id.

    Runs of more seeds and methods than its own are its runs too, if they have a record of that name. Where no record is
    of a method on a task as it is here, because it was named by its module or has changed since, those that are there
    stand as they are, the last of each place.

    Args:
        lone: leaves out methods of its own that no record is of, as is done where none has one.
        kept: takes in the suites that run along with it, and no methods but the suites' own.
    """
    from reports.frame import latest

    name, cells, registry = grid_of(suite)
    ids, of_suite = {record.id for record in records}, [record for record in records if record.suite == name]
    own = [cell for cell in cells if cell.suite == name]
    asked, seeds, tasks = ({getattr(cell, key) for cell in own} for key in ("method", "seed", "task"))
    more, added = {r.seed for r in of_suite} - seeds, {r.method for r in of_suite if not kept} - asked
    if more:
        cells += [cell for cell in grid_of(suite, seeds=",".join(map(str, more)))[1] if cell.id in ids]
    if known := added & registry.methods.keys():
        found = grid_of(suite, sorted(known), seeds=",".join(map(str, seeds | more)))[1]
        cells += [cell for cell in found if cell.id in ids]
    cells = [cell for cell in cells if kept or cell.suite == name]
    there = {(cell.method, cell.task) for cell in cells if cell.id in ids}
    run = {method for method, _ in there}
    lone = lone or not (kept or run & asked)
    runs = {cell.id: cell.place for cell in cells if not lone or cell.method in run}
    old = [r for r in of_suite if not kept and (r.method, r.task) not in there and (not own or r.task in tasks)]
    last = {r.id: (r.method, r.task, r.seed, r.variant) for r in latest(old)}
    if changed := sorted({method for method, *_ in last.values()} & registry.methods.keys()):
        warn(f"records of {', '.join(changed)} in suite {name!r} were made by other code or settings than stand here")
    return name, runs | last


def _to_report(suite: str | None, results: Path, kept: bool = False) -> tuple["Store", str, Expected | None]:
    """The store, the suite's name, and its runs by id, see :func:`runs_of`; None for all records of that name.

    Where no suite is named, it is the largest of the records, of which only what was run is asked for, or ``quick`` in
    the usual folder.
    """
    from benchmark.suite import suite_names
    from reports.frame import main_suite

    store = open_store(results)
    records = store.load()[0]
    if lone := suite is None and results != RESULTS and bool(records):
        suite = (main_suite(records) or records)[0].suite
        if suite not in suite_names():  # of a file that is not known here
            return store, suite, None
    suite = suite or "quick"
    name, runs = runs_of(suite, records, lone, kept)
    if runs.keys() & {record.id for record in records}:
        return store, name, runs
    if not any(record.suite == name for record in records):
        raise UserError(
            f"no finished run of suite {suite!r} in {results}: `python -m benchmark run {suite}` makes them all, with "
            "--method NAME those of one method"
        )
    warn(f"the records of suite {name!r} in {results} were made by other code or settings than stand here")
    return store, name, None


@app.command()
def figures(
    figure: Annotated[str, typer.Argument(help=f"Number or name: {FIGURES}.")],
    suite: Shown = None,
    results: Results = RESULTS,
    out: Out = None,
) -> None:
    """Draw one figure of a suite from its records."""
    from reports.build import one_figure

    store, name, expected = _to_report(suite, results)
    with as_user_error(ValueError):
        drawn, problems = one_figure(store.root, out or OUT / name, figure, name, expected)
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

    Those that were made by other settings or code than stand here go; runs of it that only the folder holds stay. A run
    that it shares with another suite is kept under its name, but for another's plain runs if it is a sweep.
    """
    from reports import artefacts
    from results.store import Store

    store, name, expected = _to_report(suite, results, kept=True)
    cells, there = {cell.id: cell for cell in grid_of(suite)[1]}, Store(into).load()[0]
    sweeps = {cell.suite for cell in cells.values() if cell.variant}
    plain = {r.id for r in there if not r.variant and r.id in cells and cells[r.id].suite in sweeps - {r.suite}}
    names = {id: cell.suite for id, cell in cells.items()}
    found = [r for r in store.load()[0] if (r.id in expected if expected else r.suite == name) and r.id not in plain]
    records = [r.model_copy(update={"suite": names.get(r.id, r.suite)}) for r in found]
    into.mkdir(parents=True, exist_ok=True)
    ids, places = {r.id for r in records}, {_place(r) for r in records}
    valid = runs_of(suite, there, kept=True)[1].keys()
    gone = [
        r for r in there if r.id not in ids | plain and (_place(r) in places or (r.suite == name and r.id not in valid))
    ]
    for old in gone:
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
    size = sum(sizes.values()) / 1e6
    print(f"{into}: {len(records)} records, {size:.1f} MB of artefacts of {len(sizes)} runs; {len(gone)} older gone")


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


def _shown(record: "Record", folder: Path) -> str:
    metrics = ", ".join(f"{name} {value:.6g}" for name, value in sorted(record.metrics.items()))
    where = f"{record.provenance.get('platform', 'unknown platform')}, {record.provenance.get('finished', 'no date')}"
    status = f"{record.status} ({record.reason})" if record.reason else record.status
    return f"    {folder}: {status}; {metrics or 'no metrics'}; {where}"


@folders.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of records.")],
    into: Annotated[Path, typer.Option(help="Folder that gets them all.")] = RESULTS,
) -> None:
    """Unite records of several machines, all or none: two that differ under one id are shown and refused."""
    from filelock import Timeout

    from results.store import Store, StoreError

    target = Store(into)
    standing = {record.id: (record, into) for record in target.load()[0]}
    new: dict[str, tuple[Record, Path]] = {}
    conflicts, equal = [], 0
    for folder in sources:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder of records")
        records, corrupt = Store(folder).load()
        if corrupt:
            raise UserError(f"nothing merged: {corrupt[0].path} holds no record: {corrupt[0].reason}")
        for record in records:
            other = standing.get(record.id) or new.get(record.id)
            if other is None:
                new[record.id] = record, folder
            elif (record.status, record.metrics, record.curve) == (other[0].status, other[0].metrics, other[0].curve):
                equal += 1
            else:
                name = f"  {record.id}  {record.method} · {record.task} · seed {record.seed}"
                conflicts.append("\n".join([name, _shown(*other), _shown(record, folder)]))
    if conflicts:
        raise UserError("nothing merged, these records differ; remove one of each:\n" + "\n".join(conflicts))
    told = {"before": f"stopped, {into} cannot be written: ", "after": "; the same command goes on from here"}
    with as_user_error(OSError, shutil.Error, StoreError, **told):
        target.prepare()
        for record, folder in new.values():
            try:
                with target.lock(record.id).acquire(blocking=False), target.hold(record.id, blocking=False):
                    target.adopt(record, Store(folder).folder(record.id))
            except Timeout as error:
                raise StoreError(f"the cell of record {record.id} is being run there") from error
    print(f"{into}: {len(new)} records taken over, {equal} were there already")
