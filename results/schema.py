"""The record of one run, and the only place where a metric gets its name, label, direction, range, unit and source."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "timeout", "skipped"]


class Metric(BaseModel):
    """How a metric is named and read.

    ``better`` is +1 where higher is better, -1 where lower is, 0 where neither; ``group`` names what it speaks of:
    imitation, planning, correlation, distance, reoptimised or cost.
    """

    model_config = ConfigDict(frozen=True)
    label: str
    better: Literal[-1, 0, 1]
    range: tuple[float, float]
    unit: str
    source: str
    group: str
    digits: int = 2  # after the decimal point
    short: str = ""  # where the label is too long: narrow columns under a heading that says the rest


COVERAGES = {  # suffix of the name: ends of label and of short label, which data
    "": ("", "", "held-out base episodes, no overlap"),
    "_mixture": (", base + expert", " mix.", "held-out base and fresh expert episodes in equal numbers"),
    "_uniform": (", uniform states", " unif.", "short episodes, uniform states and actions; of steps their first"),
}
# direction, range, digits, unit, group of what is indented below: name, label, short label, source; * for each coverage
_TABLE = """
+1 | -inf inf | 1 | 0 random, 100 demonstrator | imitation
  score_seen | Score, seen starts | seen | D4RL (Fu et al. 2020): random and demonstrator on the same starts
  score_unseen | Score, unseen starts | unseen | the same on starts in regions no demonstration visits
  normalized_score | Score | | mean of score_seen and score_unseen
+1 | -inf inf | 1 | undiscounted return | imitation
  return_seen | True return, seen starts | | mean over starts
  return_unseen | True return, unseen starts | | mean over starts
+1 | -inf inf | 1 | 0 D4RL's random, 100 D4RL's expert | imitation
  d4rl_score | D4RL-normalised score, seen starts | D4RL | Fu et al. 2020: return_seen on D4RL's scale
-1 | 0 inf | 2 | sd of base states | imitation
  occupancy_wasserstein | Sliced Wasserstein to demonstrator | SW | POT: states visited from all evaluation starts
-1 | 0 1.5 | 2 | kernel distance | imitation
  occupancy_mmd | MMD to demonstrator | MMD | Gretton et al. 2012: the same states, Gaussian kernel of median width
-1 | 0 1 | 3 | share of plans | planning
  plan_wall_crossings | Plans through a wall | walls | 128 plans from states of held-out base episodes; centre in a wall
-1 | 0 inf | 3 | cells of position in mazes, else sd of base states | planning
  plan_one_step_error | One-step error of plans | error | the same: a token against the simulator from the last one
+1 | -1 1 | 2 | correlation | correlation
  erc_pearson* | ERC (Pearson) | ERC | learnt against true return of *
  step_pearson* | Per-step correlation | | learnt against true reward of *
  window_pearson | Per-window correlation | | held-out windows of the reward's own length, else 32 steps, no overlap
  window_pearson_within | Per-window correlation within a start | within | windows of base actions from equal starts
  window_pearson_overall | Per-window correlation over starts | overall | the same windows, starts mixed
+1 | -1 1 | 2 | rank correlation | correlation
  erc_spearman* | ERC (Spearman) | | learnt against true return of *
  step_spearman* | Per-step rank correlation | | learnt against true reward of *
-1 | 0 1 | 2 | sqrt((1 - r) / 2) | correlation
  erc_distance* | ERC distance | | Pearson distance (Gleave et al. 2021) of *
-1 | 0 1 | 2 | 0 same order of policies, 1 opposite | distance
  epic_distance | EPIC distance | EPIC | Gleave et al. 2021, on held-out base steps, true reward of observations
  dard_distance | DARD distance | DARD | Wulfe et al. 2022, on the same steps, the simulator as transition model
  starc_distance | STARC distance | STARC | Skalse et al. 2024, on the same steps, value-adjusted levelling by LSTD, L2
+1 | -inf inf | 1 | 0 random, 100 the same agent on the true reward | reoptimised
  reoptimised_score | Re-optimised score | re-opt. | a fresh SAC agent trained on the learnt reward alone
  reoptimised_score_changed | Re-optimised score, changed dynamics | changed | the same, trained in changed dynamics
+1 | -inf inf | 1 | undiscounted return | reoptimised
  reoptimised_return | Re-optimised return | | true return of that agent, over all evaluation starts
  reoptimised_return_changed | Re-optimised return, changed dynamics | | the same in changed dynamics
  reoptimised_reference | Return of the agent on the true reward | | same agent, same budget
  reoptimised_reference_changed | Return of the agent on the true reward, changed dynamics | | same agent, same budget
-1 | 0 inf | 0 | count | cost
  env_steps | Environment steps | | counted by the environment
  gradient_steps | Gradient steps | | counted by the method
-1 | 0 inf | 1 | s | cost
  cpu_seconds | CPU seconds | | of the method alone; of a run that failed, of all it did
  wall_seconds | Wall seconds | | of the whole run, scoring included
  seconds_to_90 | CPU seconds to 90 % of the final score | s to 90 % | first policy shown on the way that scores as much
-1 | 0 inf | 0 | MiB | cost
  peak_memory_mib | Peak memory (MiB) | | resident set while the method ran
"""


class Spread(BaseModel):
    """How sure one metric of one run is."""

    model_config = ConfigDict(frozen=True, extra="forbid")
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


class Record(BaseModel):
    """One run, as plain data. Written once, never edited.

    ``id`` is the hash of what decides the result: method, task, seed, demonstrations, budget, configuration, code, and
    how it was posed and scored: ``base_seed`` made the base data, ``eval_starts`` limits the evaluation starts of each
    kind (None: all), ``reoptimise`` gives agents on the learnt reward as many steps. ``variant`` is what its suite runs
    through, as in ``demos=3``. ``notes`` say what a metric could not be computed from, ``spread`` how sure a metric is.
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
    """:data:`_TABLE`, read."""
    found, shared = {}, {}
    for line in _TABLE.strip().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith(" "):
            better, ends, digits, unit, group = cells
            shared = {"better": int(better), "range": ends.split(), "digits": digits, "unit": unit, "group": group}
            continue
        name, label, short, source = cells
        for suffix, (end, short_end, data) in COVERAGES.items() if "*" in line else [("", ("", "", ""))]:
            texts = {"label": label + end, "short": short and short + short_end, "source": source.replace("*", data)}
            found[name.replace("*", suffix)] = Metric.model_validate(shared | texts)
    return found


COSTS = {name: metric for name, metric in _described().items() if name in Record.model_fields}
METRICS = {name: metric for name, metric in _described().items() if name not in COSTS}


def cell_id(**parts: Any) -> str:
    """16 hex digits that change with anything that changes the result.

    Args:
        parts: plain data: method, task, seed, demonstrations, budget, base seed, evaluation starts, config, code.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
