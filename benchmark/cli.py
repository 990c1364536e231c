"""The command line. Imports what a command needs when it runs: ``--help`` loads neither torch nor a method."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.data_commands import AsJson, Seeds, Tasks, discovered
from benchmark.data_commands import app as data_app
from benchmark.errors import UserError, unknown
from benchmark.result_commands import app as results_app
from benchmark.running import How, Where, execute, print_plan

if TYPE_CHECKING:
    from benchmark.cell import Cell
    from benchmark.registry import Registry
    from results.store import Store

app = typer.Typer(
    help="irlbench: a benchmark of inverse reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(results_app, name="results")

Suite = Annotated[str, typer.Argument(help="Name of a suite, or path of a YAML file.")]
Methods = Annotated[list[str] | None, typer.Option("--method", help="Name, or package.module:NAME. Repeatable.")]
Assigned = Annotated[list[str] | None, typer.Option("--set", help="method.key=value. Repeatable.")]
Results = Annotated[Path, typer.Option(help="Folder of the records.")]
# read by numerical libraries when they are first imported: one thread each, so that results do not depend on the cores
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
RESULTS, OUT, TUNING = Path("results/runs"), Path("reports/out"), Path("results/tuning")
GUIDE = "docs/add-a-method.md"
CHECKED = ("maze2d-umaze", "halfcheetah")  # a method that passes on both kinds of task passes on their variants


def _grid(
    suite: str, methods: list[str] | None, tasks: list[str] | None, seeds: str | None, assigned: list[str] | None
) -> tuple[str, list["Cell"], "Registry"]:
    from benchmark.suite import grid, parse_assignments, parse_seeds

    settings = parse_assignments(assigned or [])
    try:
        chosen = parse_seeds(seeds) if seeds is not None else []
    except ValueError as error:
        raise UserError(str(error)) from error
    registry = discovered()
    return *grid(suite, registry, methods or [], tasks or [], chosen, settings), registry


def _store(folder: Path, write: bool = False) -> "Store":
    from results.store import Store, StoreError

    store = Store(folder)
    try:
        if write:
            store.prepare()
    except StoreError as error:
        raise UserError(str(error)) from error
    return store


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _warn_corrupt(store: "Store") -> int:
    corrupt = store.load()[1]
    for found in corrupt:
        _warn(f"{found.path} holds no record and is skipped: {found.reason}")
    return len(corrupt)


def _warn_unavailable(registry: "Registry") -> None:
    for place, error in registry.unavailable.items():
        _warn(f"{place} is unavailable: {error}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Suites, tasks and methods that are there, and what could not be imported."""
    from benchmark.suite import load_suite, suite_names

    registry = discovered()
    found: dict[str, Any] = {
        "suites": {name: load_suite(name)[1].description for name in suite_names()},
        "tasks": {
            name: {"title": task.title, "module": module, "source": task.source}
            for name, (task, module) in sorted(registry.tasks.items())
        },
        "methods": {
            name: {
                "title": method.title,
                "module": module,
                "source": method.source,
                "recovers_reward": method.recovers_reward,
                "control": method.control,
                "settings": method.config().model_dump(mode="json"),
            }
            for name, (method, module) in sorted(registry.methods.items())
        },
        "unavailable": registry.unavailable,
    }
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print("Suites")
    for name, description in found["suites"].items():
        print(f"  {name:28}{description}")
    print("Tasks")
    for name, task in found["tasks"].items():
        print(f"  {name:28}{task['title']} ({task['source']})")
    print("Methods")
    for name, method in found["methods"].items():
        kind = "control" if method["control"] else "reward" if method["recovers_reward"] else "no reward"
        print(f"  {name:28}{kind:11}{method['title']} ({method['source']})")
    if registry.unavailable:
        print("Unavailable")
        for place, error in registry.unavailable.items():
            print(f"  {place:28}{error}")


