"""Metrics as pure functions on arrays. None stands for a value that the data do not define."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata


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
    """Distance of two rewards of correlation ``r`` (Gleave et al. 2021, def. 4.6): sqrt((1 - r) / 2), in [0, 1]."""
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
