"""Maze2D U-Maze and Large: D4RL's point mass on today's MuJoCo, its waypoint controller, and the tasks.

Constants of the model (masses, gains, step, limits), the layouts, the reset noise and the dense reward are D4RL 1.1's
(``d4rl/pointmaze/maze_model.py``); dwelling at goals and the split of starts are ours.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.datasets import cached, record
from envs.physics import BatchEnv, States
from envs.problem import Dataset, Dynamics, Floats, Policy, Task
from envs.seeding import seed_of, stream

UMAZE = "#####\n#GOO#\n###O#\n#OOO#\n#####"
LARGE = (
    "############\n#OOOO#OOOOO#\n#O##O#O#O#O#\n#OOOOOO#OOO#\n#O####O###O#\n"
    "#OO#O#OOOOO#\n##O#O#O#O###\n#OO#OOO#OGO#\n############"
)
POSITION_NOISE, VELOCITY_NOISE, MAX_SPEED = 0.1, 0.1, 5.0
P_GAIN, D_GAIN, REACHED = 10.0, -1.0, 0.1
SUCCESS = 0.5  # distance from the goal within which the sparse reward is paid
CORNER = 0.2  # from a cell's index to where its walls stop the ball
MAX_DWELL = 96  # steps a controller may stay at a goal it reached; D4RL's own data never stays

Cell = tuple[int, int]


def cells(layout: str) -> list[Cell]:
    """Free cells (row, column) of a layout, goal included, in reading order."""
    return [(i, j) for i, row in enumerate(layout.split("\n")) for j, tile in enumerate(row) if tile != "#"]


def goal_cell(layout: str) -> Cell:
    """The cell marked ``G``."""
    return next((i, j) for i, row in enumerate(layout.split("\n")) for j, tile in enumerate(row) if tile == "G")


def distances(layout: str, target: Cell) -> dict[Cell, int]:
    """Steps from every free cell to ``target``, moving in four directions (breadth-first)."""
    free, found, queue = set(cells(layout)), {target: 0}, deque([target])
    while queue:
        i, j = queue.popleft()
        for neighbour in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if neighbour in free and neighbour not in found:
                found[neighbour] = found[(i, j)] + 1
                queue.append(neighbour)
    return found


@cache
def model(layout: str) -> mujoco.MjModel:
    """The point mass in its maze: position (x, y) is (row, column) of the layout, as in D4RL.

    The ball slides in x and y alone, so touching the ground, as in D4RL, moves it nowhere. A step takes a quarter less
    time without that contact and without MuJoCo's tree over walls and search for islands, which pay for larger models.
    """
    walls = "".join(
        f'<geom type="box" pos="{i + 1} {j + 1} 0" size=".5 .5 .2" contype="1" conaffinity="1" rgba=".7 .5 .3 1"/>'
        for i, row in enumerate(layout.split("\n"))
        for j, tile in enumerate(row)
        if tile == "#"
    )
    gi, gj = goal_cell(layout)
    return mujoco.MjModel.from_xml_string(f"""
<mujoco model="point_maze">
  <compiler angle="radian" inertiafromgeom="true"/>
  <option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler">
    <flag midphase="disable" island="disable"/>
  </option>
  <default>
    <joint damping="1" limited="false"/>
    <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2" conaffinity="1"/>
  </default>
  <worldbody>
    <light pos="0 0 20"/>
    <geom name="ground" type="plane" size="40 40 .25" pos="0 0 -.1" contype="0" conaffinity="0"/>
    <body name="particle" pos="1.2 1.2 0">
      <geom type="sphere" size=".1" contype="1" rgba="0 0 1 1"/>
      <joint name="ball_x" type="slide" axis="1 0 0"/>
      <joint name="ball_y" type="slide" axis="0 1 0"/>
    </body>
    <site name="target" pos="{gi + 1.2} {gj + 1.2} 0" size=".2" rgba="1 .2 .2 1"/>
    {walls}
  </worldbody>
  <actuator>
    <motor joint="ball_x" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
    <motor joint="ball_y" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
  </actuator>
