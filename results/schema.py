"""The record of one run, and what its metrics are: ``metrics.yaml``, read."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "timeout", "skipped"]


class Plain(BaseModel):
    """Data that stay as they were read, and have no other fields than those named."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(Plain):
    """How a metric is named and read, as ``metrics.yaml`` explains."""

    label: str
    better: Literal[-1, 1]
    range: tuple[float, float]
    unit: str
    source: str
    group: str
    digits: int
    short: str = ""


class Spread(Plain):
    """How sure one metric of one run is."""

    n: int  # episodes, windows or transitions it rests on
    low: float | None = None  # 95 % interval over episodes, windows or starts, resampled whole
    high: float | None = None
    error: float | None = None  # standard error, where the estimator gives one instead

    @property
    def half(self) -> float | None:
        """Half of its 95 % interval, 1.96 standard errors where these are given; None where there is neither."""
        if self.low is None or self.high is None:
            return None if self.error is None else 1.96 * self.error
        return (self.high - self.low) / 2


class Record(Plain):
    """One run, as plain data. Written once, never edited.

    ``id`` is the hash of what decides the result: method, task, seed, demonstrations, budget, configuration, code, and
    how it was posed and scored: ``base_seed`` made the base data, ``eval_starts`` limits the evaluation starts of each
    kind (None: all), ``reoptimise`` gives agents on the learnt reward as many steps. ``variant`` is what its suite runs
    through, as in ``demos=3``. ``notes`` say what a metric could not be computed from, ``spread`` how sure a metric is.
    """

    schema_version: int = SCHEMA_VERSION
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    method: str
    title: str
    task: str
    task_title: str
    seed: int
    demos: int
    step_budget: int
    base_seed: int = 0
    eval_starts: int | None = None
    reoptimise: int = 0
    config: dict[str, Any]
    code: str
    control: bool
    suite: str
    variant: str = ""
    status: Status
    reason: str = ""
    notes: list[str] = Field(default_factory=list)
    reward_kind: str = "none"
    metrics: dict[str, float] = Field(default_factory=dict)
    spread: dict[str, Spread] = Field(default_factory=dict)
    curve: list[dict[str, float]] = Field(default_factory=list)
    env_steps: int = 0
    gradient_steps: int = 0
    tuning_trials: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    score_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    provenance: dict[str, Any] = Field(default_factory=dict)


def _described() -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for group in yaml.safe_load((Path(__file__).parent / "metrics.yaml").read_text(encoding="utf-8")):
        shared = group.pop("shared")
        found |= {name: Metric(**shared, **own) for name, own in group.items()}
    return found


COSTS = {name: metric for name, metric in _described().items() if name in Record.model_fields}
METRICS = {name: metric for name, metric in _described().items() if name not in COSTS}


def cell_id(**parts: Any) -> str:
    """16 hex digits that change with anything that changes the result.

    Args:
        parts: plain data: method, task, seed, demonstrations, budget, base seed, evaluation starts, config, code.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
