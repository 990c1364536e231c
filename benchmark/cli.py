"""The command line. Imports what a command needs when it runs: ``--help`` loads neither torch nor a method."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.errors import UserError, unknown

if TYPE_CHECKING:
    from benchmark.cell import Cell
    from benchmark.registry import Registry
    from envs.problem import Dataset
    from envs.problem import Task as TaskType
    from results.store import Store

app = typer.Typer(
    help="irlbench: a benchmark of inverse reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(
    help="Data sets: list, make, describe, import, export, and train the policies they come from.", no_args_is_help=True
)
app.add_typer(data_app, name="data")

INTERRUPTED = 130
Suite = Annotated[str, typer.Argument(help="Name of a suite, or path of a YAML file.")]
Methods = Annotated[list[str] | None, typer.Option("--method", help="Name, or package.module:NAME. Repeatable.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Name. Repeatable.")]
Seeds = Annotated[str | None, typer.Option(help="As in 0-4, 0,2 or 3.")]
Assigned = Annotated[list[str] | None, typer.Option("--set", help="method.key=value. Repeatable.")]
Results = Annotated[Path, typer.Option(help="Folder of the records.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Horizon = Annotated[int | None, typer.Option(min=1, help="Steps of each episode that are kept; all if not given.")]
OfTask = Annotated[str | None, typer.Option("--task", help="Task that the file is checked against.")]
# read by numerical libraries when they are first imported: one thread each, so that results do not depend on the cores
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
RESULTS, OUT = Path("results/runs"), Path("reports/out")
GUIDE = "docs/add-a-method.md"
CHECKED = ("maze2d-umaze", "halfcheetah")  # a method that passes on both kinds of task passes on their variants


def _registry() -> "Registry":
    from benchmark.registry import discover

    if "" not in sys.path:
        sys.path.insert(0, "")  # as ``python -m`` does: a plug-in may lie where the user stands
    return discover()


def _grid(
    suite: str, methods: list[str] | None, tasks: list[str] | None, seeds: str | None, assigned: list[str] | None
) -> tuple[str, list["Cell"], "Registry"]:
    from benchmark.suite import cells, load_suite, parse_assignments, parse_seeds

    name, content = load_suite(suite)
    settings = parse_assignments(assigned or [])
    try:
        chosen = parse_seeds(seeds) if seeds is not None else []
    except ValueError as error:
        raise UserError(str(error)) from error
    registry = _registry()
    return name, cells(name, content, registry, methods or [], tasks or [], chosen, settings), registry


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

    registry = _registry()
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
        _print_plan(plan(cells, store, retry or []).todo, as_json)
        return
    store = _store(results, write=True)
    _warn_unavailable(registry)
    _warn_corrupt(store)
    _execute(cells, store, workers, retry or [])
    if not reporting:
        return
    # what else of the suite stands is shown too: running one method must not empty the tables of the others
    whole = {(cell.method, cell.task, cell.seed): cell for cell in _grid(suite, None, None, None, None)[1]}
    shown = {place: cell for place, cell in whole.items() if store.get(cell.id)}
    shown |= {(cell.method, cell.task, cell.seed): cell for cell in cells}
    _report(store, out, name, list(shown.values()))


def _print_plan(todo: list["Cell"], as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print(json.dumps([asdict(cell) for cell in todo], indent=1))
        return
    for cell in todo:
        print(f"{cell.id}  {cell.method} · {cell.task} · seed {cell.seed} · {cell.step_budget} steps")
    print(f"{len(todo)} cells to run")


def _execute(cells: list["Cell"], store: "Store", workers: int, retry: list[str]) -> None:
    from rich.console import Console

    from benchmark.display import Display
    from benchmark.executors import Executor, InProcess, Processes
    from benchmark.provenance import provenance
    from benchmark.runner import plan
    from benchmark.runner import run as run_cells

    planned = plan(cells, store, retry)
    console = Console()
    console.print(f"{len(cells)} cells: {len(planned.done)} done, {len(planned.todo)} to run, into {store.root}")
    if not planned.todo:
        return
    origin = provenance()
    modules = sorted({module for cell in cells for module in (cell.method_module, cell.task_module)})
    executor: Executor = Processes(workers, store, origin, modules) if workers else InProcess(store, origin)
    try:
        with Display(planned, executor.workers, console) as display:
            run_cells(planned.todo, store, executor, display, origin)
    except OSError as error:
        raise UserError(f"stopped, {store.root} could not be written: {error}; finished cells are kept") from error
    except KeyboardInterrupt:
        print("stopped: finished cells are kept; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _report(store: "Store", out: Path, suite: str, cells: list["Cell"], metrics: list[str] | None = None) -> None:
    from reports.build import build
    from reports.tables import HEADLINE

    expected = {cell.id: (cell.method, cell.task, cell.seed) for cell in cells}
    print(build(store.root, out, suite, expected, metrics or HEADLINE))
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
            "status": known[cell.id].status if cell.id in known else "missing",
            "reason": known[cell.id].reason if cell.id in known else "",
        }
        for cell in cells
    ]
    counts: dict[str, int] = {}
    for row in rows:
        counts[str(row["status"])] = counts.get(str(row["status"]), 0) + 1
    if as_json:
        found = {"counts": counts, "corrupt": [str(c.path) for c in corrupt], "cells": rows}
        print(json.dumps({**found, "unavailable": registry.unavailable}, indent=1))
        return
    for row in rows:
        if row["status"] not in ("ok", "missing"):
            print(
                f"{row['id']}  {row['status']:8}{row['method']} · {row['task']} · seed {row['seed']}: {row['reason']}"
            )
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
    name, cells, _ = _grid(suite, None, None, None, None)
    store = _store(results)
    if not any(store.get(cell.id) for cell in cells):
        raise UserError(f"no records of suite {suite!r} in {results}: run `python -m benchmark run {suite}` first")
    _report(store, out, name, cells, metric)


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

    registry = _registry()
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


@app.command("new-method")
def new_method_(name: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens.")]) -> None:
    """Start a method of your own from the template, as one file in baselines/."""
    from benchmark.template import new_method

    path = new_method(name)
    print(f"{path}: fill in fit, then `make test-one M={name}` and `make bench M={name}`; {GUIDE} leads through it")


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """Data sets that stand in the cache."""
    from envs.datasets import cache_dir

    rows = [{"id": path.stem, "bytes": path.stat().st_size} for path in sorted(cache_dir().glob("*.npz"))]
    if as_json:
        print(json.dumps({"folder": str(cache_dir()), "datasets": rows}, indent=1))
        return
    for row in rows:
        print(f"{row['bytes']:>12}  {row['id']}")
    print(f"{len(rows)} data sets in {cache_dir()}")


@data_app.command("make")
def data_make(task: Tasks = None, seeds: Seeds = "0") -> None:
    """Build base data and demonstrations of tasks (all, if none is named), or read them where they stand."""
    from benchmark.suite import parse_seeds

    registry = _registry()
    chosen = [registry.task(name)[0] for name in task or sorted(registry.tasks)]
    try:
        wanted = parse_seeds(seeds)
    except ValueError as error:
        raise UserError(str(error)) from error
    for one in chosen:
        for seed in wanted:
            for made in (one.base(seed), one.demos(one.default_demos, seed)):
                low, high = made.returns.min(), made.returns.max()
                print(f"{made.id}: {len(made)} episodes, true returns {low:.1f} to {high:.1f}")


class Format(StrEnum):
    """What a data set is exported to."""

    NPZ = "npz"
    MINARI = "minari"


@data_app.command("describe")
def data_describe(
    source: Annotated[str, typer.Argument(metavar="TASK_OR_FILE", help="A task, or an npz, D4RL or Minari data set.")],
    horizon: Horizon = None,
    task: OfTask = None,
    seed: Annotated[int, typer.Option(help="Of a task's data.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Episodes, shapes, true returns, D4RL-normalised score and content hash."""
    if Path(source).exists() or Path(source).suffix or os.sep in source:
        found = {source: _load(Path(source), horizon, task)}
    elif horizon is not None or task is not None:
        raise UserError(f"{source!r} is no file: --horizon and --task are for files")
    else:
        task, one = source, _registry().task(source)[0]
        found = {f"{source} base": one.base(seed), f"{source} demos": one.demos(one.default_demos, seed)}
    rows = [_description(name, dataset, task) for name, dataset in found.items()]
    if as_json:
        print(json.dumps({"datasets": rows}, indent=1))
        return
    for row in rows:
        print(f"{row['source']}\n  {row['episodes']} episodes of {row['steps']} steps; ", end="")
        print(f"observations {row['observations']}, actions {row['actions']}")
        print("  true return  " + "  ".join(f"{name} {value:.2f}" for name, value in row["returns"].items()))
        if (d4rl := row["d4rl"]) is not None:
            score = "not given" if d4rl["score"] is None else f"{d4rl['score']:.1f}"
            print(f"  D4RL-normalised score  {score}{' (' + d4rl['note'] + ')' if d4rl['note'] else ''}")
        print(f"  content hash  {row['hash']}")


