"""The command line. Imports what a command needs when it runs: ``--help`` loads neither torch nor a method."""

import json
import os
import re
import secrets
import sys
from collections import Counter
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark import data_commands, report_commands
from benchmark.errors import UserError, demand
from benchmark.options import (
    OUT,
    REFERENCE,
    RESULTS,
    AsJson,
    Assigned,
    Methods,
    Out,
    Results,
    Seeds,
    Suite,
    Tasks,
    discovered,
    grid_of,
    open_store,
    seeds_of,
    warn_corrupt,
    warn_unavailable,
)
from benchmark.running import How, Where, execute, print_plan
from methods.tuned import FOLDER as STUDIES

app = typer.Typer(
    help="irlbench: a benchmark of inverse reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(report_commands.app)
app.add_typer(data_commands.app, name="data")
app.add_typer(report_commands.folders, name="results")

# read by numerical libraries when they are first imported: one thread each, so that results do not depend on the cores
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TUNING, VERIFIED = Path("results/tuning"), Path("results/verified")
INTO = "Folder of the studies' outcomes; methods run with what those of the default chose."
CORES = os.cpu_count() or 1
Workers = Annotated[int, typer.Option(min=0, help="Cells at a time; 0 runs in this process.")]
GUIDE = "docs/add-a-method.md"
CHECKED = ("maze2d-umaze", "halfcheetah")  # a method that passes on both kinds of task passes on their variants


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
    found["suites"] = {name: re.split(r"[.:;] ", text)[0] for name, text in found["suites"].items()}
    for method in found["methods"].values():
        kind = "control" if method["control"] else "reward" if method["recovers_reward"] else "no reward"
        method["title"] = f"{kind:11}{method['title']}"
    for kind, entries in found.items():
        if entries:
            print(kind.capitalize())
        for name, entry in entries.items():
            print(f"  {name:28}{entry if isinstance(entry, str) else '{title} ({source})'.format(**entry)}")
    print("--json adds settings, modules and whole descriptions.")


@app.command()
def run(
    suite: Suite = "quick",
    method: Methods = None,
    task: Tasks = None,
    seeds: Seeds = None,
    assigned: Assigned = None,
    workers: Workers = CORES,
    retry: Annotated[list[str] | None, typer.Option(help="Run again what is: failed, timeout, skipped.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
    as_json: AsJson = False,
    results: Results = RESULTS,
    out: Out = None,
    executor: Annotated[Where, typer.Option(help="Where cells run; ray needs the extra `ray`.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster; one on this machine if none.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")] = False,
    plain_lines: Annotated[bool, typer.Option("--plain", help="Lines as in a file, on a terminal too.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder that gets TensorBoard events per cell.")] = None,
    reporting: Annotated[bool, typer.Option("--report/--no-report", help="Write tables and figures.")] = True,
) -> None:
    """Run what is left of a suite, then report."""
    from benchmark.runner import plan

    demand("status in --retry", retry or [], ("failed", "timeout", "skipped"))
    name, cells, registry = grid_of(suite, method, task, seeds, assigned)
    if reporting and not dry_run:
        (out or OUT / name).mkdir(parents=True, exist_ok=True)  # where it cannot be made, nothing runs in vain
    store = open_store(results, write=not dry_run)
    if dry_run:
        past = open_store(REFERENCE).load()[0]  # what cells took where this project ran them
        print_plan(plan(cells, store, retry or [], past, cpu=True), workers, as_json)
        return
    warn_unavailable(registry)
    warn_corrupt(store)
    execute(cells, store, How(workers, quiet, executor, address, plain_lines, tensorboard), retry or [])
    if not reporting:
        return
    # what else of the suite stands is shown too: running one method must not empty the tables of the others; those that
    # ran along have reports of their own
    called = {cell.id: cell.place for cell in cells if cell.suite == name}
    records = store.load()[0]
    ids, places = {record.id for record in records}, {*called.values()}
    runs = report_commands.runs_of(suite, records)[1]
    shown = {id: place for id, place in runs.items() if id in ids and place not in places} | called
    text = report_commands.write_report(
        store, out or OUT / name, name, shown or {cell.id: cell.place for cell in cells}
    )
    if not quiet:
        print(text)


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
    """How far a suite is, and what went wrong; --method, --task, --seeds and --set as they were for `run`."""
    _, cells, registry = grid_of(suite, method, task, seeds, assigned)
    store = open_store(results)
    records, corrupt = store.load()
    known = {record.id: record for record in records}
    rows = []
    for cell in cells:
        row = {name: getattr(cell, name) for name in ("id", "method", "task", "seed", "variant")}
        record = known.get(cell.id)
        status, reason = (record.status, record.reason) if record else (store.under_way(cell.id) or "missing", "")
        rows.append(row | {"status": status, "reason": reason})
    counts = Counter(row["status"] for row in rows)
    if as_json:
        found = {"counts": counts, "corrupt": [str(c.path) for c in corrupt], "cells": rows}
        print(json.dumps({**found, "unavailable": registry.unavailable}, indent=1))
        return
    for cell, row in zip(cells, rows, strict=True):
        if row["status"] not in ("ok", "missing"):
            print(f"{cell.id}  {row['status']:12}{cell}{': ' * bool(row['reason'])}{row['reason']}")
        if (error := store.folder(cell.id) / "error.txt").is_file():
            print(f"{'':18}{error}")
    warn_unavailable(registry)
    warn_corrupt(store)
    print(f"{suite}: {len(rows)} cells: " + ", ".join(f"{n} {status}" for status, n in sorted(counts.items())))


@app.command()
def verify(
    records: Annotated[Path, typer.Option(help="Folder of the records that are to be reproduced.")] = REFERENCE,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the cells, one at least.")] = 0.05,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Which cells are drawn, at random if none; an earlier one goes on with its draw."),
    ] = None,
    method: Methods = None,
    workers: Workers = CORES,
    into: Annotated[Path, typer.Option(help="Folder of the new records, one inside per choice.")] = VERIFIED,
    as_json: AsJson = False,
) -> None:
    """Run a random share of recorded cells again: does each metric fall where the recorded seeds say it would?

    Exits with 1 if a cell ends otherwise than recorded, or more than a tenth of the metrics fall outside.
    """
    from benchmark import verify as verifying

    registry, recorded = discovered(), open_store(records)
    for reference in method or []:
        registry.method(reference)
    warn_corrupt(recorded)
    if records.resolve() in (into.resolve(), *into.resolve().parents):
        raise UserError(f"--into {into} lies in --records {records}, which stays as it is: name another folder")
    seed = secrets.randbelow(2**31) if seed is None else seed
    known = recorded.load()[0]
    chosen = {old.id: verifying.cell_of(old, registry) for old in verifying.drawn(known, share, seed)}
    store = open_store(into / f"seed{seed}", write=True)
    print(f"{len(chosen)} of {len(known)} cells, choice --seed {seed}", file=sys.stderr)
    execute([*chosen.values()], store, How(workers, quiet=as_json), [])
    again = {old: new for old, cell in chosen.items() if (new := store.get(cell.id))}
    found = [*verifying.judged(known, again)]
    equal = sum(one.recorded == one.again for one in found)
    promised = all(verifying.same_origin(old, again[old.id]) for old in known if old.id in again)
    if as_json:
        rows = [asdict(one) | {"verdict": one.verdict} for one in found]
        print(json.dumps({"seed": seed, "equal": equal, "promised": promised, "findings": rows}, indent=1))
    else:
        print(verifying.text(found, equal, promised))
    raise typer.Exit(0 if verifying.holds(found) else 1)


@app.command()
def check(method: Annotated[str, typer.Argument(help="Name, or package.module:NAME.")], task: Tasks = None) -> None:
    """Put one method through the checks that every method must pass, on its smoke settings."""
    from benchmark.conformance import examine

    registry = discovered()
    found, _ = registry.method(method)
    posed = [registry.task(name)[0] for name in task or CHECKED]
    warn_unavailable(registry)
    passed = []
    for one in posed:
        for result in examine(found, one):
            passed.append(result.passed)
            print(
                f"{'pass' if result.passed else 'FAIL'}  {one.name}  {result.name}  {result.message}".rstrip(),
                flush=True,
            )
            if not result.passed:
                print(f"      what must hold: {result.rule}", flush=True)
    failed = passed.count(False)
    guide = f": {GUIDE} explains each" if (Path(__file__).parents[1] / GUIDE).exists() else ""  # a wheel has no pages
    print(f"{failed} of {len(passed)} checks failed{guide}" if failed else f"{len(passed)} checks passed")
    raise typer.Exit(1 if failed else 0)


PERF = "envs, gpu, gradient, harness, learner, metrics, planning, report, returns"


@app.command()
def perf(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help=f"Which, all if not given: {PERF}.")
    ] = None,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option(help="Folder that gets perf.md and perf.json.")] = OUT,
) -> None:
    """Measure speeds as ratios to their floors; takes minutes and wants an idle machine."""
    from benchmark.perf import markdown, measure

    rows = []
    out.mkdir(parents=True, exist_ok=True)
    for row in measure(names or []):
        rows.append(row)
        print(f"{row.name}: {row.ratio:.2f}", file=sys.stderr)
    texts = {"md": markdown(rows), "json": json.dumps([row.model_dump() for row in rows], indent=1)}
    for suffix, text in texts.items():
        (out / f"perf.{suffix}").write_text(text + "\n")
    print(texts["json" if as_json else "md"])


