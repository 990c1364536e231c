"""Tasks of the user's own: a Gymnasium id and a file of demonstrations are enough; what leaks the reward is refused."""

import json
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest

from benchmark import registry
from benchmark.cell import keep_references
from benchmark.errors import UserError
from benchmark.pose import pose
from benchmark.references import place, references
from benchmark.suite import load_suite, settings_of
from envs.formats import save_minari
from envs.own import RecordedTask, TaskError, load_task
from envs.problem import Dataset, Trajectories
from tests.desk import Desk
from tests.test_leakage import Truth, found_in

N, T = 3, 200


def played(env: gymnasium.Env[Any, Any], episodes: int) -> list[dict[str, np.ndarray]]:
    """Episodes of random actions, to their ends."""
    found = []
    for seed in range(episodes):
        obs, acts, rewards, over = [env.reset(seed=seed)[0]], [], [], False
        env.action_space.seed(seed)
        while not over:
            acts.append(env.action_space.sample())
            after, reward, ended, cut, _ = env.step(acts[-1])
            obs.append(after)
            rewards.append(reward)
            over = ended or cut
        found.append({"obs": np.array(obs), "acts": np.array(acts), "rewards": np.array(rewards), "ended": ended})
    return found


def described(folder: Path, **keys: Any) -> Path:
    """A task's file; JSON is YAML."""
    path = folder / "mine.yaml"
    path.write_text(json.dumps({"name": "mine", "environment": "Pendulum-v1", "demonstrations": "demos.npz"} | keys))
    return path


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    episodes = played(gymnasium.make("Pendulum-v1"), N)
    np.savez(folder / "demos.npz", **{k: np.stack([one[k] for one in episodes]) for k in ("obs", "acts", "rewards")})
    return described(folder, demos=2)


def test_reward_is_that_of_the_environment_and_states_hold_none(pendulum: Path) -> None:
    task = load_task(pendulum)
    env = task.make_env(2)
    obs, states, acts = [env.reset(np.random.default_rng(0))], [env.states], []
    for _ in range(5):
        acts.append(np.full((2, 1), 0.5, np.float32))
        obs.append(env.step(acts[-1]))
        states.append(env.states)
    path, acts = np.stack(states, 1), np.stack(acts, 1)
    cos, sin, speed = np.stack(obs, 1)[:, :-1].transpose(2, 0, 1)
    by_hand = -(np.arctan2(sin, cos) ** 2 + 0.1 * speed**2 + 0.001 * 0.5**2)  # Pendulum's documentation
    np.testing.assert_allclose(task.reward(path[:, :-1], acts, path[:, 1:]), by_hand, rtol=1e-4)
    assert path.shape == (2, 6, 2 + 3)  # seed, time, observation
    with pytest.raises(ValueError, match="from their starts alone"):
        task.reward(path[:, 1:-1], acts[:, 1:], path[:, 2:])
    with pytest.raises(ValueError, match=r"middle of an episode.*--retry failed"):
        env.reset_to(path[:, 2])


def test_nothing_that_a_method_is_given_tells_of_the_true_reward(pendulum: Path) -> None:
    task = load_task(pendulum)
    problem = pose(task, 0, 2, 10_000, 0, False, lambda fraction, values: None).problem
    truth = Truth(task).learn(task.base(0), task.demos(2, 0))
    assert found_in(problem, truth) == []


def test_demonstrations_are_the_100(pendulum: Path) -> None:
    task = load_task(pendulum)
    keep_references(task, "x")
    place(task, "x").write_bytes(place(task, "x").read_bytes()[:50])
    keep_references(task, "x")  # the demonstrator cannot be measured again
    found, known = references(task, "x"), task.demos(N, 0)
    for kind in ("seen", "unseen"):
        assert found[f"expert_{kind}"] == pytest.approx([known.returns.mean()] * 16)
        assert np.array_equal(found[f"occupancy_{kind}"][N, -1], known.trajectories.obs[0, -1])
        assert (found[f"random_{kind}"] < 0).all()


def test_a_cell_is_run_and_scored(pendulum: Path, desk: Desk) -> None:
    (record,) = desk.run("PROPER", extra=("--task", str(pendulum))).values()
    assert record.status == "ok", record.reason
    assert record.task == "mine" and record.demos == 2 and not [note for note in record.notes if "pictures" in note]
    assert {"score_seen", "erc_pearson", "window_pearson_within", "occupancy_mmd"} <= record.metrics.keys()
    again = desk.do(*desk.arguments("run", "PROPER", extra=("--task", str(pendulum))))
    assert "1 done, 0 to run" in again[1]
    pendulum.write_text(pendulum.read_text().replace('"demos": 2', '"demos": 1'))
    again = desk.do(*desk.arguments("run", "PROPER", extra=("--task", str(pendulum), "--dry-run")))
    pendulum.write_text(pendulum.read_text().replace('"demos": 1', '"demos": 2'))
    assert again[0] == 0 and "0 cells done, 1 cells to run" in again[1]
    desk.suite.write_text(desk.suite.read_text() + "demos: {all: 9}\n")
    code, _, error = desk.do(*desk.arguments("run", "PROPER", extra=("--task", str(pendulum))))
    assert code == 2 and "9 demonstrations of mine: 3 are recorded" in error