def _load(path: Path, horizon: int | None, task: str | None) -> "Dataset":
    from envs.formats import FormatError, check_against, load

    of = _registry().task(task)[0] if task is not None else None
    try:
        dataset = load(path, horizon)
    except FormatError as error:
        raise UserError(str(error)) from error
    try:
        if of is not None:
            check_against(dataset, of)
    except FormatError as error:
        raise UserError(f"{path}: {error}") from error
    return dataset


def _description(source: str, dataset: "Dataset", task: str | None) -> dict[str, Any]:
    import numpy as np

    from envs.d4rl_scores import REFERENCES
    from envs.formats import content_hash

    trajectories, returns = dataset.trajectories, dataset.returns.astype(np.float64)
    quantiles = np.quantile(returns, [0, 0.25, 0.5, 0.75, 1]).tolist()
    d4rl, reference = None, REFERENCES.get(task or "")
    if reference is not None:
        score: float | None = reference.score(float(returns.mean()))
        note = reference.note
        if trajectories.steps != reference.steps:
            score, note = None, f"D4RL's references are for {reference.steps} steps, not {trajectories.steps}"
        d4rl = {"reference": reference.data, "score": score, "note": note}
    return {
        "source": source,
        "episodes": len(dataset),
        "steps": trajectories.steps,
        "observations": list(trajectories.obs.shape),
        "actions": list(trajectories.acts.shape),
        "returns": {
            **dict(zip(("min", "q25", "median", "q75", "max"), quantiles, strict=True)),
            "mean": float(returns.mean()),
        },
        "d4rl": d4rl,
        "hash": content_hash(trajectories, dataset.rewards),
    }


