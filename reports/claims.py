"""What is claimed of the methods, and what the records say of it: supported, refuted or undecided."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import Field
from scipy import stats

from reports.frame import entry, latest, levelled, rng_for, with_defaults
from reports.render import Cell, Line, Section, Table, clean, markdown_text
from reports.statistics import Interval, paired_difference
from reports.wording import NONE, bounds, number, short_label
from results.schema import METRICS, Plain, Record

Verdict = Literal["supported", "refuted", "undecided"]
SIGHT, LATE = " ‡", " §"
Values = dict[int, tuple[str, float]]  # by seed: whose, and how much


class Claim(Plain):
    """One entry of ``claims.yaml``, which says how to read it."""

    id: str
    by: Literal["thesis", "beyond the thesis", "failure modes", "fixes", "often said"]
    says: str
    short: str
    ours: str
    theirs: str | float | None = None
    above: float = 0.0
    metrics: list[str] = Field(min_length=1)
    than: str | None = None
    variants: tuple[str, str] | None = None
    suites: tuple[str, str] | None = None
    control: str | None = None
    each: bool = False
    late: bool = False
    where: dict[str, float] = Field(default_factory=dict)
    tasks: list[str] = Field(min_length=1)


class Claims(Plain):
    """The whole of ``claims.yaml``."""

    fewest: int
    families: dict[str, list[str]]
    in_sight: list[str]
    claims: list[Claim]


@cache
def claims() -> Claims:
    """The claims as they stand in the file beside this one."""
    return Claims(**yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Finding:
    """One comparison of a claim."""

    claim: Claim
    task: str  # as printed, and so are the sides
    metric: str
    sides: tuple[str, str] = ("", "")
    means: tuple[float, float] = (math.nan, math.nan)  # of both sides over the pairs
    gap: float = math.nan  # mean of ours - theirs over seeds, higher better
    interval: Interval | None = None  # of the gap, 95 %; None below three seeds
    n: int = 0  # pairs
    verdict: Verdict = "undecided"
    why: str = "not run"  # if undecided
    chance: float = 1.0  # of a gap as low as this if the bound were the truth: one-sided, Student's
    control: "Finding | None" = None  # the same of the claim's control in the place of ours

    @property
    def said(self) -> str:
        """The verdict, with the reason where there is none, and what the control comes to."""
        said = self.verdict + f": {self.why}" * bool(self.why)
        return f"{said} ({self.control.sides[0]}: {self.control._gap})" if self.control else said

    @property
    def _gap(self) -> str:
        return f"{number(self.gap, self.metric)} {bounds(self.interval, self.metric)}".rstrip()

    @property
    def brief(self) -> str:
        """Where, whose where a claim is of each member, what was measured, and what it says."""
        who = f"{self.sides[0]}, " if self.claim.each and self.n else ""
        gap = f"{self._gap}, n={self.n}: " if self.n else ""
        return f"{self.task}, {who}{short_label(self.metric)}: {gap}{self.said}"


class Evidence:
    """Records of any suites, ready for comparisons: these take both sides from one, the largest that has them."""

    def __init__(self, records: Iterable[Record]) -> None:
        records = with_defaults(levelled(records))
        self.tasks = {r.task: r.task_title for r in records}
        self.titles = {r.method: r.title for r in records}
        contestants = sorted({r.method for r in records if not r.control})
        known = claims().families
        ours = {*known["thesis"], *known["fix"], *known["parts"]}
        self.families = known | {"contestants": contestants, "rivals": [m for m in contestants if m not in ours]}
        sizes = Counter(r.suite for r in records)
        self._suites = sorted(sizes, key=lambda s: (-sizes[s], s))
        self._cells: dict[tuple[str, str, str, str], dict[int, Record]] = {}
        for r in latest(records):
            self._cells.setdefault((r.suite, r.task, r.method, r.variant), {})[r.seed] = r

    def members(self, name: str) -> list[str]:
        """The methods of a family, or the method itself."""
        return self.families.get(name, [name])

    def findings(self, claim: Claim) -> list[Finding]:
        """Every comparison of a claim."""
        names = self.members(claim.ours) if claim.each else [claim.ours]
        found = []
        for task in claim.tasks:
            for metric in claim.metrics:
                pairs = [self._pairs(claim, task, name, metric) for name in names]
                control = claim.control and self._pairs(claim, task, claim.control, metric)
                guided = claim.model_copy(update={"ours": claim.control})
                beside = self._finding(guided, task, metric, *control) if control else None
                of_task = [replace(self._finding(claim, task, metric, *both), control=beside) for both in pairs if both]
                found += of_task or [Finding(claim, self._task(task), metric)]
        return found

    def _task(self, task: str) -> str:
        return clean(self.tasks.get(task, task))

    def _pairs(self, claim: Claim, task: str, name: str, metric: str) -> tuple[Values, Values] | None:
        """Both sides over the seeds that they share, from the claim's suites or the first that has such seeds."""
        ours_in, theirs_in = claim.variants or ("", "")
        for ours_of, theirs_of in [claim.suites] if claim.suites else [(suite, suite) for suite in self._suites]:
            ours = self._values(claim, ours_of, task, name, ours_in, metric)
            if isinstance(claim.theirs, float):
                theirs = {seed: ("", claim.theirs) for seed in ours}
            else:
                theirs = self._values(claim, theirs_of, task, claim.theirs or name, theirs_in, claim.than or metric)
            if shared := sorted(ours.keys() & theirs.keys()):
                return {s: ours[s] for s in shared}, {s: theirs[s] for s in shared}
        return None

    def _values(self, claim: Claim, suite: str, task: str, name: str, variant: str, metric: str) -> Values:
        """By seed, the value of a method, or of the member that does best on the other seeds."""
        cells = {m: self._cells.get((suite, task, m, variant), {}) for m in self.members(name)}
        ran = Counter(seed for cell in cells.values() for seed in cell)
        seeds = {seed for seed, n in ran.items() if 2 * n > sum(map(bool, cells.values()))}  # of most members that ran
        known = {
            m: {s: r.metrics[metric] for s, r in cell.items() if metric in r.metrics and _counts(r, claim.where)}
            for m, cell in cells.items()
        }
        if len(known) == 1:
            ((only, values),) = known.items()
            return {s: (only, v) for s, v in values.items()}
        if claim.where:
            of = {s: [v[s] for v in known.values() if s in v] for s in ran}
            return {s: (f"{claim.ours} that do", float(np.mean(v))) for s, v in of.items() if v}
        sign = METRICS[metric].better
        whole = {m: v for m, v in known.items() if v.keys() >= seeds}
        found: Values = {}
        for seed in seeds if whole else ():
            others = sorted(seeds - {seed}) or [seed]
            best = max(sorted(whole), key=lambda m: sign * np.mean([whole[m][s] for s in others]))
            found[seed] = best, whole[best][seed]
        return found

    def _finding(self, claim: Claim, task: str, metric: str, us: Values, them: Values) -> Finding:
        sign, n = METRICS[metric].better, len(us)
        ours, theirs = (np.array([v for _, v in side.values()], float) for side in (us, them))
        key = ("claim", claim.id, task, metric, *sorted({m for m, _ in us.values()}))
        gap, interval = paired_difference([sign * ours], [sign * theirs], rng_for(*key))
        verdict, why = judged(interval, n, claim.above)
        chance = 1.0 if interval is None else chance_of(interval, gap - claim.above, n)
        sides = (self._side(claim, us, claim.ours, 0), self._side(claim, them, claim.theirs, 1))
        means = float(ours.mean()), float(theirs.mean())
        return Finding(claim, self._task(task), metric, sides, means, gap, interval, n, verdict, why, chance)

    def _side(self, claim: Claim, values: Values, name: str | float | None, k: int) -> str:
        """As printed: the member picked most often, and that it was picked; or what sets equal methods apart."""
        if isinstance(name, float):
            return ""
        methods = Counter(m for m, _ in values.values())
        title = clean(self.titles.get(methods.most_common(1)[0][0], methods.most_common(1)[0][0]))
        if claim.variants:
            return entry(title, claim.variants[k])
        if claim.than and k:
            return short_label(claim.than)
        several = not claim.each and not claim.where and len({*self.members(name or "")} & self.titles.keys()) > 1
        return title + " and others" * (len(methods) > 1) + ", best of its kind" * several