ON_REWARDS = {"erc_pearson_uniform", "epic_distance", "dard_distance", "starc_distance", "re-optimisation"}


def test_every_method_runs_on_it_or_says_why_not(pendulum: Path, desk: Desk) -> None:
    (desk.results.parent / "demos.npz").write_bytes((pendulum.parent / "demos.npz").read_bytes())
    short = desk.results.parent / "short.yaml"
    short.write_text("{name: short, environment: Pendulum-v1, demonstrations: demos.npz, horizon: 20}")
    suite = desk.suite.read_text().replace("methods: []", "methods: all").replace("timeout_s: 60", "timeout_s: 600")
    desk.suite.write_text(suite.replace("all: 4000", "all: 1000") + "smoke: true\nreoptimise: {all: {all: 1000}}\n")
    records = desk.run(extra=("--task", str(short)))
    assert records.keys() == registry.discover().methods.keys()
    skipped = {name: record.reason for name, record in records.items() if record.status == "skipped"}
    assert skipped.keys() == {"expert", *(name for name in records if name.startswith("oracle-")), "maxent-tabular"}
    assert all("the demonstrator cannot be run" in str(skipped[name]) for name in skipped.keys() - {"maxent-tabular"})
    for name, record in records.items():
        assert record.status in ("ok", "skipped"), f"{name}: {record.reason}"
        if record.status == "ok":
            told = {note.split(": ")[0] for note in record.notes}
            assert told >= (ON_REWARDS if record.reward_kind != "none" else {"re-optimisation"}), name


def test_a_window_that_no_episode_holds_is_refused_and_the_default_is_fitted(pendulum: Path, tmp_path: Path) -> None:
    (tmp_path / "demos.npz").write_bytes((pendulum.parent / "demos.npz").read_bytes())
    found, suite, task = registry.discover(), load_suite("quick")[1], load_task(described(tmp_path, horizon=50))
    for name in ("diffusion-irl-mse", "diffusion-irl-value", "diffusion-bc", "unguided-diffuser"):
        base = settings_of(found.method(name)[0], task, suite, {})["base"]
        assert (base["tokens"], base["skip"]) == (12, 4)
    with pytest.raises(
        UserError, match=r"demos.npz: actions \[3, 50, 1\]: episodes of 50 .* 13 tokens of 4 .*at most 50"
    ):
        settings_of(found.method("diffusion-irl-mse")[0], task, suite, {"base.tokens": 13})


