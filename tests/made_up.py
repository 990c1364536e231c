"""Made-up records and artefacts, for testing reports. Nothing in them was measured."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envs.maze2d import LARGE_TASK, UMAZE_TASK
from envs.problem import Task
from envs.rollout import rollout
from reports.render import Cell, Line, Section, Table
from results.schema import Record

# name: title, control, kind of reward, score, ERC
METHODS: dict[str, tuple[str, bool, str, float, float]] = {
    "bc": ("Behavioural cloning", False, "none", 82, 0),
    "gail": ("GAIL", False, "shaped", 74, 0.25),
    "airl": ("AIRL", False, "raw", 55, 0.4),
    "maxent": ("MaxEnt IRL", False, "raw", 88, 0.3),
    "diffusion-irl-mse": ("Diffusion-IRL (MSE)", False, "trajectory", 60, 0.45),
    "diffusion-irl-mmd-gaussian": ("Diffusion-IRL (MMD, Gaussian)", False, "trajectory", 70, 0.5),
    "diffusion-irl-mmd-matern": ("Diffusion-IRL (MMD, Matérn)", False, "trajectory", 72, 0.6),
    "expert": ("Expert", True, "none", 100, 0),
    "random": ("Random", True, "none", 0, 0),
    "unguided-diffuser": ("Unguided diffuser", True, "none", 20, 0),
    "oracle-diffuser": ("Oracle diffuser", True, "raw", 86, 1),
}
EVIL = "<script>alert(1)</script> $x_1^2$ 50% & # | {b} ~ `c` \\input{d} [*e*](f)\x1b[31m\n| new row |"
TASKS = {"maze2d-umaze": "Maze2D U-Maze", "maze2d-large": "Maze2D Large", "halfcheetah": "HalfCheetah"}
MAZES: dict[str, Task] = {"maze2d-umaze": UMAZE_TASK, "maze2d-large": LARGE_TASK}


def record(method: str, task: str, seed: int, **changes: Any) -> Record:
    """One run that ended well, unless ``changes`` say otherwise."""
    title, control, kind, score, erc = METHODS.get(method, (method, False, "raw", 50, 0.2))
    digest = hashlib.sha256(json.dumps([method, task, seed]).encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    hard = 1 - 0.2 * list(TASKS).index(task) if task in TASKS and not control else 1.0
    seen, unseen = score * hard + 4 * rng.standard_normal(2) - [0, 0 if control else 25]
    metrics = {"score_seen": seen, "score_unseen": unseen, "normalized_score": (seen + unseen) / 2}
    if kind != "none":
        r = float(np.clip(erc * hard + 0.1 * rng.standard_normal(), -1, 1)) if erc < 1 else 1.0
        metrics |= {"erc_pearson": r, "erc_spearman": 0.9 * r, "erc_distance": ((1 - r) / 2) ** 0.5}
        metrics |= {"erc_pearson_mixture": min(1.0, r + 0.2), "window_pearson": 0.7 * r}
        if kind != "trajectory":
            metrics["step_pearson"] = 0.6 * r
    clock = "gradient_steps" if method.startswith("diffusion") else "env_steps"
    falling = np.exp(-np.arange(40) / 10) + 0.05 * rng.standard_normal(40)
    curve = [
        {clock: 5000.0 * (i + 1), "loss": float(falling[i]), "learnt_reward": 1 - float(falling[i])} for i in range(40)
    ]
    curve += [
        {"env_steps": 25_000.0 * k if clock == "env_steps" else 0.0, "cpu_seconds": 1.5 * k, "score": seen * k / 8}
        for k in range(1, 9)
    ]
    made = {
        "id": digest.hex()[:16],
        "method": method,
        "title": title,
        "task": task,
        "task_title": TASKS.get(task, task),
        "seed": seed,
        "demos": 10,
        "step_budget": 200_000,
        "config": {},
        "code": "c0de",
        "control": control,
        "suite": "made-up",
        "status": "ok",
        "reward_kind": kind,
        "metrics": {k: float(v) for k, v in metrics.items()},
        "curve": [] if control else curve,
        "env_steps": 0 if clock != "env_steps" or control else 200_000,
        "gradient_steps": 0 if control else 2000,
        "wall_seconds": 12.5,
        "cpu_seconds": 11.25,
        "peak_memory_mib": 512.0,
    } | changes
    if made["status"] != "ok":
        made |= {"metrics": {}, "curve": [], "reward_kind": "none"}
    return Record(**made)


@cache
def _expert_paths(task: str) -> tuple[np.ndarray, np.ndarray]:
    posed = MAZES[task]
    starts = np.concatenate([posed.seen_starts, posed.unseen_starts])
    found = rollout(posed.make_env(len(starts)), posed.expert(), starts, np.random.default_rng(0))
    both = found.trajectories.obs[..., :2]
    return both[: len(posed.seen_starts)], both[len(posed.seen_starts) :]


def artefacts(made: Record) -> dict[str, np.ndarray]:
    """Maps and paths as a run would leave them."""
    rng = np.random.default_rng(int(made.id[:8], 16))
    true = rng.normal(50, 20, 100)
    arrays: dict[str, np.ndarray] = {"true_returns": true, "learnt_returns": true + rng.normal(0, 30, 100)}
    if made.task in MAZES:
        picture = MAZES[made.task].picture
        grid = picture["grid"][..., :2]
        true_map = np.exp(-np.linalg.norm(grid - picture["goal"], axis=-1))
        seen, unseen = _expert_paths(made.task)
        cut = max(2, int(seen.shape[1] * min(1.0, METHODS.get(made.method, (0,) * 3 + (50,))[3] / 100)))
        arrays |= {"true_map": true_map, "walls": picture["walls"], "goal": picture["goal"], "grid_xy": grid}
        arrays |= {"paths_seen": seen[:, :cut], "paths_unseen": unseen[:, : max(2, cut // 2)], "demos": seen[:10]}
        if "diffus" in made.method:
            noise = rng.normal(0, 2, (2, 6, 16, 16, 2)) * np.linspace(1, 0, 6)[:, None, None, None]
            along = np.stack([seen[0, :64:4], unseen[0, :64:4]])[:, None, None]
            arrays |= {"film": along + noise, "film_left": np.array([16, 13, 10, 6, 3, 0])}
        if made.reward_kind in ("raw", "shaped"):
            arrays["reward_map"] = 3 * true_map + rng.uniform(0.1, 1) * np.sin(3 * grid.sum(-1)) - 1
    else:
        steps = rng.normal(5, 3, (8, 250 if made.reward_kind == "trajectory" else 1000))
        middle = np.array([[[0.0, 0.7]], [[1.0, 0.7]]]) + 0.4 * np.arange(10)[:, None, None, None, None] * [1, 0]
        arrays |= {"gait": np.stack([middle, middle + rng.normal(0, 0.1, middle.shape)])[:, :, :, :, 0].swapaxes(2, 3)}
        if made.method != "random":
            arrays |= {"gait_pixels": np.indices((2, 10, 72, 84, 3)).sum(0).astype(np.uint8)}
        if made.reward_kind != "none":
            arrays |= {"own_true": steps, "own_learnt": steps + rng.normal(0, 3, steps.shape)}
            arrays |= {"true_steps": steps.ravel()[:900], "learnt_steps": steps.ravel()[:900] ** 2}
    return {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in arrays.items()}


def write(root: Path, records: list[Record]) -> None:
    """A folder of records as the harness leaves it."""
    for made in records:
        folder = root / made.id
        folder.mkdir(parents=True)
        np.savez_compressed(folder / "artefacts.npz", **artefacts(made))
        (root / f"{made.id}.json").write_text(json.dumps(made.model_dump()))


def study(seeds: int = 3, methods: Iterable[str] = METHODS, tasks: Iterable[str] = TASKS) -> list[Record]:
    """Every method on every task, with the accidents that real studies have."""
    accidents: dict[tuple[str, str, int], dict[str, Any]] = {
        ("gail", "halfcheetah", 1): {"status": "failed", "reason": "ValueError: acts are not finite"},
        ("maxent", "maze2d-large", 0): {"status": "timeout", "reason": "longer than 600 s"},
    }
    accidents |= {
        ("diffusion-irl-mse", "halfcheetah", s): {"status": "failed", "reason": "Diverged: loss 1e9"}
        for s in range(seeds)
    }
    return [
        record(method, task, seed, **accidents.get((method, task, seed), {}))
        for task in tasks
        for method in methods
        for seed in range(seeds)
        if (method, task, seed) != ("airl", "maze2d-umaze", 2)
    ]


def sweeps() -> list[Record]:
    """What the suites ``demos`` and ``guidance`` leave."""
    made = [
        record(m, t, s, demos=n, suite="demos", variant=f"demos={n}")
        for m in ("bc", "gail", "diffusion-irl-mmd-gaussian")
        for t in ("maze2d-umaze", "halfcheetah")
        for n in (1, 3, 10, 50)
        for s in range(3)
    ]
    made += [
        record(m, t, s, suite="guidance", variant=f"planning.scale={x}", config={"planning": {"scale": x}})
        for m in ("diffusion-irl-mse", "oracle-diffuser")
        for t in TASKS
        for x in (0.1, 0.3, 1.0, 3.0, 10.0)
        for s in range(3)
    ]
    made += [record("unguided-diffuser", t, s, suite="guidance") for t in TASKS for s in range(3)]
    return [r.model_copy(update={"id": f"{i:016x}"}) for i, r in enumerate(made)]


def hostile() -> Table:
    """A table whose every text would break out of its format."""
    section = Section(EVIL, [Line(EVIL, False, [Cell(EVIL, "[0, 1]", "n<3"), Cell("1.0", bold=True)])])
    return Table("t", EVIL, [EVIL, "b"], [section], pd.DataFrame({"title": [EVIL], "x": [1.0]}))
