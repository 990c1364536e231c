"""The written analysis, filled from records: what it says follows from them, so it cannot outlive them."""

import itertools
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.stats import spearmanr

from reports.claims import ORIGINS, Claim, Finding, claims, in_sight, judge, named, overall, sentence
from reports.frame import Runs, estimate, gather, main_suite
from reports.render import TEMPLATES, clean, markdown_text
from reports.studies import SCALE, part, setting
from reports.wording import bounds, conditions, ended_all, number, short_label
from results.schema import METRICS, Record

SCORE, ERC = "normalized_score", "erc_pearson"


class Facts:
    """What the template asks of the records of a suite, the largest if none is named; claims are judged by all."""

    def __init__(self, records: Sequence[Record], suite: str = "") -> None:
        self.records = list(records)
        self.runs: Runs = gather([r for r in records if r.suite == suite] if suite else main_suite(records))
        known = claims().families
        self.thesis, self.fix = known["thesis"], known["fix"]
        ours = {*self.thesis, *self.fix, *known["parts"], *self.runs.controls}
        self.rivals = [m for m in self.runs.methods if m not in ours]

    @cached_property
    def judged(self) -> dict[str, tuple[Claim, list[Finding]]]:
        """Claims and what all records say of them, by id."""
        return {claim.id: (claim, findings) for claim, findings in judge(self.records)}

    def of(self, suite: str) -> "Facts | None":
        """The same of another suite, whose methods are called as :func:`reports.frame.entry` says; None if not run."""
        return Facts(self.records, suite) if any(r.suite == suite for r in self.records) else None

    def with_budgets(self, suites: Sequence[str]) -> list[tuple[str, str, "Facts"]]:
        """Task, method and suite, this one and those named, of each cell that acts in the environment in several."""
        among, rows = [self, *filter(None, map(self.of, suites))], []
        for task, method in itertools.product(self.tasks, self.runs.methods):
            found = [(task, method, s) for s in among if s.mean(method, task, "env_steps") > 0]
            rows += found if len(found) > 1 else []
        return rows

    def on_the_way(self, task: str, method: str) -> str:
        """Mean score after a quarter, half and three quarters of the environment steps, between those looked at."""
        at = []
        for curve in self.runs.curves(task, method):
            seen = [(r["env_steps"], r["score"]) for r in curve if "score" in r]
            if seen:
                steps, scores = zip(*seen, strict=True)
                at.append(
                    np.interp(np.array([0.25, 0.5, 0.75]) * max(r.get("env_steps", 0) for r in curve), steps, scores)
                )
        return ", ".join(markdown_text(number(x, SCORE)) for x in np.mean(at, 0)) if at else "not recorded"

    @property
    def suite(self) -> str:
        """The name of the suite, as printed."""
        return clean(next(iter(self.runs.records.values())).suite)

    @property
    def tasks(self) -> dict[str, str]:
        """Titles of the tasks, as printed."""
        return {task: markdown_text(title) for task, title in self.runs.tasks.items()}

    def mean(self, method: str, task: str, metric: str = SCORE) -> float:
        """Mean over the seeds of a cell; NaN where no run has the metric."""
        return estimate(self.runs, task, method, metric).mean

    def value(self, method: str, task: str, metric: str = SCORE) -> str:
        """``69.4 [62.1, 76.7]``, or that it was not recorded."""
        found = estimate(self.runs, task, method, metric)
        if not found.n:
            return "not recorded"
        few = f" ({found.n}/{found.expected} runs)" if found.n < found.expected else ""
        return markdown_text(" ".join(filter(None, (number(found.mean, metric), bounds(found.interval, metric)))) + few)

    def demos(self, task: str) -> str:
        """Demonstrations that the runs on a task were given."""
        return " or ".join(map(str, sorted({r.demos for r in self.runs.records.values() if r.task == task})))

    def trials(self, method: str, task: str) -> str:
        """How many settings the study tried that chose those of a method's runs on a task."""
        own = {r.tuning_trials for r in self.runs.records.values() if (r.method, r.task) == (method, task)}
        return " or ".join(map(str, sorted(own)))

    def best(self, methods: Sequence[str], task: str, metric: str = SCORE) -> str:
        """The method of the highest mean, the first if none has the metric: picked after the fact."""
        return max(methods, key=lambda m: (math.isfinite(x := self.mean(m, task, metric)), x), default="")

    def title(self, method: str) -> str:
        """As printed."""
        return markdown_text(self.runs.methods.get(method, method))

    def number(self, value: float, metric: str = SCORE) -> str:
        """With the metric's decimals."""
        return number(value, metric) if math.isfinite(value) else "not recorded"

    def verdict(self, claim: str) -> str:
        """The claim and what became of it, with its comparisons."""
        said, findings = self.judged[claim]
        mark = ", settings chosen in sight of results" * in_sight(said)
        evidence = markdown_text("; ".join(f.brief for f in findings))
        return f"*{markdown_text(said.says)}* **{overall(findings)}**{mark} ({evidence})"

    def open(self, by: str) -> list[str]:
        """The undecided claims of one origin."""
        return [c.short for c, found in self.judged.values() if c.by == by and overall(found) == "undecided"]

    def ended(self, methods: Sequence[str], task: str) -> str:
        """How the runs of some methods on a task ended."""
        rows = self.runs.table[(self.runs.table.task == task) & self.runs.table.method.isin(methods)]
        counts = rows.status.value_counts()
        return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))

    def agreement(self, task: str, one: str, other: str) -> str:
        """Spearman's correlation of two metrics over the contestants' runs on a task, and how many those are."""
        rows = self.runs.table[(self.runs.table.task == task) & ~self.runs.table.control].dropna(subset=[one, other])
        return markdown_text(f"{number(float(spearmanr(rows[one], rows[other])[0]), ERC)} (n = {len(rows)})")

    def scales(self, methods: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """Guidance scales that methods ran through, and rows of task, method, then score / ERC at each: means, the
        one bold that the method runs with elsewhere.
        """
        swept = [r for r in self.records if r.variant.startswith(SCALE) and r.method in methods]
        own = [r for r in part(self.records, swept, SCALE)[0] if r.method in methods and r.status == "ok"]
        at, rows = sorted({setting(r, SCALE) for r in own}), []
        for task, method in itertools.product(self.tasks, methods):
            row = [self.tasks[task], self.title(method)]
            for scale in at:
                runs = [r for r in own if (r.task, r.method, setting(r, SCALE)) == (task, method, scale)]
                means = [number(float(np.mean([r.metrics[m] for r in runs])), m) for m in (SCORE, ERC) if runs]
                said = " / ".join(means) or "not run"
                row.append(f"**{said}**" if any(not r.variant for r in runs) else said)
            rows.append(row)
        return [f"{scale:g}" for scale in at], rows

    def optimisation(self, method: str, task: str) -> str:
        """Loss and gradient norm at both ends of training: medians over runs of means over a tenth of the updates."""
        said = []
        for name in ("loss", "gradient_norm"):
            ends = []
            for curve in self.runs.curves(task, method):
                values = [r[name] for r in curve if name in r]
                tenth = max(1, len(values) // 10)
                if len(values) > 1:
                    ends.append((np.mean(values[:tenth]), np.mean(values[-tenth:])))
            if ends:
                first, last = np.median(ends, 0)
                said.append(f"{name.replace('_', ' ')} {first:.3g} → {last:.3g}")
        return ", ".join(said) or "no curve recorded"


def in_numbers(records: Sequence[Record]) -> str:
    """The thesis' method, its fix and the best rival beside each other, as Markdown: the best of each metric."""
    f, rows = Facts(records), ["| | | Thesis' method | Fix | Best rival |", "| :-- | :-- | --: | --: | :-- |"]
    for metric, (task, title) in itertools.product((SCORE, ERC), f.tasks.items()):
        ours, theirs = [f.best(f.thesis, task, metric), *f.fix], f.best(f.rivals, task, metric)
        values = [f.number(f.mean(m, task, metric), metric) for m in (*ours, theirs)]
        rows.append(f"| {short_label(metric)} | {title} | {' | '.join(values)} ({f.title(theirs)}) |")
    return "\n".join(rows)


def analysis(records: Sequence[Record]) -> str:
    """``ANALYSIS.md``, whole, from records of any suites; numbers of single methods are those of the largest."""
    facts = Facts(records)
    text = TEMPLATES.get_template("analysis.md").render(
        f=facts,
        tasks=facts.tasks,
        sentences=[markdown_text(sentence(records, [by])) for by in ORIGINS],
        named=[markdown_text(line) for line in named(records, [*ORIGINS])],
        suite=facts.suite,
        conditions=[markdown_text(line) for line in conditions(facts.runs)],
        seeds=facts.runs.table.seed.nunique(),
        ended=ended_all(facts.runs),
        isfinite=math.isfinite,
        unit=markdown_text(METRICS["plan_one_step_error"].unit),
    )
    return text.rstrip() + "\n"
