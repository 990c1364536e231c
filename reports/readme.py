"""Keeps the generated parts of a README equal to what the records give."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from reports.claims import brief, sentence
from reports.frame import Runs, gather, main_suite
from reports.render import markdown, markdown_text
from reports.tables import aggregate, ended_all, headline, main
from reports.verdict import verdict
from results.schema import Record


def counts(runs: Runs) -> str:
    """How many methods, tasks, seeds and runs the tables rest on."""
    contestants = len(runs.methods) - len(runs.controls)
    seeds = runs.table.seed.nunique()
    suites = sorted({r.suite for r in runs.records.values()})
    return markdown_text(
        f"{contestants} methods and {len(runs.controls)} controls on {len(runs.tasks)} tasks with {seeds} seeds "
        f"(suite {', '.join(suites)}): {ended_all(runs)}"
    )


BLOCKS: dict[str, Callable[[Runs, list[Record]], str]] = {
    "headline": lambda runs, _: markdown(headline(runs), stacked=True),
    "main": lambda runs, _: markdown(main(runs)),
    "aggregate": lambda runs, _: markdown(aggregate(runs), stacked=True),
    "counts": lambda runs, _: counts(runs),
    "verdict": lambda runs, _: "\n".join(map(markdown_text, verdict(runs))),
    "sentence": lambda _, records: "\n".join(markdown_text(sentence(records, by)) for by in ("thesis", "fixes")),
    "claims": lambda _, records: brief(records),
}
_BLOCK = re.compile(r"<!-- begin:([\w-]+) -->\n(.*?)<!-- end:\1 -->", re.DOTALL)
_MARK = re.compile(r"<!-- (?:begin|end):")


def rendered(text: str, records: Iterable[Record]) -> str:
    """``text`` with all that stands between ``<!-- begin:NAME -->`` and ``<!-- end:NAME -->`` made anew.

    Raises:
        ValueError: a NAME that is none of :data:`BLOCKS`, a mark without its partner, or no records.
    """
    records = list(records)
    runs = gather(main_suite(records))
    if unknown := sorted({m[1] for m in _BLOCK.finditer(text)} - set(BLOCKS)):
        raise ValueError(f"unknown blocks {', '.join(unknown)}: choose from {', '.join(BLOCKS)}")
    if len(_MARK.findall(text)) != 2 * len(_BLOCK.findall(text)):
        raise ValueError("a <!-- begin:NAME --> or <!-- end:NAME --> stands without its partner, each on its own line")
    return _BLOCK.sub(
        lambda m: f"<!-- begin:{m[1]} -->\n{BLOCKS[m[1]](runs, records).rstrip()}\n<!-- end:{m[1]} -->", text
    )


def update_readme(path: Path, records: Iterable[Record]) -> bool:
    """Writes the generated blocks of ``path`` anew; returns whether that changed anything.

    Raises:
        ValueError: as :func:`rendered`.
    """
    old = path.read_text(encoding="utf-8")
    new = rendered(old, records)
    if new != old:
        path.write_text(new, encoding="utf-8")
    return new != old


def stale_blocks(path: Path, records: Iterable[Record]) -> list[str]:
    """Names of the generated blocks of ``path`` that are not what the records give; for a test.

    Raises:
        ValueError: as :func:`rendered`.
    """
    old = path.read_text(encoding="utf-8")
    pairs = zip(_BLOCK.finditer(old), _BLOCK.finditer(rendered(old, records)), strict=True)
    return [before[1] for before, after in pairs if before[2] != after[2]]
