"""Values by exact value iteration on a graph of base states: what the best way along joined pieces of data is worth."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from envs.problem import Floats, Trajectories

NEIGHBOURS, SWEEPS, CLOSE = 8, 1000, 1e-4  # the last: relative change at which the iteration ends


def graph_values(
    base: Trajectories, rewards: Floats, discount: float, stride: int, radius: float
) -> tuple[Floats, NDArray[np.float64]]:
    """Values of every ``stride``-th state, where one may go on along the data from any state nearby.

    V(s) = max over neighbours m of s, s among them, of (discounted rewards of the ``stride`` steps from m) +
    discount^stride V(state after them): value iteration (Bellman 1957), which joins episodes and closes loops, such
    as staying, that no single episode holds.

    Args:
        base: arbitrary trajectories, N of T steps.
        rewards: ``[N, T]``, of each step.
        discount: per environment step, in (0, 1).
        stride: steps between nodes, 1..T.
        radius: within which nodes are neighbours, in standard deviations of each observation, > 0.

    Returns:
        the nodes' observations ``[n, O]`` and their values ``[n]``, less ends of episodes that have no neighbour.

    Raises:
        ValueError: ``stride`` outside 1..T.
    """
    if not 1 <= stride <= base.steps:
        raise ValueError(f"{stride} steps between nodes do not fit episodes of {base.steps}: lower value.steps")
    count = base.steps // stride
    obs, width = base.obs[:, : count * stride + 1 : stride], base.obs.shape[-1]
    gained = rewards[:, : count * stride].reshape(len(base), count, stride) @ discount ** np.arange(stride)
    places = obs / base.obs.reshape(-1, width).std(0).clip(1e-6)
    after = np.arange(obs[..., 0].size).reshape(len(base), -1)[:, 1:].ravel()
    far, near = cKDTree(places[:, :-1].reshape(-1, width)).query(
        places.reshape(-1, width), NEIGHBOURS, distance_upper_bound=radius
    )
    near = np.where(np.isfinite(far), near, near[:, :1])  # fewer neighbours: the nearest stands for the rest
    known = np.isfinite(far[:, 0])
    near[~known] = 0
    values = np.where(known, 0.0, gained.min() / (1 - discount**stride))
    for _ in range(SWEEPS):
        ways = gained.ravel() + discount**stride * values[after]
        before, values = values, np.where(known, ways[near].max(1), values)
        if np.abs(values - before).max() <= CLOSE * np.abs(values).max():
            break
    return obs.reshape(-1, width)[known], values[known]
