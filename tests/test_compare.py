"""Two result sets side by side: what got better, worse, lost or stayed, against values by hand."""

import shutil
from pathlib import Path

import pytest
from made_up import record, write

from benchmark.cli import main
from reports.build import one_figure
from reports.compare import compare
from results.schema import Record
from results.store import Store

SEEDS = range(5)


def runs(*scores: float, **changes: object) -> list[Record]:
    found = [
        record("gail", "halfcheetah", s, metrics={"normalized_score": v, "erc_pearson": 0.5}, **changes)
        for s, v in enumerate(scores)
    ]
    return [r.model_copy(update={"code": "other", "id": f"{id(r):016x}"}) for r in found]


def verdict(before: list[Record], after: list[Record]) -> str:
    table, _ = compare(before, after, ["normalized_score"])
    return str(table.data.verdict[0])


def test_a_difference_is_paired_by_seed() -> None:
    table, worse = compare(runs(10, 50, 90, 30, 70), runs(15, 56, 95, 34, 75), ["normalized_score"])
    assert table.data.difference[0] == pytest.approx(5.0)  # far apart over seeds, close within each
    assert table.data.verdict[0] == "better"
    assert not worse


def test_worse_equal_and_what_cannot_be_told() -> None:
    before = runs(10, 11, 12, 13, 14)
    assert compare(before, runs(1, 2, 3, 4, 4), ["normalized_score"])[1]
    assert verdict(before, runs(1, 2, 3, 4, 4)) == "worse"
    assert verdict(before, runs(10, 11, 12, 13, 14)) == "equal"
    assert verdict(before, runs(12, 9, 14, 11, 15)) == "not told apart"
    assert verdict(before[:2], runs(20, 21)) == "n<3"


def test_lower_is_better_where_the_schema_says_so() -> None:
    table, worse = compare(runs(1, 2, 3, cpu_seconds=10.0), runs(1, 2, 3, cpu_seconds=20.0), ["cpu_seconds"])
    assert table.data.verdict[0] == "worse"
    assert not worse  # cost alone fails nobody


def test_a_run_that_no_longer_ends_well_is_worse() -> None:
    after = runs(10, 11, 12)
    after[1] = after[1].model_copy(update={"status": "failed", "reason": "boom"})
    table, worse = compare(runs(10, 11, 12), after)
    assert worse
    assert "no longer ends well: seed 1: failed, boom" in table.sections[0].lines[0].cells[0].text


def test_what_one_side_lacks_and_what_is_the_same_is_said() -> None:
    same = [record("bc", "halfcheetah", s) for s in SEEDS]
    table, _ = compare([*same, record("airl", "halfcheetah", 0)], [*same, record("sqil", "halfcheetah", 0)])
    said = {line.title: line.cells[0].text for line in table.sections[0].lines}
    assert said == {"AIRL": "only before, 1 run", "Behavioural cloning": "the same runs", "sqil": "only after, 1 run"}
    (lines,) = (section.lines for section in compare(same[:3], same[2:])[0].sections)
    assert [line.cells[0].text for line in lines] == [
        "only before: seeds 0, 1",
        "only after: seeds 3, 4",
        "the same runs",
    ]
    with pytest.raises(ValueError, match="two sets of records are needed, got 0 and 5"):
        compare([], same)


def test_runs_that_differ_in_durations_alone_are_the_same() -> None:
    before = runs(1, 2, 3)

    def said(**changed: float) -> list[str]:
        after = [run.model_copy(update={"metrics": run.metrics | changed}) for run in before]
        return [line.cells[0].text for line in compare(before, after)[0].sections[0].lines]

    assert said(seconds_to_90=7.0) == ["the same runs"]
    assert said(normalized_score=7.0) != ["the same runs"]


def test_what_cannot_be_compared_is_not_taken_for_fine() -> None:
    """A method or a task that one side lacks, or of which the sides share no seed, fails the check."""
    bc = [record("bc", "halfcheetah", s) for s in SEEDS]
    airl = [record("airl", "halfcheetah", s) for s in SEEDS]
    maze = [record("bc", "maze2d-umaze", s) for s in SEEDS]
    for more in (airl, maze):
        assert compare([*bc, *more], bc)[1] and compare(bc, [*bc, *more])[1]
    assert compare([*bc, *airl[:2]], [*bc, *airl[2:]])[1]
    assert not compare([*bc, *airl[:3]], [*bc, *airl[2:]])[1]  # one seed meets


