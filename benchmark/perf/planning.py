"""Guided planning for many starts at once beside one at a time; base models of mazes: what they cost and how good."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines._online import silent
from benchmark.perf import Row, allowed, cost, seconds
from benchmark.perf.gradient import ACTS, HIDDEN, OBS
from benchmark.plan_quality import plan_quality
from benchmark.pose import Posed, pose
from envs.maze2d import LARGE_TASK, UMAZE_TASK
from envs.problem import Task
from methods.diffuser import Diffuser
from methods.planner import Planner, Planning
from methods.pretraining import BASE_MODELS, base_model, train
from methods.rewards import WindowReward

STARTS, SINGLES, UPDATES, ALLOWED = 256, 16, 200, 4.0  # the last: CPU minutes to train a maze's base model
WINDOWS, ERROR = 2000, 0.005  # of unguided plans that are judged, and their allowed error in cells


def quality(task: Task, posed: Posed, within: float) -> Iterator[Row]:
    """Unguided plans of the task's base model, from states of held-out episodes."""
    planner = Planner.of(Planning(), base_model(posed.problem, BASE_MODELS[task.family]))
    base, rng = posed.held_out.trajectories, np.random.default_rng(0)
    found = {f.name: math.inf if f.value is None else f.value for f in plan_quality(task, planner, base, WINDOWS, rng)}
    name, share = f"{task.title}: unguided windows within the walls, of {WINDOWS}", 1 - found["plan_wall_crossings"]
    yield Row(name=name, ours=100 * share, unit="%", reference=within, against="asked for", required=1.0)
    name = f"{task.title}: error of a planned token's position against the simulator"
    yield allowed(name, found["plan_one_step_error"], "cells", ERROR)


def guided() -> tuple[Planner, NDArray[np.float32], np.random.Generator]:
    """A planner of U-Maze's window and networks, not trained; starts, and the source of their plans' noise."""
    torch.manual_seed(0)
    base, rng = BASE_MODELS["maze2d-umaze"], np.random.default_rng(0)
    shape: dict[str, Any] = {"obs": OBS, "acts": ACTS, "tokens": base.tokens, "skip": base.skip}
    model = Diffuser(**shape, steps=base.steps, width=base.width, blocks=base.blocks).requires_grad_(False)
    planner = Planner.of(Planning(), model, WindowReward(**shape, hidden=HIDDEN))
    return planner, rng.standard_normal((STARTS, OBS)).astype(np.float32), rng


def measure() -> Iterator[Row]:
    """Of single plans some, of a base model's training the first updates."""
    planner, starts, rng = guided()

    def singly() -> None:
        for start in starts[:SINGLES, None]:
            planner.plan(start, rng)

    name = f"Guided planning from {STARTS} starts (U-Maze, T={planner.diffuser.steps})"
    together, one_by_one = seconds(lambda: planner.plan(starts, rng)), seconds(singly) * STARTS / SINGLES
    yield cost(name, together, "CPU s", one_by_one, f"one start at a time, {SINGLES} measured")
    for task, within in ((UMAZE_TASK, 99.0), (LARGE_TASK, 95.0)):
        posed = pose(task, 0, 1, 0, 0, privileged=False, progress=silent)
        config = BASE_MODELS[task.family]
        few = config.model_copy(update={"updates": UPDATES})
        spent = seconds(partial(train, posed.problem, few), 1) * config.updates / UPDATES / 60
        name = f"Base model of {task.title}, {config.updates} updates ({UPDATES} measured)"
        yield allowed(name, spent, "CPU min", ALLOWED)
        yield from quality(task, posed, within)
