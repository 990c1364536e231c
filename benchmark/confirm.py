"""The second round of tuning: on fresh seeds and from starts anywhere, a study's choice against what stood before."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.tune import FIRST_SEED, Attempt, Submit, distance, least
from envs.problem import Task
from envs.rollout import rollout
from envs.seeding import stream
from methods.base import Learned
from results.store import write_whole

EPISODES = 20
CRITERION = (
    f"the same distance to {EPISODES} episodes of the demonstrator from starts that the environment draws, some where "
    "no demonstration begins; mean over fresh seeds, lower is better; the true reward is not read"
)


def anywhere_distance(task: Task, learned: Learned, seed: int) -> float:
    """:data:`CRITERION` for one seed; no start here is one that suites evaluate."""
    rng, env = stream("confirming", task.name, seed), task.make_env(EPISODES)
    env.reset(rng)
    return distance(task, learned, rollout(env, task.expert(), env.states, rng).trajectories, seed)


def rivals(study: dict[str, Any]) -> list[dict[str, Any]]:
    """Settings that a study leaves to decide between: its first trial's, and those of its least value if others."""
    best, first = least(study["trials"]), study["trials"][0]["settings"]
    return [first] if best is None or best["settings"] == first else [first, best["settings"]]


def confirm(paths: Sequence[Path], seeds: list[int], tell: Callable[[str], None], submit: Submit) -> None:
    """Runs the rivals of each study on fresh seeds; what wins becomes its file's choice, ties keep what stood.

    A study where nothing beat its first trial has one rival, which stands without a run; one that was confirmed on
    these seeds is not run again.

    Args:
        paths: of studies, as :meth:`benchmark.tune.Study.write` leaves them.
        seeds: that neither the studies nor any suite saw.
        tell: is told a line of every run and choice.
        submit: starts an attempt on these seeds, judged by :func:`anywhere_distance`.

    Raises:
        UserError: a seed that was seen.
    """
    running: dict[Future[Attempt], tuple[Path, dict[str, Any]]] = {}
    studies, found = {}, {}
    for path in paths:
        study = json.loads(path.read_text())
        if min(seeds) < FIRST_SEED or set(seeds) & set(study["seeds"]):
            raise UserError(f"{path.name}: seeds {seeds} must be fresh: {FIRST_SEED} and above, not {study['seeds']}")
        if study.get("confirmation", {}).get("seeds") != seeds:
            studies[path], found[path] = study, [{"settings": settings} for settings in rivals(study)]
    for path, rows in found.items():
        if len(rows) == 1:
            _decide(path, studies[path], seeds, [])
            continue
        for row in rows:
            running[submit(studies[path]["method"], studies[path]["task"], row["settings"])] = path, row
    for future in as_completed(running):
        path, row = running[future]
        row |= future.result()._asdict()
        tell(f"{path.stem}: {row}")
        if all("value" in row for row in found[path]):
            tell(f"{path.stem} chosen: {_decide(path, studies[path], seeds, found[path])}")


def _decide(path: Path, study: dict[str, Any], seeds: list[int], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Writes the second round into the study's file; the choice."""
    study["confirmation"] = {"criterion": CRITERION, "seeds": seeds, "trials": runs}
    best = least(runs)
    study["chosen"] = best["settings"] if best else rivals(study)[0]
    write_whole(path, f"{json.dumps(study, indent=1)}\n".encode())
    return dict(study["chosen"])
