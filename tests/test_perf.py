"""Measurements are found by being there; what they say is checked by those who wrote them."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmark import cli, perf
from benchmark.perf import returns
from methods.graphs import captured

MODULE = """
from benchmark.perf import Row
def measure():
    yield Row(name="fast", ours=30.0, unit="steps/s", reference=10.0, against="rival", required=2)
    yield Row(name="slow", ours=2.0, unit="s", reference=1.0, against="floor", better=-1, required=0.8)
    yield Row(name="seen", ours=1.0, unit="s", reference=1.0, against="floor")
"""


def test_what_is_measured_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "zz_toy.py").write_text(MODULE)
    monkeypatch.setattr(perf, "__path__", [*perf.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "argv", ["irlbench", "perf", "zz_toy", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "| fast | 30 steps/s | 10 (rival) | 3.00 | 2 ✓ |" in printed
    assert "| slow | 2 s | 1 (floor) | 0.50 | 0.8 ✗ |" in printed
    assert (tmp_path / "out" / "perf.md").read_text() == printed
    rows = json.loads((tmp_path / "out" / "perf.json").read_text())
    assert [(row["name"], row["ratio"], row["met"]) for row in rows] == [
        ("fast", 3.0, True),
        ("slow", 0.5, False),
        ("seen", 1.0, None),
    ]

    monkeypatch.setattr(sys, "argv", [*sys.argv, "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out) == rows


def test_a_measurement_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "harness" in perf.names()
    monkeypatch.setattr(sys, "argv", ["irlbench", "perf", "harnes"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and "Did you mean harness" in capsys.readouterr().err


def test_without_a_gpu_nothing_is_measured_on_one_and_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not [*perf.measure(["gpu"])]

    def work(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    assert captured(work, torch.ones(2)) is work


def test_help_names_every_measurement() -> None:
    assert ", ".join(perf.names()) == cli.PERF


def test_the_time_until_a_return_lies_between_the_policies_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returns, "earned", lambda policy: policy)
    shown = [(1.0, 0, -50.0), (2.0, 0, 1000.0), (3.0, 0, 900.0), (4.0, 0, 3000.0), (5.0, 0, 100.0)]
    assert returns.until(shown) == 3.5  # 2,000 half way between the best so far, 1,000, and 3,000
    assert returns.until(shown[:3]) == 3.0  # never: no less than this