@data_app.command("import")
def data_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An npz, D4RL or Minari data set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.npz", help="The new file.")],
    horizon: Horizon = None,
    task: OfTask = None,
) -> None:
    """Check a data set and write it as npz."""
    from envs.formats import FormatError, save_npz

    dataset = _load(source, horizon, task)
    try:
        save_npz(dataset, out)
    except (FormatError, OSError) as error:
        raise UserError(f"nothing written: {error}") from error
    steps = dataset.trajectories.steps
    print(f"{out}: {len(dataset)} episodes of {steps} steps, content hash {dataset.id}")
    if horizon is not None and steps < horizon:
        print(f"where step {horizon} of an episode led is not in {source}: that step was dropped")


@data_app.command("export")
def data_export(
    task: Annotated[str, typer.Argument(help="Name of a task.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder.")],
    format: Annotated[Format, typer.Option(help="Of the data sets.")] = Format.NPZ,
    demos: Annotated[int | None, typer.Option(min=1, help="Number of demonstrations; the task's own if none.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of both data sets.")] = 0,
) -> None:
    """Write a task's base data and demonstrations, true rewards included, into a new folder."""
    from envs.formats import FormatError, whole

    one = _registry().task(task)[0]
    try:
        with whole(folder) as temporary:
            temporary.mkdir()
            made = {"base": one.base(seed), "demos": one.demos(demos or one.default_demos, seed)}
            lines = [_export(dataset, temporary, kind, one, format) for kind, dataset in made.items()]
    except (FormatError, OSError) as error:
        raise UserError(f"nothing written: {error}") from error
    for line in lines:
        print(f"{folder}/{line}")


def _export(dataset: "Dataset", folder: Path, kind: str, task: "TaskType", format: Format) -> str:
    from envs.formats import content_hash, save_minari, save_npz

    name = f"{task.name}-{kind}"
    if format is Format.NPZ:
        name += ".npz"
        save_npz(dataset, folder / name)
    else:
        name += "-v0"
        env = task.make_env(1)
        save_minari(dataset, folder / name, env.observation_space, env.action_space)
    return f"{name}: {len(dataset)} episodes, content hash {content_hash(dataset.trajectories, dataset.rewards)}"


@data_app.command("train")
def data_train(
    policy: Annotated[str, typer.Argument(help="A stored policy, e.g. halfcheetah-expert.")],
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Folder of the policies.")] = Path("envs/policies"),
) -> None:
    """Train a stored policy again by its recipe; takes tens of minutes."""
    from benchmark.experts import LEVELS, train_policy

    names = [f"halfcheetah-{level}" for level in (*LEVELS, "expert")]
    if policy not in names:
        raise unknown("policy", policy, names)
    train_policy(policy.removeprefix("halfcheetah-"), seed, out, progress=_print_progress)


@data_app.command("pretrain")
def data_pretrain() -> None:
    """Train the base models that ship with the project, those of base data 0; takes minutes each."""
    from benchmark.pretrain import pretrain

    for made in pretrain(_print_progress):
        print(made)


def _print_progress(fraction: float, values: dict[str, float]) -> None:
    print(f"{100 * fraction:5.1f} %  " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))


def main() -> None:
    """Runs the command line; user errors become one line on stderr and exit code 2."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
