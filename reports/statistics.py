"""Point estimates over tasks and seeds, and intervals that hold what they promise with few seeds.

Values come as strata: one array of seeds per task. Resampling keeps tasks apart (Agarwal et al. 2021, "Deep RL at the
edge of the statistical precipice"), so an interval speaks of new seeds on these tasks, not of new tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

MIN_SEEDS = 3
RESAMPLES = 2000
Strata = Sequence[NDArray[np.floating[Any]]]


def whole(strata: Strata) -> bool:
    """Whether every stratum has values, and all are finite."""
    return all(len(s) and np.isfinite(s).all() for s in strata)


class Interval(NamedTuple):
    """Ends of a confidence interval, in the unit of the values."""

    low: float
    high: float


def interval(strata: Strata, statistic: Callable[..., Any], rng: np.random.Generator) -> Interval | None:
    """Student's 95 % interval of any statistic from a stratified bootstrap: estimate +- t(d) * standard error.

    Percentiles of resamples never leave the range of the data: with three values they hold at most 75 %. So resampling
    only gives the variance v_k that each stratum adds, times n_k / (n_k - 1), since the plug-in is too small by that.
    Their sum is the variance of the statistic, d = (sum v_k)^2 / sum(v_k^2 / (n_k - 1)) its degrees of freedom
    (Satterthwaite 1946). One stratum's mean gets Student's own interval.

    Args:
        strata: per task, float ``[n_k]``, one value per seed.
        statistic: takes the strata as separate arguments, each ``[.., n_k]``; returns ``[..]``.
        rng: draws the resamples.

    Returns:
        None where a stratum has fewer than :data:`MIN_SEEDS` values.
    """
    strata = [np.asarray(s, float) for s in strata]
    if not strata or min(map(len, strata)) < MIN_SEEDS:
        return None
    estimate = float(statistic(*strata))
    spreads, freedoms = [], []
    for k, values in enumerate(strata):
        drawn = values[rng.integers(len(values), size=(max(100, RESAMPLES // len(strata)), len(values)))]
        others = [np.broadcast_to(s, (len(drawn), len(s))) for s in strata]
        found = statistic(*others[:k], drawn, *others[k + 1 :])
        freedoms.append(len(values) - 1)
        spreads.append(np.var(found, ddof=1) * len(values) / freedoms[-1])
    variance = np.sum(spreads)
    if variance == 0:
        return Interval(estimate, estimate)
    freedom = variance**2 / np.sum(np.square(spreads) / freedoms)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    return Interval(float(estimate - half), float(estimate + half))


def pooled_iqm(*strata: NDArray[np.float64]) -> Any:
    """Interquartile mean of all strata together, a quarter of the values (rounded down) cut at either end.

    Args:
        strata: float ``[.., n_k]``; a statistic for :func:`interval`.
    """
    return stats.trim_mean(np.concatenate(strata, -1), 0.25, axis=-1)


def pooled_mean(*strata: NDArray[np.float64]) -> Any:
    """Mean of the strata's means (tasks count alike).

    Args:
        strata: float ``[.., n_k]``; a statistic for :func:`interval`.
    """
    return np.mean([s.mean(-1) for s in strata], 0)


def performance_profile(
    strata: Strata, thresholds: ArrayLike, rng: np.random.Generator
) -> tuple[NDArray[np.float64], list[Interval | None]]:
    """Share of runs above each threshold, mean over tasks, with pointwise 95 % intervals within [0, 1].

    Agarwal et al. 2021, sec. 4.2 (score distributions).

    Args:
        strata: per task, float ``[n_k]``.
        thresholds: float ``[T]``.
        rng: draws the resamples, the same for every threshold.

    Returns:
        float64 ``[T]`` and T intervals; None below three seeds, and where all runs of each task are on one side.
    """
    seed = int(rng.integers(2**63))
    shares, ends = [], []
    for threshold in np.asarray(thresholds, float):
        above = [(np.asarray(s, float) > threshold).astype(float) for s in strata]
        shares.append(float(pooled_mean(*above)))
        ends.append(within(interval(above, pooled_mean, np.random.default_rng(seed)), 0.0, 1.0))
    return np.array(shares), ends


def within(found: Interval | None, low: float, high: float) -> Interval | None:
    """An interval cut to a range; None for one without width: of what never varied, resampling knows no spread."""
    if found is None or found.low == found.high:
        return None
    return Interval(max(low, found.low), min(high, found.high))


def failures_as_worst(values: Mapping[str, Strata]) -> tuple[dict[str, list[NDArray[np.float64]]], set[str]]:
    """Puts the lowest value that any method has on a task in the place of each value that is not finite.

    Args:
        values: method to strata, per task float ``[n_k]``, NaN for a run that failed; higher is better.

    Returns:
        the strata filled, and the methods of which something was: tables must mark them.

    Raises:
        ValueError: on some task no method has a value.
    """
    worst = [np.nanmin(np.concatenate(of_task), initial=np.inf) for of_task in zip(*values.values(), strict=True)]
    if np.inf in worst:
        raise ValueError(f"task {worst.index(np.inf)} has no value of any method: nothing is known to be worst")
    filled = {m: [np.where(np.isfinite(s), s, w) for s, w in zip(v, worst, strict=True)] for m, v in values.items()}
    return filled, {m for m, strata in values.items() if not whole(strata)}


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

    def wins(*both: NDArray[np.float64]) -> Any:
        pairs = zip(both[: len(ours)], both[len(ours) :], strict=True)
        gaps = [a[..., :, None] - b[..., None, :] for a, b in pairs]
        return np.mean([(np.sign(g) / 2 + 0.5).mean((-1, -2)) for g in gaps], 0)

    both = [np.asarray(s, float) for s in (*ours, *theirs)]
    return float(wins(*both)), within(interval(both, wins, rng), 0.0, 1.0)