@app.command()
def run(
    suite: Suite = "quick",
    method: Methods = None,
    task: Tasks = None,
    seeds: Seeds = None,
    assigned: Assigned = None,
    workers: Annotated[int, typer.Option(min=0, help="Cells at a time; 0 runs in this process.")] = os.cpu_count() or 1,
    retry: Annotated[list[str] | None, typer.Option(help="Run again what is: failed, timeout, skipped.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
    as_json: AsJson = False,
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = OUT,
    executor: Annotated[Where, typer.Option(help="Where cells run; ray needs the extra `ray`.")] = Where.LOCAL,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster; one on this machine if none.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")] = False,
    plain_lines: Annotated[bool, typer.Option("--plain", help="Print a line per cell, also on a terminal.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder that gets TensorBoard events per cell.")] = None,
    reporting: Annotated[bool, typer.Option("--report/--no-report", help="Write tables and figures.")] = True,
) -> None:
    """Run what is left of a suite, then report."""
    from benchmark.runner import plan

    for status in retry or []:
        if status not in ("failed", "timeout", "skipped"):
            raise UserError(f"--retry {status!r}: allowed are failed, timeout, skipped")
    name, cells, registry = _grid(suite, method, task, seeds, assigned)
    store = _store(results)
    if dry_run:
        past = _store(Path("results/reference")).load()[0]  # what cells took where this project ran them
        print_plan(plan(cells, store, retry or [], past), workers, as_json)
        return
    store = _store(results, write=True)
    _warn_unavailable(registry)
    _warn_corrupt(store)
    execute(cells, store, How(executor, address, workers, quiet, plain_lines, tensorboard), retry or [])
    if not reporting:
        return
    # what else of the suite stands is shown too: running one method must not empty the tables of the others
    shown = {cell.place: cell for cell in _grid(suite, None, None, None, None)[1] if store.get(cell.id)}
    shown |= {cell.place: cell for cell in cells}
    own = [cell for cell in shown.values() if cell.suite == name]  # suites that ran along have reports of their own
    _report(store, out, name, own or cells, quiet=quiet)


def _report(
    store: "Store", out: Path, suite: str, cells: list["Cell"], metrics: list[str] | None = None, quiet: bool = False
) -> None:
    from reports.build import build
    from reports.tables import HEADLINE

    expected = {cell.id: cell.place for cell in cells}
    text = build(store.root, out, suite, expected, metrics or HEADLINE)
    if quiet:
        return
    print(text)
    print(f"\nTables and figures: {out}/   Records: {store.root}/")


@app.command()
def status(
    suite: Suite = "quick",
    method: Methods = None,
    task: Tasks = None,
    seeds: Seeds = None,
    assigned: Assigned = None,
    as_json: AsJson = False,
    results: Results = RESULTS,
) -> None:
    """How far a suite is, and what went wrong."""
    _, cells, registry = _grid(suite, method, task, seeds, assigned)
    store = _store(results)
    records, corrupt = store.load()
    known = {record.id: record for record in records}
    rows = [
        {
            "id": cell.id,
            "method": cell.method,
            "task": cell.task,
            "seed": cell.seed,
            "variant": cell.variant,
            "status": known[cell.id].status if cell.id in known else store.under_way(cell.id) or "missing",
            "reason": known[cell.id].reason if cell.id in known else "",
        }
        for cell in cells
    ]
    counts: dict[str, int] = {}
    names = {cell.id: str(cell) for cell in cells}
    for row in rows:
        counts[str(row["status"])] = counts.get(str(row["status"]), 0) + 1
    if as_json:
        found = {"counts": counts, "corrupt": [str(c.path) for c in corrupt], "cells": rows}
        print(json.dumps({**found, "unavailable": registry.unavailable}, indent=1))
        return
    for row in rows:
        if row["status"] not in ("ok", "missing"):
            print(f"{row['id']}  {row['status']:12}{names[str(row['id'])]}{': ' * bool(row['reason'])}{row['reason']}")
        if (error := store.folder(str(row["id"])) / "error.txt").is_file():
            print(f"{'':18}{error}")
    _warn_unavailable(registry)
    _warn_corrupt(store)
    print(f"{suite}: {len(rows)} cells: " + ", ".join(f"{n} {status}" for status, n in sorted(counts.items())))


@app.command()
def report(
    suite: Suite = "quick",
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = OUT,
    metric: Annotated[list[str] | None, typer.Option(help="What the printed table shows. Repeatable.")] = None,
) -> None:
    """Tables and figures of a suite from its records."""
    from results.schema import METRICS

    for name in metric or []:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    from reports.build import build
    from reports.tables import HEADLINE

    store, name, expected = _to_report(suite, results)
    print(build(store.root, out, name, expected, metric or HEADLINE))
    print(f"\nPage: {out}/index.html   Tables and figures: {out}/   Records: {store.root}/")


def _to_report(
    suite: str, results: Path, also: bool = False
) -> tuple["Store", str, dict[str, tuple[str, str, int, str]] | None]:
    """The store, the suite's name, and its runs by id, with those of suites that run along if ``also``; None for all
    records of that name, made by other code."""
    name, cells, _ = _grid(suite, None, None, None, None)
    cells = [cell for cell in cells if also or cell.suite == name]
    store = _store(results)
    records = store.load()[0]
    if {record.id for record in records} & {cell.id for cell in cells}:
        return store, name, {cell.id: cell.place for cell in cells}
    if not any(record.suite == name for record in records):
        raise UserError(f"no records of suite {suite!r} in {results}: run `python -m benchmark run {suite}` first")
    _warn(f"the records of suite {name!r} in {results} were made by other code or settings than stand here")
    return store, name, None


@app.command()
def figures(
    figure: Annotated[str, typer.Argument(help="Number or name, as 6 or understanding.")],
    suite: Suite = "quick",
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = OUT,
) -> None:
    """Draw one figure of a suite from its records."""
    from reports.build import one_figure

    store, name, expected = _to_report(suite, results)
    try:
        drawn, problems = one_figure(store.root, out, figure, name, expected)
    except ValueError as error:
        raise UserError(str(error)) from error
    for problem in problems:
        _warn(problem)
    for path in drawn:
        print(path)


@app.command()
def keep(
    suite: Suite = "quick",
    results: Results = RESULTS,
    into: Annotated[Path, typer.Option(help="Folder that gets them.")] = Path("results/reference"),
) -> None:
    """Copy a suite's records, and of one seed per method and task what figures show, small enough to commit."""
    import shutil

    from reports import artefacts

    store, name, expected = _to_report(suite, results, also=True)
    records = [r for r in store.load()[0] if (r.id in expected if expected else r.suite == name)]
    into.mkdir(parents=True, exist_ok=True)
    drawn, size = set(), 0
    for record in sorted(records, key=lambda r: r.seed):
        shutil.copy2(store.path(record.id), into)
        place = record.method, record.task, record.variant
        if record.status == "ok" and place not in drawn:
            written = artefacts.thin(store.folder(record.id), into / record.id)
            drawn |= {place} if written else set()
            size += written
    print(f"{len(records)} records and {size / 1e6:.1f} MB of artefacts of {len(drawn)} runs in {into}")


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="RECORDS_A", help="Folder of records, e.g. of the main branch.")],
    after: Annotated[Path, typer.Argument(metavar="RECORDS_B", help="Folder of records, e.g. of a change.")],
    metric: Annotated[list[str] | None, typer.Option(help="What to compare. Repeatable.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything became worse.")] = False,
) -> None:
    """What changed between two sets of results, with intervals, as Markdown."""
    from reports import compare as comparison
    from reports.render import markdown
    from results.schema import COSTS, METRICS

    for name in metric or []:
        if name not in METRICS | COSTS:
            raise unknown("metric", name, METRICS | COSTS)
    old, new = _store(before), _store(after)
    for store in (old, new):
        _warn_corrupt(store)
    try:
        table, worse = comparison.compare(old.load()[0], new.load()[0], metric or comparison.COMPARED)
    except ValueError as error:
        raise UserError(str(error)) from error
    print(markdown(table))
    raise typer.Exit(1 if worse and strict else 0)


