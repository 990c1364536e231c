"""Scores what a method learnt. With the references and the controls' privilege, the only reader of the true reward."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import normalized, pearson, pearson_distance, spearman, window_sums
from benchmark.pictures import pictures
from benchmark.pose import Posed
from benchmark.references import references, true_returns
from envs.problem import Dataset, Task
from envs.rollout import Rollout, rollout
from envs.seeding import seed_of, stream
from methods.base import Learned, RewardPart, TrajectoryRewardPart

WINDOW = 32  # steps per window for rewards that have no length of their own
MIXTURE = 100  # episodes of each kind in the base + expert mixture, at most
SAMPLE = 2000  # transitions kept for figures


class NotFinite(ArithmeticError):
    """The learnt reward took a value that is no number."""


@dataclass
class Score:
    """Metrics by name, notes on those that are not defined, arrays for figures."""

    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    artefacts: dict[str, NDArray[Any]] = field(default_factory=dict)

    def put(self, name: str, value: float | None, undefined: str) -> None:
        """Keeps a value, or the note why there is none."""
        if value is None:
            self.notes.append(f"{name}: {undefined}")
        else:
            self.metrics[name] = value


def score(task: Task, learned: Learned, posed: Posed, seed: int, eval_starts: int | None, task_code: str) -> Score:
    """Everything measured about one run.

    Args:
        task: the task, true reward included.
        learned: what the method returned.
        posed: what it was posed, and the held-out episodes.
        seed: the cell's seed; decides a stochastic policy's draws.
        eval_starts: how many evaluation starts of each kind to use; None for all.
        task_code: hash of the task's sources.

    Raises:
        NotFinite: the learnt reward is not finite somewhere.
        ValueError: the policy's actions have a wrong shape or are not finite.
    """
    found = Score()
    runs = _behaviour(found, task, learned, seed, eval_starts, task_code)
    if learned.reward is not None:
        _reward_quality(found, task, learned, posed)
    found.artefacts |= pictures(task, learned, posed, runs)
    return found


def _behaviour(
    found: Score, task: Task, learned: Learned, seed: int, eval_starts: int | None, task_code: str
) -> dict[str, Rollout]:
    reference = references(task, task_code)
    runs = {}
    for kind, starts in (("seen", task.seen_starts[:eval_starts]), ("unseen", task.unseen_starts[:eval_starts])):
        draws = stream("evaluation", task.name, seed, kind)
        runs[kind] = rollout(task.make_env(len(starts)), learned.policy, starts, draws)
        value = float(true_returns(task, runs[kind]).mean())
        random, expert = (float(np.mean(reference[f"{who}_{kind}"][:eval_starts])) for who in ("random", "expert"))
        found.put(f"return_{kind}", value, "")
        found.put(f"score_{kind}", normalized(value, random, expert), "the demonstrator is no better than random")
    if {"score_seen", "score_unseen"} <= found.metrics.keys():
        found.metrics["normalized_score"] = (found.metrics["score_seen"] + found.metrics["score_unseen"]) / 2
    return runs


def _returns(learned: Learned, data: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Learnt and true return of each episode, over the same steps: those that the reward's whole windows cover."""
    length = learned.reward.length if isinstance(learned.reward, TrajectoryRewardPart) else 1
    learnt = np.asarray(learned.returns(data.trajectories), np.float64)
    if not np.isfinite(learnt).all():
        raise NotFinite(f"learnt return is not finite on {(~np.isfinite(learnt)).sum()} of {len(learnt)} episodes")
    return learnt, window_sums(data.rewards, length).sum(0)


def _reward_quality(found: Score, task: Task, learned: Learned, posed: Posed) -> None:
    constant = "the learnt or the true reward is constant there"
    held_out = posed.held_out
    learnt, true = _returns(learned, held_out)
    found.artefacts |= {"true_returns": true, "learnt_returns": learnt}
    r = pearson(learnt, true)
    found.put("erc_pearson", r, constant)
    found.put("erc_spearman", spearman(learnt, true), constant)
    found.put("erc_distance", None if r is None else pearson_distance(r), constant)

    n = min(MIXTURE, len(held_out))
    # fresh episodes: a seed that no cell's demonstrations have
    fresh = task.demos(n, seed_of("mixture", task.name, posed.base_seed))
    expert_learnt, expert_true = _returns(learned, fresh)
    both = pearson(np.concatenate([learnt[:n], expert_learnt]), np.concatenate([true[:n], expert_true]))
    found.put("erc_pearson_mixture", both, constant)

    if isinstance(learned.reward, RewardPart):
        length = min(WINDOW, task.horizon)
        steps = learned.step_rewards(*held_out.trajectories.transitions())
        if not np.isfinite(steps).all():
            raise NotFinite(f"learnt reward is not finite on {(~np.isfinite(steps)).sum()} of {len(steps)} transitions")
        found.put("step_pearson", pearson(steps, held_out.rewards.ravel()), constant)
        windows = window_sums(steps.reshape(held_out.rewards.shape), length).ravel()
        sample = stream("sample", task.name, posed.base_seed).choice(len(steps), min(SAMPLE, len(steps)), replace=False)
        found.artefacts |= {"true_steps": held_out.rewards.ravel()[sample], "learnt_steps": steps[sample]}
    else:
        assert learned.reward is not None
        length = learned.reward.length
        windows = learned.returns(held_out.trajectories.windows(length, length)).astype(np.float64)
    found.put("window_pearson", pearson(windows, window_sums(held_out.rewards, length).ravel()), constant)
