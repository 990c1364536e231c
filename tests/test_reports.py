"""Reports from made-up records: what is missing is said, what is hostile is escaped, what is equal stays equal."""

import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from made_up import METHODS, TASKS, record, study, sweeps, write
from PIL import Image

from envs.maze2d import LARGE_TASK, distances, goal_cell
from reports import artefacts, build, mazes, robust, studies, style, tables
from reports.analysis import analysis
from reports.frame import estimate, gather
from reports.readme import digests, manifest, rendered
from reports.render import Cell, Line, Section, Table, clean, latex, markdown, plain
from results.schema import METRICS, Record, Spread
from results.store import Store

ROOT = Path(__file__).parents[1]
EVIL = "<script>alert(1)</script> $x_1^2$ 50% & # | {b} ~ `c` \\input{d} [*e*](f)\x1b[31m\n| new row |"
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


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A full report on a study with failures, a hostile method and a corrupt record."""
    root, out = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("out")
    write(root, [*study(), *sweeps(), *(record("evil", "maze2d-umaze", seed, title=EVIL) for seed in range(3))])
    (root / "0123456789abcdef.json").write_text("{")
    text = build.build(root, out, "made-up")
    return out, text


def texts(table: Table, title: str) -> list[list[str]]:
    """The entries of a method, per section."""
    return [[c.text for c in line.cells] for s in table.sections for line in s.lines if line.title == title]


# records to frame


def test_missing_runs_are_rows() -> None:
    runs = gather(study(), [(m, t, s) for t in ("maze2d-umaze", "maze2d-large") for m in METHODS for s in range(3)])
    assert list(runs.tasks) == ["maze2d-umaze", "maze2d-large", "halfcheetah"]  # the order asked for, others after
    assert len(runs.table) == len(METHODS) * len(TASKS) * 3
    row = runs.table[(runs.table.method == "airl") & (runs.table.task == "maze2d-umaze") & (runs.table.seed == 2)]
    assert row.status.tolist() == ["missing"]
    assert list(runs.methods)[-4:] == ["expert", "oracle-diffuser", "random", "unguided-diffuser"]  # controls last


def test_a_method_without_any_record_is_reported_missing() -> None:
    runs = gather([record("bc", "halfcheetah", 0)], [(m, "halfcheetah", 0) for m in ("bc", "never-ran")])
    assert texts(tables.main(runs), "never-ran") == [["missing"] * 4 + ["0/1 ok, 1 missing"]]


def test_two_records_for_one_place_are_refused() -> None:
    twins = [record("bc", "halfcheetah", 0), record("bc", "halfcheetah", 0, id="f" * 16, demos=1)]
    with pytest.raises(ValueError, match="both of bc on halfcheetah, seed 0"):
        gather(twins)


def test_mixed_settings_are_noted() -> None:
    runs = gather([record("bc", "halfcheetah", 0), record("bc", "halfcheetah", 1, demos=3)])
    assert runs.notes == ["bc on halfcheetah: the seeds ran with different code or settings."]


def test_failed_runs_are_counted_not_averaged() -> None:
    runs = gather(study())
    found = estimate(runs, "halfcheetah", "gail", "score_seen")
    kept = [record("gail", "halfcheetah", seed).metrics["score_seen"] for seed in (0, 2)]
    assert found.mean == pytest.approx(np.mean(kept))
    assert (found.n, found.ok, found.expected, found.interval) == (2, 2, 3, None)
    assert tables.cell(found, "score_seen").limit == "n<3, 2/3 ok"


def test_an_interval_stays_within_the_metrics_range() -> None:
    values = (0.2, 0.9, 1.0)
    runs = gather([record("x", "t", s, metrics={"erc_pearson": r}) for s, r in enumerate(values)])
    found = estimate(runs, "t", "x", "erc_pearson").interval
    assert found is not None
    assert found.high == 1.0


# tables


def test_every_status_is_shown_as_itself() -> None:
    table = tables.main(gather(study()))
    assert texts(table, "Diffusion-IRL (MSE)")[2] == ["failed"] * 4 + ["0/3 ok, 3 failed"]
    assert texts(table, "MaxEnt IRL")[1][-1] == "2/3 ok, 1 timeout"
    assert texts(table, "AIRL")[0][-1] == "2/3 ok, 1 missing"
    assert texts(table, "Behavioural cloning")[0][2:] == ["–", "–", "3 ok"]  # noqa: RUF001


def test_a_run_that_ended_well_without_the_metric_is_no_zero() -> None:
    found = [
        record("x", "t", s, metrics={"score_seen": 50.0 + s, **({"erc_pearson": 0.5} if s else {})}) for s in (0, 1, 2)
    ]
    runs = gather(found)
    assert tables.cell(estimate(runs, "t", "x", "erc_pearson"), "erc_pearson") == Cell("0.50", "", "n<3, 2/3 ok")
    assert not tables.winners(runs, "t", "erc_pearson")


def measured(metric: str, **values: list[float]) -> Any:
    return gather([record(m, "t", s, metrics={metric: v}) for m, vs in values.items() for s, v in enumerate(vs)])


def test_bold_is_the_best_and_what_cannot_be_told_from_it() -> None:
    runs = measured("score_seen", good=[80, 85, 81], near=[79, 87, 78], poor=[30, 33, 29], expert=[100, 100, 100])
    runs.table.loc[runs.table.method == "expert", "control"] = True
    assert tables.winners(runs, "t", "score_seen") == {"good", "near"}  # never a control
    runs = measured("erc_distance", good=[0.1, 0.11, 0.1], poor=[0.8, 0.81, 0.83])
    assert tables.winners(runs, "t", "erc_distance") == {"good"}  # lower is better


def test_no_bold_below_three_seeds_or_with_a_failure() -> None:
    assert not tables.winners(measured("score_seen", a=[80, 85], b=[1, 2]), "t", "score_seen")
    failed = record("a", "t", 3, status="failed", reason="boom")
    runs = gather(
        [*(record("a", "t", s, metrics={"score_seen": 90.0 + s}) for s in range(3)), failed]
        + [record("b", "t", s, metrics={"score_seen": 10.0 + s}) for s in range(4)]
    )
    assert tables.winners(runs, "t", "score_seen") == {"b"}


def test_incomplete_methods_are_not_aggregated() -> None:
    table = tables.aggregate(gather(study()))
    assert texts(table, "GAIL") == [["8/9 values", "–", "–"] * 2]  # noqa: RUF001
    assert texts(table, "Behavioural cloning")[0][1] == "best"
    assert math.isnan(table.data.set_index("method").normalized_score_iqm["gail"])


def test_aggregate_compares_with_the_best_run_by_run() -> None:
    best, other = [80.0, 82.0, 84.0], [70.0, 71.0, 75.0]
    runs = measured("normalized_score", best=best, other=other)
    row = tables.aggregate(runs).data.set_index("method").loc["other"]
    assert row.normalized_score_iqm == pytest.approx(72)
    assert row.normalized_score_difference == pytest.approx(-10)
    assert row.normalized_score_improvement == 0


def test_methods_without_reward_are_named_not_listed() -> None:
    table = tables.reward(gather(study()))
    measured = {m for r in study() for m in r.metrics}
    assert not texts(table, "Behavioural cloning")
    assert "Behavioural cloning" in table.caption
    assert texts(table, "GAIL")[0][0] == "shaped"
    assert list(table.header[1:]) == [
        tables.label(m) for m in METRICS if METRICS[m].group == "correlation" and m in measured
    ]
    assert tables.label("erc_distance") == METRICS["erc_distance"].label + " ↓"


def test_failures_give_their_reasons() -> None:
    data = tables.failures(gather(study())).data.set_index(["method", "task", "seed"])
    assert data.reason["gail", "halfcheetah", 1] == "ValueError: acts are not finite"
    assert len(data) == 6


def test_numbers() -> None:
    shown = [tables.number(v, m) for v, m in ((-3.14, "score_seen"), (-0.001, "erc_pearson"), (200000, "env_steps"))]
    assert shown == ["−3.1", "0.00", "200,000"]  # noqa: RUF001


# writing


def hostile() -> Table:
    section = Section(EVIL, [Line(EVIL, False, [Cell(EVIL, "[0, 1]", "n<3"), Cell("1.0", bold=True)])])
    return Table("t", EVIL, [EVIL, "b"], [section], pd.DataFrame({"title": [EVIL], "x": [1.0]}))


def test_markdown_escapes() -> None:
    text = markdown(hostile())
    assert "<" not in text
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [4, 4, 4]
    assert "**1.0**" in rows[2]
    assert not re.search(r"(?<!\\)[`$]", text)


def test_latex_escapes() -> None:
    text = latex(hostile())
    body = text[text.index(r"\midrule") :]
    bare = re.sub(r"\\[&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert r"\input" not in text
    assert r"\textbackslash{}input" in text
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [2]
    assert r"\textbf{1.0}" in rows[0]
    assert text.isascii()
    assert latex(Table("t", "日本", [], [], pd.DataFrame())).count("?") == 2  # what LaTeX cannot print stops nothing


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


def test_terminal_gets_no_control_characters() -> None:
    text = plain(hostile())
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "1.0*" in text
    assert clean("a\x1b]0;b\x07\u202ec\n d") == "a ]0;b c d"


def test_report_has_every_table_and_figure(report: tuple[Path, str]) -> None:
    out, text = report
    names = {"main", "iqm", "aggregate", "imitation", "reward", "distance", "reoptimised", "cost", "failures"}
    names |= {"worst_case", "claims"}
    files = {f"{n}.{e}" for n in names for e in ("md", "csv", "tex", "html")} | {"scores.npz"}
    assert {p.name for p in (out / "tables").iterdir()} == files
    assert {p.name for p in (out / "figures").iterdir()} == {f"{n}.{e}" for n in FIGURES for e in ("pdf", "png")}
    assert {p.name for p in out.iterdir()} == {"tables", "figures", "summary.md", "index.html"}
    assert "GAIL" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_failed_runs_count_as_the_worst_of_their_task_and_are_marked() -> None:
    def run(method: str, seed: int, value: float | None) -> Record:
        if value is None:
            return record(method, "t", seed, status="failed", reason="x")
        return record(method, "t", seed, metrics={"normalized_score": value})

    good, poor = [80.0, 90.0, None], [50.0, 10.0, 60.0]
    runs = gather([run(m, s, v) for m, values in (("good", good), ("poor", poor)) for s, v in enumerate(values)])
    table = robust.worst_case(runs)
    rows = table.data.set_index("method")
    assert rows.iqm["good"] == pytest.approx((80 + 90 + 10) / 3) and rows.gap["good"] == pytest.approx(120 / 3)
    assert rows.failures_as_worst.to_dict() == {"good": True, "poor": False}
    assert [line.title for line in table.sections[0].lines] == ["good ‡", "poor"]
    assert robust.matrices(runs).keys() == {"poor"}  # rliable gets whole matrices only
    nothing = gather([run("good", 0, None)])
    assert robust.worst_case(nothing).sections[0].lines[0].cells[0].text == "–"  # noqa: RUF001


def test_csv_holds_the_numbers_behind_the_text(report: tuple[Path, str]) -> None:
    data = pd.read_csv(report[0] / "tables" / "main.csv").set_index(["task", "method"])
    row = data.loc["maze2d-large", "bc"]
    values = [record("bc", "maze2d-large", s).metrics["score_seen"] for s in range(3)]
    assert row.score_seen == pytest.approx(np.mean(values), rel=1e-5)
    assert row.score_seen_low < min(values) < max(values) < row.score_seen_high
    assert (row.expected, row.ok, row.erc_pearson_n) == (3, 3, 0)
    assert data.loc["maze2d-umaze", "evil"].title == EVIL
    assert io.StringIO((report[0] / "tables" / "main.csv").read_text()).readline().count(",") == data.shape[1] + 1


def test_tables_say_how_sure_one_run_is() -> None:
    """n and half an interval of each run: means in a section of their own, all of them in the CSV."""
    bounds = [Spread(n=90, low=0.2, high=0.4), Spread(n=70, low=0.1, high=0.5), Spread(n=80)]
    runs = gather([record("gail", "halfcheetah", s, spread={"erc_pearson": b}) for s, b in enumerate(bounds)])
    table = tables.reward(runs)
    row = table.data.iloc[0]
    assert (row.erc_pearson_samples, row.erc_pearson_within) == (70, pytest.approx(0.15))  # the third has no interval
    assert "erc_spearman_within" not in table.data
    section = table.sections[-1]
    assert (section.title, section.lines[0].title) == ("Within one run", "HalfCheetah")
    assert section.lines[0].cells[1] == Cell("±0.15", "", "n=70 to 90")
    assert Spread(n=5, error=0.1).half == pytest.approx(0.196)
    assert len(tables.distance(runs).sections) == 0  # nothing measured, nothing said


def test_summary_says_what_is_missing(report: tuple[Path, str]) -> None:
    text = (report[0] / "summary.md").read_text()
    assert "96 of 108 runs ended well: 4 failed, 7 missing, 1 timeout" in text
    assert "- Maze2D Large: 10 demonstrations, at most 200,000 environment steps" in text
    assert "0123456789abcdef.json holds no record" in text
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


def test_a_run_that_another_suite_has_left_stands_in_the_sweep() -> None:
    made = [
        record("bc", "halfcheetah", s, demos=n, suite="sweep", variant=f"demos={n}") for n in (1, 3) for s in (0, 1)
    ]
    made += [record("bc", "halfcheetah", s, demos=10, suite="quick") for s in (0, 1)]
    made += [record("bc", "halfcheetah", s, demos=20, step_budget=1) for s in (0, 1)]  # of another budget: no part
    (drawn,) = studies.sweep(made, studies.DEMOS, "demos", "demonstrations")
    assert drawn.figure is not None
    lines = [line.get_xdata() for axes in drawn.figure.axes for line in axes.get_lines()]
    assert {x for line in lines if len(line) > 2 for x in line} == {1, 3, 10}


@pytest.mark.parametrize("damage", ["pickle", "shape", "nan", "cut"])
def test_bad_artefacts_are_named_and_nothing_else_is_lost(damage: str, tmp_path: Path) -> None:
    made = [record("gail", "maze2d-umaze", 0), record("airl", "maze2d-umaze", 0)]
    write(tmp_path / "runs", made)
    path = tmp_path / "runs" / made[0].id / "artefacts.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    if damage == "pickle":
        np.savez(path, allow_pickle=True, **{**arrays, "reward_map": np.array([{"a": 1}], object)})
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


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    write(tmp_path / "runs", [record("bc", "maze2d-umaze", 0), record("random", "maze2d-umaze", 0, curve=[])])
    build.build(tmp_path / "runs", tmp_path / "out")
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "figure 1, rewards-maze2d-umaze, is not drawn: no run left a map of a step reward" in text
    assert "figure 5, erc, is not drawn" in text
    assert not (tmp_path / "out" / "figures" / "erc.png").exists()


# pictures


def test_free_places_are_the_layouts() -> None:
    """Cell centres in the ball's coordinates lie 0.2 short of the index; walls are walls and free cells free."""
    walls = LARGE_TASK.picture["walls"].astype(float)
    index = np.stack(np.meshgrid(*map(np.arange, walls.shape), indexing="ij"), -1)
    for offset in (-0.6, -0.2, 0.2):
        np.testing.assert_array_equal(mazes.free(walls, index + offset), walls == 0)
    assert not mazes.free(walls, np.array([[[-5.0, 2.0], [2.0, 50.0]]])).any()
    assert len(distances("###\n#G#\n###", goal_cell("###\n#G#\n###"))) == 1


