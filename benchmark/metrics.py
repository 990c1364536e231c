"""Metrics as pure functions on arrays. None stands for a value that the data do not define."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.stats import rankdata

RESAMPLES = 1000  # of bootstrap intervals


def _constant(values: NDArray[np.float64]) -> bool:
    # rounding of equal float32 sums is no signal
    return bool(values.std() <= 1e-7 * max(1e-30, float(np.abs(values).max())))


def pearson(x: ArrayLike, y: ArrayLike) -> float | None:
    """Pearson correlation.

    Args:
        x, y: float ``[n]``.

    Returns:
        in [-1, 1]; None for fewer than two points or where either side is constant.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(a) < 2 or _constant(a) or _constant(b):
        return None
    a, b = a - a.mean(), b - b.mean()
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(np.clip(a @ b, -1.0, 1.0))


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Spearman rank correlation, ties at their mean rank; None as for :func:`pearson`."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(a) < 2 or _constant(a) or _constant(b):
        return None
    return pearson(rankdata(a), rankdata(b))


def pearson_distance(r: float) -> float:
    """Distance of two rewards of correlation ``r`` (Gleave et al. 2021, sec. 4): sqrt((1 - r) / 2), in [0, 1]."""
    return float(np.sqrt((1.0 - r) / 2.0))


def normalized(value: float, random: float, expert: float) -> float | None:
    """100 (value - random) / (expert - random) (Fu et al. 2020); None unless the expert is better than random."""
    return 100.0 * (value - random) / (expert - random) if expert > random else None


def window_sums(values: ArrayLike, length: int) -> NDArray[np.float64]:
    """Sums over windows that do not overlap; steps after the last whole window are left out.

    Args:
        values: float ``[N, T]``, one per step.
        length: steps per window, 1..T.

    Returns:
        float64 ``[T // length, N]``, windows in order of time: flattened, the order of ``Trajectories.windows``.
    """
    steps = np.asarray(values, np.float64)
    n, whole = steps.shape[0], steps.shape[1] // length
    sums: NDArray[np.float64] = steps[:, : whole * length].reshape(n, whole, length).sum(2)
    return sums.T


class Correlation(NamedTuple):
    """A correlation, its 95 % interval over rows, and the number of values on each side; None where undefined."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def correlation(
    x: ArrayLike, y: ArrayLike, rng: np.random.Generator, ranks: bool = False, within: bool = False
) -> Correlation:
    """Correlation over all entries of two tables, with a bootstrap interval that redraws whole rows.

    Args:
        x, y: float ``[R, K]``, rows independent of each other (episodes, starts), entries of a row not.
        rng: draws the :data:`RESAMPLES` resamples.
        ranks: Spearman's instead of Pearson's; resamples keep the ranks of the whole.
        within: of differences to the row's mean: blind to whatever differs between rows alone.

    Returns:
        percentile interval; None for fewer than three rows.
    """
    a, b = (np.asarray(values, np.float64) for values in (x, y))
    if within:
        a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    value = spearman(a.ravel(), b.ravel()) if ranks else pearson(a.ravel(), b.ravel())
    if value is None or len(a) < 3:
        return Correlation(value, None, None, a.size)
    a, b = ((rankdata(v) if ranks else v).reshape(a.shape) for v in (a, b))
    a, b = ((v - v.mean()) / v.std() for v in (a, b))
    sums = np.stack([a.sum(1), b.sum(1), (a * a).sum(1), (b * b).sum(1), (a * b).sum(1)], 1)
    picked = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), RESAMPLES)
    ma, mb, maa, mbb, mab = (picked @ sums / a.size).T
    spread = (maa - ma**2) * (mbb - mb**2)
    drawn = (mab - ma * mb)[spread > 1e-12] / np.sqrt(spread[spread > 1e-12])
    if not len(drawn):  # all that differs is in rows too rare to be drawn
        return Correlation(value, None, None, a.size)
    low, high = np.quantile(drawn, [0.025, 0.975]).clip(-1, 1)
    return Correlation(value, float(low), float(high), a.size)


def mmd(x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]) -> float:
    """Maximum mean discrepancy: root of the unbiased estimate of its square, 0 where that is negative.

    Gaussian kernel exp(-d^2 / (2 w^2)), w the median distance within ``y``.
    Source: Gretton et al. 2012 (JMLR 13), lemma 6.

    Args:
        x, y: float ``[n, D]`` and ``[m, D]``, at least two rows each.

    Returns:
        in [0, sqrt(2)].
    """
    within_x, within_y = pdist(x, "sqeuclidean"), pdist(y, "sqeuclidean")
    scale = -2 * max(float(np.median(within_y)), 1e-12)
    means = [float(np.exp(d / scale).mean()) for d in (within_x, within_y, cdist(x, y, "sqeuclidean"))]
    return float(np.sqrt(max(0.0, means[0] + means[1] - 2 * means[2])))


def sliced_wasserstein(
    x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]], seed: int, projections: int = 100
) -> float:
    """Sliced 2-Wasserstein distance of two samples (Bonneel et al. 2015), by POT.

    Args:
        x, y: float ``[n, D]`` and ``[m, D]``.
        seed: decides the directions.
        projections: number of directions.

    Returns:
        >= 0, in the unit of the columns.
    """
    import ot  # slow to import, so only where it is asked for

    return float(ot.sliced_wasserstein_distance(x, y, n_projections=projections, seed=seed % 2**32))