</mujoco>""")


def starts_in(chosen: list[Cell], n: int, rng: np.random.Generator) -> States:
    """``n`` start states at random ``chosen`` cells with D4RL's noise, float64 ``[n, 4]``."""
    places = np.array(chosen, float)[rng.integers(len(chosen), size=n)]
    places += rng.uniform(-POSITION_NOISE, POSITION_NOISE, places.shape)
    return np.concatenate([places, VELOCITY_NOISE * rng.standard_normal(places.shape)], 1)


def anywhere(layout: str, n: int, rng: np.random.Generator) -> States:
    """States uniform over the free space of a maze and over speeds within D4RL's limit, float64 ``[n, 4]``."""
    free = np.array([[tile != "#" for tile in row] for row in layout.split("\n")])
    found = np.zeros((0, 2))
    while len(found) < n:
        places = rng.uniform(0, free.shape, (4 * n, 2))
        # tile k spans k - 0.7 .. k + 0.3: blocks are centred at k + 1, the ball starts from 1.2; its radius is 0.1
        corners = [
            np.floor(places + 0.7 + offset).astype(int)
            for offset in ((-0.1, -0.1), (-0.1, 0.1), (0.1, -0.1), (0.1, 0.1))
        ]
        inside = np.all([free[tuple(np.clip(c, 0, np.array(free.shape) - 1).T)] for c in corners], 0)
        found = np.concatenate([found, places[inside]])
    return np.concatenate([found[:n], rng.uniform(-MAX_SPEED, MAX_SPEED, (n, 2))], 1)


def without_wall(layout: str, cell: Cell) -> str:
    """The layout with one wall tile made free."""
    rows = [list(row) for row in layout.split("\n")]
    rows[cell[0]][cell[1]] = "O"
    return "\n".join(map("".join, rows))


def limit_speed(states: States) -> States:
    """D4RL clips velocities before every step."""
    return np.concatenate([states[:, :2], states[:, 2:].clip(-MAX_SPEED, MAX_SPEED)], 1)


def make_env(layout: str, horizon: int, n: int, starts: Sequence[Cell] = ()) -> BatchEnv:
    """``n`` mazes that start at given cells, or anywhere, as in D4RL."""
    chosen = list(starts) or cells(layout)
    return BatchEnv(model(layout), n, horizon, 1, lambda s: s, partial(starts_in, chosen), prepare=limit_speed)


class Waypoints(Policy):
    """D4RL's waypoint controller for a batch: proportional-derivative steering from cell to cell towards a goal.

    Args:
        layout: the maze.
        goal: a fixed goal cell, or None to draw a new random one each time one was reached.
        max_dwell: steps to stay at a reached goal, drawn from 0..max_dwell; ignored for a fixed goal (it stays).
        offset: of the fixed goal from its cell's index, in x and in y.
    """

    def __init__(self, layout: str, goal: Cell | None = None, max_dwell: int = MAX_DWELL, offset: float = 0.0) -> None:
        self._cells, self._goal, self._max_dwell, self._offset = cells(layout), goal, max_dwell, offset
        self._index = np.full((64, 64), -1)
        for k, cell in enumerate(self._cells):
            self._index[cell] = k
        # next cell on a shortest way, for every (goal, from)
        self._next = np.zeros((len(self._cells),) * 2, int)
        for g, target in enumerate(self._cells):
            away = distances(layout, target)
            for k, (i, j) in enumerate(self._cells):
                around = [c for c in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1), (i, j)) if c in away]
                self._next[g, k] = self._index[min(around, key=lambda c: away[c])]

    _at: NDArray[np.int64] | None
    _aim: NDArray[np.float64]

    def begin(self, n: int) -> None:
        self._at = None
        self._dwell = np.zeros(n, int)

    def _new_goals(self, which: NDArray[np.bool_], pos: Floats, rng: np.random.Generator) -> None:
        assert self._at is not None
        count = int(which.sum())
        if self._goal is None:
            self._target[which] = rng.integers(len(self._cells), size=count)
        else:
            self._target[which] = self._index[self._goal]
        self._goal_offset[which] = (
            self._offset if self._goal else rng.uniform(-POSITION_NOISE, POSITION_NOISE, (count, 2))
        )
        self._dwell[which] = 10**9 if self._goal else rng.integers(self._max_dwell + 1, size=count)
        rows, columns = np.clip(np.round(pos[which]).astype(int), 0, 63).T
        self._at[which] = self._index[rows, columns]
        self._advance(which, rng)

    def _advance(self, which: NDArray[np.bool_], rng: np.random.Generator) -> None:
        assert self._at is not None
        self._at[which] = self._next[self._target[which], self._at[which]]
        final = self._at == self._target
        places = np.array(self._cells, float)[self._at]
        # D4RL aims a little short of a cell's index, whose free space lies between -0.6 and +0.2 of it
        short = places - rng.uniform(0, 0.2, places.shape)
        self._aim = np.where(which[:, None], np.where(final[:, None], places + self._goal_offset, short), self._aim)

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        pos, velocity = obs[:, :2].astype(float), obs[:, 2:].astype(float)
        if self._at is None:
            n = len(obs)
            self._at, self._target = np.zeros(n, int), np.zeros(n, int)
            self._goal_offset, self._aim = np.zeros((n, 2)), np.zeros((n, 2))
            self._new_goals(np.ones(n, bool), pos, rng)
        reached = np.linalg.norm(pos - self._aim, axis=1) < REACHED
        there = self._at == self._target
        self._advance(reached & ~there, rng)
        self._dwell -= reached & there
        if (over := reached & there & (self._dwell < 0)).any():
            self._new_goals(over, pos, rng)
        acts: Floats = np.clip(P_GAIN * (self._aim - pos) + D_GAIN * velocity, -1, 1).astype(np.float32)
        return acts


