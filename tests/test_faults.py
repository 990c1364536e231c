"""Faults, injected: whatever strikes, finished work stays, nothing is corrupted, and the same command goes on."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from benchmark import cli
from results.store import Store
from tests.desk import ROOT, SUITE, Desk, outcome, start, traced, wait_for


def forked(arguments: list[str]) -> int:
    """The command line in a child that has everything imported already; its process id."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.argv = ["irlbench", *arguments]
            cli.main()
        os._exit(0)
    return pid


def test_killed_at_random_moments_and_run_again_it_ends_as_if_undisturbed(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envs.checkpoint.EVERY", 0.0)
    toys, extra = ("COUNTS",), ("--seeds", "0-7", "--workers", "0", "--set", "toy-counts.sleep=0.03")
    arguments = desk.arguments("run", *toys, extra=extra)
    desk.results = tmp_path / "undisturbed"
    assert desk.do(*desk.arguments("run", *toys, extra=extra))[0] == 0
    moments, killed = random.Random(0), 0
    for _ in range(50):
        pid = forked(arguments)
        time.sleep(moments.uniform(0.02, 0.5))
        os.kill(pid, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert killed >= 10, killed  # the others had nothing left to do
    assert desk.do(*arguments)[0] == 0
    assert outcome(tmp_path / "runs") == outcome(desk.results)


REAL = ("bc", "sqil", "gail", "diffusion-irl-mse", "maxent-tabular", "expert")


@pytest.mark.slow
def test_suite_smoke_killed_at_fifty_random_moments_equals_one_worker_undisturbed(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By turns a run in one process, which writes its state after every count, and one with two workers."""
    monkeypatch.setattr("envs.checkpoint.EVERY", 0.0)
    named = [("--method", name) for name in (*REAL, "tests.toys:COUNTS")]
    named += [("--task", "maze2d-umaze"), ("--task", "halfcheetah"), ("--set", "toy-counts.sleep=0.1")]
    grid = ["run", "smoke", *(word for pair in named for word in pair), "--seeds", "0-1", "--no-report"]

    def command(folder: str, workers: int) -> list[str]:
        return [*grid, "--workers", str(workers), "--results", str(tmp_path / folder)]

    assert desk.do(*command("undisturbed", 1))[0] == 0
    moments, killed = random.Random(0), 0
    for number in range(50):
        if number % 2:
            process = start(command("killed", 2))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=moments.uniform(3, 9))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
        else:
            pid = forked(command("killed", 0))
            time.sleep(moments.uniform(0.02, 3))
            os.kill(pid, signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert killed >= 40, killed  # the others had nothing left to do
    assert desk.do(*command("killed", 1))[0] == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "undisturbed")


def test_what_a_kill_leaves_of_finished_cells_is_removed_and_nothing_else(desk: Desk) -> None:
    record = desk.run("COUNTS")["toy-counts"]
    store, other = Store(desk.results), "0" * 16
    for id in (record.id, other):  # of the other no record stands: a run may go on from its state
        store.workspace(id).joinpath("half.npz").touch()
        store.state_folder(id).mkdir()
        store.log_path(id).touch()
    half = [store.root / f".{id}-1.tmp" for id in (record.id, other)]
    for path in half:
        path.touch()
    with store.hold(record.id):  # its worker outlives the run by a moment
        store.prepare()
        assert half[0].exists() and store.log_path(record.id).exists()
    store.prepare()
    assert not [path for path in half if path.exists()]
    assert {path.name[:16] for path in (store.root / ".work").iterdir()} == {other}
    assert store.get(record.id) == record


@pytest.mark.parametrize("workers", ["1", "0"])
def test_one_interrupt_writes_down_where_cells_are(desk: Desk, tmp_path: Path, workers: str) -> None:
    trace = tmp_path / "trace"
    extra = ("--set", "toy-counts.steps=60", "--set", "toy-counts.sleep=0.1", "--workers", workers)
    settings = (*extra, "--set", f"toy-counts.trace={trace}")
    process = start(desk.arguments("run", "COUNTS", "SKIPS", extra=settings))
    wait_for(lambda: len(traced(trace)) >= 5)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "goes on from here" in errors and "Traceback" not in errors
    assert "ends them at once\n" in out and "left    toy-counts" in out
    counted = traced(trace)
    assert 5 <= len(counted) < 60
    _, out, _ = desk.do(*desk.arguments("status", "COUNTS", extra=settings[:-4] + settings[-2:]))
    assert "interrupted" in out and "1 interrupted" in out
    records = desk.run("COUNTS", extra=settings)
    assert traced(trace) == list(range(60))  # no count was made twice, none left out
    assert records["toy-counts"].wall_seconds > 6
    desk.results = tmp_path / "undisturbed"
    assert desk.run("COUNTS", extra=extra)["toy-counts"].metrics == records["toy-counts"].metrics


def test_a_signal_to_the_whole_group_leaves_cells_as_one_to_the_run_does(desk: Desk, tmp_path: Path) -> None:
    """As `timeout` and `scancel` send it: it also ends the server that workers are forked from."""
    trace = tmp_path / "trace"
    settings = ("--set", f"toy-counts.trace={trace}", "--set", "toy-counts.sleep=0.1", "--set", "toy-counts.steps=60")
    process = start(desk.arguments("run", "COUNTS", extra=(*settings, "--workers", "1")), start_new_session=True)
    wait_for(lambda: len(traced(trace)) >= 5)
    os.killpg(process.pid, signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "left    toy-counts" in out, out + errors
    assert Store(desk.results).load() == ([], [])


def test_two_interrupts_end_everything_at_once(desk: Desk) -> None:
    process = start(desk.arguments("run", "HANGS", extra=("--workers", "1")))
    wait_for(lambda: list(desk.results.glob(".work/*.log")))
    time.sleep(1)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - began < 30, errors
    assert Store(desk.results).load() == ([], [])


def test_a_time_out_ends_what_the_cell_has_started(desk: Desk, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    desk.suite.write_text(SUITE.replace("timeout_s: 60", "timeout_s: 2"))
    records = desk.run("HANGS_WITH_CHILD", extra=("--set", f"toy-hangs-with-child.trace={trace}"))
    assert records["toy-hangs-with-child"].status == "timeout"
    (child,) = traced(trace)
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 10)


def test_a_cell_that_eats_memory_is_ended(desk: Desk) -> None:
    desk.suite.write_text(SUITE + "memory_mib: 1500\n")
    records = desk.run("EATS_MEMORY", "COUNTS")
    assert records["toy-counts"].status == "ok"
    found = records["toy-eats-memory"]
    assert found.status == "failed" and "MiB of memory, above its 1500 MiB" in found.reason


def test_wrong_shapes_are_a_failure_that_says_so(desk: Desk) -> None:
    found = desk.run("WIDE_POLICY")["toy-wide-policy"]
    assert found.status == "failed" and "actions [4, 3] must be of shape [4, 2]" in found.reason


def test_a_clock_that_goes_backwards_spoils_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Backwards(datetime):
        hour_now = 20

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            cls.hour_now -= 1
            return datetime(2020, 1, 1, cls.hour_now, tzinfo=UTC)

    ticks = iter(range(10**9, 0, -3600))
    monkeypatch.setattr("benchmark.cell.datetime", Backwards)
    monkeypatch.setattr("time.time", lambda: float(next(ticks)))
    assert desk.do(*desk.arguments("run", "COUNTS", "RAISES", extra=("--workers", "0")))[0] == 0
    arguments = desk.arguments("run", "COUNTS", "RAISES", extra=("--workers", "0", "--retry", "failed"))
    assert desk.do(*arguments)[0] == 0
    records = {record.method: record for record in Store(desk.results).load()[0]}
    assert records["toy-counts"].status == "ok" and 0 < records["toy-counts"].wall_seconds < 600
    assert records["toy-raises"].provenance["finished"].startswith("2020-01-01T17")  # the retry, though "earlier"


def test_a_record_edited_by_hand_is_noticed_and_made_again(desk: Desk) -> None:
    first = desk.run("COUNTS")["toy-counts"]
    path = Store(desk.results).path(first.id)
    content = json.loads(path.read_text())
    content["metrics"]["normalized_score"] = 100.0
    path.write_text(json.dumps(content))
    code, out, errors = desk.do(*desk.arguments("status", "COUNTS"))
    assert code == 0 and f"{path} holds no record" in errors and "changed after it was written" in errors
    assert "1 missing" in out
    assert desk.run("COUNTS")["toy-counts"].metrics == first.metrics


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[None]:
    """A small file system of its own, where this machine lets one be made."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_full_disk_stops_the_run_and_corrupts_nothing(desk: Desk, tmp_path: Path, workers: str) -> None:
    with tmpfs(tmp_path / "small", "100k"):
        desk.results = tmp_path / "small" / "runs"
        arguments = desk.arguments("run", "COUNTS", extra=("--seeds", "0-9", "--workers", workers))
        code, _, errors = desk.do(*arguments)
        assert code == 2 and "could not be written" in errors and "finished cells are kept" in errors, errors
        assert "Traceback" not in errors
        records, corrupt = Store(desk.results).load()
        assert not corrupt and 1 <= len(records) < 10 and all(record.status == "ok" for record in records)
        subprocess.run(["mount", "-o", "remount,size=20m", str(tmp_path / "small")], check=True)
        assert desk.do(*arguments)[0] == 0
        assert len(outcome(desk.results)) == 10
        assert all(record in Store(desk.results).load()[0] for record in records)


def test_a_store_that_can_only_be_read_is_read(desk: Desk, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "20m"):
        desk.results = tmp_path / "small" / "runs"
        first = desk.run("COUNTS")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "small")], check=True)
        code, _, errors = desk.do(*desk.arguments("run", "COUNTS", "PROPER"))
        assert code == 2 and "cannot be written" in errors and "--results" in errors
        code, out, _ = desk.do(*desk.arguments("status", "COUNTS", "PROPER"))
        assert code == 0 and "1 missing, 1 ok" in out
        assert desk.do(*desk.arguments("run", "COUNTS", "PROPER", extra=("--dry-run",)))[0] == 0
        assert Store(desk.results).load() == ([*first.values()], [])