def test_standardised_rewards_keep_their_order() -> None:
    values, where = np.array([[1.0, 2.0], [3.0, 100.0]]), np.array([[True, True], [True, False]])
    found = mazes.standardised(values, where)
    assert np.isnan(found[1, 1])
    assert found[where].mean() == pytest.approx(0)
    assert found[where].std() == pytest.approx(1)
    np.testing.assert_allclose(mazes.standardised(3 * values + 7, where), found)
    assert not mazes.standardised(np.ones((2, 2)), where)[where].any()  # a constant reward is flat, not an error


def test_looks_are_fixed_and_distinct() -> None:
    assert style.look("gail") == style.KNOWN["gail"]
    assert style.look("a-new-method") == style.look("a-new-method")
    assert len({colour for colour, _ in style.KNOWN.values()}) == len(style.KNOWN)
    assert not {c for c, _ in style.KNOWN.values()} & set(style.OTHERS)


# README


def stale_blocks(path: Path, records: list[Record]) -> list[str]:
    """Names of the generated blocks of a page that are not what the records give."""
    old = path.read_text(encoding="utf-8")
    blocks = re.compile(r"<!-- begin:(.*?) -->\n(.*?)<!-- end", re.DOTALL)
    pairs = zip(blocks.findall(old), blocks.findall(rendered(old, records)), strict=True)
    return [name for (name, before), (_, after) in pairs if before != after]