@dataclass(frozen=True)
class Reward:
    """What a kind of Maze2D task pays for being at a position.

    Args:
        title: appended to the task's title.
        paid: (next positions float64 ``[.., 2]``, goal float64 ``[2]``) -> ``[..]``.
        observed: the same on torch tensors, differentiable.
        corner: whether the goal is the corner with the largest x + y, not the layout's ``G``.
        source: where it comes from.
    """

    title: str
    paid: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
    observed: Callable[[Any, Any], Any]
    source: str
    corner: bool = False


def _distance(xy: Any, goal: Any) -> Any:  # torch tensors; torch is not imported here
    return (((xy - goal) ** 2).sum(-1) + 1e-8).sqrt()


REWARDS = {
    "dense": Reward(
        "",
        lambda xy, goal: np.exp(-np.linalg.norm(xy - goal, axis=-1)),
        lambda xy, goal: (-_distance(xy, goal)).exp(),
        "Fu et al. 2020, D4RL, maze2d-*-dense-v1; fixed horizon as there",
    ),
    "sparse": Reward(
        ", sparse",
        lambda xy, goal: (np.linalg.norm(xy - goal, axis=-1) <= SUCCESS).astype(float),
        lambda xy, goal: ((SUCCESS - _distance(xy, goal)) / 0.02).sigmoid(),  # the step itself has no slope
        "Fu et al. 2020, D4RL, maze2d-*-v1; fixed horizon as there",
    ),
    "corner": Reward(
        ", corner",
        lambda xy, goal: xy.sum(-1) / goal.sum(),
        lambda xy, goal: xy.sum(-1) / goal.sum(),
        "Oliveira 2024: reward linear in x + y, here 1 in the corner where it is largest; maze and data as in D4RL",
        corner=True,
    ),
}


