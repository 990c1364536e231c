"""A run that is killed goes on where it was and ends as if nothing had happened, bit by bit."""

import random
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.cell import Progress
from benchmark.pose import Posed, pose
from benchmark.registry import discover
from benchmark.reoptimise import agent
from envs.checkpoint import ASKED, Checkpoint, Interrupted
from envs.metered import Meter
from envs.problem import Task
from methods import pretraining
from methods.base import Method
from methods.controls import GivenReward


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """State is written after every count."""
    monkeypatch.setattr("envs.checkpoint.EVERY", 0.0)


class Killed(BaseException):
    pass


def work(checkpoint: Checkpoint, rng: np.random.Generator, meter: Meter, kill: int | None) -> list[float]:
    """Two loops that draw from everything there is to draw from."""
    torch.manual_seed(int(rng.integers(2**31)))
    np.random.seed(3)  # noqa: NPY002
    random.seed(4)
    own, curve = torch.Generator().manual_seed(5), [0.0]
    net = torch.nn.Linear(3, 1)
    optimiser = torch.optim.Adam(net.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 20)
    now = {"x": np.zeros(3, np.float32), "over": True}
    for name in ("first", "second"):
        for step in checkpoint.loop(
            name, 10, net=net, optimiser=optimiser, schedule=schedule, own=own, curve=curve, now=now, nothing=None
        ):
            if kill is not None and kill == step + (10 if name == "second" else 0):
                raise Killed
            draws = [random.random(), np.random.random(), float(rng.random()), float(torch.rand(()))]  # noqa: NPY002
            now["x"] = now["x"] * 0.5 + np.float32(sum(draws)) + float(torch.rand((), generator=own))
            loss = net(torch.from_numpy(now["x"])).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            meter.charge(2)
            curve.append(loss.item())
    return [*curve, *net.weight.flatten().tolist(), float(meter.used)]


@pytest.mark.parametrize("kill", [0, 1, 7, 10, 13, 19])
def test_what_a_killed_run_ends_with_is_what_it_would_have_ended_with(tmp_path: Path, kill: int) -> None:
    def run(folder: Path | None, kill: int | None) -> list[float]:
        rng, meter = np.random.default_rng(0), Meter(1000)
        return work(Checkpoint(folder, rng, meter), rng, meter, kill)

    undisturbed = run(None, None)
    with pytest.raises(Killed):
        run(tmp_path / "state", kill)
    assert run(tmp_path / "state", None) == undisturbed
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"first.safetensors", "second.safetensors"}


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"rubbish" * 99])
def test_a_damaged_state_is_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "loop.safetensors").write_bytes(content)
    assert list(Checkpoint(tmp_path).loop("loop", 3, curve=[])) == [0, 1, 2]


def test_a_state_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert list(Checkpoint(tmp_path / "state").loop("loop", 3, curve=[])) == [0, 1, 2]


def test_what_is_neither_array_nor_plain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no Generator"):
        list(Checkpoint(tmp_path).loop("loop", 1, now={"x": np.random.default_rng(0)}))


def test_state_is_written_now_and_then_and_knows_the_time_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envs.checkpoint.EVERY", 30.0)
    clock: Iterator[int] = iter(range(0, 10_000, 40))
    monkeypatch.setattr("envs.checkpoint.time.monotonic", lambda: float(next(clock)))
    loop = Checkpoint(tmp_path).loop("loop", 9, curve=[])
    assert [next(loop) for _ in range(3)] == [0, 1, 2]
    again = Checkpoint(tmp_path)
    assert next(again.loop("loop", 9, curve=[])) >= 1 and again.before[0] >= 40


@pytest.mark.parametrize("slow", [0, 1, 3, 10])
def test_a_kill_costs_less_than_a_minute_however_slow_writing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    """Counts of a second each: no more than sixty lie between two states that are kept."""
    monkeypatch.setattr("envs.checkpoint.EVERY", 30.0)
    now, written = {"clock": 0.0, "count": 0}, [0]
    monkeypatch.setattr("envs.checkpoint.time.monotonic", lambda: now["clock"])
    monkeypatch.setattr("envs.checkpoint.save_file", lambda *_: now.update(clock=now["clock"] + slow))
    monkeypatch.setattr("envs.checkpoint.os.replace", lambda *_: written.append(int(now["count"])))
    for count in Checkpoint(tmp_path).loop("loop", 600, curve=[]):
        now.update(clock=now["clock"] + 1, count=count + 1)
    assert len(written) > 10 and max(after - before for before, after in pairwise(written)) <= 60


