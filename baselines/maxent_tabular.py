"""Maximum-entropy IRL on a maze cut into cells, exactly: a reference for the methods that learn from samples."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from baselines._tabular import Graph
from envs.problem import Floats, Problem, Trajectories
from methods.base import Config, Learned, Method, PolicyPart, RewardPart
from methods.policies import mlp


class TabularConfig(Config):
    """Settings.

    Args:
        cell: width of a cell.
        skip: environment steps per move from cell to cell.
        penalty: on the squared reward.
        iterations: of L-BFGS.
        updates, batch, lr: of the network that tells which action leads from cell to cell.
    """

    cell: float = 0.2
    skip: int = 10
    penalty: float = 0.01
    iterations: int = 100
    updates: int = 1500
    batch: int = 256
    lr: float = 2e-3


class Cells(torch.nn.Module):
    """Positions, the first two columns of an observation, to the nearest of the cells that base data visit.

    Args:
        shape: cells along both axes.
        cell: width of a cell.
    """

    low: torch.Tensor
    index: torch.Tensor

    def __init__(self, shape: list[int], cell: float) -> None:
        super().__init__()
        self.cell = cell
        self.register_buffer("low", torch.zeros(2))
        self.register_buffer("index", torch.zeros(shape, dtype=torch.long))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        at = ((obs[..., :2] - self.low) / self.cell).long().clamp(min=0)
        rows, columns = self.index.shape
        found: torch.Tensor = self.index[at[..., 0].clamp(max=rows - 1), at[..., 1].clamp(max=columns - 1)]
        return found

    def fit(self, positions: Floats) -> torch.Tensor:
        """Lays the cells over positions ``[n, 2]``; returns the centres ``[C, 2]`` of those visited."""
        self.low.copy_(torch.from_numpy(positions.min(0)))
        at = ((torch.tensor(positions) - self.low) / self.cell).long()
        visited = torch.unique(at, dim=0)
        everywhere = torch.cartesian_prod(*(torch.arange(n) for n in self.index.shape))
        self.index.copy_(torch.cdist(everywhere.double(), visited.double()).argmin(1).view_as(self.index))
        centres: torch.Tensor = (visited + 0.5) * self.cell + self.low
        return centres


class CellReward(RewardPart):
    """One number per cell.

    Args:
        shape, cell: of the :class:`Cells`.
        count: cells visited.
    """

    table: torch.Tensor

    def __init__(self, shape: list[int], cell: float, count: int) -> None:
        super().__init__(shape=shape, cell=cell, count=count)
        self.cells = Cells(shape, cell)
        self.register_buffer("table", torch.zeros(count))

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.table[self.cells(obs)]
        return values


class CellPolicy(PolicyPart):
    """Heads for the best next cell of the plan by time, by the action that base data took for such a step.

    Args:
        obs: width of the observation.
        low, high: action limits.
        shape, cell: of the :class:`Cells`.
        skip: environment steps per move.
        plan: moves planned and cells.
    """

    centres: torch.Tensor
    following: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self, obs: int, low: list[float], high: list[float], shape: list[int], cell: float, skip: int, plan: list[int]
    ) -> None:
        super().__init__(obs=obs, low=low, high=high, shape=shape, cell=cell, skip=skip, plan=plan)
        self.skip, self.cells = skip, Cells(shape, cell)
        self.low, self.high = torch.tensor(low), torch.tensor(high)
        self.net = mlp(obs, (64, 64), len(low))  # the step to make, and what else is observed
        self.register_buffer("centres", torch.zeros(plan[1], 2))
        self.register_buffer("following", torch.zeros(plan, dtype=torch.long))
        self.register_buffer("scale", torch.ones(obs))
        self._step = 0

    def begin(self, n: int) -> None:
        self._step = 0

    def features(self, obs: torch.Tensor, ahead: torch.Tensor) -> torch.Tensor:
        """What the network reads: the step from ``obs [n, O]`` to positions ``ahead [n, 2]``, and the rest."""
        return torch.cat([ahead - obs[:, :2], obs[:, 2:]], 1) / self.scale

    @torch.no_grad()
    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        now = torch.tensor(obs)
        move = min(self._step // self.skip, len(self.following) - 1)
        ahead = self.centres[self.following[move, self.cells(now)]]
        self._step += 1
        acts: Floats = self.net(self.features(now, ahead)).clamp(self.low, self.high).numpy()
        return acts


def moves(cells: NDArray[np.int64], count: int, horizon: int) -> Graph:
    """The graph of all moves seen in base episodes ``cells [N, M]``; a cell that nothing leaves stays."""
    seen = np.stack([cells[:, :-1].ravel(), cells[:, 1:].ravel()], 1)
    seen = np.unique(np.concatenate([seen, np.repeat(np.arange(count)[:, None], 2, 1)]), axis=0)
    return Graph(seen[:, 0], seen[:, 1], horizon)


def imitate_steps(policy: CellPolicy, base: Trajectories, config: TabularConfig) -> None:
    """Fits the policy's network to the actions of base data, told where they led in ``skip`` steps."""
    obs, acts = (
        torch.tensor(x[:, : base.steps - config.skip + 1]).flatten(0, 1) for x in (base.obs[:, :-1], base.acts)
    )
    ahead = torch.tensor(base.obs[:, config.skip :, :2]).flatten(0, 1)
    policy.scale.copy_(torch.cat([ahead - obs[:, :2], obs[:, 2:]], 1).std(0) + 1e-3)
    optimiser = torch.optim.Adam(policy.net.parameters(), config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.updates)
    for _ in range(config.updates):
        chosen = torch.randint(len(obs), (config.batch,))
        error = policy.net(policy.features(obs[chosen], ahead[chosen])) - acts[chosen]
        optimiser.zero_grad()
        error.square().mean().backward()
        optimiser.step()
        schedule.step()


