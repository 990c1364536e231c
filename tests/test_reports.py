"""Whole reports from made-up records: what is missing is said, what is equal stays equal."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from made_up import EVIL, TASKS, hostile, record, study, sweeps, write
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from reports import artefacts, build, gallery, page
from reports.render import latex
from results.schema import METRICS

ROOT = Path(__file__).parents[1]
FIGURES = {
    "scores",
    "erc",
    "understanding",
    "curves",
    "profiles",
    "improvement",
    "demos",
    "guidance",
    "failures",
    "steps-halfcheetah",
    "gaits-halfcheetah",
    *(f"{k}-{t}" for k in ("rewards", "paths", "film", "worst") for t in TASKS if t.startswith("maze")),
}


class Text(NamedTuple):
    """A line of text in a PNG: what, how large in points, and its box in pixels, y downward."""

    said: str
    size: float
    box: Bbox
    sheet: Bbox


@pytest.fixture(scope="module")
def texts() -> Iterator[dict[str, list[Text]]]:
    """The texts of each figure drawn from here on, by its file's stem."""
    found: dict[str, list[Text]] = {}
    drawn: dict[tuple[str, ...], Text] = {}
    draw, save = RendererAgg.draw_text, gallery.save

    def noted(self: RendererAgg, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, **rest: Any) -> None:
        wide, high, _ = self.get_text_width_height_descent(s, prop, False)
        box = Bbox([[x - high, y - wide], [x, y]]) if angle else Bbox([[x, y - high], [x + wide, y]])
        sheet = Bbox([[0, 0], [self.width, self.height]])
        drawn[s, f"{box}", f"{sheet}"] = Text(s, prop.get_size_in_points(), box, sheet)
        draw(self, gc, x, y, s, prop, angle, **rest)

    def saved(figure: Figure, stem: Path) -> None:
        drawn.clear()
        save(figure, stem)
        size = max(text.sheet.width for text in drawn.values())  # that of the file, not of trials before it
        found[stem.name] = [text for text in drawn.values() if text.sheet.width == size and text.said.strip()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RendererAgg, "draw_text", noted)
        patch.setattr(gallery, "save", saved)
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, list[Text]]) -> tuple[Path, str]:
    """A full report on a study with failures, a hostile method and a corrupt record."""
    root, out = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("out")
    evil = [record("evil", "maze2d-umaze", seed, title=EVIL, notes=["epic: undefined"]) for seed in range(3)]
    write(root, [*study(), *sweeps(), *evil])
    (root / "0123456789abcdef.json").write_text("{")
    text = build.build(root, out, "made-up")
    return out, text


