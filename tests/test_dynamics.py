"""What scores need of a task beyond its episodes: states from observations, uniform states, changed dynamics."""

import copy

import mujoco
import numpy as np
import pytest

from envs import halfcheetah
from envs.maze2d import (
    LARGE,
    LARGE_TASK,
    UMAZE,
    UMAZE_TASK,
    anywhere,
    distances,
    goal_cell,
    limit_speed,
    make_env,
    model,
    without_wall,
)
from envs.physics import BatchEnv
from envs.problem import Task
from envs.rollout import rollout

each = pytest.mark.parametrize("task", [UMAZE_TASK, LARGE_TASK, halfcheetah.TASK], ids=lambda t: t.name)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@each
def test_a_state_is_found_from_its_observation_up_to_what_nothing_depends_on(task: Task) -> None:
    assert task.states_of is not None
    env, again = task.make_env(16), task.make_env(16)
    again.reset_to(task.states_of(env.reset_to(task.seen_starts)))
    acts = rng().uniform(-1, 1, (16, *env.action_space.shape))
    assert again.step(acts) == pytest.approx(env.step(acts), abs=1e-3)


@each
def test_uniform_states_are_possible_and_cover_more_than_starts(task: Task) -> None:
    assert task.uniform_states is not None
    states = task.uniform_states(500, rng())
    env = task.make_env(500)
    env.reset_to(states)
    env.step(np.zeros((500, *env.action_space.shape)))
    # nothing is thrown out of a wall or of the ground
    assert np.abs(env.states[:, :2] - states[:, :2]).max() < 1.1 * 17 * 0.05
    assert (np.ptp(states, 0)[1:] > np.ptp(task.seen_starts, 0)[1:]).all()


def test_uniform_states_of_a_maze_are_uniform_over_its_free_space() -> None:
    states = UMAZE_TASK.uniform_states(4000, rng())  # type: ignore[misc]
    inner = [np.all((states[:, :2] > np.array(c) - 0.6) & (states[:, :2] < np.array(c) + 0.2), 1).sum() for c in
             ((1, 1), (2, 3), (3, 2))]  # fmt: skip
    assert np.std(inner) < 0.1 * np.mean(inner)


@pytest.mark.parametrize("layout", [UMAZE, LARGE], ids=["umaze", "large"])
def test_uniform_states_of_a_maze_go_up_to_its_walls_and_not_into_them(layout: str) -> None:
    """By the simulator's own contacts: with the places half a ball off, some lie in a wall and others stay clear."""
    physics = mujoco.MjData(model(layout))

    def depth(place: np.ndarray) -> float:
        physics.qpos[:] = place
        mujoco.mj_fwdPosition(model(layout), physics)
        hits = [c.dist for c in physics.contact if model(layout).geom_type[c.geom].max() == mujoco.mjtGeom.mjGEOM_BOX]
        return -min(hits, default=0.0)

    places = anywhere(layout, 20_000, rng())[:, :2]
    assert max(map(depth, places[:4000])) < 1e-9
    for axis in (0, 1):
        for way in (-1, 1):
            outermost = places[np.argmax(way * places[:, axis])]
            assert depth(outermost + 0.02 * way * np.eye(2)[axis]) > 0, f"room left beyond {outermost}"


@pytest.mark.parametrize("layout", [UMAZE, LARGE], ids=["umaze", "large"])
def test_what_the_maze_leaves_out_of_contacts_moves_nothing(layout: str) -> None:
    """Against a copy in which the ball touches the ground, as in D4RL, with MuJoCo's own settings."""
    like_d4rl = copy.copy(model(layout))
    like_d4rl.geom_contype[mujoco.mj_name2id(like_d4rl, mujoco.mjtObj.mjOBJ_GEOM, "ground")] = 1
    like_d4rl.opt.disableflags = 0
    starts, source = anywhere(layout, 64, rng()), rng()
    same = BatchEnv(like_d4rl, 64, 400, 1, lambda s: s, lambda n, r: starts, prepare=limit_speed)
    envs = [make_env(layout, 400, 64), same]
    for env in envs:
        env.reset_to(starts)
    for step in range(400):
        if step % 40 == 0:  # long pushes end at walls and in corners
            push = source.uniform(-1, 1, (64, 2))
        for env in envs:
            env.step(push)
    assert envs[0].states == pytest.approx(envs[1].states, abs=1e-10)
    assert not np.array_equal(envs[0].states, starts)


@each
def test_changed_dynamics_differ_and_leave_the_task_alone(task: Task) -> None:
    assert task.changed is not None
    before, other, after = task.make_env(16), task.changed.make_env(16), task.make_env(16)
    for env in (before, other, after):
        env.reset_to(task.changed.starts)
        for _ in range(5):
            obs = env.step(np.ones((16, *env.action_space.shape)))
        if env is before:
            kept = obs
    assert np.array_equal(obs, kept)
    if task is halfcheetah.TASK:
        assert not np.allclose(other.states, after.states)


def test_the_wall_taken_out_is_a_shorter_way() -> None:
    layout = "#####\n#GOO#\n###O#\n#OOO#\n#####"
    assert distances(without_wall(layout, (2, 1)), goal_cell(layout))[(3, 1)] == 2
    dynamics = UMAZE_TASK.changed
    assert dynamics is not None
    start = np.array([[3.0, 1.0, 0.0, 0.0]])

    class Up:
        def begin(self, n: int) -> None: ...

        def __call__(self, obs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return np.tile([-1.0, 0.0], (len(obs), 1))

    ends = [rollout(make(1), Up(), start, rng()).states[0, -1, 0] for make in (dynamics.make_env, UMAZE_TASK.make_env)]
    assert ends[0] < 1.0 < 2.4 < ends[1]
