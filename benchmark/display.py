"""What the terminal shows while cells run: a live table, or plain lines where there is no terminal."""

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmark.cell import Cell
from benchmark.runner import Plan
from results.schema import Record

STYLES = {"ok": "green", "failed": "red", "timeout": "red", "skipped": "yellow"}
SHOWN_VALUES = 3


class Display:
    """Listens to the runner.

    Args:
        plan: what is done and what is to do.
        workers: cells at a time.
        console: where to print.
    """

    def __init__(self, plan: Plan, workers: int, console: Console) -> None:
        self._console, self._workers = console, workers
        self._total = len(plan.done) + len(plan.todo)
        self._counts = dict.fromkeys(STYLES, 0)
        for _, record in plan.done:
            self._counts[record.status] += 1
        self._waiting = {cell.id: cell for cell in plan.todo}
        self._running: dict[str, tuple[Cell, float, float, dict[str, float]]] = {}
        self._past = plan.past
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def started(self, cell: Cell) -> None:
        self._waiting.pop(cell.id, None)
        self._running[cell.id] = (cell, time.monotonic(), 0.0, {})

    def progressed(self, cell: Cell, fraction: float, values: dict[str, float]) -> None:
        if cell.id in self._running:
            self._running[cell.id] = (cell, self._running[cell.id][1], fraction, values)

    def finished(self, cell: Cell, record: Record) -> None:
        self._waiting.pop(cell.id, None)
        self._running.pop(cell.id, None)
        self._counts[record.status] += 1
        self._past.add(record)
        score = record.metrics.get("normalized_score")
        line = Text(f"[{sum(self._counts.values())}/{self._total}] ")
        line.append(f"{record.status:8}", STYLES[record.status])
        line.append(f"{cell} · {record.wall_seconds:.1f} s")
        line.append(f" · score {score:.1f}" if score is not None else "")
        line.append(f" · {record.reason}" if record.reason else "")
        self._console.print(line, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        cells = [*self._waiting.values(), *(cell for cell, *_ in self._running.values())]
        known = {cell.id: seconds for cell in cells if (seconds := self._past.seconds(cell)) is not None}
        if not known:
            return "time left unknown"
        usual = sum(known.values()) / len(known)
        now = time.monotonic()
        seconds = sum(known.get(id, usual) for id in self._waiting) / self._workers
        seconds += max(
            (known.get(id, usual) - (now - begun) for id, (_, begun, *_) in self._running.items()), default=0.0
        )
        minutes, rest = divmod(max(0, round(seconds)), 60)
        return f"about {minutes}:{rest:02} left"

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
        for cell, begun, fraction, values in self._running.values():
            shown = "  ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:SHOWN_VALUES])
            rows.add_row(
                ProgressBar(1.0, min(1.0, fraction), width=12),
                Text(str(cell)),
                f"{time.monotonic() - begun:.0f} s",
                Text(shown),
            )
        return Group(head, rows)
