"""``python -m benchmark data``: data sets and what they come from."""

import json
import os
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from benchmark.errors import UserError, as_user_error, demand
from benchmark.options import AsJson, Seeds, Tasks, discovered, seeds_of

if TYPE_CHECKING:
    from envs.problem import Dataset, Floats

app = typer.Typer(
    help="Data sets: list, make, describe, import, export, fetch, and train the policies they come from.",
    no_args_is_help=True,
)

Horizon = Annotated[int | None, typer.Option(min=1, help="Steps of each episode that are kept; all if not given.")]
OfTask = Annotated[str | None, typer.Option("--task", help="Task that the file is checked against.")]
Format = Literal["npz", "minari"]  # what a data set is exported to
MADE_HERE = "MIT, as this project: made by its recipes"


@app.command("list")
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


@app.command("make")
def data_make(task: Tasks = None, seeds: Seeds = "0") -> None:
    """Build base data and demonstrations of tasks (all, if none is named), or read them where they stand."""
    registry, wanted = discovered(), seeds_of(seeds or "0")
    for one in [registry.task(name)[0] for name in task or sorted(registry.tasks)]:
        for seed in wanted:
            for made in (one.base(seed), one.demos(one.default_demos, seed)):
                low, high = made.returns.min(), made.returns.max()
                print(f"{made.id}: {len(made)} episodes, true returns {low:.1f} to {high:.1f}")


@app.command("describe")
def data_describe(
    source: Annotated[str, typer.Argument(metavar="TASK_OR_FILE", help="A task, or an npz, D4RL or Minari data set.")],
    horizon: Horizon = None,
    task: OfTask = None,
    seed: Annotated[int, typer.Option(help="Of a task's data.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Episodes, shapes, true returns, D4RL-normalised score, state coverage, content hash and licence."""
    made = not (Path(source).exists() or Path(source).suffix or os.sep in source)
    if not made:
        found = {source: _load(Path(source), horizon, task)}
    elif horizon is not None or task is not None:
        raise UserError(f"{source!r} is no file: --horizon and --task are for files")
    else:
        task, one = source, discovered().task(source)[0]
        found = {f"{source} base": one.base(seed), f"{source} demos": one.demos(one.default_demos, seed)}
    rows = [_description(name, dataset, task, made) for name, dataset in found.items()]
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
        print(f"  state coverage  {row['coverage']:.1%} of the cells of a 10 x 10 grid over any two observed numbers")
        print(f"  content hash  {row['hash']}   licence  {row['licence']}")


@app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="D4RL's name, e.g. halfcheetah-medium-replay-v2.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the file goes.")] = Path("."),
) -> None:
    """Download one of D4RL's original files from its official address and check it."""
    from benchmark.fetch import fetch

    print(fetch(name, folder))


def _load(path: Path, horizon: int | None, task: str | None) -> "Dataset":
    from envs.formats import FormatError, check_against, load

    of = discovered().task(task)[0] if task is not None else None
    with as_user_error(FormatError):
        dataset = load(path, horizon)
    if of is not None:
        with as_user_error(FormatError, before=f"{path}: "):
            check_against(dataset, of)
    return dataset


def coverage(obs: "Floats") -> float:
    """Share of cells that ``[N, T+1, O]`` observations visit, of a 10 x 10 grid over each pair of columns, averaged.

    A grid spans the values found; of one column alone it has ten cells.
    """
    import numpy as np

    flat = obs.reshape(-1, obs.shape[-1]).astype(np.float64)
    axes = combinations(range(flat.shape[1]), min(2, flat.shape[1]))
    return float(np.mean([(np.histogramdd(flat[:, pair], 10)[0] > 0).mean() for pair in axes]))


def _description(source: str, dataset: "Dataset", task: str | None, made: bool) -> dict[str, Any]:
    import numpy as np

    from envs.d4rl_scores import REFERENCES, VARIANTS
    from envs.formats import content_hash

    trajectories, returns = dataset.trajectories, dataset.returns.astype(np.float64)
    quantiles = dict(zip(("min", "q25", "median", "q75", "max"), np.quantile(returns, np.arange(5) / 4), strict=True))
    d4rl, reference = None, (REFERENCES | VARIANTS).get(task or "")
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
        "returns": {name: float(value) for name, value in (quantiles | {"mean": returns.mean()}).items()},
        "d4rl": d4rl,
        "coverage": coverage(trajectories.obs),
        "licence": MADE_HERE if made else "that of the file's origin",
        "hash": content_hash(trajectories, dataset.rewards),
    }


@app.command("import")
def data_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An npz, D4RL or Minari data set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.npz", help="The new file.")],
    horizon: Horizon = None,
    task: OfTask = None,
) -> None:
    """Check a data set and write it as npz."""
    from envs.formats import FormatError, save_npz

    dataset = _load(source, horizon, task)
    with as_user_error(FormatError, OSError, before="nothing written: "):
        save_npz(dataset, out)
    steps = dataset.trajectories.steps
    print(f"{out}: {len(dataset)} episodes of {steps} steps, content hash {dataset.id}")
    if horizon is not None and steps < horizon:
        print(f"where step {horizon} of an episode led is not in {source}: that step was dropped")


@app.command("export")
def data_export(
    task: Annotated[str, typer.Argument(help="Name of a task.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder.")],
    format: Annotated[Format, typer.Option(help="Of the data sets.")] = "npz",
    demos: Annotated[int | None, typer.Option(min=1, help="Number of demonstrations; the task's own if none.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of both data sets.")] = 0,
) -> None:
    """Write a task's base data and demonstrations, true rewards included, into a new folder."""
    from envs.formats import FormatError, content_hash, save_minari, save_npz, whole

    one, ending = discovered().task(task)[0], {"npz": ".npz", "minari": "-v0"}[format]
    with as_user_error(FormatError, OSError, before="nothing written: "), whole(folder.absolute()) as temporary:
        temporary.mkdir()
        env, made = one.make_env(1), {"base": one.base(seed), "demos": one.demos(demos or one.default_demos, seed)}
        for kind, dataset in made.items():
            path = temporary / f"{one.name}-{kind}{ending}"
            if format == "npz":
                save_npz(dataset, path)
            else:
                save_minari(dataset, path, env.observation_space, env.action_space)
    for kind, dataset in made.items():
        told = f"{len(dataset)} episodes, content hash {content_hash(dataset.trajectories, dataset.rewards)}"
        print(f"{folder}/{one.name}-{kind}{ending}: {told}")


@app.command("train")
def data_train(
    policy: Annotated[str, typer.Argument(help="A stored policy, e.g. halfcheetah-expert.")],
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Folder of the policies.")] = Path("envs/policies"),
) -> None:
    """Train a stored policy again by its recipe; takes tens of minutes."""
    from benchmark.experts import LEVELS, train_policy

    demand("policy", [policy], [f"halfcheetah-{level}" for level in (*LEVELS, "expert")])
    train_policy(policy.removeprefix("halfcheetah-"), seed, out, progress=_print_progress)


@app.command("pretrain")
def data_pretrain() -> None:
    """Train the base models that ship with the project, those of base data 0; takes minutes each."""
    from benchmark.pose import pose
    from methods.pretraining import BASE_MODELS, ship

    registry, seed = discovered(), 0
    for name, config in BASE_MODELS.items():  # one that stands in the cache is not trained again
        posed = pose(registry.task(name)[0], 0, 1, 0, seed, False, _print_progress)
        print(ship(posed.problem, config))


def _print_progress(fraction: float, values: dict[str, float]) -> None:
    print(f"{100 * fraction:5.1f} %  " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))
