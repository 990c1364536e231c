"""Core types, seeds, budget, physics and data: what they promise, and what they refuse, by message."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.datasets import cache_dir, cached, truth_dir
from envs.maze2d import LARGE, UMAZE, UMAZE_TASK, Waypoints, cells, distances, goal_cell, make_env, starts_in
from envs.metered import BudgetExceeded, Meter, MeteredEnv
from envs.problem import Dataset, Trajectories
from envs.rollout import rollout
from envs.seeding import seed_of, stream


def episodes(n: int = 4, steps: int = 6) -> Trajectories:
    obs = np.arange(n * (steps + 1) * 2, dtype=np.float32).reshape(n, steps + 1, 2)
    return Trajectories(obs, obs[:, 1:, :1])


@pytest.mark.parametrize(
    ("obs", "acts", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2, 1)), r"obs has shape \[2, 3\]; it must be \[N, T\+1, O\]"),
        (np.zeros((2, 3, 1)), np.zeros((2, 3, 1)), "one observation more than actions"),
        (np.zeros((3, 3, 1)), np.zeros((2, 2, 1)), "does not fit"),
        (np.zeros((0, 1, 1)), np.zeros((0, 0, 1)), "at least one episode"),
        (np.full((1, 2, 1), np.nan), np.zeros((1, 1, 1)), r"obs is not finite at index \[0, 0, 0\]"),
        (np.zeros((1, 2, 1)), np.full((1, 1, 1), np.inf), "acts is not finite"),
    ],
)
def test_wrong_trajectories_are_refused(obs: np.ndarray, acts: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trajectories(obs, acts)


def test_trajectories_cannot_be_changed_nor_change_with_their_source() -> None:
    source = np.zeros((1, 2, 1), np.float32)
    made = Trajectories(source, np.zeros((1, 1, 1)))
    source[:] = 1
    assert made.obs.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        made.obs[:] = 1


def test_windows_cover_without_overlap() -> None:
    pieces = episodes().windows(3)
    assert pieces.obs.shape == (8, 4, 2)
    assert np.array_equal(pieces.obs[:4], episodes().obs[:, :4]) and np.array_equal(
        pieces.obs[4:], episodes().obs[:, 3:]
    )
    for length in (7, 0):
        with pytest.raises(ValueError, match=r"it must be 1\.\.6"):
            episodes().windows(length)


def test_the_content_hash_sees_values_and_shapes() -> None:
    assert episodes().content_hash() == episodes().content_hash()
    assert len({episodes().content_hash(), episodes(3).content_hash(), episodes()[::-1].content_hash()}) == 3


def test_rewards_must_fit() -> None:
    with pytest.raises(ValueError, match="one reward per action"):
        Dataset(episodes(), np.zeros((4, 7)), "x")
    assert Dataset(episodes(), np.ones((4, 6)), "x").returns.tolist() == [6.0] * 4


def test_streams_depend_on_every_part() -> None:
    assert stream("a", 1).integers(1 << 60) == stream("a", 1).integers(1 << 60)
    parts = [("a", 1), ("a", 2), ("b", 1), (1, "a"), ("a1",), ("a", 1, ""), ("a", "1")]
    assert len({seed_of(*part) for part in parts}) == len(parts)
    assert all(0 <= seed_of(*part) < 2**63 for part in parts)


def test_the_meter_refuses_before_it_charges() -> None:
    meter = Meter(10)
    meter.charge(8)
    with pytest.raises(BudgetExceeded, match="3 more environment steps after 8 exceed the budget of 10"):
        meter.charge(3)
    assert meter.used == 8
    meter.charge(2)


def test_an_environment_gives_no_reward_and_counts() -> None:
    meter = Meter(6)
    env = MeteredEnv(make_env(UMAZE, 3, 2), meter, np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(np.zeros((2, 2)))
    env.reset()
    outcomes = [env.step(np.zeros((2, 2))) for _ in range(3)]
    assert [len(outcome) for outcome in outcomes] == [2, 2, 2]
    assert [outcome[1] for outcome in outcomes] == [False, False, True]
    assert outcomes[0][0].dtype == np.float32 and outcomes[0][0].shape == (2, 4)
    assert meter.used == 6
    with pytest.raises(RuntimeError, match="no episode is under way, they last 3 steps"):
        env.step(np.zeros((2, 2)))
    env.reset()
    with pytest.raises(BudgetExceeded):
        env.step(np.zeros((2, 2)))


def test_a_problem_holds_no_reward() -> None:
    from benchmark.pose import pose

    problem = pose(UMAZE_TASK, 0, 2, 10, 0, False, lambda fraction, values: None).problem
    assert not any("reward" in name for name in (*dir(problem), *dir(problem.base), *dir(problem.demos)))
    env = problem.make_env(1, np.random.default_rng(0))
    assert not any("reward" in name for name in dir(env))
    assert not hasattr(problem, "base_env")  # its steps would not count


@pytest.mark.parametrize(
    ("acts", "message"), [(np.zeros((2, 3)), r"shape \[2, 2\]"), (np.full((2, 2), np.nan), "must be finite")]
)
def test_wrong_actions_are_refused(acts: np.ndarray, message: str) -> None:
    env = make_env(UMAZE, 10, 2)
    env.reset(np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        env.step(acts)


def test_wrong_states_are_refused() -> None:
    env = make_env(UMAZE, 10, 2)
    for states, message in ((np.zeros((1, 4)), r"of shape \[2, 4\]"), (np.full((2, 4), np.nan), "8 of 8 are not")):
        with pytest.raises(ValueError, match=message):
            env.reset_to(states)
    with pytest.raises(ValueError, match="at least one environment"):
        make_env(UMAZE, 10, 0)


def test_physics_of_a_state_does_not_depend_on_the_batch() -> None:
    starts = starts_in(cells(UMAZE), 5, np.random.default_rng(3))
    acts = np.random.default_rng(4).uniform(-2, 2, (20, 5, 2))
    together, alone = make_env(UMAZE, 20, 5), make_env(UMAZE, 20, 1)
    together.reset_to(starts)
    alone.reset_to(starts[2:3])
    for act in acts:
        together.step(act)
        alone.step(act[2:3])
    assert np.array_equal(together.states[2], alone.states[0])


def test_no_wall_is_crossed() -> None:
    run = rollout(make_env(UMAZE, 300, 16), Waypoints(UMAZE), starts_in(cells(UMAZE), 16, stream("w")), stream("p"))
    # the ball's centre stays off every wall block: between -0.6 and +0.2 of a free cell's index, less its radius
    xy = run.states[..., :2].reshape(-1, 2)
    free = {(i, j) for i, j in cells(UMAZE)}
    assert {(round(x + 0.2 - 1e-9), round(y + 0.2 - 1e-9)) for x, y in xy} <= {
        (i, j) for a, b in free for i in (a, a + 1) for j in (b, b + 1)
    }
    assert np.isfinite(run.states).all()


def test_the_expert_reaches_the_goal_and_stays() -> None:
    goal = np.array(goal_cell(UMAZE))
    run = rollout(UMAZE_TASK.make_env(16), UMAZE_TASK.expert(), UMAZE_TASK.unseen_starts, stream("e"))
    assert (np.linalg.norm(run.states[:, -1, :2] - goal, axis=1) < 0.5).all()


def test_distances_by_hand() -> None:
    away = distances(UMAZE, goal_cell(UMAZE))
    assert away[goal_cell(UMAZE)] == 0 and away[(3, 1)] == 6 and len(away) == 7
    assert len(distances(LARGE, goal_cell(LARGE))) == len(cells(LARGE))


def test_unseen_starts_are_farther_than_demonstrations() -> None:
    away = distances(UMAZE, goal_cell(UMAZE))
    nearest = [away[tuple(np.round(s[:2]).astype(int))] for s in UMAZE_TASK.unseen_starts]
    farthest = [away[tuple(np.round(s[:2]).astype(int))] for s in UMAZE_TASK.seen_starts]
    assert min(nearest) > max(farthest)


def test_a_policy_with_wrong_actions_is_refused() -> None:
    class Wrong(Waypoints):
        def __call__(self, obs, rng):  # type: ignore[no-untyped-def]
            return np.zeros((len(obs), 3))

    with pytest.raises(ValueError, match=r"shape \[1, 2\]"):
        rollout(make_env(UMAZE, 3, 1), Wrong(UMAZE), UMAZE_TASK.seen_starts[:1], stream("x"))


def test_datasets_are_built_once_and_rebuilt_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRLBENCH_CACHE", str(tmp_path / "cache"))
    built = []

    def build() -> tuple[Trajectories, np.ndarray]:
        built.append(1)
        return episodes(), np.ones((4, 6), np.float32)

    first, second = cached("some-data", build), cached("some-data", build)
    assert len(built) == 1 and first.id == "some-data"
    assert first.trajectories.content_hash() == second.trajectories.content_hash()
    for path in (cache_dir() / "some-data.npz", truth_dir() / "some-data.npz"):
        whole, before = path.read_bytes(), len(built)
        inside = len(whole) // 2
        for damaged in (whole[:50], whole[:inside] + bytes([whole[inside] ^ 1]) + whole[inside + 1 :]):  # cut; one bit
            path.write_bytes(damaged)
            again = cached("some-data", build)
            assert again.returns.tolist() == [6.0] * 4
            assert again.trajectories.content_hash() == first.trajectories.content_hash()
        assert len(built) == before + 2


def test_base_data_and_demonstrations_follow_their_seed() -> None:
    assert UMAZE_TASK.demos(2, 0).trajectories.content_hash() != UMAZE_TASK.demos(2, 1).trajectories.content_hash()
    assert UMAZE_TASK.base(0).id != UMAZE_TASK.base(1).id


RECIPES = """
from envs import halfcheetah, maze2d
from envs.formats import content_hash

halfcheetah.BASES |= {task: (*found[:3], 1) for task, found in halfcheetah.BASES.items()}  # an episode of each share
for task in (maze2d.UMAZE_TASK, maze2d.TASKS[-1], halfcheetah.TASK, halfcheetah.FULL_REPLAY):
    for made in (task.base(0), task.demos(2, 3)):
        print(task.name, content_hash(made.trajectories, made.rewards))
"""


def test_recipes_give_the_same_hash_in_another_process_and_cache(tmp_path: Path) -> None:
    def printed(salt: str) -> str:
        told = os.environ | {"IRLBENCH_CACHE": str(tmp_path / salt), "PYTHONHASHSEED": salt}
        done = subprocess.run([sys.executable, "-c", RECIPES], env=told, capture_output=True, text=True, check=True)
        return done.stdout

    first = printed("1")
    assert first == printed("2") and len(first.splitlines()) == 8
