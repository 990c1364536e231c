"""Point estimates over tasks and seeds, and intervals that hold what they promise with few seeds.

Values come as strata: one array of seeds per task. Resampling keeps tasks apart (Agarwal et al. 2021, "Deep RL at the
edge of the statistical precipice"), so an interval speaks of new seeds on these tasks, not of new tasks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

MIN_SEEDS = 3
RESAMPLES = 2000
Strata = Sequence[NDArray[np.floating[Any]]]


class Interval(NamedTuple):
    """Ends of a confidence interval, in the unit of the values."""

    low: float
    high: float


def iqm(values: ArrayLike) -> float:
    """Interquartile mean: the mean of the middle half, a quarter of the values (rounded down) cut at either end.

    Args:
        values: float, any shape, at least one.
    """
    return float(stats.trim_mean(np.asarray(values, float).ravel(), 0.25))


def interval(
    strata: Strata, statistic: Callable[..., Any], rng: np.random.Generator, level: float = 0.95
) -> Interval | None:
    """Stratified bootstrap interval of any statistic, widened for few seeds.

    Percentiles of resamples never leave the range of the data: with three values they hold at most 75 %. So the
    distances from the estimate are multiplied by ``sqrt(N / (N - K)) * t(N - K) / z`` (N values, K strata), the factor
    that turns a normal interval with the plug-in variance into Student's (the idea of Hesterberg 2015, "What teachers
    should know about the bootstrap", sec. 5.3, applied to the ends rather than to the level).

    Args:
        strata: per task, float ``[n_k]``, one value per seed.
        statistic: takes the strata as separate arguments, each ``[.., n_k]``, and ``axis``; returns ``[..]``.
        rng: draws the resamples.
        level: nominal coverage, in (0, 1).

    Returns:
        None where a stratum has fewer than :data:`MIN_SEEDS` values.
    """
    strata = [np.asarray(s, float) for s in strata]
    if not strata or min(map(len, strata)) < MIN_SEEDS:
        return None
    estimate = float(statistic(*strata, axis=-1))
    if all(np.ptp(s) == 0 for s in strata):
        return Interval(estimate, estimate)
    drawn = stats.bootstrap(
        strata, statistic, n_resamples=RESAMPLES, vectorized=True, method="percentile", rng=rng
    ).bootstrap_distribution
    total, freedom = sum(map(len, strata)), sum(map(len, strata)) - len(strata)
    tail = (1 + level) / 2
    widen = np.sqrt(total / freedom) * stats.t.ppf(tail, freedom) / stats.norm.ppf(tail)
    low, high = estimate + widen * (np.quantile(drawn, [1 - tail, tail]) - estimate)
    return Interval(float(low), float(high))


def pooled_iqm(*strata: NDArray[np.float64], axis: int = -1) -> Any:
    """:func:`iqm` of all strata together along ``axis``: a statistic for :func:`interval`."""
    return stats.trim_mean(np.concatenate(strata, axis), 0.25, axis=axis)


def pooled_mean(*strata: NDArray[np.float64], axis: int = -1) -> Any:
    """Mean of the strata's means (tasks count alike): a statistic for :func:`interval`."""
    return np.mean([s.mean(axis) for s in strata], 0)


def iqm_interval(strata: Strata, rng: np.random.Generator) -> Interval | None:
    """95 % stratified bootstrap interval of the IQM over tasks and seeds; None below three seeds."""
    return interval(strata, pooled_iqm, rng)


def mean_interval(values: ArrayLike, rng: np.random.Generator) -> Interval | None:
    """95 % bootstrap interval of the mean of float ``[n]``; None below three values."""
    return interval([np.asarray(values, float)], pooled_mean, rng)


def paired_difference(ours: Strata, theirs: Strata, rng: np.random.Generator) -> tuple[float, Interval | None]:
    """Mean of ours - theirs over pairs that share task and seed (demonstrations, starts), with its 95 % interval.

    Args:
        ours, theirs: per task, float ``[n_k]``, entry by entry the same seed.
        rng: draws the resamples.

    Raises:
        ValueError: the strata do not match in number or length.
    """
    if [len(s) for s in ours] != [len(s) for s in theirs] or not ours:
        raise ValueError(f"pairs need equal strata, got lengths {[*map(len, ours)]} and {[*map(len, theirs)]}")
    gaps = [np.asarray(a, float) - np.asarray(b, float) for a, b in zip(ours, theirs, strict=True)]
    return float(pooled_mean(*gaps)), interval(gaps, pooled_mean, rng)


def probability_of_improvement(ours: Strata, theirs: Strata, rng: np.random.Generator) -> tuple[float, Interval | None]:
    """P(a run of ours beats a run of theirs on the same task), ties half, averaged over tasks, with its 95 % interval.

    Agarwal et al. 2021, sec. 4.3: the Mann-Whitney statistic over n m pairs, here higher is better.

    Args:
        ours, theirs: per task, float ``[n_k]`` and ``[m_k]``.
        rng: draws the resamples.

    Returns:
        the probability and its interval; None below three seeds, and where each task is won or lost in every pair, of
        which resampling knows no spread.

    Raises:
        ValueError: the numbers of tasks differ.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"both sides need the same tasks, got {len(ours)} and {len(theirs)}")

    def wins(*both: NDArray[np.float64], axis: int = -1) -> Any:
        half = len(both) // 2
        gaps = [
            np.moveaxis(a, axis, -1)[..., :, None] - np.moveaxis(b, axis, -1)[..., None, :]
            for a, b in zip(both[:half], both[half:], strict=True)
        ]
        return np.mean([(np.sign(g) / 2 + 0.5).mean((-1, -2)) for g in gaps], 0)

    both = [np.asarray(s, float) for s in (*ours, *theirs)]
    found = interval(both, wins, rng)
    if found and found.low == found.high:
        found = None
    return float(wins(*both)), found and Interval(max(0.0, found.low), min(1.0, found.high))