def fit(problem: Problem, config: TabularConfig, rng: np.random.Generator) -> Learned:
    """The reward per cell of the greatest likelihood, its soft policy, and a network from cell to action.

    Args:
        problem: its demonstrations and base data, both of which say how cells are joined; no environment step is taken.
        config: settings.
        rng: decides all draws.

    Returns:
        the policy, and the reward per cell, of kind ``raw``.
    """
    torch.manual_seed(int(rng.integers(2**62)))
    positions = np.concatenate([x.obs[..., :2].reshape(-1, 2) for x in (problem.base, problem.demos)])
    shape = [int(n) + 1 for n in (positions.max(0) - positions.min(0)) / config.cell]
    cells = Cells(shape, config.cell)
    centres = cells.fit(positions)
    count, horizon = len(centres), problem.horizon // config.skip

    def by_cell(data: Trajectories) -> NDArray[np.int64]:
        return np.asarray(cells(torch.tensor(data.obs[:, :: config.skip])))

    graph = moves(np.concatenate([by_cell(problem.base), by_cell(problem.demos)]), count, horizon)
    demos = by_cell(problem.demos)[:, : horizon + 1]
    expert = np.bincount(demos.ravel(), minlength=count) / len(demos)
    start = np.bincount(demos[:, 0], minlength=count) / len(demos)
    table, made = graph.infer(expert, start, config.penalty, config.iterations)
    values = graph.values(table)

    reward = CellReward(shape, config.cell, count)
    reward.table.copy_(torch.from_numpy(table))
    space = problem.action_space
    policy = CellPolicy(
        obs=problem.demos.obs.shape[-1],
        low=space.low.tolist(),
        high=space.high.tolist(),
        shape=shape,
        cell=config.cell,
        skip=config.skip,
        plan=[horizon, count],
    )
    for part in (reward.cells, policy.cells):
        part.load_state_dict(cells.state_dict())
    policy.centres.copy_(centres)
    first = np.searchsorted(graph.source, np.arange(count + 1))
    for t in range(horizon):  # the likeliest move of the soft-optimal policy
        ahead = values[t + 1][graph.target]
        best = [graph.target[a + ahead[a:b].argmax()] for a, b in pairwise(first)]
        policy.following[t] = torch.as_tensor(np.array(best))
    imitate_steps(policy, problem.base, config)
    curve = [{"gradient_steps": made, "distance_of_visits": 0.0}]
    curve[0]["distance_of_visits"] = float(np.abs(graph.visits(table, start, values) - expert).sum() / (horizon + 1))
    return Learned(policy.eval(), reward.eval(), "raw", curve, made + config.updates)


METHOD = Method(
    name="maxent-tabular",
    title="MaxEnt IRL, tabular",
    source="Ziebart et al. 2008, Maximum Entropy Inverse Reinforcement Learning; Ziebart 2010 (causal entropy)",
    fit=fit,
    config=TabularConfig,
    smoke={"cell": 0.5, "iterations": 5, "updates": 20, "batch": 32},
    unsupported=lambda problem: None if problem.task.startswith("maze2d") else "only mazes are cut into cells",
)