def task(
    name: str,
    title: str,
    layout: str,
    horizon: int,
    step_budget: int,
    default_demos: int,
    opened: Cell,
    reward_kind: str = "dense",
    max_dwell: int = MAX_DWELL,
    kin: str = "",
) -> Task:
    """A Maze2D task: go where the reward is largest and stay.

    Args:
        name, title, horizon, step_budget, default_demos: of the task.
        layout: the maze.
        opened: wall tile that its changed dynamics lack; there all start near the gap.
        reward_kind: a key of :data:`REWARDS`; paid for the next position.
        max_dwell: steps that base data may stay at a goal; 0 is D4RL's.
        kin: the task whose base data these are, up to the rewards and ``max_dwell``.
    """
    kind = REWARDS[reward_kind]
    cell = max(cells(layout), key=sum) if kind.corner else goal_cell(layout)
    goal = np.array(cell, float) + (CORNER if kind.corner else 0)
    away = distances(layout, cell)
    middle = max(away.values()) / 2
    seen = [c for c in cells(layout) if 0 < away[c] <= middle]
    unseen = [c for c in cells(layout) if away[c] > middle]
    gap = without_wall(layout, opened)
    nearer = [c for c in distances(gap, cell) if c in unseen][: max(2, len(unseen) // 4)]  # in order of distance
    env = partial(make_env, layout, horizon)

    def reward(states: States, acts: NDArray[np.floating], next_states: States) -> NDArray[np.float64]:
        return kind.paid(next_states[..., :2], goal)

    def observed_reward(obs, acts, next_obs):  # type: ignore[no-untyped-def]  # torch tensors
        return kind.observed(next_obs[..., :2], next_obs.new_tensor(goal))

    def base(seed: int) -> Dataset:
        episodes = 160_000 // horizon
        build = partial(
            record,
            env,
            partial(Waypoints, layout, max_dwell=max_dwell),
            partial(starts_in, cells(layout)),
            reward,
            episodes,
            seed_of("base", kin or name, seed),
        )
        made = cached(f"{kin or name}-base-dwell{max_dwell}-{episodes}-seed{seed}", build)
        obs = made.trajectories.obs.astype(np.float64)  # variants share the episodes, each pays its own reward
        return Dataset(made.trajectories, kind.paid(obs[:, 1:, :2], goal).astype(np.float32), made.id)

    def demos(n: int, seed: int) -> Dataset:
        build = partial(record, env, expert, partial(starts_in, seen), reward, n, seed_of("demos", name, seed))
        return cached(f"{name}-demos{n}-seed{seed}", build)

    def expert() -> Policy:
        return Waypoints(layout, cell, offset=CORNER if kind.corner else 0.0)

    rows = layout.split("\n")
    axes = [np.linspace(0.4, size - 1.8, 8 * (size - 2)) for size in (len(rows), len(rows[0]))]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return Task(
        name=name,
        title=title + kind.title,
        make_env=env,
        reward=reward,
        observed_reward=observed_reward,
        horizon=horizon,
        discount=0.99,
        seen_starts=starts_in(seen, 16, stream("starts", name, "seen")),
        unseen_starts=starts_in(unseen, 16, stream("starts", name, "unseen")),
        base=base,
        demos=demos,
        expert=expert,
        default_demos=default_demos,
        step_budget=step_budget,
        source=kind.source,
        picture={
            "walls": np.array([[tile == "#" for tile in row] for row in rows]),
            "goal": goal,
            "grid": np.concatenate([grid, np.zeros_like(grid)], -1),
        },
        states_of=lambda obs: obs.astype(np.float64),
        uniform_states=partial(anywhere, layout),
        changed=Dynamics(
            f"no wall at {opened}; all start in those cells of the farther half that are then the nearest",
            partial(make_env, gap, horizon, starts=nearer),
            starts_in(nearer, 16, stream("starts", name, "changed")),
        ),
        kin=kin,
    )


UMAZE_TASK = task("maze2d-umaze", "Maze2D U-Maze", UMAZE, 300, 200_000, 3, (2, 1))
LARGE_TASK = task("maze2d-large", "Maze2D Large", LARGE, 800, 300_000, 50, (4, 8))
VARIANTS: dict[str, dict[str, Any]] = {
    "sparse": {"reward_kind": "sparse"},
    "corner": {"reward_kind": "corner"},
    "nodwell": {"max_dwell": 0},
}
TASKS = [
    task(
        f"{main.name}-{variant}",
        main.title + (", no dwell" if variant == "nodwell" else ""),
        layout,
        main.horizon,
        main.step_budget,
        main.default_demos,
        opened,
        kin=main.name,
        **changed,
    )
    for main, layout, opened in ((UMAZE_TASK, UMAZE, (2, 1)), (LARGE_TASK, LARGE, (4, 8)))
    for variant, changed in VARIANTS.items()
]
