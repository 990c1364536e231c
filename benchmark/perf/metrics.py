"""What scores cost: the metrics of one cell of each kind, and EPIC on a million pairs beside the rewards alone."""

import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmark.perf import Row, allowed, seconds
from benchmark.pose import Posed, pose
from benchmark.registry import discover
from benchmark.sampled_distances import CHUNK, Transitions, epic_distance
from benchmark.score import score
from envs.halfcheetah import TASK
from envs.problem import Floats, Policy, Task
from methods.base import Learned, PolicyPart
from methods.policies import MLPPolicy
from methods.rewards import StepReward

PAIRS = (1000, 1000)  # steps, and pairs (A, S') for each
PLANNED = [
    ("unguided-diffuser", "halfcheetah"),
    ("oracle-diffuser", "maze2d-large"),
    ("oracle-diffuser", "halfcheetah"),
]


class Timed(PolicyPart):
    """A policy, and the CPU seconds it takes to act: a method's own, whoever scores it."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy, self.seconds = policy, 0.0

    def begin(self, n: int) -> None:
        self.policy.begin(n)

    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        began = time.process_time()
        acts = self.policy(obs, rng)
        self.seconds += time.process_time() - began
        return acts


def posed_for(task: Task, privileged: bool) -> Posed:
    return pose(task, 0, task.default_demos, 0, 0, privileged, lambda fraction, values: None)


def cell(name: str, task: Task, learned: Learned, posed: Posed) -> Iterator[Row]:
    """All of scoring, and the share of it that the policy's own acts take."""
    timed = Timed(learned.policy)
    shown = Learned(timed, learned.reward, learned.reward_kind)
    score(task, shown, posed, 0, None, "perf")  # what all cells share is built once
    timed.seconds = 0.0
    spent = seconds(lambda: score(task, shown, posed, 0, None, "perf"), 1)
    name = f"all metrics of one cell, re-optimisation apart ({task.name}, {name})"
    yield allowed(name, spent, "CPU s", 10.0)
    yield Row(name=f"{name}: acting", ours=timed.seconds, unit="CPU s", reference=spent, against="all of it", better=-1)


def measure() -> Iterator[Row]:
    """Rewards of steps and policies that are untrained networks, where observations are widest; then planners."""
    torch.manual_seed(0)
    posed = posed_for(TASK, False)
    space, width = posed.problem.action_space, posed.problem.demos.obs.shape[-1]
    reward = StepReward(width, len(space.low), (64, 64), ("obs", "acts", "next_obs"))
    learned = Learned(MLPPolicy(width, space.low.tolist(), space.high.tolist()), reward, "raw")
    for k in range(9):
        posed.problem.checkpoint.show(k / 8, lambda: learned.policy)
    yield from cell("networks", TASK, learned, posed)
    registry = discover()
    for name, where in PLANNED:
        (method, _), (task, _) = registry.method(name), registry.task(where)
        given = posed_for(task, True)
        found = method.fit(given.problem, method.config(**method.tuned.get(task.family, {})), np.random.default_rng(0))
        yield from cell(name, task, found, given)
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
    yield Row(name=name, ours=million, unit="CPU s", reference=floor, against=against, better=-1)
