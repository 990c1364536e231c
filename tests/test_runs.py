"""What becomes of cells: each leaves a record, whatever happens, and none is run twice."""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from benchmark.cell import device_of
from results.store import Store
from tests.desk import SUITE, Desk, start, traced, wait_for


def test_a_record_names_the_gpu_that_a_policy_lies_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    for device, name in (("cuda", "a card"), ("cpu", "cpu")):
        weights = [SimpleNamespace(device=torch.device(device))]
        assert device_of(SimpleNamespace(policy=SimpleNamespace(parameters=lambda w=weights: w))) == name


def test_whatever_happens_becomes_a_record(desk: Desk) -> None:
    toys = ["RAISES", "EXITS", "EXITS_HARD", "SEGFAULTS", "NAN_POLICY", "NAN_REWARD", "FLAT_REWARD", "GREEDY", "SKIPS"]
    records = desk.run("GOOD", "DIVERGES", *toys)
    outcomes = {name: (record.status, record.reason) for name, record in records.items()}
    assert outcomes == {
        "toy-good": ("ok", ""),
        "toy-flat-reward": ("ok", ""),
        "toy-raises": ("failed", "ValueError: as intended"),
        "toy-diverges": ("failed", "Diverged: the loss rose"),
        "toy-exits": ("failed", "SystemExit: 3"),
        "toy-exits-hard": ("failed", "worker exited with code 3 before it left a record"),
        "toy-segfaults": ("failed", "worker killed by SIGSEGV before it left a record"),
        "toy-nan-policy": ("failed", "ValueError: actions must be finite: 8 of 8 are not"),
        "toy-nan-reward": ("failed", "NotFinite: learnt return is not finite on 133 of 133 episodes"),
        "toy-greedy": ("failed", outcomes["toy-greedy"][1]),
        "toy-skips": ("skipped", "not for me"),
    }
    assert records["toy-diverges"].curve == [{"gradient_steps": 1, "loss": 0.5}]  # the last good part of it
    for unsound in ("toy-nan-policy", "toy-nan-reward"):  # found when scored: how they were learnt is kept
        assert records[unsound].curve and all(row["loss"] == 1.0 for row in records[unsound].curve)
    assert "budget" in outcomes["toy-greedy"][1]
    good, flat = records["toy-good"], records["toy-flat-reward"]
    assert good.metrics.keys() >= {"score_seen", "score_unseen", "normalized_score", "erc_pearson", "window_pearson"}
    assert good.env_steps == 20 and good.gradient_steps == 1 and good.peak_memory_mib > 1 and good.wall_seconds > 0
    assert good.provenance["versions"]["mujoco"] and good.provenance["finished"]
    assert good.provenance["device"] == "cpu"
    assert "erc_pearson" not in flat.metrics and any(note.startswith("erc_pearson:") for note in flat.notes)
    store = Store(desk.results)
    assert "last words" in (store.folder(records["toy-exits-hard"].id) / "error.txt").read_text()
    assert "as intended" in (store.folder(records["toy-raises"].id) / "error.txt").read_text()
    with np.load(store.folder(good.id) / "artefacts.npz", allow_pickle=False) as file:
        assert file["reward_map"].shape == file["true_map"].shape == file["grid_xy"].shape[:2]
        assert file["paths_seen"].shape == file["paths_unseen"].shape == (2, 301, 2)
        assert file["learnt_returns"].shape == file["true_returns"].shape == (133,)
        assert file["learnt_steps"].shape == (2000,) and file["learnt_steps"].dtype == np.float32


def test_a_cell_that_hangs_is_ended_and_the_run_goes_on(desk: Desk) -> None:
    desk.suite.write_text(SUITE.replace("timeout_s: 60", "timeout_s: 6"))
    started = time.monotonic()
    records = desk.run("HANGS", "CHATTERS", "COUNTS", extra=("--workers", "1"))
    for name in ("toy-hangs", "toy-chatters"):
        assert records[name].status == "timeout" and "6 s" in records[name].reason
    assert records["toy-counts"].status == "ok"
    assert time.monotonic() - started < 300  # the toys would take longer
    assert not any("_work" in " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no cell can be held to one core")