def test_readme_blocks_are_made_and_checked(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    blocks = "".join(f"<!-- begin:{n} -->\nold\n<!-- end:{n} -->\ntext\n" for n in ("headline", "counts", "aggregate"))
    readme.write_text(f"# Title\n{blocks}")
    records = study(3, ["bc", "gail", "expert"], ["halfcheetah", "maze2d-umaze"])
    assert stale_blocks(readme, records) == ["headline", "counts", "aggregate"]
    readme.write_text(rendered(readme.read_text(), [*records, *sweeps()[:9]]))  # of the largest suite, no sweep
    assert stale_blocks(readme, records) == []
    text = readme.read_text()
    assert text.startswith("# Title\n<!-- begin:headline -->\n| Method |")
    assert text.count("text\n") == 3
    assert "2 methods and 1 controls on 2 tasks with 3 seeds" in text
    readme.write_text(text.replace("2 methods", "8 methods"))
    assert stale_blocks(readme, records) == ["counts"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin:nothing -->\n<!-- end:nothing -->", "unknown blocks nothing: choose from headline"),
        ("<!-- begin:main -->\n", "without its partner"),
        ("<!-- begin:main -->\n<!-- end:counts -->", "without its partner"),
    ],
)
def test_readme_marks_that_are_wrong_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rendered(text, study(3, ["bc"], ["halfcheetah"]))


