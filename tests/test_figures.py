"""What figures take from records and artefacts."""

import math
from pathlib import Path

import numpy as np
import pytest
from made_up import TASKS, record
from matplotlib.colors import to_rgb

from benchmark import report_commands
from benchmark.options import REFERENCE
from envs.maze2d import LARGE_TASK, distances, goal_cell
from reports import artefacts, gallery, mazes, studies, style
from reports.analysis import Facts
from reports.frame import gather
from results.schema import METRICS, Record
from results.store import Store


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


def test_what_was_kept_is_kept_again_as_it_is(tmp_path: Path) -> None:
    run, kept, again = (tmp_path / name for name in ("run", "kept", "again"))
    run.mkdir()
    paths = np.random.default_rng(0).random((20, 201, 2)).astype(np.float32)
    np.savez(run / "artefacts.npz", demos=paths, paths_seen=paths, reward_map=paths[..., 0])
    assert artefacts.thin(run, kept) == artefacts.thin(kept, again) > 0
    assert (kept / "artefacts.npz").read_bytes() == (again / "artefacts.npz").read_bytes()
    found = artefacts.load(again)
    np.testing.assert_allclose(found["demos"], paths[::4, ::4], atol=1e-3)
    assert found["paths_seen"].shape == (8, 51, 2)
    assert artefacts.thin(tmp_path / "none", again) == 0


def test_looks_are_fixed_and_distinct() -> None:
    """Of the reference's methods; others have what a hash of their names picks."""
    reference = Store(Path(__file__).parents[1] / REFERENCE)
    assert style.look("gail") == style.KNOWN["gail"]
    assert style.look("a-new-method") == style.look("a-new-method")
    assert len({colour for colour, _ in style.KNOWN.values()}) == len(style.KNOWN)
    known, others = (np.array([*map(to_rgb, c)]) for c in ([c for c, _ in style.KNOWN.values()], style.OTHERS))
    assert np.abs(known[:, None] - others).max(-1).min() > 0.12  # of a channel's range
    assert {r.method for r in reference.load()[0]} == style.KNOWN.keys()


def test_a_run_that_another_suite_has_left_stands_in_the_sweep() -> None:
    made = [
        record("bc", "halfcheetah", s, demos=n, suite="sweep", variant=f"demos={n}") for n in (1, 3) for s in (0, 1)
    ]
    made += [record("bc", "halfcheetah", s, demos=10, suite="quick") for s in (0, 1)]
    made += [record("bc", "halfcheetah", s, demos=20, step_budget=1) for s in (0, 1)]  # of another budget: no part
    made[0] = record("bc", "halfcheetah", 0, demos=1, suite="sweep", variant="demos=1", status="failed", reason="lost")
    (drawn,) = studies.sweep(made, studies.DEMOS, "demos", "demonstrations")
    assert drawn.notes == ["1 of 6 runs did not end well and are left out"]  # each run once
    assert drawn.figure is not None
    lines = [np.asarray(line.get_xdata()) for axes in drawn.figure.axes for line in axes.get_lines()]
    assert {x for line in lines if len(line) > 2 for x in line} == {1, 3, 10}
    assert [text.get_text() for text in drawn.figure.axes[1].texts] == ["none recorded"]  # BC has no ERC


def test_suites_that_sweep_the_same_setting_are_not_pooled() -> None:
    made = [
        record("bc", "halfcheetah", s, demos=n, suite=suite, variant=f"demos={n}", step_budget=budget)
        for n in (1, 3)
        for s in (0, 1)
        for suite, budget in (("demos", 1000), ("paper-demos", 2000))
    ]
    assert [d.name for d in studies.sweep(made, studies.DEMOS, "demos", "demonstrations")] == [
        "demos-demos",
        "demos-paper-demos",
    ]
    assert [d.name for d in studies.sweep([], studies.DEMOS, "demos", "demonstrations") if not d.figure] == ["demos"]


