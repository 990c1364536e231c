"""How well a learnt reward agrees with the true one: correlations by coverage, and distances between rewards."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.metrics import Correlation, correlation, pearson_distance, window_sums
from benchmark.pose import Posed
from benchmark.sampled_distances import Estimate, Numbers, Transitions, dard_distance, epic_distance, starc_distance
from envs.datasets import cached
from envs.problem import Dataset, Floats, Task, Trajectories
from envs.seeding import seed_of, stream
from methods.base import Learned, RewardPart, TrajectoryRewardPart
from results.schema import Spread

WINDOW = 32  # steps per window for rewards that have no length of their own
MIXTURE = 100  # episodes of each kind in the base + expert mixture, at most
UNIFORM = 2048  # short episodes from uniform states
PER_START = 16  # windows of base actions from each evaluation start
PAIRS, SHAPED, LEVELLED = (1000, 1000), 800, 20_000  # samples: EPIC's steps and pairs a step, DARD's and STARC's steps

Array = NDArray[np.float64]


class NotFinite(ArithmeticError):
    """The learnt reward took a value that is no number."""


class Finding(NamedTuple):
    """One metric: its value, or why there is none, and how sure it is."""

    name: str
    value: float | None
    undefined: str
    spread: Spread | None


def span(learned: Learned, task: Task) -> int:
    """Steps of the windows on which a learnt reward is compared: its own length, else :data:`WINDOW` or the horizon."""
    return learned.reward.length if isinstance(learned.reward, TrajectoryRewardPart) else min(WINDOW, task.horizon)


def pieces(learned: Learned, data: Dataset, rng: np.random.Generator) -> tuple[Array, Array]:
    """Learnt and true reward of every step, or sums of them over every window of a reward of windows.

    They are asked for in random order: a reward that counts calls or rows cannot tell time by it.

    Args:
        learned: its reward is asked.
        data: N episodes with true rewards.
        rng: decides the order.

    Returns:
        two of float64 ``[N, P]``, pieces in order of time; steps after the last whole window are left out.

    Raises:
        NotFinite: the learnt reward is not finite somewhere.
    """
    length = learned.reward.length if isinstance(learned.reward, TrajectoryRewardPart) else 1
    cut = data.trajectories.windows(length)
    order = rng.permutation(len(cut))
    values = np.empty(len(cut))
    values[order] = learned.returns(cut[order])
    learnt = values.reshape(-1, len(data)).T
    if not np.isfinite(learnt).all():
        bad = (~np.isfinite(learnt)).any(1).sum()
        raise NotFinite(f"learnt return is not finite on {bad} of {len(data)} episodes")
    return learnt, window_sums(data.rewards, length).T


def from_states(task: Task, states: NDArray[np.float64], acts: Floats) -> tuple[Trajectories, Floats]:
    """Open-loop episodes and their true rewards.

    Args:
        task: its environment and reward.
        states: float64 ``[n, S]``, where they start.
        acts: float32 ``[n, T, A]``, what is done.

    Returns:
        the episodes, and float32 ``[n, T]``.
    """
    env = task.make_env(len(states))
    obs, found = [env.reset_to(states)], [env.states]
    for act in acts.swapaxes(0, 1):
        obs.append(env.step(act))
        found.append(env.states)
    path = np.stack(found, 1)
    rewards = task.reward(path[:, :-1], acts, path[:, 1:]).astype(np.float32)
    return Trajectories(np.stack(obs, 1), acts), rewards


def mixture(task: Task, posed: Posed) -> Dataset:
    """Held-out base episodes, and as many of the expert from a seed that no cell's demonstrations have.

    Args:
        task: gives the expert's episodes.
        posed: gives the held-out ones; at most :data:`MIXTURE` of each kind are taken.
    """
    n = min(MIXTURE, len(posed.held_out))
    base, fresh = posed.held_out[:n], task.demos(n, seed_of("mixture", task.name, posed.base_seed))
    both = [np.concatenate(pair) for pair in (
        (base.trajectories.obs, fresh.trajectories.obs), (base.trajectories.acts, fresh.trajectories.acts)
    )]  # fmt: skip
    return Dataset(Trajectories(*both), np.concatenate([base.rewards, fresh.rewards]), "mixture")


def uniform(task: Task, length: int, task_code: str) -> Dataset | None:
    """Short episodes of uniform actions from uniform states; None for a task that names none.

    Args:
        task: its states, actions and reward.
        length: steps of an episode.
        task_code: hash of the task's code, under which they are kept.
    """
    if task.uniform_states is None:
        return None
    rng, space, states = stream("uniform", task.name), task.make_env(1).action_space, task.uniform_states

    def build() -> tuple[Trajectories, Floats]:
        acts = rng.uniform(space.low, space.high, (UNIFORM, length, *space.shape)).astype(np.float32)
        return from_states(task, states(UNIFORM, rng), acts)

    return cached(f"{task.name}-uniform{UNIFORM}x{length}-{task_code}", build)


def replayed(task: Task, held_out: Dataset, length: int, task_code: str) -> Dataset:
    """Windows of held-out base actions from every evaluation start, :data:`PER_START` of each, start by start.

    The same for every method with windows of that length.

    Args:
        task: its starts and reward.
        held_out: episodes whose actions are taken.
        length: steps of a window.
        task_code: hash of the task's code, under which they are kept.
    """

    def build() -> tuple[Trajectories, Floats]:
        starts = np.concatenate([task.seen_starts, task.unseen_starts]).repeat(PER_START, 0)
        cut = held_out.trajectories.windows(length).acts
        return from_states(task, starts, cut[stream("replayed", task.name).integers(len(cut), size=len(starts))])

    base = held_out.trajectories.content_hash()
    return cached(f"{task.name}-replayed{PER_START}x{length}-{base}-{task_code}", build)


def correlations(task: Task, learned: Learned, posed: Posed, task_code: str) -> Iterator[Finding]:
    """Of returns, steps and windows, on each coverage.

    Args:
        task: gives the coverages beside base data.
        learned: its reward is compared with the true one.
        posed: gives the held-out base episodes.
        task_code: hash of the task's code.

    Raises:
        NotFinite: the learnt reward is not finite somewhere.
    """
    rng, length = stream("correlations", task.name, posed.base_seed), span(learned, task)
    stepwise = isinstance(learned.reward, RewardPart)
    coverages = {"": posed.held_out, "_mixture": mixture(task, posed), "_uniform": uniform(task, length, task_code)}
    for suffix, data in coverages.items():
        if data is None:
            yield from _absent([f"erc_pearson{suffix}"], "the task names no uniform states")
            continue
        try:
            learnt, true = pieces(learned, data, rng)
        except NotFinite as error:
            if suffix != "_uniform":  # no method has seen such states: only there it may break
                raise
            yield from _absent([f"erc_pearson{suffix}"], str(error))
            continue
        returns = learnt.sum(1, keepdims=True), true.sum(1, keepdims=True)
        found = correlation(*returns, rng)
        yield _finding(f"erc_pearson{suffix}", found)
        yield _finding(f"erc_spearman{suffix}", correlation(*returns, rng, ranks=True))
        far, low, high = (None if r is None else pearson_distance(r) for r in (found.value, found.high, found.low))
        yield _finding(f"erc_distance{suffix}", Correlation(far, low, high, found.n))
        if stepwise:
            steps = (learnt[:, :1], true[:, :1]) if suffix == "_uniform" else (learnt, true)
            yield _finding(f"step_pearson{suffix}", correlation(*steps, rng))
            yield _finding(f"step_spearman{suffix}", correlation(*steps, rng, ranks=True))
        if not suffix:
            ours, theirs = (window_sums(x, length).T if stepwise else x for x in (learnt, true))
            yield _finding("window_pearson", correlation(ours, theirs, rng))
    try:
        learnt, true = pieces(learned, replayed(task, posed.held_out, length, task_code), rng)
    except NotFinite as error:
        yield from _absent(["window_pearson_within", "window_pearson_overall"], str(error))
    else:
        ours, theirs = (x.sum(1).reshape(-1, PER_START) for x in (learnt, true))
        yield _finding("window_pearson_within", correlation(ours, theirs, rng, within=True))
        yield _finding("window_pearson_overall", correlation(ours, theirs, rng))
    if not stepwise:
        yield from _absent(["step_pearson", "step_spearman"], "a reward of windows has no value per step")


def distances(task: Task, learned: Learned, posed: Posed) -> Iterator[Finding]:
    """EPIC, DARD and STARC between the learnt reward and the true one of observations, on held-out base steps."""
    names = ["epic_distance", "dard_distance", "starc_distance"]
    if not isinstance(learned.reward, RewardPart):
        yield from _absent(names, "defined for rewards of single transitions, not of windows")
        return
    rng = stream("distances", task.name, posed.base_seed)
    steps = posed.held_out.trajectories.transitions()
    rows = rng.permutation(len(steps[0]))
    coverages = [
        Transitions(*(x[chosen] for x in steps)) for chosen in (rows[: PAIRS[0]], rows[:SHAPED], slice(LEVELLED))
    ]

    @torch.no_grad()
    def true(*columns: Numbers) -> Numbers:
        values: Numbers = task.observed_reward(*(torch.tensor(x) for x in columns)).numpy()
        return values

    def simulate(obs: Numbers, acts: Numbers, rng: np.random.Generator) -> Numbers:
        assert task.states_of is not None
        env = task.make_env(len(obs))
        env.reset_to(task.states_of(np.asarray(obs, np.float32)))
        return env.step(acts)

    both, discount = (learned.step_rewards, true), task.discount
    found: list[Callable[[Transitions], Estimate]] = [
        lambda steps: epic_distance(*both, steps, discount, rng, PAIRS[1]),
        lambda steps: dard_distance(*both, steps, simulate, discount, rng),
        lambda steps: starc_distance(*both, steps, discount, rng, resamples=50),
    ]
    for name, coverage, distance in zip(names, coverages, found, strict=True):
        if name == "dard_distance" and task.states_of is None:
            yield from _absent([name], "the task's simulator cannot be set to an observation's state")
            continue
        try:
            value, error = distance(coverage)
        except ValueError as refused:  # a reward that is not finite on transitions that no data hold
            yield from _absent([name], str(refused))
        else:
            yield Finding(name, value, "", Spread(n=len(coverage.obs), error=error))


def _finding(name: str, found: Correlation) -> Finding:
    value, low, high, n = found
    return Finding(name, value, "the learnt or the true reward is constant there", Spread(n=n, low=low, high=high))


def _absent(names: list[str], reason: str) -> Iterator[Finding]:
    return (Finding(name, None, reason, None) for name in names)
