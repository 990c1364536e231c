"""A user at the command line, with a suite file and a results folder."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark import cli
from results.schema import Record
from results.store import Store

ROOT = Path(__file__).parents[1]
SUITE = """
description: for tests
seeds: "0"
base_seed: 0
methods: []
tasks: [maze2d-umaze]
step_budget: {all: 4000}
eval_starts: 2
timeout_s: 60
"""


class Desk:
    """A user with a suite file and a results folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.results, self.suite = folder / "runs", folder / "mine.yaml"
        self.suite.write_text(SUITE)
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def arguments(self, command: str, *toys: str, extra: tuple[str, ...] = ()) -> list[str]:
        chosen = [piece for toy in toys for piece in ("--method", f"tests.toys:{toy}")]
        where = ["--results", str(self.results)]
        if command == "run":
            where += ["--no-report"]
        return [command, str(self.suite), *chosen, *where, *extra]

    def do(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr of one command."""
        self._monkeypatch.setattr(sys, "argv", ["irlbench", *arguments])
        self._capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def run(self, *toys: str, extra: tuple[str, ...] = ()) -> dict[str, Record]:
        """Runs toys; their records by method."""
        code, _, errors = self.do(*self.arguments("run", *toys, extra=("--workers", "2", *extra)))
        assert code == 0, errors
        return {record.method: record for record in Store(self.results).load()[0]}


def outcome(results: Path) -> dict[str, tuple[dict[str, float], dict[str, bytes]]]:
    """Metrics and artefacts by record, and a check that nothing else lies about."""
    store, found = Store(results), {}
    records, corrupt = store.load()
    assert not corrupt
    for record in records:
        metrics = {name: value for name, value in record.metrics.items() if name != "seconds_to_90"}  # a duration
        found[record.id] = metrics, {}
        if record.status == "ok":
            with np.load(store.folder(record.id) / "artefacts.npz") as file:
                found[record.id][1].update({name: file[name].tobytes() for name in file})
    left = {path.name for path in results.iterdir()} - {".locks", ".work"}
    assert left == found.keys() | {f"{id}.json" for id in found}
    assert not list((results / ".work").iterdir())
    return found


def start(arguments: list[str], start_new_session: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmark", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=start_new_session)


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def traced(trace: Path) -> list[int]:
    return [int(line) for line in trace.read_text().split()] if trace.exists() else []