def test_looking_at_policies_on_the_way_costs_the_method_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(policy: float) -> None:
        torch.rand(3)
        began = time.process_time()
        while time.process_time() - began < 0.3:
            pass

    monkeypatch.setattr(ASKED, "look", look)
    checkpoint, before = Checkpoint(), torch.get_rng_state()
    checkpoint.show(0.0, lambda: 1.0)
    checkpoint.show(1.0, lambda: 2.0)
    assert [policy for *_, policy in checkpoint.shown] == [1.0, 2.0] and torch.equal(torch.get_rng_state(), before)
    assert checkpoint.shown[1][0] < 0.2 and 0.6 <= checkpoint.aside < 1.2


def test_the_count_of_steps_cannot_fall() -> None:
    meter = Meter(10)
    meter.charge(5)
    with pytest.raises(ValueError, match="cannot fall"):
        meter.resume(3)


def posed(folder: Path | None, method: Method, task: Task, progress: Progress) -> tuple[Posed, np.random.Generator]:
    rng = np.random.default_rng(7)
    given = pose(task, 0, 1, 3000, 0, method.control, progress, folder, rng)
    return given, rng


def learnt(method: Method, task: Task, folder: Path | None, kill: int | None = None) -> dict[str, object]:
    """What a method learns on its smoke settings; killed at the ``kill``-th time that it tells how far it is."""
    told = 0

    def progress(fraction: float, values: dict[str, float]) -> None:
        nonlocal told
        told += 1
        if told == kill:
            raise Killed

    given, rng = posed(folder, method, task, progress)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    found = method.fit(given.problem, method.config(**method.smoke), rng)
    checkpoint = given.problem.checkpoint
    parts = [part for part in (found.policy, found.reward) if part is not None]
    tensors = {f"{k}.{n}": t.numpy().tobytes() for k, part in enumerate(parts) for n, t in part.state_dict().items()}
    shown = [(n, sorted((k, t.numpy().tobytes()) for k, t in p.state_dict().items())) for _, n, p in checkpoint.shown]
    costs = {"steps": given.problem.meter.used, "updates": found.gradient_steps}
    return {**tensors, **costs, "curve": found.curve, "shown": shown}


FOUND = discover()
LONG = [name for name, (method, _) in sorted(FOUND.methods.items()) if not method.control and name != "maxent-tabular"]


@pytest.mark.parametrize("name", LONG)
def test_every_method_goes_on_where_it_was_killed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, task = FOUND.method(name)[0], FOUND.task("maze2d-umaze")[0]
    undisturbed = learnt(method, task, None)
    with pytest.raises(Killed):
        learnt(method, task, tmp_path / "state", kill=2)
    monkeypatch.setattr("envs.checkpoint.EVERY", 30.0)
    states = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert states, "nothing was kept"
    assert learnt(method, task, tmp_path / "state") == undisturbed


def test_a_base_model_goes_on_where_its_training_was_killed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = FOUND.task("maze2d-umaze")[0]
    config = pretraining.TOY.model_copy(update={"updates": 501})  # it tells how far it is at 0 and at 500

    def trained(kill: bool = False) -> dict[str, bytes]:
        def progress(fraction: float, values: dict[str, float]) -> None:
            if kill and values["base updates"] == 500:
                raise Killed

        given = pose(task, 0, 1, 0, 0, False, progress).problem
        for path in cache.glob(f"{pretraining.key(given, config)}.*s*"):  # not its lock
            path.is_file() and path.unlink()
        weights = pretraining.base_model(given, config).state_dict()
        return {name: x.numpy().tobytes() for name, x in weights.items()}

    with pytest.raises(Killed):
        trained(kill=True)
    assert list(cache.glob("*.state/base.safetensors"))
    resumed = trained()
    assert not list(cache.glob("*.state"))
    assert resumed == trained()


def test_an_agent_that_optimises_a_reward_again_goes_on_where_it_was_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = FOUND.task("maze2d-umaze")[0]
    data = task.demos(2, 0).trajectories
    reward = GivenReward(task.observed_reward)

    def trained(folder: Path | None) -> dict[str, bytes]:
        policy = agent(task, task.make_env, reward, data, 2400, 0, Checkpoint(folder), "")
        assert isinstance(policy, torch.nn.Module)
        return {name: x.numpy().tobytes() for name, x in policy.state_dict().items()}

    for _ in range(3):
        monkeypatch.setattr(ASKED, "to_stop", True)
        with pytest.raises(Interrupted):
            trained(tmp_path / "state")
    monkeypatch.setattr(ASKED, "to_stop", False)
    monkeypatch.setattr("envs.checkpoint.EVERY", 30.0)
    assert trained(tmp_path / "state") == trained(None)