def _counts(record: Record, where: Mapping[str, float]) -> bool:
    return record.status == "ok" and all(record.metrics.get(m, -math.inf) >= least for m, least in where.items())


def judged(interval: Interval | None, n: int, above: float) -> tuple[Verdict, str]:
    """What an interval of ours - theirs over ``n`` seeds says of the claim that it exceeds ``above``, and why not."""
    fewest = claims().fewest
    if interval is None or n < fewest:
        return "undecided", f"needs {fewest} seeds, has {n}"
    if interval.low > above:
        return "supported", ""
    if interval.high < above:
        return "refuted", ""
    return "undecided", "its interval holds the bound"


def chance_of(interval: Interval, excess: float, n: int) -> float:
    """One-sided p-value of a mean ``excess`` over a bound, from its 95 % interval over ``n`` values (Student's)."""
    half = (interval.high - interval.low) / 2
    if half == 0:
        return float(excess >= 0)
    return float(stats.t.cdf(excess / half * stats.t.ppf(0.975, n - 1), n - 1))


def overall(findings: Sequence[Finding]) -> Verdict:
    """A claim is of all its comparisons: all must be supported to support it, and those refuted must do to refute it.

    The more there are, the likelier one is refuted by chance: refuted is the claim only if Simes' test (1986) of all
    together, 2.5 % on its side, says so; with a single comparison that is its own interval.
    """
    verdicts = {f.verdict for f in findings}
    if (
        "refuted" in verdicts
        and stats.false_discovery_control([f.chance for f in findings if f.n >= claims().fewest]).min() <= 0.025
    ):
        return "refuted"
    return "supported" if verdicts == {"supported"} else "undecided"