@app.command()
def readme(
    results: Results = Path("results/reference"),
    path: Annotated[Path, typer.Option(help="The page whose generated blocks are made anew.")] = Path("README.md"),
) -> None:
    """Make the generated blocks of the README anew from records."""
    from reports.readme import update_readme

    store = _store(results)
    _warn_corrupt(store)
    try:
        changed = update_readme(path, store.load()[0])
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error
    print(f"{path}: {'made anew' if changed else 'nothing to change'}")


@app.command()
def check(method: Annotated[str, typer.Argument(help="Name, or package.module:NAME.")], task: Tasks = None) -> None:
    """Put one method through the checks that every method must pass, on its smoke settings."""
    from benchmark.conformance import examine

    registry = discovered()
    _warn_unavailable(registry)
    found, _ = registry.method(method)
    results = [(name, r) for name in task or CHECKED for r in examine(found, registry.task(name)[0])]
    for name, result in results:
        print(f"{'pass' if result.passed else 'FAIL'}  {name}  {result.name}  {result.message}".rstrip())
        if not result.passed:
            print(f"      what must hold: {result.rule}")
    failed = sum(not result.passed for _, result in results)
    print(
        f"{failed} of {len(results)} checks failed: {GUIDE} explains each"
        if failed
        else f"{len(results)} checks passed"
    )
    raise typer.Exit(1 if failed else 0)