@pytest.fixture
def packaged(pendulum: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that can be imported and holds the task, and one beside it that cannot."""
    name = "my_task_package"
    (pendulum.parent / f"{name}.py").write_text(
        f"from envs.own import load_task\n\nTASK = load_task({str(pendulum)!r})\n"
    )
    (pendulum.parent / f"{name}_broken.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.syspath_prepend(str(pendulum.parent))
    yield name
    sys.modules.pop(name, None)


def test_an_entry_point_may_give_it_and_a_broken_one_stops_nothing(
    packaged: str, monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    entries = [EntryPoint(end or "mine", packaged + end, "irlbench.tasks") for end in ("_broken", "")]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "irlbench.tasks" else [])
    task, module = registry.discover().task("mine")
    assert isinstance(task, RecordedTask) and module == packaged
    found = json.loads(desk.do("list", "--json")[1])
    assert found["tasks"].keys() >= {"mine", "halfcheetah"} and "bc" in found["methods"]
    assert found["unavailable"] == {"entry point _broken": "RuntimeError: not today"}


def test_a_reference_gives_it_to_a_run(packaged: str, desk: Desk) -> None:
    extra = ("--task", f"{packaged}:TASK", "--workers", "0")
    (record,) = desk.run("PROPER", extra=extra).values()
    assert (record.task, record.status) == ("mine", "ok"), record.reason
    assert "1 done, 0 to run" in desk.do(*desk.arguments("run", "PROPER", extra=extra))[1]


def test_minari_and_base_data(pendulum: Path, tmp_path: Path) -> None:
    demos, env = load_task(pendulum).demos(N, 0), load_task(pendulum).make_env(1)
    save_minari(demos, tmp_path / "mine-v0", env.observation_space, env.action_space)
    halves = demos.trajectories
    np.savez(tmp_path / "base.npz", obs=halves.obs, acts=halves.acts, rewards=demos.rewards)
    task = load_task(described(tmp_path, demonstrations="mine-v0", base="base.npz"))
    assert task.recorded == N and task.horizon == T and len(task.base(3)) == N
    wrong = Dataset(Trajectories(halves.obs, 9 * np.ones_like(halves.acts)), demos.rewards, "")
    np.savez(tmp_path / "base.npz", obs=halves.obs, acts=wrong.trajectories.acts, rewards=demos.rewards)
    with pytest.raises(TaskError, match=r"mine.yaml: .*is outside \[-2, 2\]"):
        load_task(described(tmp_path, demonstrations="mine-v0", base="base.npz"))


@pytest.mark.parametrize("timeouts", [True, False])
def test_episodes_are_as_long_as_d4rls_files_tell(pendulum: Path, tmp_path: Path, timeouts: bool) -> None:
    """Their last step leads nowhere that is recorded: demonstrations and the task's episodes are one step shorter."""
    demos = load_task(pendulum).demos(N, 0)
    obs, acts, _ = demos.trajectories.transitions()
    flat = {"observations": obs, "actions": acts, "rewards": demos.rewards.ravel(), "terminals": np.zeros(N * T, bool)}
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        for key, value in (flat | ({"timeouts": np.arange(N * T) % T == T - 1} if timeouts else {})).items():
            file[key] = value
    whole = described(tmp_path, demonstrations="d4rl.hdf5", base="d4rl.hdf5", horizon=T)
    if timeouts:
        with pytest.raises(TaskError, match=f"episode 0 has {T - 1} usable steps, .*give a horizon of at most {T - 1}"):
            load_task(whole)
        whole = described(tmp_path, demonstrations="d4rl.hdf5", base="d4rl.hdf5", horizon=T - 1)
    task = load_task(whole)
    assert task.horizon == task.make_env(1).horizon == T - 1
    for found in (task.demos(N, 0), task.base(0)):
        assert np.array_equal(found.rewards, demos.rewards[:, : T - 1])


def test_episodes_that_terminate_are_refused_unless_absorbed(tmp_path: Path) -> None:
    episodes = played(gymnasium.make("InvertedPendulum-v4"), 4)
    lengths = [len(one["acts"]) for one in episodes]
    assert all(one["ended"] for one in episodes) and max(lengths) < 100
    rows = {"observations": "obs", "actions": "acts", "rewards": "rewards"}
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        for key, name in rows.items():
            file[key] = np.concatenate([one[name][: len(one["acts"])] for one in episodes])
        file["next_observations"] = np.concatenate([one["obs"][1:] for one in episodes])
        file["terminals"] = np.concatenate([np.arange(n) == n - 1 for n in lengths])
        file["timeouts"] = np.zeros(sum(lengths), bool)
    keys: dict[str, Any] = {"environment": "InvertedPendulum-v4", "demonstrations": "d4rl.hdf5", "horizon": 100}
    with pytest.raises(TaskError, match=r"terminals is true 4 times.*termination leaks the reward.*absorbing: true"):
        load_task(described(tmp_path, **keys))
    task = load_task(described(tmp_path, **keys, absorbing=True))
    known = task.demos(4, 0)
    assert known.trajectories.steps == 100 and sorted(known.returns.tolist()) == sorted(map(float, lengths))
    assert np.array_equal(known.trajectories.obs[0, -1], known.trajectories.obs[0, -2])
    base = task.base(0)  # random actions fall, and stay fallen
    assert base.trajectories.steps == 100 and (base.rewards[:, -1] == 0).all()
    assert np.array_equal(base.trajectories.obs[:, -1], base.trajectories.obs[:, -2])
    # data that do not end, of an environment that does
    np.savez(tmp_path / "long.npz", obs=known.trajectories.obs, acts=known.trajectories.acts, rewards=known.rewards)
    with pytest.raises(TaskError, match=r"ended at step \d+ of 100.*termination leaks.*absorbing: true"):
        load_task(described(tmp_path, **keys | {"demonstrations": "long.npz"}))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "My Task"}, "mine.yaml, line 1: name: .*pattern"),
        ({"environmnt": "x"}, r"mine.yaml, line \d+: environmnt: .*Keys: name, title, environment"),
        ({"environment": "NoSuch-v0"}, "NoSuch"),
        ({"environment": "CartPole-v1"}, r"action space is Discrete\(2\); needed is a Box"),
        ({"demonstrations": "none.npz"}, "none.npz: no such file"),
        ({"environment": "MountainCarContinuous-v0", "horizon": T}, "have dimension 3, task mine has 2"),
        ({"horizon": 500}, "200 usable steps, fewer than the horizon 500"),
        ({"kwargs": {"gg": 1}}, "gg"),
    ],
)
def test_what_makes_no_task_is_refused(pendulum: Path, tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    (tmp_path / "demos.npz").write_bytes((pendulum.parent / "demos.npz").read_bytes())
    with pytest.raises(TaskError, match=message):
        load_task(described(tmp_path, **keys))
    with pytest.raises(UserError, match=r"mine\.yaml"):
        registry.Registry().task(str(tmp_path / "mine.yaml"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demos.npz", "mine.yaml"]
