"""Data sets from and to files: what is kept exactly, and what is refused and why."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box

from benchmark import cli
from envs.d4rl_scores import REFERENCES, VARIANTS
from envs.formats import FormatError, check_against, content_hash, load, save_minari, save_npz
from envs.maze2d import UMAZE_TASK
from envs.problem import Dataset, Trajectories

Arrays = dict[str, Any]
OBS_SPACE, ACT_SPACE = Box(-np.inf, np.inf, (4,), np.float32), Box(-1, 1, (2,), np.float32)
N, T = 3, 5


def made(steps: int = T) -> Dataset:
    rng = np.random.default_rng(0)
    trajectories = Trajectories(rng.normal(size=(N, steps + 1, 4)), rng.uniform(-1, 1, (N, steps, 2)))
    return Dataset(trajectories, rng.normal(size=(N, steps)), "made")


def plain(dataset: Dataset) -> Arrays:
    return {"obs": dataset.trajectories.obs, "acts": dataset.trajectories.acts, "rewards": dataset.rewards}


def same(a: Dataset, b: Dataset) -> bool:
    x, y = plain(a), plain(b)
    return all(x[key].dtype == y[key].dtype and np.array_equal(x[key], y[key]) for key in x)


def flat(dataset: Dataset) -> Arrays:
    """D4RL's layout: what was seen, step by step, without the last observation of an episode."""
    obs, acts, _ = dataset.trajectories.transitions()
    n, steps = dataset.rewards.shape
    ends = np.tile(np.arange(steps) == steps - 1, n)
    found = {"observations": obs, "actions": acts, "rewards": dataset.rewards.ravel()}
    return found | {"terminals": np.zeros(n * steps, bool), "timeouts": ends}


def write(path: Path, arrays: Arrays) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, value in arrays.items():
                file[key] = value
    return path


