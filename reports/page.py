"""The page: one HTML file that holds records, figures and its own script, and needs no network."""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from reports.claims import SIGHT, WORDS, claims, named, sentence
from reports.frame import Runs, entry, estimate, latest, levelled
from reports.gallery import Shown
from reports.render import TEMPLATES, Table, clean, html_table
from reports.style import look
from reports.tables import HEADLINE, MARKED
from reports.wording import conditions, ended_all
from results.schema import COSTS, METRICS, Record
from results.store import Store

LIMIT = 5_000_000  # bytes of the whole page
POINTS = 40  # of each curve
WIDTHS = (1380, 1000, 700, 480)  # of figures in pixels: the first at which the page keeps to its size


def page(
    runs: Runs,
    records: Sequence[Record],
    store: Store,
    tables: Sequence[Table],
    shown: Sequence[Shown],
    problems: Sequence[str],
    suite: str | None,
    evidence: Sequence[Record],
) -> str:
    """The whole page as HTML.

    Args:
        runs: the suite reported on.
        records: all there are; the leaderboard can be switched to other suites, if the page holds them too.
        problems: what is missing.
        evidence: what claims are judged by.

    Raises:
        ValueError: the suite's records alone make it larger than :data:`LIMIT`.
    """
    template, folder = TEMPLATES.get_template("page.html"), Path(__file__).parent / "templates"
    fixed: dict[str, Any] = {
        "suite": suite or ", ".join(sorted({r.suite for r in runs.records.values()})),
        "ended": ended_all(runs),
        "verdict": sentence(evidence),
        "words": WORDS.replace("*", ""),
        "named": named(evidence),
        "fewest": claims().fewest,
        "marked": MARKED,
        "conditions": conditions(runs),
        "tables": [(t.name, Markup(html_table(t))) for t in tables],
        "bad": runs.table[runs.table.status != "ok"].to_dict("records"),
        "metrics": METRICS | COSTS,
        "versions": _provenance(runs),
        "css": Markup((folder / "page.css").read_text(encoding="utf-8")),
        "js": Markup((folder / "page.js").read_text(encoding="utf-8")),
    }
    left_out = "Runs of other suites, with which the page would be too large: report on those by their name."
    for held, said in ((records, []), ([], [left_out])):
        fixed["data"] = _embedded(_data(runs, held, store, suite))
        fixed["problems"] = [*runs.notes, *problems, *said]
        for width in WIDTHS if len(fixed["data"]) < LIMIT else ():
            made = template.render(figures=[_figure(s, width) for s in shown], **fixed)
            if len(made.encode()) < LIMIT:
                return made
    raise ValueError(f"the page exceeds {LIMIT} bytes: report on fewer records at a time")


def _embedded(data: Any) -> Markup:
    """JSON that no string in it can end: in a script element only ``<`` matters, the others for good measure."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _figure(shown: Shown, width: int) -> dict[str, Any]:
    with Image.open(shown.stem.with_suffix(".png")) as image:
        picture = image.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    held = io.BytesIO()
    picture.save(held, "WEBP", quality=82, method=4)
    source = "data:image/webp;base64," + base64.b64encode(held.getvalue()).decode()
    return vars(shown) | {"name": shown.stem.name, "source": source, "size": picture.size}


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _curve(rows: Sequence[Mapping[str, float]]) -> dict[str, list[list[float | None]]]:
    """Per clock and quantity, at most :data:`POINTS` rows: ``{"env_steps": [[x, ..], ..]}`` as columns by name."""
    found: dict[str, Any] = {}
    for name in ("logged", "scored"):
        if part := [r for r in rows if ("score" in r) is (name == "scored")]:
            picked = [part[i] for i in np.unique(np.linspace(0, len(part) - 1, POINTS).round().astype(int))]
            keys = dict.fromkeys(k for row in picked for k in row)
            found[name] = {k: [_short(row[k]) if k in row else None for row in picked] for k in keys}
    return found


def _provenance(runs: Runs) -> list[str]:
    """What the runs were made with: one line for each combination that occurs."""
    lines = set()
    for r in runs.records.values():
        p = r.provenance
        packages = ", ".join(f"{k} {v}" for k, v in sorted(p.get("versions", {}).items()))
        lines.add(
            f"commit {str(p.get('commit', 'unknown'))[:12]}{' with changes' * bool(p.get('diff'))}; "
            f"Python {p.get('python', '?')}; {packages}; {p.get('cpu', '?')}, device {p.get('device', '?')}"
        )
    return sorted(lines)


def _data(runs: Runs, records: Sequence[Record], store: Store, suite: str | None) -> dict[str, Any]:
    shared: dict[str, int] = {}  # configurations and provenance as JSON, each once, and their places

    def once(value: Any) -> int:
        return shared.setdefault(json.dumps(value, sort_keys=True, default=str), len(shared))

    def row(r: Record) -> dict[str, Any]:
        folder = store.folder(r.id)
        values = {k: _short(v) for k, v in r.metrics.items() if math.isfinite(v)}
        if r.status == "ok":
            values |= {k: _short(float(getattr(r, k))) for k in COSTS}
        origin = {k: v for k, v in r.provenance.items() if k != "diff"} | {"changed": bool(r.provenance.get("diff"))}
        return {
            "id": r.id, "method": entry(r.method, r.variant), "plain": r.method, "task": r.task, "seed": r.seed,
            "suite": r.suite, "budget": r.step_budget, "demos": r.demos, "status": r.status, "reason": clean(r.reason),
            "kind": r.reward_kind, "control": r.control, "values": values, "notes": [clean(n) for n in r.notes],
            "config": once(r.config), "finished": str(origin.pop("finished", "")), "origin": once(origin),
            "code": r.code, "base_seed": r.base_seed, "curve": _curve(r.curve),
            "files": sorted(p.name for p in folder.iterdir()) if folder.is_dir() else [],
        }  # fmt: skip

    own = suite or next(iter(sorted({r.suite for r in runs.records.values()})))
    known = levelled([*latest(r for r in records if r.suite != own), *runs.records.values()])
    rows = [row(r) for r in sorted(known, key=lambda r: (r.suite, r.task, r.control, r.title, r.seed, r.id))]
    for line in runs.table[runs.table.status == "missing"].itertuples():
        place = {"id": "", "method": line.method, "plain": line.method, "task": line.task, "seed": int(str(line.seed))}
        given = {"suite": own, "budget": None, "demos": None}
        what = {"status": "missing", "reason": "no record", "control": bool(line.control), "values": {}}
        rows.append(place | given | what)
    intervals: dict[str, Any] = {}
    for task, method, metric in product(runs.tasks, runs.methods, [*METRICS, *COSTS]):
        found = estimate(runs, task, method, metric)
        if found.interval:
            ends = [*map(_short, found.interval), found.n]
            intervals.setdefault(task, {}).setdefault(method, {})[metric] = ends
    titles = {entry(r.method, r.variant): entry(r.title, r.variant) for r in known} | runs.methods
    return {
        "suite": own,
        "headline": HEADLINE,
        "metrics": {k: m.model_dump(exclude={"range", "source"}) for k, m in (METRICS | COSTS).items()},
        "tasks": {r.task: clean(r.task_title) for r in known},
        "methods": {
            m: {"title": clean(t) + SIGHT * (m in claims().in_sight), "colour": look(m)[0]} for m, t in titles.items()
        },
        "runs": rows,
        "shared": [json.loads(value) for value in shared],
        "intervals": intervals,
    }