def test_every_latex_table_compiles(report: tuple[Path, str], tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs LaTeX: .ci/run installs texlive-latex-recommended")
        pytest.skip("no pdflatex on this machine: apt-get install texlive-latex-recommended to test the tables")
    (tmp_path / "hostile.tex").write_text(latex(hostile()), encoding="utf-8")
    tables = [*sorted((report[0] / "tables").glob("*.tex")), tmp_path / "hostile.tex"]
    body = "\n\\clearpage\n".join(rf"\input{{{path}}}" for path in tables)
    packages = "".join(rf"\usepackage{{{name}}}" for name in ("booktabs", "graphicx"))
    text = rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "all.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"({len(tables)} pages" in done.stdout
    assert "Overfull" not in done.stdout
    assert "Missing character" not in (tmp_path / "all.log").read_text(errors="replace")


def test_report_has_every_table_and_figure(report: tuple[Path, str]) -> None:
    out, text = report
    names = {"main", "iqm", "aggregate", "imitation", "erc", "reward", "distance", "reoptimised", "cost", "failures"}
    names |= {"worst_case", "claims", "planning"}
    files = {f"{n}.{e}" for n in names for e in ("md", "csv", "tex", "html")} | {"scores.npz"}
    assert {p.name for p in (out / "tables").iterdir()} == files
    assert {p.name for p in (out / "figures").iterdir()} == {f"{n}.{e}" for n in FIGURES for e in ("pdf", "png")}
    assert {p.name for p in out.iterdir()} == {"tables", "figures", "summary.md", "index.html"}
    assert "GAIL" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_texts_of_figures_are_whole_apart_and_large_enough_to_read(
    report: tuple[Path, str], texts: dict[str, list[Text]]
) -> None:
    """At the width of a column: six points at least, on the sheet, none on another."""
    assert texts.keys() >= FIGURES
    for name, found in texts.items():
        assert found, name
        for text in found:
            assert text.size >= 6, (name, text)
            assert text.sheet.padded(1).containsx(text.box.x0), (name, text)
            assert text.sheet.padded(1).containsx(text.box.x1), (name, text)
            assert text.sheet.padded(1).containsy(text.box.y0), (name, text)
            assert text.sheet.padded(1).containsy(text.box.y1), (name, text)
        for one, other in combinations(found, 2):
            assert not one.box.padded(-1).overlaps(other.box.padded(-1)), (name, one, other)


def test_csv_holds_the_numbers_behind_the_text(report: tuple[Path, str]) -> None:
    data = pd.read_csv(report[0] / "tables" / "main.csv").set_index(["task", "method"])
    row = data.loc["maze2d-large", "bc"]
    values = [record("bc", "maze2d-large", s).metrics["score_seen"] for s in range(3)]
    assert row.score_seen == pytest.approx(np.mean(values), rel=1e-5)
    assert row.score_seen_low < min(values) < max(values) < row.score_seen_high
    assert (row.expected, row.ok, row.erc_pearson_n) == (3, 3, 0)
    assert data.loc["maze2d-umaze", "evil"].title == EVIL
    assert io.StringIO((report[0] / "tables" / "main.csv").read_text()).readline().count(",") == data.shape[1] + 1


def test_summary_says_what_is_missing(report: tuple[Path, str]) -> None:
    text = (report[0] / "summary.md").read_text()
    assert "96 of 108 runs ended well: 4 failed, 7 missing, 1 timeout" in text
    assert "- Maze2D Large: 10 demonstrations, at most 200,000 environment steps" in text
    assert "0123456789abcdef.json holds no record" in text
    assert re.search("- epic: undefined: .*, Maze2D U-Maze, seeds 0, 1, 2\n", text)
    assert re.search(r"figure 1, rewards-maze2d-umaze: no map of a step reward: Behavioural cloning; Diffusion", text)
    assert "<script>" not in text


def test_pictures_are_not_empty(report: tuple[Path, str]) -> None:
    for name in FIGURES:
        image = matplotlib.image.imread(report[0] / "figures" / f"{name}.png")
        assert image.shape[1] >= 600
        assert len(np.unique(image[::3, ::3, :3] @ np.array([1, 1e3, 1e6]))) > 20, name  # colours
        assert (report[0] / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_same_records_same_bytes_and_old_files_go(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(tmp_path / "runs", study(3, ["bc", "gail", "expert"], ["maze2d-umaze"]))
    build.build(tmp_path / "runs", out)
    first = {p.relative_to(out): p.read_bytes() for p in out.rglob("*.*")}
    (out / "tables" / "stale.md").write_text("old")
    (out / "mine.txt").write_text("keep")
    build.build(tmp_path / "runs", out)
    assert (out / "mine.txt").read_text() == "keep"
    second = {p.relative_to(out): p.read_bytes() for p in out.rglob("*.*") if p.name != "mine.txt"}
    assert first == second


def test_a_failing_report_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "runs", [record("bc", "halfcheetah", 0)])
    old = tmp_path / "out" / "tables"
    old.mkdir(parents=True)
    (old / "main.md").write_text("old")

    def broken(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(build.gallery, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        build.build(tmp_path / "runs", tmp_path / "out")
    assert [p.relative_to(old.parent) for p in old.parent.rglob("*")] == [Path("tables"), Path("tables/main.md")]


def test_no_records_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no records of suite 'quick'.*python -m benchmark run quick"):
        build.build(tmp_path / "nothing", tmp_path / "out", "quick")
    assert not (tmp_path / "out").exists()


def test_expected_ids_choose_the_records(tmp_path: Path) -> None:
    write(tmp_path / "runs", [record("bc", "halfcheetah", s) for s in range(3)])
    wanted = {record("bc", "halfcheetah", 1).id: ("bc", "halfcheetah", 1, ""), "0" * 16: ("gail", "halfcheetah", 1, "")}
    text = build.build(tmp_path / "runs", tmp_path / "out", "other", wanted)
    assert "1 of 2 runs ended well: 1 missing" in text
    assert re.search(r"gail +miss +miss +miss", text)


def test_what_a_suite_runs_through_stands_apart(tmp_path: Path) -> None:
    made = [record("bc", "halfcheetah", s, demos=n) for n in (1, 3) for s in range(3)]
    made = [r.model_copy(update={"id": f"{i:016x}"}) for i, r in enumerate(made)]
    write(tmp_path / "runs", made)
    wanted = {r.id: ("bc", "halfcheetah", r.seed, f"demos={r.demos}") for r in made}
    text = build.build(tmp_path / "runs", tmp_path / "out", "demos", wanted)
    assert "6 of 6 runs" in text or "Every run" in text, text
    main = (tmp_path / "out" / "tables" / "main.csv").read_text()
    assert "bc (demos=1)" in main and "bc (demos=3)" in main


def test_a_report_on_one_suite_judges_claims_by_all_records(tmp_path: Path) -> None:
    """Also where it shares a run with a larger suite, under whose name that is kept."""
    made = [record(m, "halfcheetah", s, suite="paper") for m in ("bc", "gail", "diffusion-irl-mse") for s in range(5)]
    swept = [record("bc", "halfcheetah", s, demos=1, suite="sweep", variant="demos=1") for s in range(5)]
    made = [r.model_copy(update={"id": f"{i:016x}"}) for i, r in enumerate([*made, *swept])]
    write(tmp_path / "runs", made)
    wanted = {r.id: (r.method, r.task, r.seed, f"demos={r.demos}") for r in made if r.method == "bc"}
    build.build(tmp_path / "runs", tmp_path / "out", "sweep", wanted)
    claims = pd.read_csv(tmp_path / "out" / "tables" / "claims.csv").set_index("claim")
    assert claims.loc["lags"].n == 5


@pytest.mark.parametrize("damage", ["pickle", "shape", "nan", "cut", "flip"])
def test_bad_artefacts_are_named_and_nothing_else_is_lost(damage: str, tmp_path: Path) -> None:
    made = [record("gail", "maze2d-umaze", 0), record("airl", "maze2d-umaze", 0)]
    write(tmp_path / "runs", made)
    path = tmp_path / "runs" / made[0].id / "artefacts.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    if damage == "pickle":
        np.savez(path, allow_pickle=True, **{**arrays, "reward_map": np.array([{"a": 1}], object)})
    elif damage == "flip":
        np.savez_compressed(path, **arrays)
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:300])
    else:
        wrong = np.zeros(3) if damage == "shape" else np.full_like(arrays["reward_map"], np.nan)
        np.savez(path, **{**arrays, "reward_map": wrong})
    with pytest.raises(ValueError, match=r"artefacts\.npz"):
        artefacts.load(path.parent)
    if damage != "pickle":
        return
    build.build(tmp_path / "runs", tmp_path / "out")
    assert f"artefacts of {made[0].id} are not drawn" in (tmp_path / "out" / "summary.md").read_text()
    assert (tmp_path / "out" / "figures" / "rewards-maze2d-umaze.png").is_file()


def test_a_run_that_suites_share_counts_in_the_one_that_is_reported(tmp_path: Path) -> None:
    other = [record("gail", "halfcheetah", s, suite="quick" if s == 0 else "paper") for s in range(5)]
    own = [record("diffusion-irl-mse", "halfcheetah", s, suite="quick" if s == 0 else "paper") for s in range(5)]
    made = [r.model_copy(update={"id": f"{i:016x}"}) for i, r in enumerate([*other, *own])]
    write(tmp_path / "runs", made)
    build.build(tmp_path / "runs", tmp_path / "out", "paper", {r.id: (r.method, r.task, r.seed, "") for r in made})
    assert pd.read_csv(tmp_path / "out" / "tables" / "claims.csv").set_index("claim").loc["lags"].n == 5
    embedded = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', (tmp_path / "out/index.html").read_text()
    )
    assert embedded
    suites = Counter(run["suite"] for run in json.loads(embedded[1])["runs"])
    assert suites == {"paper": 10, "quick": 2}


def test_a_page_that_would_be_too_large_leaves_out_other_suites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [record("bc", "halfcheetah", s) for s in range(3)]
    many = [record("bc", "halfcheetah", s, suite="other", id=f"{s:016x}") for s in range(40)]
    write(tmp_path / "runs", [*made, *many])
    monkeypatch.setattr(page, "_figure", lambda shown, width: {**vars(shown), "name": "", "source": "", "size": (1, 1)})
    for most, other in ((page.LIMIT, True), (120_000, False)):
        monkeypatch.setattr(page, "LIMIT", most)
        build.build(tmp_path / "runs", tmp_path / "out", "made-up")
        text = (tmp_path / "out" / "index.html").read_text()
        assert ('"suite":"other"' in text) == other != ("Runs of other suites, with which" in text)


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    write(tmp_path / "runs", [record("bc", "maze2d-umaze", 0), record("random", "maze2d-umaze", 0, curve=[])])
    build.build(tmp_path / "runs", tmp_path / "out")
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "figure 1, rewards-maze2d-umaze, is not drawn: no run left a map of a step reward" in text
    assert "figure 5, erc, is not drawn" in text
    assert not (tmp_path / "out" / "figures" / "erc.png").exists()


def test_the_printed_table_shows_the_metrics_asked_for_and_says_what_they_are(tmp_path: Path) -> None:
    write(tmp_path / "runs", study(3, ["bc", "gail"], ["halfcheetah"]))
    text = build.build(tmp_path / "runs", tmp_path / "out", metrics=["erc_spearman"])
    assert METRICS["erc_spearman"].label in text
    assert METRICS["erc_spearman"].source in text
    assert METRICS["score_seen"].label not in text


def test_reports_need_neither_torch_nor_a_method() -> None:
    code = (
        "import reports.build, reports.readme, sys; print({'torch', 'methods', 'envs', 'benchmark'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
