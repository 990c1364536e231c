"""Scores what a method learnt. With the references and the controls' privilege, the only reader of the true reward."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import mmd, normalized, sliced_wasserstein
from benchmark.plan_quality import Plans, plan_quality
from benchmark.pose import Posed
from benchmark.references import occupancy, references, true_returns
from benchmark.reward_quality import correlations, distances, pieces
from envs.problem import Policy, Task
from envs.rollout import Rollout, rollout
from envs.seeding import seed_of, stream
from methods.base import Learned
from results.schema import Spread

SAMPLE = 2000  # transitions kept for figures
PLANS = 128  # of a planner, from states of held-out episodes
FEW = 3  # starts of each kind from which policies on the way are scored


@dataclass
class Score:
    """Metrics by name and how sure they are, notes on those that are not defined, and what figures need."""

    metrics: dict[str, float] = field(default_factory=dict)
    spread: dict[str, Spread] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    artefacts: dict[str, NDArray[Any]] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)  # the true score on the way
    runs: dict[str, Rollout] = field(default_factory=dict)  # by kind of start

    def put(self, name: str, value: float | None, undefined: str = "", spread: Spread | None = None) -> None:
        """Keeps a value, or the note why there is none."""
        if value is None:
            self.notes.append(f"{name}: {undefined}")
        else:
            self.metrics[name] = value
            if spread is not None:
                self.spread[name] = spread


def score(
    task: Task,
    learned: Learned,
    posed: Posed,
    seed: int,
    eval_starts: int | None,
    task_code: str,
    judge: "Judge | None" = None,
) -> Score:
    """Everything measured about one run.

    Args:
        task: the task, true reward included.
        learned: what the method returned.
        posed: what it was posed, and the held-out episodes.
        seed: the cell's seed; decides a stochastic policy's draws.
        eval_starts: how many evaluation starts of each kind to use; None for all.
        task_code: hash of the task's sources.
        judge: has scored policies on the way already; None scores them now.

    Raises:
        NotFinite: the learnt reward is not finite somewhere.
        ValueError: the policy's actions have a wrong shape or are not finite.
    """
    found = Score()
    found.runs = _behaviour(found, task, learned, posed, seed, eval_starts, task_code)
    _speed(found, task, posed, found.runs, judge or Judge(task, eval_starts, task_code))
    if isinstance(learned.policy, Plans):
        draws = stream("plans", task.name, seed)
        for finding in plan_quality(task, learned.policy, posed.held_out.trajectories, PLANS, draws):
            found.put(*finding)
    if learned.reward is not None:
        for finding in (*correlations(task, learned, posed, task_code), *distances(task, learned, posed)):
            found.put(*finding)
        found.artefacts |= _pairs(task, learned, posed)
    return found


def _behaviour(
    found: Score, task: Task, learned: Learned, posed: Posed, seed: int, eval_starts: int | None, task_code: str
) -> dict[str, Rollout]:
    reference = references(task, task_code)
    starts = {"seen": task.seen_starts[:eval_starts], "unseen": task.unseen_starts[:eval_starts]}
    everywhere = np.concatenate([*starts.values()])  # at once: planners cost less by the dozen
    draws = stream("evaluation", task.name, seed)
    both = rollout(task.make_env(len(everywhere)), learned.policy, everywhere, draws)
    cut = len(starts["seen"])
    runs = {"seen": both[:cut], "unseen": both[cut:]}
    for kind, run in runs.items():
        value = float(true_returns(task, run).mean())
        random, expert = (float(reference[f"{who}_{kind}"][:eval_starts].mean()) for who in ("random", "expert"))
        found.put(f"return_{kind}", value)
        found.put(f"score_{kind}", normalized(value, random, expert), "the demonstrator is no better than random")
    if {"score_seen", "score_unseen"} <= found.metrics.keys():
        found.metrics["normalized_score"] = (found.metrics["score_seen"] + found.metrics["score_unseen"]) / 2
    base = posed.problem.base.obs
    scale = base.std((0, 1)) + 1e-8
    ours = np.concatenate([occupancy(run) for run in runs.values()]) / scale
    theirs = np.concatenate([reference[f"occupancy_{kind}"][:eval_starts] for kind in runs]) / scale
    ours, theirs = (states.reshape(-1, states.shape[-1]) for states in (ours, theirs))
    found.put("occupancy_mmd", mmd(ours, theirs), spread=Spread(n=len(ours)))
    far = sliced_wasserstein(ours, theirs, seed_of("occupancy", task.name))
    found.put("occupancy_wasserstein", far, spread=Spread(n=len(ours)))
    return runs


class Judge:
    """Scores policies on the way from :data:`FEW` starts of each kind, each policy once.

    Args:
        task, eval_starts, task_code: as for :func:`score`.
    """

    def __init__(self, task: Task, eval_starts: int | None, task_code: str) -> None:
        self._task, self._code = task, task_code
        most = FEW if eval_starts is None else min(FEW, eval_starts)
        self._starts = {"seen": task.seen_starts[:most], "unseen": task.unseen_starts[:most]}
        self._found: dict[int, tuple[Policy, float]] = {}

    def of(self, returns: Iterable[NDArray[np.float64]]) -> float:
        """The score of true returns from the first starts of each kind, in the order seen, unseen."""
        reference, scores = references(self._task, self._code), []
        for kind, values in zip(self._starts, returns, strict=True):
            random, expert = (reference[f"{who}_{kind}"][: len(values)].mean() for who in ("random", "expert"))
            scores.append(normalized(values.mean(), random, expert) or 0.0)
        return float(np.mean(scores))

    def __call__(self, policy: Policy) -> float:
        if id(policy) not in self._found:
            starts = np.concatenate([*self._starts.values()])
            run = rollout(self._task.make_env(len(starts)), policy, starts, stream("speed", self._task.name))
            cut = len(self._starts["seen"])
            self._found[id(policy)] = policy, self.of(np.split(true_returns(self._task, run), [cut]))
        return self._found[id(policy)][1]


def _speed(found: Score, task: Task, posed: Posed, runs: dict[str, Rollout], judge: Judge) -> None:
    """The score of policies shown on the way, and CPU seconds to 90 % of the final one from the same starts."""
    checkpoint = posed.problem.checkpoint
    if not checkpoint.shown:
        return
    last = judge.of(true_returns(task, run)[:FEW] for run in runs.values())
    for seconds, steps, policy in checkpoint.shown:
        value = judge(policy)
        found.curve.append({"env_steps": float(steps), "cpu_seconds": seconds, "score": value})
        if last > 0 and value >= 0.9 * last and "seconds_to_90" not in found.metrics:
            found.put("seconds_to_90", seconds)
    if "seconds_to_90" not in found.metrics:
        none = "no policy on the way has 0.9 of the final score, or that is not above random"
        found.put("seconds_to_90", None, none)


def _pairs(task: Task, learned: Learned, posed: Posed) -> dict[str, NDArray[Any]]:
    """Learnt and true returns of held-out episodes, and rewards of some of their steps, for figures."""
    rng = stream("sample", task.name, posed.base_seed)
    learnt, true = pieces(learned, posed.held_out, rng)
    found = {"true_returns": true.sum(1), "learnt_returns": learnt.sum(1)}
    if learned.reward_kind != "trajectory":
        sample = rng.choice(learnt.size, min(SAMPLE, learnt.size), replace=False)
        found |= {"true_steps": true.ravel()[sample], "learnt_steps": learnt.ravel()[sample]}
    return found
