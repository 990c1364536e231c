"""Tasks as Gymnasium environments."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import halfcheetah, maze2d, registered
from envs.registered import IDS, NoOpenGL


def rendered(id: str) -> gymnasium.Env:
    try:
        return gymnasium.make(f"envs.registered:{id}", render_mode="rgb_array")
    except NoOpenGL as error:
        pytest.skip(str(error))


def test_every_maze_and_halfcheetah_has_an_id() -> None:
    named = {task.name for task in (maze2d.UMAZE_TASK, maze2d.LARGE_TASK, *maze2d.TASKS, halfcheetah.TASK)}
    assert set(IDS.values()) == named and set(IDS) <= set(gymnasium.registry)
    assert {"irlbench/Maze2D-UMaze-v0", "irlbench/Maze2D-Large-NoDwell-v0", "irlbench/HalfCheetah-v0"} <= set(IDS)


@pytest.mark.parametrize("id", IDS)
def test_gymnasiums_checker_passes(id: str) -> None:
    env = gymnasium.make(id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(minimum|maximum) value is -?infinity.*")  # observations have none
        check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("id", ["irlbench/Maze2D-Large-v0", "irlbench/HalfCheetah-v0"])
def test_pixels_show_the_state(id: str) -> None:
    env = rendered(id)
    check_env(env.unwrapped)
    env.reset(seed=0)
    before = env.render()
    assert before.shape == (480, 640, 3) and before.dtype == np.uint8 and before.std() > 10
    assert np.array_equal(before, env.render())
    for _ in range(50):
        env.step(env.action_space.high)
    assert not np.array_equal(before, env.render())
    env.close()


def test_rows_of_a_maze_run_down_and_columns_across() -> None:
    env = rendered("irlbench/Maze2D-UMaze-v0")

    def ball(row: float, column: float) -> np.ndarray:
        env.reset(options={"state": [row, column, 0, 0]})
        pixels = env.render().astype(int)
        return np.argwhere(pixels[..., 2] - pixels[..., 0] > 50).mean(0)  # the ball is blue

    first, lower, right = ball(1, 2), ball(3, 2), ball(1, 3)
    assert lower[0] - first[0] > 50 and abs(lower[1] - first[1]) < 10
    assert right[1] - first[1] > 50 and abs(right[0] - first[0]) < 10
    env.close()


def test_reward_state_and_time_limit() -> None:
    env = gymnasium.make("irlbench/Maze2D-UMaze-v0")
    obs, _ = env.reset(seed=0, options={"state": np.array([1.0, 1.0, 0.0, 0.0])})
    assert obs.tolist() == [1, 1, 0, 0]
    for step in range(maze2d.UMAZE_TASK.horizon):
        obs, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        assert not terminated and truncated == (step == maze2d.UMAZE_TASK.horizon - 1)
    goal = maze2d.goal_cell(maze2d.UMAZE)
    assert reward == pytest.approx(np.exp(-np.linalg.norm(info["state"][:2] - goal)), abs=1e-6)


def test_what_cannot_render_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "none")
    with pytest.raises(NoOpenGL, match="MUJOCO_GL"):
        registered.Camera(maze2d.model(maze2d.UMAZE))
