"""The record of one run, and the only place where a metric gets its name, label, direction, range, unit and source."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "timeout", "skipped"]


class Metric(BaseModel):
    """How a metric is named and read.

    ``better`` is +1 where higher is better, -1 where lower is, 0 where neither.
    """

    model_config = ConfigDict(frozen=True)
    label: str
    better: Literal[-1, 0, 1]
    range: tuple[float, float]
    unit: str
    source: str
    short: str = ""  # where the label is too long: narrow columns under a heading that says the rest


INF = float("inf")
METRICS: dict[str, Metric] = {
    "score_seen": Metric(
        label="Score, seen starts",
        better=1,
        range=(-INF, INF),
        unit="0 random, 100 demonstrator",
        source="D4RL (Fu et al. 2020), normalised by random and demonstrator on the same starts",
        short="seen",
    ),
    "score_unseen": Metric(
        label="Score, unseen starts",
        better=1,
        range=(-INF, INF),
        unit="0 random, 100 demonstrator",
        source="the same on starts in regions no demonstration visits",
        short="unseen",
    ),
    "normalized_score": Metric(
        label="Score",
        better=1,
        range=(-INF, INF),
        unit="0 random, 100 demonstrator",
        source="mean of score_seen and score_unseen",
    ),
    "return_seen": Metric(
        label="True return, seen starts",
        better=1,
        range=(-INF, INF),
        unit="undiscounted return",
        source="mean over starts",
    ),
    "return_unseen": Metric(
        label="True return, unseen starts",
        better=1,
        range=(-INF, INF),
        unit="undiscounted return",
        source="mean over starts",
    ),
    "erc_pearson": Metric(
        label="ERC (Pearson)",
        better=1,
        range=(-1, 1),
        unit="correlation",
        source="learnt against true return of held-out base episodes, no overlap; Gleave et al. 2021 for the distance",
        short="ERC",
    ),
    "erc_spearman": Metric(
        label="ERC (Spearman)", better=1, range=(-1, 1), unit="rank correlation", source="as erc_pearson"
    ),
    "erc_distance": Metric(
        label="ERC distance",
        better=-1,
        range=(0, 1),
        unit="sqrt((1 - r) / 2)",
        source="Pearson distance, Gleave et al. 2021",
    ),
    "erc_pearson_mixture": Metric(
        label="ERC (Pearson), base + expert",
        better=1,
        range=(-1, 1),
        unit="correlation",
        source="as erc_pearson, over held-out base and fresh expert episodes in equal numbers",
        short="ERC mix.",
    ),
    "step_pearson": Metric(
        label="Per-step correlation",
        better=1,
        range=(-1, 1),
        unit="correlation",
        source="learnt against true reward of the held-out base transitions",
    ),
    "window_pearson": Metric(
        label="Per-window correlation",
        better=1,
        range=(-1, 1),
        unit="correlation",
        source="sums over non-overlapping windows of the reward's own length (32 steps for step rewards)",
    ),
}


class Record(BaseModel):
    """One run, as plain data. Written once, never edited.

    ``id`` is the hash of what decides the result: method, task, seed, demonstrations, budget, configuration, code, and
    how it was posed and scored: ``base_seed`` made the base data, ``eval_starts`` limits the evaluation starts of each
    kind (None: all). ``notes`` say what a metric could not be computed from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
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
    config: dict[str, Any]
    code: str
    control: bool
    suite: str
    status: Status
    reason: str = ""
    notes: list[str] = Field(default_factory=list)
    reward_kind: str = "none"
    metrics: dict[str, float] = Field(default_factory=dict)
    curve: list[dict[str, float]] = Field(default_factory=list)
    env_steps: int = 0
    gradient_steps: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    provenance: dict[str, Any] = Field(default_factory=dict)


def cell_id(**parts: Any) -> str:
    """16 hex digits that change with anything that changes the result.

    Args:
        parts: plain data: method, task, seed, demonstrations, budget, base seed, evaluation starts, config, code.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
