"""What scores cost: the metrics of one cell of each kind, and EPIC on a million pairs beside the rewards alone."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmark.perf import Row, allowed, cost, seconds
from benchmark.pose import Posed, pose
from benchmark.registry import discover
from benchmark.sampled_distances import CHUNK, Transitions, epic_distance
from benchmark.score import score
from envs.halfcheetah import TASK
from envs.problem import Task
from methods.base import Learned, PolicyPart
from methods.policies import MLPPolicy
from methods.rewards import StepReward

PAIRS = (1000, 1000)  # steps, and pairs (A, S') for each
PLANNED = [
    ("unguided-diffuser", "halfcheetah"),
    ("oracle-diffuser", "maze2d-large"),
    ("oracle-diffuser", "halfcheetah"),
]


class Clock:
    """CPU seconds that a policy takes to act and to plan: a method's own, whoever scores it."""

    def __init__(self, policy: PolicyPart) -> None:
        self.seconds, self._running = 0.0, False
        for name in ("forward", "plan"):
            if hasattr(policy, name):  # copies of the policy carry it on
                setattr(policy, name, self._of(getattr(policy, name)))

    def _of(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            if self._running:  # acting by planning counts once
                return work(*given)
            began, self._running = time.process_time(), True
            try:
                return work(*given)
            finally:
                self.seconds, self._running = self.seconds + time.process_time() - began, False

        return timed


def posed_for(task: Task, privileged: bool) -> Posed:
    return pose(task, 0, task.default_demos, 0, 0, privileged, lambda fraction, values: None)


def cell(name: str, task: Task, learned: Learned, posed: Posed, clock: Clock) -> Iterator[Row]:
    """All of scoring, and what of it is not the policy's own acting and planning."""
    score(task, learned, posed, 0, None, "perf")  # what all cells share is built once
    clock.seconds = 0.0
    spent = seconds(lambda: score(task, learned, posed, 0, None, "perf"), 1)
    for what, found in (
        (f"and {clock.seconds:.1f} CPU s of the policy's own acting and planning apart", spent - clock.seconds),
        ("the policy's own acting and planning included", spent),
    ):
        name_of = f"all metrics of one cell, re-optimisation apart ({task.name}, {name}), {what}"
        yield allowed(name_of, found, "CPU s", 10.0)


def measure() -> Iterator[Row]:
    """Rewards of steps and policies that are untrained networks, where observations are widest; then planners."""
    torch.manual_seed(0)
    posed = posed_for(TASK, False)
    space, width = posed.problem.action_space, posed.problem.demos.obs.shape[-1]
    reward = StepReward(width, len(space.low), (64, 64), ("obs", "acts", "next_obs"))
    learned = Learned(MLPPolicy(width, space.low.tolist(), space.high.tolist()), reward, "raw")
    clock = Clock(learned.policy)
    for k in range(9):
        posed.problem.checkpoint.show(k / 8, lambda: learned.policy)
    yield from cell("networks", TASK, learned, posed, clock)
    registry = discover()
    for name, where in PLANNED:
        (method, _), (task, _) = registry.method(name), registry.task(where)
        given = posed_for(task, True)
        found = method.fit(given.problem, method.config(**method.tuned.get(task.family, {})), np.random.default_rng(0))
        yield from cell(name, task, found, given, Clock(found.policy))
    steps = posed.held_out.trajectories.transitions()
    few = Transitions(*(x[: PAIRS[0]] for x in steps))

    @torch.no_grad()
    def true(*columns: np.ndarray) -> np.ndarray:
        values: np.ndarray = TASK.observed_reward(*(torch.tensor(x) for x in columns)).numpy()
        return values

    def epic() -> None:
        epic_distance(learned.step_rewards, true, few, TASK.discount, np.random.default_rng(0), PAIRS[1])

    name, million = "EPIC on 10^6 sampled pairs (HalfCheetah, network 64 x 64)", seconds(epic)
    yield allowed(name, million, "CPU s", 2.0)
    block = [x[:CHUNK].copy() for x in steps]

    def calls() -> None:
        for _ in range(2 * PAIRS[0] * PAIRS[1] // CHUNK):
            learned.step_rewards(*block)
            true(*block)

    floor, against = seconds(calls), "floor: both rewards called, nothing else"
    yield cost(name, million, "CPU s", floor, against)
