"""The documented Slurm job, carried out on this machine, with an ``srun`` that starts the second Ray node here too."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from results.store import Store
from tests.desk import ROOT, SUITE, Desk, traced, wait_for

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
TEXT = (ROOT / "docs" / "cluster.md").read_text()
(SCRIPT,) = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)


def test_the_documented_job_is_a_script() -> None:
    assert subprocess.run(["bash", "-n"], input=SCRIPT, text=True).returncode == 0
    assert "ray stop" not in SCRIPT and SCRIPT.count("run paper") == 1


class Slurm:
    """A cluster of one machine, which takes itself for several.

    Args:
        folder: from which jobs are submitted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._commands = folder / "commands"
        self._commands.mkdir()
        (self._commands / "srun").write_text(SRUN)
        (self._commands / "srun").chmod(0o755)
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "activate").write_text(f"PATH={Path(sys.executable).parent}:$PATH")

    def submit(self, number: int, nodes: int, run: list[str]) -> subprocess.Popen[bytes]:
        """Starts the documented job, with one core a node, but for what it runs."""
        script = SCRIPT.replace("run paper", shlex.join(run))
        told = {"JOB_ID": number, "NNODES": nodes, "CPUS_PER_TASK": 1, "SUBMIT_DIR": self._folder}
        env = os.environ | {f"SLURM_{name}": str(value) for name, value in told.items()}
        env |= {"SLURMD_NODENAME": "localhost", "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        env["PATH"] = f"{self._commands}:{env['PATH']}"
        output = (self._folder / f"{number}.log").open("ab")
        return subprocess.Popen(["bash", "-c", script], env=env, stdout=output, stderr=subprocess.STDOUT)


def nodes_of(process: int) -> list[psutil.Process]:
    """Ray nodes that a job has started."""
    started = psutil.Process(process).children(recursive=True)
    return [one for one in started if one.name() == "raylet"]


@pytest.mark.slow
def test_a_slurm_job_ends_in_time_goes_on_and_lets_others_be(desk: Desk, tmp_path: Path) -> None:
    """Two jobs on one machine; one is told that its time ends, and is submitted again."""
    slurm, theirs, trace, gate = Slurm(tmp_path), tmp_path / "theirs", tmp_path / "trace", tmp_path / "gate"
    desk.suite.write_text(SUITE.replace("timeout_s: 60", "timeout_s: 600"))
    counting = ("--seeds", "0-1", "--set", f"toy-counts.trace={trace}", "--set", "toy-counts.steps=100")
    ours = desk.arguments("run", "COUNTS", extra=(*counting, "--set", "toy-counts.sleep=0.2"))
    first = slurm.submit(2, 2, ours)
    desk.results = theirs
    waiting = ("--set", f"toy-shares.trace={gate}", "--set", "toy-shares.sleep=500")
    other = slurm.submit(3, 1, desk.arguments("run", "SHARES", extra=waiting))
    wait_for(lambda: traced(trace).count(5) == 2)  # cells of one core each, at once: on two nodes
    nodes = nodes_of(first.pid)
    assert len(nodes) == 2
    first.send_signal(signal.SIGTERM)
    assert first.wait(120) == 130
    assert not psutil.wait_procs(nodes, 10)[1]
    assert Store(tmp_path / "runs").load() == ([], [])
    wait_for(gate.exists)
    assert other.poll() is None
    with gate.open("a") as file:
        file.write("1 go on\n")
    assert other.wait(120) == 0 and [record.status for record in Store(theirs).load()[0]] == ["ok"]
    assert slurm.submit(4, 2, ours).wait(180) == 0
    records, corrupt = Store(tmp_path / "runs").load()
    assert [(record.status, record.provenance["executor"]) for record in records] == [("ok", "ray")] * 2
    assert not corrupt and sorted(traced(trace)) == sorted([*range(100)] * 2)  # no count was made twice
