"""Turns a task into the problem that one cell poses."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.checkpoint import Checkpoint
from envs.metered import Meter
from envs.problem import Dataset, Privileged, Problem, Task
from envs.seeding import stream
from methods.base import Part

HELD_OUT, ENOUGH, AT_MOST = 0.25, 100, 1 / 3


@dataclass(frozen=True)
class Posed:
    """What goes to the method, and what is kept back to score it.

    Args:
        problem: what the method sees.
        held_out: base episodes it never sees, with their true rewards.
        base_seed: decided the base data and the split.
    """

    problem: Problem
    held_out: Dataset
    base_seed: int


def held_out_fraction(episodes: int) -> float:
    """A quarter of the episodes, or as many as give :data:`ENOUGH` of them, but never more than a third."""
    return max(HELD_OUT, min(ENOUGH / episodes, AT_MOST))


def pose(
    task: Task,
    seed: int,
    demos: int,
    step_budget: int,
    base_seed: int,
    privileged: bool,
    progress: Callable[[float, dict[str, float]], None],
    state: Path | None = None,
    rng: np.random.Generator | None = None,
) -> Posed:
    """The problem of one cell. Equal for all methods: no draw here knows the method's name.

    Args:
        task: the task.
        seed: decides the demonstrations.
        demos: how many of them.
        step_budget: environment steps the method may take.
        base_seed: decides the base data and which episodes of it are held out.
        privileged: whether the method is a control, which may see the true reward and the expert.
        progress: passed on, with the environment steps taken.
        state: folder of the cell's checkpoints; None keeps none.
        rng: the method's generator, kept with them.
    """
    base = task.base(base_seed)
    order = stream("split", task.family, base_seed).permutation(len(base))
    cut = round(held_out_fraction(len(base)) * len(base))
    env, meter = task.make_env(1), Meter(step_budget)

    def told(fraction: float, values: dict[str, float]) -> None:  # holds the meter alone: methods get to see it
        progress(fraction, {**values, "env_steps": meter.used})

    problem = Problem(
        task=task.family,
        demos=task.demos(demos, seed).trajectories,
        base=base[order[cut:]].trajectories,
        base_id=f"{base.id}-less{cut}",
        observation_space=env.observation_space,
        action_space=env.action_space,
        horizon=task.horizon,
        discount=task.discount,
        meter=meter,
        base_env=task.make_env,
        progress=told,
        privileged=Privileged(task.observed_reward, task.expert()) if privileged else None,
        checkpoint=Checkpoint(state, rng, meter, Part.build),
    )
    return Posed(problem, base[order[:cut]], base_seed)
