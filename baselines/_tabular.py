"""Maximum-entropy IRL on a finite graph, exactly: soft values, visits, and the reward of greatest likelihood."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Graph:
    """Deterministic moves: every node has at least one.

    Args:
        source, target: int ``[E]``, the ends of each move, sorted by source; every node is a source.
        horizon: moves of an episode.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    horizon: int

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.source[-1]) + 1

    def values(self, reward: Array) -> Array:
        """Soft values ``[horizon + 1, nodes]``: log of the summed exp(return) over all ways on, own reward included.

        Source: Ziebart et al. 2008, algorithm 1, backward pass; it is Ziebart's causal entropy, as moves are certain.
        """
        first = np.searchsorted(self.source, np.arange(self.nodes))
        values = np.tile(reward, (self.horizon + 1, 1))
        for t in reversed(range(self.horizon)):
            ahead = values[t + 1][self.target]
            top = np.maximum.reduceat(ahead, first)
            values[t] += top + np.log(np.add.reduceat(np.exp(ahead - top[self.source]), first))
        return values

    def visits(self, reward: Array, start: Array, values: Array) -> Array:
        """Expected visits ``[nodes]`` over an episode's horizon + 1 nodes, by the soft-optimal policy.

        Args:
            reward: ``[nodes]``.
            start: probability of each node to be the first.
            values: as :meth:`values` gives them.

        Source: Ziebart et al. 2008, algorithm 1, forward pass.
        """
        now: Array = start
        total = start.copy()
        for t in range(self.horizon):
            chance = np.exp(values[t + 1][self.target] - (values[t] - reward)[self.source])
            now = np.bincount(self.target, now[self.source] * chance, self.nodes).astype(np.float64)
            total += now
        return total

    def infer(self, expert: Array, start: Array, penalty: float, iterations: int) -> tuple[Array, int]:
        """The reward of greatest likelihood, less ``penalty / 2`` times its squared norm.

        Args:
            expert: visits ``[nodes]`` per demonstration.
            start: probability of each node to be the first.
            penalty: >= 0; above 0 the reward is unique.
            iterations: of L-BFGS, at most.

        Returns:
            the reward ``[nodes]``, and the iterations made.

        Source: Ziebart et al. 2008, eq. 5: its gradient is the difference of expert's and expected visits.
        """

        def loss(reward: Array) -> tuple[float, Array]:
            values = self.values(reward)
            gradient = self.visits(reward, start, values) - expert + penalty * reward
            return float(start @ values[0] - expert @ reward + penalty / 2 * reward @ reward), gradient

        found = minimize(loss, np.zeros(self.nodes), jac=True, method="L-BFGS-B", options={"maxiter": iterations})
        return found.x, int(found.nit)