@app.command()
def tune(
    methods: Annotated[str, typer.Argument(help="Names, or package.module:NAME, joined by commas.")],
    tasks: Annotated[str, typer.Argument(help="Names of tasks, joined by commas.")],
    trials: Annotated[int, typer.Option(min=1, help="Configurations of each study, the present one first.")] = 20,
    seconds: Annotated[float, typer.Option(min=1, help="CPU seconds of a study, after which no trial begins.")] = 3600,
    suite: Annotated[str, typer.Option(help="Suite that gives budget and demonstrations.")] = "quick",
    steps: Annotated[int | None, typer.Option(min=1, help="Environment steps of a trial, not the suite's.")] = None,
    seeds: Annotated[str, typer.Option(help="1000 and above: suites use those below.")] = "1000",
    folder: Annotated[Path, typer.Option(help="Folder of the journals, from which studies go on.")] = TUNING,
    into: Annotated[Path, typer.Option(help=INTO)] = STUDIES,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time, each in a process of its own.")] = 1,
) -> None:
    """Search settings by behaviour, without the true reward: a study of each method on each task."""
    from optuna.trial import FrozenTrial

    from benchmark.suite import load_suite
    from benchmark.tune import Study, processes, run

    registry, content, wanted, names = discovered(), load_suite(suite)[1], seeds_of(seeds), {}
    content = content.model_copy(update={"step_budget": {"all": steps}}) if steps else content
    for task, method in product(tasks.split(","), methods.split(",")):
        given = registry.method(method)[0], registry.task(task)[0], content, wanted, folder
        names[Study(*given)] = method, task

    def told(study: Study, trial: FrozenTrial) -> None:
        print(f"{study.path.stem} {trial.number}: {trial.value} {trial.user_attrs}", flush=True)

    with processes(workers, content, wanted) as submit:
        run(list(names), trials, seconds, told, lambda study, chosen: submit(*names[study], chosen), workers)
    lost = []
    for study in names:
        try:
            print(f"{study.write(into)}: {study.outcome()['chosen']}")
        except UserError as error:
            lost.append(str(error))
    if lost:
        raise UserError("; ".join(lost))


