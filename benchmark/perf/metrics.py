"""What scores cost: the metrics of one cell, and EPIC on a million pairs beside the calls of the reward alone."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmark.perf import Row
from benchmark.pose import pose
from benchmark.sampled_distances import CHUNK, Transitions, epic_distance
from benchmark.score import score
from envs.halfcheetah import TASK
from methods.base import Learned
from methods.policies import MLPPolicy
from methods.rewards import StepReward

PAIRS = (1000, 1000)  # steps, and pairs (A, S') for each


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds, the least of some goes."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def measure() -> Iterator[Row]:
    """HalfCheetah, the widest observations and the longest episodes; policies and reward are untrained networks."""
    torch.manual_seed(0)
    posed = pose(TASK, 0, TASK.default_demos, 0, 0, False, lambda fraction, values: None)
    space, width = posed.problem.action_space, posed.problem.demos.obs.shape[-1]
    reward = StepReward(width, len(space.low), (64, 64), ("obs", "acts", "next_obs"))
    policy = MLPPolicy(width, space.low.tolist(), space.high.tolist())
    learned = Learned(policy, reward, "raw")
    for k in range(9):
        posed.problem.checkpoint.show(k / 8, lambda: policy)

    def scored() -> None:
        score(TASK, learned, posed, 0, None, "perf")

    scored()  # what all cells share is built once
    yield Row(
        name="all metrics of one cell, re-optimisation apart (HalfCheetah)",
        ours=seconds(scored, 2),
        unit="CPU s",
        reference=10.0,
        against="allowed",
        better=-1,
        required=1.0,
    )
    steps = posed.held_out.trajectories.transitions()
    few = Transitions(*(x[: PAIRS[0]] for x in steps))

    @torch.no_grad()
    def true(*columns: np.ndarray) -> np.ndarray:
        values: np.ndarray = TASK.observed_reward(*(torch.tensor(x) for x in columns)).numpy()
        return values

    def epic() -> None:
        epic_distance(learned.step_rewards, true, few, TASK.discount, np.random.default_rng(0), PAIRS[1])

    million = seconds(epic)
    shared = {"name": "EPIC on 10^6 sampled pairs (HalfCheetah, network 64 x 64)", "ours": million, "unit": "CPU s"}
    yield Row(**shared, reference=2.0, against="allowed", better=-1, required=1.0)
    block = [x[:CHUNK].copy() for x in steps]

    def calls() -> None:
        for _ in range(2 * PAIRS[0] * PAIRS[1] // CHUNK):
            learned.step_rewards(*block)
            true(*block)

    yield Row(**shared, reference=seconds(calls), against="floor: both rewards called, nothing else", better=-1)
