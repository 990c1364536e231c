"""Keeps what stands in the checkout because of the records equal to what they give: README, analysis, digests."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from reports.analysis import analysis, in_numbers
from reports.build import build
from reports.claims import WORDS, brief, named, sentence
from reports.frame import Runs, gather, main_suite
from reports.render import markdown, markdown_text
from reports.tables import AGGREGATE, headline
from reports.wording import conditions, ended_all
from results.schema import Record
from results.store import Store


def counts(runs: Runs) -> str:
    """How many methods, tasks, seeds and runs the tables rest on, what these were given, and by which code."""
    contestants = len(runs.methods) - len(runs.controls)
    seeds = runs.table.seed.nunique()
    suites = sorted({r.suite for r in runs.records.values()})
    bases = {r.base_seed for r in runs.records.values()}
    commits = sorted({str(r.provenance.get("commit", "unknown"))[:7] for r in runs.records.values()})
    return markdown_text(
        f"{contestants} methods and {len(runs.controls)} controls on {len(runs.tasks)} tasks with {seeds} seeds "
        f"(suite {', '.join(suites)}): {ended_all(runs)} {'; '.join(conditions(runs))}. "
        f"{'One set of base data for all seeds' if len(bases) == 1 else 'Base data vary with the seed'}. "
        f"Made at commit {', '.join(commits)}."
    )


BLOCKS: dict[str, Callable[[Runs, list[Record]], str]] = {
    "headline": lambda runs, _: markdown(headline(runs, AGGREGATE), stacked=True),
    "counts": lambda runs, _: counts(runs),
    "sentence": lambda _, records: markdown_text(sentence(records)),
    "named": lambda _, records: "\n".join(f"- {markdown_text(line)}" for line in named(records)),
    "words": lambda runs, records: WORDS,
    "numbers": lambda _, records: in_numbers(records),
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


def manifest(records: Iterable[Record]) -> str:
    """What the records were made with: suites, commits, versions, machines, as Markdown."""
    records = list(records)
    out = ["# Reference records", "", "Made by `python -m benchmark keep SUITE` and `python -m benchmark readme`.", ""]
    out += ["| suite | runs | ended well | seeds | CPU hours |", "| :-- | --: | --: | :-- | --: |"]
    for suite in sorted({r.suite for r in records}):
        own = [r for r in records if r.suite == suite]
        hours = sum(r.cpu_seconds + r.score_seconds for r in own) / 3600
        seeds = ", ".join(map(str, sorted({r.seed for r in own})))
        out.append(f"| {suite} | {len(own)} | {sum(r.status == 'ok' for r in own)} | {seeds} | {hours:.1f} |")
    made: dict[str, set[str]] = {}
    for r in records:
        for name in ("commit", "diff", "python", "platform", "cpu", "cores", "device"):
            made.setdefault(name, set()).add(markdown_text(str(r.provenance.get(name) or "none")))
        for package, version in r.provenance.get("versions", {}).items():
            made.setdefault(package, set()).add(markdown_text(str(version)))
    return "\n".join([*out, "", *(f"- {name}: {', '.join(sorted(values))}" for name, values in made.items()), ""])


def digested(report: Path) -> dict[str, str]:
    """Of the folder of a report, 16 hex digits by file.

    Tables and page count by their bytes, but for the pixels of its figures; figures by their data.
    """
    found = {f"tables/{p.name}": p.read_bytes() for p in (report / "tables").iterdir() if p.suffix != ".npz"}
    found["index.html"] = re.sub(rb"data:image/webp[^\"]*", b"", (report / "index.html").read_bytes())
    made = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in found.items()}
    for path in (report / "figures").glob("*.png"):
        with Image.open(path) as image:
            made[f"figures/{path.name}"] = image.info["Data"]
    return dict(sorted(made.items()))


def regenerate(records: Path, readme: Path) -> list[Path]:
    """Writes anew the README's blocks, the analysis, and beside the records their manifest, figure and digests.

    The analysis stands in ``reports/`` beside the README. Returns the texts that changed.
    """
    found = Store(records).load()[0]
    texts = {
        readme: rendered(readme.read_text(encoding="utf-8"), found),
        readme.parent / "reports" / "ANALYSIS.md": analysis(found),
        records / "README.md": manifest(found),
    }
    with tempfile.TemporaryDirectory() as folder:
        build(records, Path(folder), main_suite(found)[0].suite)
        shutil.copyfile(Path(folder, "figures", "understanding.png"), records / "understanding.png")
        texts[records / "digests.json"] = json.dumps(digested(Path(folder)), indent=1) + "\n"
    changed = [p for p, text in texts.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
    for path in changed:
        path.write_text(texts[path], encoding="utf-8")
    return changed
