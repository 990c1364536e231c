"""Speed as ratios to a floor or a rival, measured side by side in one run: what a clock alone cannot say.

Every module here has a ``measure() -> Iterator[Row]`` and is found by being here.
"""

import importlib
import pkgutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, computed_field

from benchmark.errors import demand


class Row(BaseModel):
    """One speed beside what it is held against, measured in the same run where that is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    ours: float
    unit: str  # of both, e.g. ``env steps/s``
    reference: float
    against: str  # what the reference is
    better: Literal[1, -1] = 1  # whether more is (rates), or less (seconds)
    required: float | None = None  # the ratio that is asked for, if one is

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ratio(self) -> float:
        """How many times better than the reference."""
        return self.ours / self.reference if self.better > 0 else self.reference / self.ours

    @computed_field  # type: ignore[prop-decorator]
    @property
    def met(self) -> bool | None:
        """Whether the ratio is what is asked for; None where nothing is."""
        return None if self.required is None else self.ratio >= self.required


def cost(name: str, ours: float, unit: str, reference: float, against: str, required: float | None = None) -> Row:
    """A cost, better where it is less, beside another."""
    return Row(name=name, ours=ours, unit=unit, reference=reference, against=against, better=-1, required=required)


def allowed(name: str, ours: float, unit: str, limit: float) -> Row:
    """A cost that must not exceed a limit."""
    return cost(name, ours, unit, limit, "allowed", required=1.0)


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds, the least of some goes."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def rate(work: Callable[[], object], steps: int, duration: float, clock: Callable[[], float]) -> float:
    """Steps per second of a call that makes ``steps`` of them, called again for so many seconds of a clock."""
    done, began = 0, clock()
    while (spent := clock() - began) < duration:
        work()
        done += steps
    return done / spent


def names() -> list[str]:
    """The modules that stand here."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))


def measure(chosen: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of the chosen modules, or of all, as they are measured, on one thread.

    Raises:
        UserError: a name that is no module here.
    """
    demand("measurement", chosen, names())
    torch.set_num_threads(1)
    for name in chosen or names():
        yield from importlib.import_module(f"{__name__}.{name}").measure()


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    lines = ["| | ours | reference | ratio | required |", "| :-- | --: | --: | --: | --: |"]
    for row in rows:
        required = "" if row.required is None else f"{row.required:g} {'✓' if row.met else '✗'}"
        ours, reference = f"{row.ours:.4g} {row.unit}", f"{row.reference:.4g} ({row.against})"
        lines.append(f"| {row.name} | {ours} | {reference} | {row.ratio:.2f} | {required} |")
    return "\n".join(lines)
