"""What the terminal, logs and TensorBoard show of a run."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmark import registry
from benchmark.display import Display
from benchmark.runner import Past, Plan
from benchmark.suite import cells, load_suite
from results.store import Store
from tests.desk import Desk


@pytest.mark.parametrize(("option", "lines"), [("--plain", 2), ("--quiet", 0)])
def test_plain_and_quiet_runs_are_for_logs(desk: Desk, option: str, lines: int) -> None:
    code, out, errors = desk.do(*desk.arguments("run", "COUNTS", extra=(option, "--workers", "0")))
    assert code == 0 and len(out.splitlines()) == lines and not errors
    assert len(Store(desk.results).load()[0]) == 1


def test_tensorboard_gets_events_of_every_cell(desk: Desk, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = ("--set", "toy-counts.sleep=0.3", "--seeds", "0-1", "--tensorboard", str(tmp_path / "events"))
    records = desk.run("COUNTS", "SHOWS", extra=settings)
    record = records["toy-counts"]
    folders = sorted((tmp_path / "events" / "mine" / "toy-counts" / "maze2d-umaze").iterdir())
    assert [folder.name.split("-")[0] for folder in folders] == ["seed0", "seed1"]
    found = EventAccumulator(str(next(folder for folder in folders if record.id in folder.name)))
    found.Reload()
    tags = found.Tags()["scalars"]
    assert "live/sum" in tags and "metrics/normalized_score" in tags
    assert found.Scalars("metrics/normalized_score")[0].value == pytest.approx(record.metrics["normalized_score"], 1e-5)
    shown = records["toy-shows"]
    (folder,) = (tmp_path / "events" / "mine" / "toy-shows" / "maze2d-umaze").glob(f"*{shown.id}")
    found = EventAccumulator(str(folder))
    found.Reload()
    live, final = [e.value for e in found.Scalars("live/score")], shown.metrics["normalized_score"]
    assert live == pytest.approx([*[row["score"] for row in shown.curve], final], 1e-5) and len(live) == 4


def test_plain_lines_tell_of_long_cells_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = load_suite("smoke")[1].model_copy(update={"methods": ["random"], "tasks": ["maze2d-umaze"]})
    (cell,), console = cells("any", suite, registry.discover()), Console(file=io.StringIO(), width=80)
    with Display(Plan([], [cell], Past([])), 1, console) as display:
        display.started(cell)
        display.progressed(cell, 0.1, {"env_steps": 10})
        with monkeypatch.context() as now:
            now.setattr("benchmark.display.TOLD_S", 0.0)
            display.progressed(cell, 0.4, {"env_steps": 5000, "loss": 0.5})
        display.progressed(cell, 0.5, {"env_steps": 6000, "loss": 0.25})
    (line,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line.startswith("running 40% · random · maze2d-umaze · seed 0 · 0:00:00 · 0:00:00 left · ")
    assert line.endswith(" env steps/s · loss 0.5")


def test_the_display_shows_counts_progress_and_time_left() -> None:
    found = registry.discover()
    suite = load_suite("smoke")[1].model_copy(update={"methods": ["expert", "random"], "tasks": ["maze2d-umaze"]})
    first, second = cells("any", suite, found)
    terminal, plain = (Console(file=io.StringIO(), force_terminal=tty, width=150) for tty in (True, False))
    for console in (terminal, plain):
        past = Past([first.record("ok", {}, wall_seconds=60.0), second.record("ok", {}, wall_seconds=30.0)])
        planned = Plan([], [first, second], past)
        with Display(planned, 1, console) as display:
            display.started(first)
            display.progressed(first, 0.25, {"loss": 0.5, "env_steps": 100})
            display.progressed(first, 0.0, {"score": 12.5, "env_steps": 100})
            console.is_terminal and time.sleep(0.1)
            display.progressed(first, 0.5, {"loss": 0.25, "env_steps": 5100})
            console.is_terminal and time.sleep(0.6)
            display.finished(first, first.record("failed", {}, reason="[red]ValueError"))
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    for piece in (
        "0/2 cells",
        "1 running  1 waiting",
        "about 0:01:30 left",
        "expert · maze2d-umaze · seed 0",
        "score 12.5  loss 0.25",
        "env steps/s",
        "0:01:00 left",
    ):
        assert piece in shown, piece
    lines = plain.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == ["[1/2] failed  expert · maze2d-umaze · seed 0 · 0.0 s · [red]ValueError"]
