"""What the terminal shows while cells run: a live table, or plain lines where there is no terminal."""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmark.cell import Cell
from benchmark.runner import Listener, Plan
from results.schema import Record

STYLES = {"ok": "green", "failed": "red", "timeout": "red", "skipped": "yellow"}
SHOWN_VALUES = 3
TOLD_S = 300.0  # plain lines tell of a running cell this often
CLOCKS = ("env_steps", "gradient_steps")


def clock(seconds: float) -> str:
    """``1:02:03``."""
    return str(timedelta(seconds=max(0, round(seconds))))


class Events:
    """TensorBoard event files, one folder per cell.

    Args:
        folder: gets ``suite/method/task/seed0-id``.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._writer, self._open = folder, SummaryWriter, dict[str, Any]()

    def _of(self, cell: Cell) -> Any:
        if cell.id not in self._open:
            place = self._folder / cell.suite / cell.method / cell.task / f"seed{cell.seed}-{cell.id}"
            self._open[cell.id] = self._writer(str(place))
        return self._open[cell.id]

    def progressed(self, cell: Cell, values: dict[str, float]) -> None:
        """What a method tells on its way."""
        for name, value in values.items():
            if name not in CLOCKS:
                self._of(cell).add_scalar(f"live/{name}", value, int(values["env_steps"]))

    def finished(self, cell: Cell, record: Record) -> None:
        """Curve and metrics of a record."""
        writer = self._of(cell)
        for row in record.curve:
            step = int(next((row[name] for name in CLOCKS if name in row), 0))
            for name, value in row.items():
                writer.add_scalar(f"curve/{name}", value, step)
        for name, value in record.metrics.items():
            writer.add_scalar(f"metrics/{name}", value, record.env_steps)
        self._open.pop(cell.id).close()

    def close(self) -> None:
        """Closes what is open."""
        for writer in self._open.values():
            writer.close()


@dataclass
class _Running:
    cell: Cell
    begun: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    fraction: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    first: tuple[float, float] | None = None  # time and environment steps when it was first heard of

    def heard(self, fraction: float, values: dict[str, float]) -> None:
        score = {"score": self.values["score"]} if "score" in self.values else {}  # stays until there is a newer one
        self.fraction, self.values = max(self.fraction, fraction), {**score, **values}
        self.first = self.first or (time.monotonic(), values.get("env_steps", 0.0))

    @property
    def speed(self) -> str:
        """Environment steps per second, where it takes any."""
        if self.first is None or (taken := self.values.get("env_steps", 0.0) - self.first[1]) <= 0:
            return ""
        return f"{taken / max(1e-9, time.monotonic() - self.first[0]):,.0f} env steps/s"


class Display(Listener):
    """Listens to the runner; ``plain`` prints lines only, also on a terminal."""

    def __init__(
        self, plan: Plan, workers: int, console: Console, plain: bool = False, events: Events | None = None
    ) -> None:
        self._console, self._workers, self._plain, self._events = console, workers, plain, events
        self._total = len(plan.done) + len(plan.todo)
        self._counts = dict.fromkeys(STYLES, 0)
        for _, record in plan.done:
            self._counts[record.status] += 1
        self._waiting = {cell.id: cell for cell in plan.todo}
        self._running: dict[str, _Running] = {}
        self._past = plan.past
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Display":
        if self._console.is_terminal and not self._plain:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        if self._events is not None:
            self._events.close()

    def started(self, cell: Cell) -> None:
        self._waiting.pop(cell.id, None)
        self._running[cell.id] = _Running(cell)

    def progressed(self, cell: Cell, fraction: float, values: dict[str, float]) -> None:
        if one := self._running.get(cell.id):
            one.heard(fraction, values)
            if not self._live.is_started and time.monotonic() - one.told >= TOLD_S:
                one.told = time.monotonic()
                said = " · ".join(filter(None, [f"running {one.fraction:.0%}", *self._said(one)]))
                self._console.print(said, highlight=False, soft_wrap=True, markup=False)
        if self._events is not None:
            self._events.progressed(cell, values)

    def finished(self, cell: Cell, record: Record) -> None:
        self._waiting.pop(cell.id, None)
        self._running.pop(cell.id, None)
        self._counts[record.status] += 1
        self._past.add(record)
        if self._events is not None:
            self._events.finished(cell, record)
        score = record.metrics.get("normalized_score")
        line = Text(f"[{sum(self._counts.values())}/{self._total}] ")
        line.append(f"{record.status:8}", STYLES[record.status])
        line.append(f"{cell} · {record.wall_seconds:.1f} s")
        line.append(f" · score {score:.1f}" if score is not None else "")
        line.append(f" · {record.reason}" if record.reason else "")
        self._console.print(line, highlight=False, soft_wrap=True)

    def left(self, cell: Cell) -> None:
        self._running.pop(cell.id, None)
        self._console.print(f"left    {cell}: goes on from where it is", highlight=False, soft_wrap=True, markup=False)

    def stopping(self) -> None:
        self._waiting.clear()
        said = "stopping: running cells write down where they are; Ctrl-C again ends them at once"
        self._console.print(said, soft_wrap=True)

    def _left(self) -> str:
        now, running = time.monotonic(), [one.cell for one in self._running.values()]
        cells = [*self._waiting.values(), *running]
        known = {cell.id: seconds for cell in cells if (seconds := self._past.seconds(cell)) is not None}
        if not known:
            return "time left unknown"
        usual = sum(known.values()) / len(known)
        seconds = sum(known.get(id, usual) for id in self._waiting) / self._workers
        seconds += max((known.get(id, usual) - (now - one.begun) for id, one in self._running.items()), default=0.0)
        return f"about {clock(seconds)} left"

    def _left_of(self, one: _Running) -> str:
        spent, usual = time.monotonic() - one.begun, self._past.seconds(one.cell)
        if usual is None and one.fraction > 0:  # nothing is known of such cells but this one's pace
            usual = spent / one.fraction
        return "" if usual is None else f"{clock(usual - spent)} left"

    def _said(self, one: _Running) -> tuple[str, ...]:
        """A running cell, how long it has run, how long it may still, its speed and latest values."""
        values = [(name, value) for name, value in one.values.items() if name not in CLOCKS][:SHOWN_VALUES]
        said = "  ".join(f"{name} {value:.4g}" for name, value in values)
        return str(one.cell), clock(time.monotonic() - one.begun), self._left_of(one), one.speed, said

    def _render(self) -> Group:
        done = sum(self._counts.values())
        head = Table.grid(padding=(0, 1))
        counts = Text(f"{done}/{self._total} cells")
        for status, count in self._counts.items():
            if count:
                counts.append(f"  {count} {status}", STYLES[status])
        counts.append(f"  {len(self._running)} running  {len(self._waiting)} waiting  {self._left()}")
        head.add_row(ProgressBar(self._total, done, width=30), counts)
        rows = Table.grid(padding=(0, 2))
        for one in self._running.values():
            rows.add_row(ProgressBar(1.0, min(1.0, one.fraction), width=12), *map(Text, self._said(one)))
        return Group(head, rows)