@pytest.fixture
def do(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout, stderr of one ``data`` command."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["irlbench", "data", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def test_npz_round_trip_is_exact(tmp_path: Path) -> None:
    dataset, path = made(), tmp_path / "a.npz"
    save_npz(dataset, path)
    found = load(path)
    assert same(dataset, found) and [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert found.id == content_hash(dataset.trajectories, dataset.rewards)


def test_minari_round_trip_is_exact_and_minari_itself_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, path = made(), tmp_path / "a-v0"
    save_minari(dataset, path, OBS_SPACE, ACT_SPACE)
    assert same(dataset, load(path)) and same(dataset, load(path / "data"))
    assert [p.name for p in tmp_path.iterdir()] == ["a-v0"]
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    theirs = minari.load_dataset("a-v0")
    assert (theirs.total_episodes, theirs.total_steps) == (N, N * T) and theirs.action_space == ACT_SPACE
    for i, episode in enumerate(theirs.iterate_episodes()):
        assert np.array_equal(episode.observations, dataset.trajectories.obs[i])
        assert np.array_equal(episode.rewards, dataset.rewards[i])
        assert episode.truncations[-1] and not episode.terminations.any()


def test_the_hash_is_of_the_content_rewards_included(tmp_path: Path) -> None:
    dataset = made()
    save_npz(dataset, tmp_path / "a.npz")
    save_minari(dataset, tmp_path / "a-v0", OBS_SPACE, ACT_SPACE)
    write(tmp_path / "b.npz", plain(dataset) | {"rewards": dataset.rewards + 1})
    a, minaris, b = (load(tmp_path / name) for name in ("a.npz", "a-v0", "b.npz"))
    assert a.id == minaris.id != b.id


def test_horizon_cuts_longer_episodes(tmp_path: Path) -> None:
    save_npz(made(), tmp_path / "a.npz")
    found = load(tmp_path / "a.npz", 2).trajectories
    assert np.array_equal(found.obs, made().trajectories.obs[:, :3]) and found.steps == 2


def test_d4rl_with_next_observations_keeps_every_step(tmp_path: Path) -> None:
    dataset = made()
    arrays = flat(dataset) | {"next_observations": dataset.trajectories.transitions()[2]}
    assert same(dataset, load(write(tmp_path / "a.hdf5", arrays)))
    del arrays["timeouts"]
    assert same(dataset, load(write(tmp_path / "b.h5", arrays), T))


@pytest.mark.parametrize("timeouts", [True, False])
def test_d4rl_without_next_observations_drops_the_last_step(tmp_path: Path, timeouts: bool) -> None:
    dataset, arrays = made(), flat(made())
    if not timeouts:
        del arrays["timeouts"]
    unfinished = {key: np.concatenate([value, np.zeros_like(value[:2])]) for key, value in arrays.items()}
    found = load(write(tmp_path / "a.hdf5", unfinished), None if timeouts else T)
    shorter = Trajectories(dataset.trajectories.obs[:, :T], dataset.trajectories.acts[:, : T - 1])
    assert same(found, Dataset(shorter, dataset.rewards[:, : T - 1], ""))


def changed(key: str, index: Any, value: float) -> Callable[[Arrays], Arrays]:
    def change(arrays: Arrays) -> Arrays:
        array = np.array(arrays[key])
        array[index] = value
        return arrays | {key: array}

    return change


BAD_NPZ: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "keys": (lambda a: {"obs": a["obs"], "actions": a["acts"]}, r"missing acts, rewards; it has actions, obs"),
    "nan": (changed("obs", (1, 2, 3), np.nan), r"obs \[3, 6, 4\] is not finite at \[1, 2, 3\] \(1 such.*remove"),
    "inf reward": (changed("rewards", (0, 0), np.inf), r"rewards \[3, 5\] is not finite at \[0, 0\]"),
    "axes": (lambda a: a | {"acts": a["acts"][0]}, r"acts has shape \[5, 2\]; it must be \[N, T, A\]"),
    "counts": (lambda a: a | {"acts": a["acts"][:2]}, r"lengths differ: obs \[3, 6, 4\], acts \[2, 5, 2\]"),
    "steps": (lambda a: a | {"obs": a["obs"][:, 1:]}, r"episode 0: observations \[5, 4\].*one observation more"),
    "none": (lambda a: {key: value[:0] for key, value in a.items()}, r"no episode"),
    "text": (lambda a: a | {"rewards": np.full((N, T), "a")}, r"rewards is not an array of numbers"),
    "pickle": (lambda a: a | {"rewards": np.array([{}], object)}, r"not a whole npz file of plain arrays"),
}
BAD_D4RL: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "keys": (lambda a: {"observations": a["observations"]}, r"missing actions, rewards, terminals; it has observ"),
    "nan": (changed("actions", (4, 1), np.nan), r"actions \[15, 2\] is not finite at \[4, 1\]"),
    "axes": (lambda a: a | {"actions": a["actions"][:, 0]}, r"actions has shape \[15\]; it must be \[M, A\]"),
    "lengths": (lambda a: a | {"rewards": a["rewards"][:9]}, r"lengths differ: .*rewards \[9\]"),
    "terminated": (changed("terminals", 7, 1), r"terminals is true 1 times, first at row 7: termination leaks"),
    "differing": (changed("timeouts", 1, 1), r"differ in length, from 1 steps \(episode 0\) to 4; give a horizon"),
    "no timeouts": (lambda a: {k: v for k, v in a.items() if k != "timeouts"}, r"no timeouts.*give a horizon"),
    "never ends": (lambda a: a | {"timeouts": np.zeros(15, bool)}, r"no whole episode in its 15 steps"),
    "empty": (lambda a: {key: value[:0] for key, value in a.items()}, r"no whole episode in its 0 steps"),
    "group": (lambda a: {"observations/x" if k == "observations" else k: v for k, v in a.items()}, r"not a whole HDF5"),
}