def judge(records: Iterable[Record]) -> list[tuple[Claim, list[Finding]]]:
    """Every claim with its comparisons."""
    evidence = Evidence(records)
    return [(claim, evidence.findings(claim)) for claim in claims().claims]


def in_sight(claim: Claim) -> bool:
    """Whether settings of a method in it were chosen with results on the seeds evaluated in sight."""
    known = claims().families
    methods = {m for side in (claim.ours, claim.theirs) for m in known.get(str(side), [str(side)])}
    return bool(methods & {*claims().in_sight, "rivals", "contestants"})


def marks(claim: Claim) -> str:
    """The signs that :func:`caption` explains."""
    return SIGHT * in_sight(claim) + LATE * claim.late


def caption(comparisons: int) -> str:
    """How claims are judged."""
    return (
        "Claims against these records. Difference: mean over seeds of ours minus theirs, paired by seed, with 95 "
        "% interval (Student's). Supported: the interval lies above the claim's bound (0 if none is named); "
        f"refuted: below; undecided: else, or with fewer than {claims().fewest} seeds. A claim with several "
        "comparisons is supported by all, and refuted by one if Simes' test of all together, which heeds their "
        "number, agrees. Best of its kind: picked for each seed by the results of the other seeds, so not "
        "flattered by the pick, and at times below each that is picked. In brackets: the same of a control in the "
        f"place of ours.{SIGHT} settings of a method in it were chosen in sight of true results on evaluated seeds "
        "(docs/protocol.md: which). Claims and bounds, the project's own, were written after first records of "
        f"three seeds had been seen; those marked {LATE.strip()}, and the rule for several comparisons, after "
        f"results of five. Intervals are not widened for their number: of {comparisons} comparisons with one, some "
        f"{round(comparisons / 20)} miss the truth by chance."
    )


def _judged(records: Iterable[Record]) -> tuple[list[tuple[Claim, list[Finding]]], str]:
    """Every claim with its comparisons, and the caption to them."""
    found = judge(records)
    return found, caption(sum(f.interval is not None for _, findings in found for f in findings))


def _cells(f: Finding) -> list[Cell]:
    bound = f" > {f.claim.above:g}".replace("-", "\N{MINUS SIGN}") if f.claim.above else ""
    sides = [
        " ".join(filter(None, (side, number(mean, f.metric)))) if math.isfinite(mean) else NONE
        for side, mean in zip(f.sides, f.means, strict=True)
    ]
    gap = number(f.gap, f.metric) if math.isfinite(f.gap) else NONE
    decided = f.verdict != "undecided"
    return [
        *map(Cell, sides),
        Cell(gap + bound, bounds(f.interval, f.metric)),
        Cell(str(f.n)),
        Cell(f.said, bold=decided),
    ]