def test_what_stands_because_of_the_committed_records_is_what_they_give() -> None:
    """README, analysis and manifest; and a whole report: tables and page by their bytes, figures by their data."""
    reference = ROOT / "results" / "reference"
    records, corrupt = Store(reference).load()
    assert not corrupt
    assert stale_blocks(ROOT / "README.md", records) == []
    assert (ROOT / "reports" / "ANALYSIS.md").read_text(encoding="utf-8") == analysis(records)
    assert (reference / "README.md").read_text(encoding="utf-8") == manifest(records)
    committed = json.loads((reference / "digests.json").read_text())
    assert digests(reference) == committed
    with Image.open(reference / "understanding.png") as image:
        assert image.info["Data"] == committed["figures/understanding.png"]


def test_the_analysis_says_which_link_loses_and_what_is_not_recorded() -> None:
    def level(method: str, score: float, **metrics: float) -> list[Record]:
        control = method in ("expert", "oracle-diffuser", "unguided-diffuser", "oracle-value")
        found = {"normalized_score": score, "score_seen": score, "score_unseen": score, **metrics}
        return [record(method, "halfcheetah", s, metrics=found, control=control) for s in range(5)]

    records = [*level("expert", 100), *level("unguided-diffuser", 5), *level("diffusion-irl-mse", 20, erc_pearson=0.1)]
    text = analysis([*records, *level("oracle-diffuser", 60), *level("gail", 90)])
    assert "Of the 80.0 points that it misses, 40.0 go with the learnt reward, 40.0 remain with the true one" in text
    assert "it falls behind them in the complex one" in text and "**supported**" in text
    assert "ranked with a correlation of not recorded" in text
    assert "The true reward guides no better" in analysis([*records, *level("oracle-diffuser", 15)])
    assert "Base model: unguided" not in text
    plans = level("unguided-diffuser", 5, plan_wall_crossings=0.25, plan_one_step_error=0.012)
    text = analysis([*records[:5], *plans, *records[10:], *level("oracle-diffuser", 15, plan_one_step_error=0.5)])
    assert r"Base model: unguided, a share of 0.250 \[0.250, 0.250\] of plans leads through a wall, and" in text
    assert r"Planner: guided by the true reward, a planned token lies 0.500 \[0.500, 0.500\] from" in text


def test_reports_need_neither_torch_nor_a_method() -> None:
    code = (
        "import reports.build, reports.readme, sys; print({'torch', 'methods', 'envs', 'benchmark'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_printed_table_shows_the_metrics_asked_for_and_says_what_they_are(tmp_path: Path) -> None:
    write(tmp_path / "runs", study(3, ["bc", "gail"], ["halfcheetah"]))
    text = build.build(tmp_path / "runs", tmp_path / "out", metrics=["erc_spearman"])
    assert METRICS["erc_spearman"].label in text
    assert METRICS["erc_spearman"].source in text
    assert METRICS["score_seen"].label not in text