@pytest.mark.parametrize(
    ("suffix", "make", "change", "message"),
    [(".npz", plain, *bad) for bad in BAD_NPZ.values()] + [(".hdf5", flat, *bad) for bad in BAD_D4RL.values()],
    ids=[f"npz-{name}" for name in BAD_NPZ] + [f"d4rl-{name}" for name in BAD_D4RL],
)
def test_bad_files_are_refused_by_name(
    tmp_path: Path,
    do: Callable[..., tuple[int, str, str]],
    suffix: str,
    make: Callable[[Dataset], Arrays],
    change: Callable[[Arrays], Arrays],
    message: str,
) -> None:
    path = write(tmp_path / f"bad{suffix}", change(make(made())))
    with pytest.raises(FormatError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    code, _, error = do("import", path, tmp_path / "out.npz")
    assert code == 2 and error == f"error: {caught.value}\n" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.npz", "a.hdf5"])
def test_truncated_and_foreign_files_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, (plain if name.endswith("npz") else flat)(made()))
    for content in (path.read_bytes()[:-200], b"not what it says", b""):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=rf"{name}: not a whole (npz|HDF5) file"):
            load(path)


def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path) -> None:
    """Bytes overwritten at random: what the reading libraries raise never reaches the user.

    Not on HDF5 files: on some damage libhdf5 itself hangs, which no caller can catch.
    """
    dataset, rng = made(), np.random.default_rng(0)
    save_minari(dataset, tmp_path / "a-v0", OBS_SPACE, ACT_SPACE)
    npz, inside = write(tmp_path / "a.npz", plain(dataset)), tmp_path / "a-v0" / "data"
    for file, path in ((npz, npz), (inside / "metadata.json", inside)):
        whole, refused = file.read_bytes(), 0
        for _ in range(60):
            damaged = np.frombuffer(whole, np.uint8).copy()
            damaged[rng.integers(0, min(len(damaged), 4000), 3)] = rng.integers(0, 256, 3)
            file.write_bytes(damaged.tobytes())
            try:
                load(path)
            except FormatError:
                refused += 1
        file.write_bytes(whole)
        assert refused


def test_paths_that_are_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    for name, message in (("a.csv", "format unknown"), ("b.npz", "no such file"), ("", "no metadata.json")):
        with pytest.raises(FormatError, match=message):
            load(tmp_path / name)


def test_horizons_that_do_not_fit(tmp_path: Path) -> None:
    save_npz(made(), tmp_path / "a.npz")
    write(tmp_path / "a.hdf5", {key: value for key, value in flat(made()).items() if key != "timeouts"})
    for name, horizon, message in (
        ("a.npz", T + 1, "episode 0 has 5 usable steps, fewer than the horizon 6; give a horizon of at most 5"),
        ("a.npz", 0, "horizon 0: it must be at least 1"),
        ("a.hdf5", 16, "no whole episode in its 15 steps"),
        ("a.hdf5", 1, "no step whose next observation is known"),
    ):
        with pytest.raises(FormatError, match=message):
            load(tmp_path / name, horizon)


def minari_file(folder: Path) -> h5py.File:
    return h5py.File(folder / "data" / "main_data.hdf5", "a")


def test_bad_minari_data_sets_are_refused(tmp_path: Path) -> None:
    def fresh(name: str) -> Path:
        save_minari(made(), tmp_path / name, OBS_SPACE, ACT_SPACE)
        return tmp_path / name

    with minari_file(ended := fresh("ended-v0")) as file:
        file["episode_1/terminations"][4] = True
    with minari_file(nan := fresh("nan-v0")) as file:
        file["episode_2/actions"][0, 1] = np.nan
    with minari_file(lacking := fresh("lacking-v0")) as file:
        del file["episode_0/rewards"]
    with minari_file(short := fresh("short-v0")) as file:
        for key in ("observations", "actions", "rewards", "terminations", "truncations"):
            file[f"episode_1/{key}"].resize(len(file[f"episode_1/{key}"]) - 2, 0)
    (cut := fresh("cut-v0") / "data" / "main_data.hdf5").write_bytes(cut.read_bytes()[:900])
    spaceless = fresh("spaceless-v0") / "data" / "metadata.json"
    metadata = json.loads(spaceless.read_text())
    spaceless.write_text(json.dumps({key: metadata[key] for key in metadata if key != "action_space"}))
    for path, message in (
        (ended, r"episode_1/terminations is true at step 4: termination leaks"),
        (nan, r"episode_2/actions \[5, 2\] is not finite at \[0, 1\]"),
        (lacking, r"not a whole Minari data set \(KeyError"),
        (short, r"differ in length, from 3 steps \(episode 1\) to 5"),
        (cut.parents[1], r"not a whole Minari data set \(OSError"),
        (spaceless.parents[1], r"missing action_space"),
    ):
        with pytest.raises(FormatError, match=message):
            load(path)
    assert load(short, 3).trajectories.steps == 3