def test_a_cell_that_waits_for_a_core_is_not_late(desk: Desk) -> None:
    """Six cells of at least 3 s share one core, so that each takes 18 s."""
    desk.suite.write_text(SUITE.replace("timeout_s: 60", "timeout_s: 12").replace('seeds: "0"', "seeds: 0-5"))
    desk.run("TOILS", extra=("--workers", "6"))
    records, _ = Store(desk.results).load()
    assert [record.status for record in records] == ["ok"] * 6
    assert max(record.wall_seconds for record in records) > 12


def test_what_is_done_is_not_done_again_unless_asked(desk: Desk, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with_trace = ("--set", f"toy-good.trace={trace}")
    first = desk.run("GOOD", "RAISES", extra=with_trace)
    again = desk.run("GOOD", "RAISES", extra=with_trace)
    assert again == first and len(trace.read_text().split()) == 1
    code, out, _ = desk.do(*desk.arguments("run", "GOOD", "RAISES", extra=with_trace))
    assert code == 0 and "2 done, 0 to run" in out
    retried = desk.run("GOOD", "RAISES", extra=(*with_trace, "--retry", "failed"))
    assert retried["toy-good"] == first["toy-good"]
    assert retried["toy-raises"].provenance["finished"] > first["toy-raises"].provenance["finished"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on_where_it_was(desk: Desk, tmp_path: Path, how: signal.Signals) -> None:
    trace = tmp_path / "trace"
    settings = ("--set", f"toy-good.trace={trace}", "--set", "toy-good.sleep=2", "--seeds", "0-3", "--workers", "1")
    process = start(desk.arguments("run", "GOOD", extra=settings))
    wait_for(lambda: 1 <= len(Store(desk.results).load()[0]) < len(traced(trace)))
    process.send_signal(how)
    _, errors = process.communicate(timeout=300)
    if how == signal.SIGINT:
        assert process.returncode == 130 and "goes on from here" in errors and "Traceback" not in errors
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in traced(trace)))
    kept = Store(desk.results).load()[0]
    assert 1 <= len(kept) < 4
    desk.run("GOOD", extra=settings)
    records = Store(desk.results).load()[0]
    assert len(records) == 4 and all(record in records for record in kept)
    assert len(traced(trace)) <= 5  # only the cell that was cut off, if any, ran twice


def test_two_runs_at_once_share_the_work(desk: Desk, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    settings = ("--set", f"toy-good.trace={trace}", "--set", "toy-good.sleep=1", "--seeds", "0-3", "--workers", "1")
    both = [start(desk.arguments("run", "GOOD", extra=settings)) for _ in range(2)]
    for process in both:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert out.count(" ok ") >= 1
    assert len(traced(trace)) == 4 and len(Store(desk.results).load()[0]) == 4


def test_a_corrupt_record_is_named_skipped_counted_and_made_again(desk: Desk) -> None:
    records = desk.run("GOOD", "PROPER")
    path = Store(desk.results).path(records["toy-good"].id)
    path.write_text(path.read_text()[:100])
    code, out, errors = desk.do(*desk.arguments("status", "GOOD", "PROPER"))
    assert code == 0 and str(path) in errors and "skipped" in errors
    assert "1 missing, 1 ok" in out
    code, out, _ = desk.do(*desk.arguments("status", "GOOD", "PROPER", extra=("--json",)))
    assert json.loads(out)["corrupt"] == [str(path)]
    assert desk.run("GOOD", "PROPER")["toy-good"].metrics == records["toy-good"].metrics


def test_nothing_is_left_behind(desk: Desk) -> None:
    desk.run("GOOD", "EXITS_HARD")
    left = {path.name for path in desk.results.iterdir()} - {".locks", ".work"}
    stems = {record.id for record in Store(desk.results).load()[0]}
    assert left == stems | {f"{stem}.json" for stem in stems}
    assert not list((desk.results / ".work").iterdir())
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_a_folder_that_cannot_be_written_is_refused(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    desk.results = tmp_path / "file" / "runs"
    code, _, errors = desk.do(*desk.arguments("run", "GOOD"))
    assert code == 2 and "cannot be written" in errors and "--results" in errors
    assert (tmp_path / "file").read_text() == "in the way"