def test_status_tells_all_and_retry_redoes_failures_only(desk: Desk) -> None:
    desk.suite.write_text(SUITE.replace("timeout_s: 60", "timeout_s: 6"))
    toys = ("COUNTS", "RAISES", "HANGS", "SKIPS")
    before = desk.run(*toys)
    code, out, _ = desk.do(*desk.arguments("status", *toys))
    assert code == 0 and "1 failed, 1 ok, 1 skipped, 1 timeout" in out
    error = Store(desk.results).folder(before["toy-raises"].id) / "error.txt"
    assert "ValueError: as intended" in out and str(error) in out and "stopped after timeout_s = 6 s" in out
    after = desk.run(*toys, extra=("--retry", "failed"))
    same = {name for name in before if before[name] == after[name]}
    assert same == {"toy-counts", "toy-hangs", "toy-skips"}


def test_status_says_what_another_process_runs(desk: Desk) -> None:
    record = desk.run("COUNTS")["toy-counts"]
    store = Store(desk.results)
    store.path(record.id).unlink()
    with store.lock(record.id).acquire():
        assert "1 running" in desk.do(*desk.arguments("status", "COUNTS"))[1]
    assert "1 missing" in desk.do(*desk.arguments("status", "COUNTS"))[1]


def test_nothing_here_unpickles() -> None:
    forbidden = ("import pickle", "cloudpickle", "torch.load(", "allow_pickle=True", "yaml.load(", "marshal", "dill")
    packages = ("benchmark", "methods", "baselines", "envs", "results", "reports")
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            assert not [word for word in forbidden if word in text], path
            for line in text.splitlines():
                assert "np.load(" not in line or "allow_pickle=False" in line, (path, line)