def test_a_metric_that_only_one_side_has_is_said_and_its_loss_fails_the_check() -> None:
    before = runs(10, 11, 12)
    bare, other = ([r.model_copy(update={"metrics": {"erc_pearson": e}}) for r in runs(1, 2, 3)] for e in (0.5, 0.6))
    assert (verdict(before, bare), verdict(bare, before)) == ("only before", "only after")
    assert compare(before, bare)[1] and not compare(bare, before)[1]
    assert not compare(bare, other, ["normalized_score"])[0].sections[0].lines  # neither has it: nothing to say


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["benchmark", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(tmp_path / name) for name in ("a", "b")]
    write(Path(folders[0]), runs(10, 11, 12, 13, 14, suite="quick"))
    write(Path(folders[1]), runs(1, 2, 3, 4, 4, suite="quick"))
    assert command(monkeypatch, "compare", *folders) == 0
    assert "| GAIL | Score | 12.0 | 2.8 | −9.2" in capsys.readouterr().out  # noqa: RUF001
    assert command(monkeypatch, "compare", "--strict", *folders) == 1
    write(Path(folders[0]), [record("bc", "halfcheetah", 0, suite="quick")])
    write(tmp_path / "c", runs(10, 11, 12, 13, 14, suite="quick"))
    both = ("compare", "--strict", folders[0], str(tmp_path / "c"))
    assert command(monkeypatch, *both) == 1 and command(monkeypatch, *both, "--method", "gail") == 0
    assert command(monkeypatch, *both, "--method", "bc") == 2
    assert "two sets of records are needed, got 1 and 0" in capsys.readouterr().err
    assert command(monkeypatch, *both, "--method", "gial") == 2
    assert "unknown method 'gial'. Did you mean gail?" in capsys.readouterr().err
    assert command(monkeypatch, "compare", folders[0], str(tmp_path / "none")) == 2
    assert f"no records in {tmp_path}/none: `python -m benchmark run --results" in capsys.readouterr().err
    assert command(monkeypatch, "compare", "--metric", "speed", *folders) == 2
    assert command(monkeypatch, "figures", "6", "--results", folders[0], "--out", str(tmp_path / "out")) == 0
    found = capsys.readouterr()
    assert "made by other code or settings" in found.err
    assert [p.name for p in sorted((tmp_path / "out" / "figures").iterdir())] == [
        "understanding.pdf",
        "understanding.png",
    ]
    assert command(monkeypatch, "figures", "12", "--results", folders[0], "--out", str(tmp_path / "out")) == 2
    assert "figure '12' is unknown: choose from 1 rewards" in capsys.readouterr().err
    assert command(monkeypatch, "figures", "6", "--results", str(tmp_path / "none")) == 2
    assert "`python -m benchmark run quick` makes them all" in capsys.readouterr().err


def test_what_is_kept_to_commit_is_small_and_draws_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [record("diffusion-irl-mse", t, s, suite="quick") for t in ("halfcheetah", "maze2d-umaze") for s in (0, 1)]
    made += [record("gail", "halfcheetah", 0, suite="quick")]
    write(tmp_path / "runs", made)
    words = ["--results", str(tmp_path / "runs"), "--into", str(tmp_path / "kept")]
    old = [record("gail", "halfcheetah", 0, suite="quick", id="0" * 16), record("bc", "halfcheetah", 0, id="1" * 16)]
    write(tmp_path / "kept", old)  # the first is replaced, the second of another suite
    monkeypatch.setattr("sys.argv", ["benchmark", "keep", "quick", *words])
    with pytest.raises(SystemExit):
        main()
    assert {r.id for r in Store(tmp_path / "kept").load()[0]} == {r.id for r in made} | {"1" * 16}
    shutil.rmtree(tmp_path / "kept" / ("1" * 16))
    files = sorted((tmp_path / "kept").glob("*/artefacts.npz"))
    of = [[r for r in made if (r.method, r.task) == (m.method, m.task)] for m in made]
    worst = {min(cell, key=lambda r: r.metrics["normalized_score"]).id for cell in of}
    assert {f.parent.name for f in files} == {r.id for r in made if r.seed == 0} | worst
    assert max(f.stat().st_size for f in files) < 60_000
    for folder in ("runs", "kept"):
        for figure in ("rewards", "paths", "film", "bodies"):
            one_figure(tmp_path / folder, tmp_path / f"out-{folder}", figure)
    drawn = [{p.name for p in (tmp_path / f"out-{f}" / "figures").iterdir()} for f in ("runs", "kept")]
    assert drawn[0] == drawn[1]
    assert "film-maze2d-umaze.png" in drawn[0]