@app.command()
def perf(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; all if not given.")] = None,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option(help="Folder that gets perf.md and perf.json.")] = OUT,
) -> None:
    """Measure speeds as ratios to their floors; takes minutes and wants an idle machine."""
    from benchmark.perf import markdown, measure

    rows = []
    for row in measure(names or []):
        rows.append(row)
        print(f"{row.name}: {row.ratio:.2f}", file=sys.stderr)
    texts = {"md": markdown(rows), "json": json.dumps([row.model_dump() for row in rows], indent=1)}
    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in texts.items():
        (out / f"perf.{suffix}").write_text(text + "\n")
    print(texts["json" if as_json else "md"])


@app.command()
def tune(
    method: Annotated[str, typer.Argument(help="Name, or package.module:NAME.")],
    task: Annotated[str, typer.Argument(help="Name of a task.")],
    trials: Annotated[int, typer.Option(min=1, help="Configurations in all, the present one first.")] = 20,
    seconds: Annotated[float, typer.Option(min=1, help="CPU seconds in all, after which no trial begins.")] = 3600,
    suite: Annotated[str, typer.Option(help="Suite that gives budget and demonstrations.")] = "quick",
    steps: Annotated[int | None, typer.Option(min=1, help="Environment steps of a trial, not the suite's.")] = None,
    seeds: Annotated[str, typer.Option(help="1000 and above: suites use those below.")] = "1000,1001",
    folder: Annotated[Path, typer.Option(help="Folder of the journals, from which a study goes on.")] = TUNING,
) -> None:
    """Search a method's settings on a task by behaviour, without the true reward; needs the extra `tune`."""
    try:
        from benchmark.tune import Study
    except ImportError as error:
        raise UserError(f"{error}: install the extra `tune` (pip install -e '.[tune]')") from error
    from benchmark.suite import load_suite, parse_seeds
    from methods.tuned import FOLDER

    registry = discovered()
    found, _ = registry.method(method)
    content = load_suite(suite)[1]
    if steps:
        content = content.model_copy(update={"step_budget": {task: steps}})
    study = Study(found, registry.task(task)[0], content, parse_seeds(seeds), folder)
    study.run(trials, seconds, lambda trial: print(f"{trial.number}: {trial.value} {trial.user_attrs}", flush=True))
    print(f"{study.write(FOLDER)}: {study.outcome()['chosen'] or 'the present settings'}")


@app.command("new-method")
def new_method_(name: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens.")]) -> None:
    """Start a method of your own from the template, as one file in baselines/."""
    from benchmark.template import new_method

    path = new_method(name)
    print(f"{path}: fill in fit, then `make test-one M={name}` and `make bench M={name}`; {GUIDE} leads through it")


def main() -> None:
    """Runs the command line; user errors become one line on stderr and exit code 2."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
