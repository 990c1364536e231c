"""How much of the space between its extremes a data set visits."""

from itertools import combinations

import numpy as np

from envs.problem import Floats

CELLS = 10  # along each axis


def coverage(obs: Floats) -> float:
    """Share of cells visited, in a grid of :data:`CELLS` by :data:`CELLS` over each pair of observed numbers, averaged.

    Args:
        obs: float32 ``[N, T+1, O]``; each axis of the grid spans the values found.

    Returns:
        in (0, 1]; 1 where every pair of numbers takes every combination. With one number alone, its share of cells.
    """
    flat = obs.reshape(-1, obs.shape[-1]).astype(np.float64)
    low, span = flat.min(0), np.ptp(flat, 0)
    bins = np.minimum((CELLS * (flat - low) / np.where(span > 0, span, 1)).astype(int), CELLS - 1)
    if bins.shape[1] == 1:
        return len(np.unique(bins)) / CELLS
    shares = [len(np.unique(bins[:, i] * CELLS + bins[:, j])) / CELLS**2 for i, j in combinations(range(len(low)), 2)]
    return float(np.mean(shares))