def test_what_stands_is_not_overwritten_and_failures_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tmp_path / "a.npz", tmp_path / "a-v0"):
        path.touch()
    with pytest.raises(FormatError, match="exists: delete it"):
        save_npz(made(), tmp_path / "a.npz")
    with pytest.raises(FormatError, match="exists: delete it"):
        save_minari(made(), tmp_path / "a-v0", OBS_SPACE, ACT_SPACE)
    with pytest.raises(FormatError, match=r"must end in a version"):
        save_minari(made(), tmp_path / "mine", OBS_SPACE, ACT_SPACE)
    with pytest.raises(FormatError, match=r"must end in \.npz"):
        save_npz(made(), tmp_path / "a.txt")

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", full)
    monkeypatch.setattr("minari.dataset._storages.hdf5_storage._add_episode_to_group", full)
    with pytest.raises(OSError, match="disk full"):
        save_npz(made(), tmp_path / "b.npz")
    with pytest.raises(OSError, match="disk full"):
        save_minari(made(), tmp_path / "b-v0", OBS_SPACE, ACT_SPACE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-v0", "a.npz"]


def test_data_are_checked_against_a_task() -> None:
    dataset, few = made(), made().trajectories
    check_against(dataset, UMAZE_TASK)
    with pytest.raises(FormatError, match=r"observations \[3, 6, 3\] have dimension 3, task maze2d-umaze has 4"):
        check_against(Dataset(Trajectories(few.obs[..., :3], few.acts), dataset.rewards, ""), UMAZE_TASK)
    with pytest.raises(FormatError, match=r"actions \[3, 5, 1\] have dimension 1"):
        check_against(Dataset(Trajectories(few.obs, few.acts[..., :1]), dataset.rewards, ""), UMAZE_TASK)
    acts = np.array(few.acts)
    acts[2, 1, 0] = 1.5
    with pytest.raises(FormatError, match=r"1\.5 at \[2, 1, 0\] is outside \[-1, 1\].*clip or rescale"):
        check_against(Dataset(Trajectories(few.obs, acts), dataset.rewards, ""), UMAZE_TASK)


def test_export_describe_import(tmp_path: Path, do: Callable[..., tuple[int, str, str]]) -> None:
    demos = UMAZE_TASK.demos(3, 1)
    for format, name in (("npz", "maze2d-umaze-demos.npz"), ("minari", "maze2d-umaze-demos-v0")):
        folder = tmp_path / format
        code, _, error = do("export", "maze2d-umaze", folder, "--format", format, "--demos", 3, "--seed", 1)
        assert code == 0, error
        assert same(load(folder / name), demos) and len(list(folder.iterdir())) == 2
        code, out, error = do("describe", folder / name, "--task", "maze2d-umaze", "--json")
        assert code == 0, error
        (row,) = json.loads(out)["datasets"]
        assert (row["episodes"], row["steps"], row["observations"]) == (3, 300, [3, 301, 4])
        assert row["returns"]["max"] == pytest.approx(demos.returns.max())
        assert row["d4rl"]["score"] == pytest.approx(
            100 * (demos.returns.mean() - 68.537689) / (193.6628564 - 68.537689)
        )
        assert "start distribution" in row["d4rl"]["note"] and row["hash"] == load(folder / name).id
    code, _, error = do("import", folder / name, tmp_path / "cut.npz", "--horizon", 20, "--task", "maze2d-umaze")
    assert code == 0, error
    assert np.array_equal(load(tmp_path / "cut.npz").rewards, demos.rewards[:, :20])
    code, out, _ = do("describe", tmp_path / "cut.npz", "--task", "maze2d-umaze")
    assert code == 0 and "not given (D4RL's references are for 300 steps, not 20)" in out
    code, _, error = do("import", tmp_path / "cut.npz", tmp_path / "wrong.npz", "--task", "halfcheetah")
    assert code == 2 and "dimension 4, task halfcheetah has 17" in error and not (tmp_path / "wrong.npz").exists()


def test_describe_a_task_and_what_is_none(tmp_path: Path, do: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = do("describe", "maze2d-umaze")
    assert code == 0
    for kind, episodes in (("base", 533), ("demos", UMAZE_TASK.default_demos)):
        said = out[out.index(f"maze2d-umaze {kind}\n") :]
        assert (
            f"  {episodes} episodes of 300 steps; observations [{episodes}, 301, 4], actions [{episodes}, 300, 2]"
            in said
        )
        for told in (r"min -?\d.* q25 .* median .* q75 .* max .* mean", r"D4RL-normalised score  -?[\d.]+ \(maze"):
            assert re.search(told, said), said
        assert re.search(r"coverage  [\d.]+% .*\n  content hash  [0-9a-f]{16}   licence  MIT", said)
    for arguments, message in (
        (("describe", "maze2d-umazz"), "Did you mean maze2d-umaze"),
        (("describe", "maze2d-umaze", "--horizon", 3), "are for files"),
        (("describe", tmp_path / "no.npz"), "no such file"),
        (("export", "no-task", tmp_path / "new"), "unknown task"),
        (("export", "maze2d-umaze", tmp_path), "exists: delete it"),
    ):
        code, _, error = do(*arguments)
        assert code == 2 and message in error and error.count("\n") == 1, error
    assert not list(tmp_path.iterdir())


def test_import_says_that_a_step_was_dropped(tmp_path: Path, do: Callable[..., tuple[int, str, str]]) -> None:
    path = write(tmp_path / "a.hdf5", {key: value for key, value in flat(made()).items() if key != "timeouts"})
    code, out, _ = do("import", path, tmp_path / "a.npz", "--horizon", T)
    assert code == 0 and f"3 episodes of {T - 1} steps" in out and "that step was dropped" in out


def test_d4rl_scores_are_0_and_100_at_the_references() -> None:
    for reference in (*REFERENCES.values(), *VARIANTS.values()):
        assert reference.score(reference.random) == 0 and reference.score(reference.expert) == 100


def test_fetch_says_offline_in_one_sentence_and_keeps_only_the_original(
    tmp_path: Path, do: Callable[..., tuple[int, str, str]]
) -> None:
    from benchmark.errors import UserError
    from benchmark.fetch import ORIGINALS, fetch

    name = "halfcheetah-medium-replay-v2"
    with pytest.raises(UserError, match=rf"{name} was not fetched from http://127.0.0.1:9/.*refused"):
        fetch(name, tmp_path, "http://127.0.0.1:9")
    mirror = tmp_path / "mirror"
    for wanted in (name, "maze2d-umaze-v1"):
        file = mirror / ORIGINALS[wanted].path
        file.parent.mkdir(parents=True)
        file.write_bytes(b"not the original")
    with pytest.raises(UserError, match=r"the original 48d494.*not kept"):
        fetch(name, tmp_path / "got", mirror.as_uri())
    assert "no published checksum" in fetch("maze2d-umaze-v1", tmp_path / "got", mirror.as_uri())
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["maze2d-umaze-v1.hdf5"]
    code, _, error = do("fetch", "halfcheetah-medium")
    assert code == 2 and "halfcheetah-medium-v2" in error and error.count("\n") == 1


def test_coverage_by_hand() -> None:
    from benchmark.data_commands import coverage

    axis = np.linspace(0, 1, 100, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(1, -1, 2)
    assert coverage(grid) == 1.0
    assert coverage(np.stack([axis, axis], -1)[None]) == pytest.approx(0.1)