def table(records: Iterable[Record]) -> Table:
    """All claims with their comparisons."""
    sections, rows, (found, told) = [], [], _judged(records)
    for claim, findings in found:
        verdict = overall(findings)
        lines = [Line(f"{f.task}: {short_label(f.metric)}", False, _cells(f)) for f in findings]
        sections.append(Section(f"{claim.by}: {claim.says} {verdict}{marks(claim)}", lines))
        for f in findings:
            low, high = f.interval or (math.nan, math.nan)
            row: dict[str, object] = {"claim": claim.id, "by": claim.by, "says": claim.says, "claim_verdict": verdict}
            row |= {"task": f.task, "metric": f.metric, "ours": f.sides[0], "theirs": f.sides[1], "bound": claim.above}
            row |= {"mean_ours": f.means[0], "mean_theirs": f.means[1], "difference": f.gap, "low": low, "high": high}
            rows.append(
                row | {"n": f.n, "verdict": f.verdict, "why": f.why, "in_sight": in_sight(claim), "late": claim.late}
            )
    header = ["Ours", "Theirs", "Difference", "n", "Verdict"]
    return Table("claims", told, header, sections, pd.DataFrame(rows), first="Claim")


def brief(records: Iterable[Record]) -> str:
    """One row per claim, as Markdown: what is claimed, the verdict, and its comparisons."""
    out = [
        "| By | Claim | Verdict | Ours against theirs: difference \\[95 % interval\\] |",
        "| :-- | :-- | :-- | :-- |",
    ]
    found, told = _judged(records)
    for claim, findings in found:
        evidence = [markdown_text(f.brief) for f in findings]
        verdict = overall(findings)
        bold = f"**{verdict}**" if verdict != "undecided" else verdict
        says = markdown_text(claim.says) + marks(claim)
        out.append(f"| {markdown_text(claim.by)} | {says} | {bold} | {'<br>'.join(evidence)} |")
    return "\n".join([*out, "", markdown_text(told)])


ORIGINS = {
    "thesis": "of the thesis",
    "beyond the thesis": "that go beyond its terms",
    "fixes": "of our fix",
    "failure modes": "on how the thesis' method fails",
}


def _told(claim: Claim, findings: Sequence[Finding], verdict: Verdict) -> str:
    """A claim in a few words; of a refuted one, where it is supported all the same, and whether its control is."""
    several = len(claim.metrics) > 1
    holds = [f.task + f" in {short_label(f.metric)}" * several for f in findings if f.verdict == "supported"]
    notes = [f"it does hold on {' and '.join(holds)}"] if holds else []
    if any(f.control and f.control.verdict == "refuted" for f in findings if f.verdict == "refuted"):
        notes.append("elsewhere " * bool(holds) + "not on the true reward either")
    return claim.short + f" ({'; '.join(notes)})" * (verdict == "refuted" and bool(notes))


WORDS = (
    "*The fix* is this project's own repair of the thesis' method (diffusion-irl-value: a reward per step and its "
    "value function). *Corner* marks the mazes with the thesis' reward, which grows towards a corner; the others have "
    "D4RL's goal. *Base data* are behaviour of any kind, without rewards, that a method may use beside demonstrations. "
    "*Score*: true return, 0 for random actions, 100 for the demonstrator. *ERC*, episode return correlation: that of "
    "learnt and true returns, at most 1."
)
TOLD = ("thesis", "beyond the thesis", "fixes")


def _by_verdict(records: Iterable[Record], by: Sequence[str]) -> dict[str, dict[Verdict, list[str]]]:
    """Claims in a few words each, by :data:`ORIGINS` and what became of them, losses first."""
    judged = [(c, found, overall(found)) for c, found in judge(records)]
    order: tuple[Verdict, ...] = ("refuted", "supported", "undecided")
    return {
        o: {v: [_told(c, found, v) for c, found, given in judged if (c.by, given) == (o, v)] for v in order} for o in by
    }


def sentence(records: Iterable[Record], by: Sequence[str] = TOLD) -> str:
    """How many claims of some of :data:`ORIGINS` hold, in a sentence each, losses first."""
    parts = list[str]()
    for origin, of in _by_verdict(records, by).items():
        refuted, supported, left = map(len, of.values())
        late = sum(claim.late for claim in claims().claims if claim.by == origin)
        aside = f" ({late} of them written after results of five seeds)" * bool(late)
        count = f"{refuted + supported + left} claims {ORIGINS[origin]}{aside}"
        parts.append(f"{count}: {refuted} refuted, {supported} supported, {left} open.")
    return " ".join(parts)


def named(records: Iterable[Record], by: Sequence[str] = TOLD) -> list[str]:
    """Which claims those are that are decided: a line per origin and verdict."""
    return [
        f"{verdict.capitalize()} among those {ORIGINS[origin]}: {'; '.join(told)}."
        for origin, of in _by_verdict(records, by).items()
        for verdict, told in of.items()
        if told and verdict != "undecided"
    ]