def test_what_a_suite_of_one_scale_has_left_stands_in_the_sweep_of_scales() -> None:
    """Cells that `quick` and `guidance` share are run once, under the name of whichever ran first."""

    def guided(method: str, scale: float, suite: str, other: int = 2) -> list[Record]:
        variant = f"planning.scale={scale}" if suite == "guidance" else ""
        config = {"planning": {"scale": scale, "inner": other}}
        return [record(method, "maze2d-umaze", s, suite=suite, variant=variant, config=config) for s in range(3)]

    made = [r for x in (0.3, 3.0) for r in guided("oracle-diffuser", x, "guidance")]
    made += guided("oracle-diffuser", 1.0, "quick")
    made += guided("oracle-diffuser", 30.0, "quick", other=5)  # differs in more than its scale: no part
    made += guided("unguided-diffuser", 1.0, "quick") + [record("bc", "maze2d-umaze", s, suite="quick") for s in (0, 1)]
    (drawn,) = studies.sweep(made, studies.SCALE, "guidance", "guidance scale")
    assert drawn.figure is not None
    axes = drawn.figure.axes[0]
    (line,) = [found for found in axes.get_lines() if found.get_marker() == style.look("oracle-diffuser")[1]]
    apart = np.diff(np.log(np.asarray(line.get_xdata(), float)))
    np.testing.assert_allclose(apart, [math.log(1 / 0.3), math.log(3)])
    level = [np.asarray(found.get_ydata(), float) for found in axes.get_lines() if found.get_linestyle() == "--"]
    mean = np.mean([r.metrics["normalized_score"] for r in made if r.method == "unguided-diffuser"])
    np.testing.assert_allclose(level, [[mean, mean]])
    labels = [text.get_text() for text in drawn.figure.legends[0].get_texts()]
    assert labels == ["Oracle diffuser†", "Unguided diffuser†"]
    one = [r for r in made if r.config.get("planning") != {"scale": 30.0, "inner": 5}]
    scales, (row,) = Facts(one).scales(["oracle-diffuser"])
    assert scales == ["0.3", "1", "3"] and [cell.startswith("**") for cell in row[2:]] == [False, True, False]


def test_figure_10_shows_how_good_plans_are_or_that_it_was_not_recorded() -> None:
    plans = {"plan_wall_crossings": 0.25, "plan_one_step_error": 0.5, "normalized_score": 10.0}
    made = [
        record("diffusion-irl-mse", t, s, metrics=plans if t == "maze2d-umaze" else {})
        for t in TASKS
        for s in (0, 1, 2)
    ]
    drawn = studies.failure_modes(gather(made))
    assert drawn.figure is not None
    rows = np.reshape(drawn.figure.axes, (5, len(TASKS)))
    first, rest = rows[2][0], rows[2][1:]
    assert [x for line in first.lines for x in line.get_xdata() if line.get_marker() != "None"] == [0.25]
    assert [[text.get_text() for text in ax.texts] for ax in rest] == [["none recorded"]] * 2
    drawn = studies.failure_modes(gather([record("diffusion-irl-mse", "t", 0)]))
    assert METRICS["plan_wall_crossings"].label in drawn.notes[0]


def test_the_worst_run_is_drawn_or_named_never_another() -> None:
    made = [record("bc", "maze2d-umaze", s, metrics={"normalized_score": x}) for s, x in enumerate((50.0, 10.0))]
    runs, kept = gather(made), {made[0].id: {"walls": np.zeros((3, 3))}}
    load = lambda id: kept.get(id, {})  # noqa: E731
    assert mazes.chosen(runs, load, "maze2d-umaze", ("walls",))["bc"][0] == 0
    assert not mazes.chosen(runs, load, "maze2d-umaze", ("walls",), worst=True)


def test_help_names_every_figure() -> None:
    assert ", ".join(gallery.FIGURES) == report_commands.FIGURES