@app.command()
def confirm(
    methods: Annotated[str, typer.Argument(help="Names, joined by commas.")],
    tasks: Annotated[str, typer.Argument(help="Names of tasks, joined by commas.")],
    suite: Annotated[str, typer.Option(help="Suite that gives budget and demonstrations.")] = "quick",
    seeds: Annotated[str, typer.Option(help="1000 and above, not the studies'.")] = "1001,1002",
    into: Annotated[Path, typer.Option(help=INTO)] = STUDIES,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
) -> None:
    """Decide between a study's best settings and what stood before, on fresh seeds and from starts anywhere."""
    from benchmark.confirm import anywhere_distance
    from benchmark.confirm import confirm as second_round
    from benchmark.suite import load_suite
    from benchmark.tune import processes, terms

    registry, content, fresh, paths = discovered(), load_suite(suite)[1], seeds_of(seeds), []
    for task, method in product(tasks.split(","), methods.split(",")):
        path = into / f"{method}--{task}.json"
        if not path.exists():
            raise UserError(f"{path}: no such study; `python -m benchmark tune` makes one")
        study, given = json.loads(path.read_text()), terms(content, method, registry.task(task)[0])
        if (had := {name: study[name] for name in given}) != given:
            raise UserError(f"{path}: the study had {had}, suite {suite} gives {given}: take the study's suite")
        paths.append(path)
    with processes(workers, content, fresh, anywhere_distance) as submit:
        second_round(paths, fresh, lambda line: print(line, flush=True), submit)


@app.command("new-method")
def new_method_(name: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens.")]) -> None:
    """Start a method of your own from the template, as one file in baselines/."""
    from benchmark.registry import new_method

    path = new_method(name)
    print(f"{path}: fill in fit, then `make test-one M={name}` and `make bench M={name}`; {GUIDE} leads through it")


def main() -> None:
    """Runs the command line; user errors become one line on stderr and exit code 2."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        app()
    except (UserError, OSError) as error:  # the latter: a disk that is full, a folder that is a file
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
