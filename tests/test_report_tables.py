"""Tables from made-up records: nothing is averaged away, ties are bold, what is missing is said."""

import math
from typing import Any

import numpy as np
import pytest
from made_up import METHODS, TASKS, record, study

from reports import tables
from reports.frame import estimate, gather
from reports.render import Cell, Table
from reports.wording import label, number
from results.schema import COSTS, METRICS, Record, Spread


def texts(table: Table, title: str) -> list[list[str]]:
    """The entries of a method, per section."""
    return [[c.text for c in line.cells] for s in table.sections for line in s.lines if line.title == title]


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


def test_every_status_is_shown_as_itself() -> None:
    table = tables.main(gather(study()))
    assert texts(table, "Diffusion-IRL (MSE) ‡")[2] == ["failed"] * 4 + ["0/3 ok, 3 failed"]
    assert texts(table, "MaxEnt IRL ‡")[1][-1] == "2/3 ok, 1 timeout"
    assert texts(table, "AIRL")[0][-1] == "2/3 ok, 1 missing"
    assert texts(table, "Behavioural cloning")[0][2:] == ["–", "–", "3 ok"]  # noqa: RUF001


def test_a_run_that_ended_well_without_the_metric_is_no_zero() -> None:
    found = [
        record("x", "t", s, metrics={"score_seen": 50.0 + s, **({"erc_pearson": 0.5} if s else {})}) for s in (0, 1, 2)
    ]
    runs = gather(found)
    assert tables.cell(estimate(runs, "t", "x", "erc_pearson"), "erc_pearson") == Cell("0.50", "", "n<3, 2/3 values")
    assert not tables.winners(runs, "t", "erc_pearson")


def measured(metric: str, **values: list[float]) -> Any:
    return gather([record(m, "t", s, metrics={metric: v}) for m, vs in values.items() for s, v in enumerate(vs)])


def test_bold_is_the_best_and_what_cannot_be_told_from_it() -> None:
    runs = measured("score_seen", good=[80, 85, 81], near=[79, 87, 78], poor=[30, 33, 29], expert=[100, 100, 100])
    runs.table.loc[runs.table.method == "expert", "control"] = True
    assert tables.winners(runs, "t", "score_seen") == {"good", "near"}  # never a control
    runs = measured("erc_distance", good=[0.1, 0.11, 0.1], poor=[0.8, 0.81, 0.83])
    assert tables.winners(runs, "t", "erc_distance") == {"good"}  # lower is better


def test_a_re_optimised_score_has_the_mean_of_agents_on_the_true_reward_as_its_100() -> None:
    """Random actions earn 10; the agents on the true reward 110, 60, 70: 80 on average."""
    made = []
    for seed, reference in enumerate((110.0, 60.0, 70.0)):
        for method, earned in (("a", 45.0), ("b", reference)):
            score = 100 * (earned - 10) / (reference - 10)
            given = {"reoptimised_return": earned, "reoptimised_reference": reference, "reoptimised_score": score}
            made.append(record(method, "t", seed, metrics=given, reoptimise=5))
    runs = gather(made)
    assert estimate(runs, "t", "a", "reoptimised_score").mean == pytest.approx(50)
    assert runs.of("t", "b").reoptimised_score.tolist() == pytest.approx([100 * 10 / 7, 100 * 5 / 7, 100 * 6 / 7])
    assert runs.records[made[0].id] == made[0]  # the records stay, else they would be levelled twice
    own = [r for r in made if r.method == "b"]  # which tell nothing of random actions
    assert gather(own).of("t", "b").reoptimised_score.tolist() == [100.0, 100.0, 100.0]


def test_runs_of_other_seeds_make_no_pairs() -> None:
    """The same values: told apart are they by seeds alone, which no difference can be paired by."""
    for seeds, bold in ((range(3), {"a", "b"}), (range(3, 6), {"a"})):
        made = [record("a", "t", s, metrics={"score_seen": v}) for s, v in zip(range(3), (51.0, 52, 54), strict=True)]
        made += [record("b", "t", s, metrics={"score_seen": v}) for s, v in zip(seeds, (52.0, 51, 53), strict=True)]
        runs = gather(made, [(r.method, r.task, r.seed) for r in made])
        assert tables.winners(runs, "t", "score_seen") == bold and runs.n == "3"


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
    runs = gather(study())
    table = tables.reward(runs)
    measured = {m for r in study() for m in r.metrics}
    assert not texts(table, "Behavioural cloning")
    assert "Behavioural cloning" in table.caption
    assert texts(table, "GAIL")[0][0] == "shaped"
    shown = [*tables.erc(runs).header[1:], *table.header[1:]]
    assert sorted(shown) == sorted(label(m) for m in METRICS if METRICS[m].group == "correlation" and m in measured)
    assert not set(table.header[1:]) & set(tables.erc(runs).header[1:])
    assert label("erc_distance") == METRICS["erc_distance"].label + " ↓"


def test_failures_give_their_reasons() -> None:
    data = tables.failures(gather(study())).data.set_index(["method", "task", "seed"])
    assert data.reason["gail", "halfcheetah", 1] == "ValueError: acts are not finite"
    assert len(data) == 6


def test_numbers() -> None:
    shown = [number(v, m) for v, m in ((-3.14, "score_seen"), (-0.001, "erc_pearson"), (200000, "env_steps"))]
    assert shown == ["−3.1", "0.00", "200,000"]  # noqa: RUF001


def test_iqms_are_bold_with_their_ties_per_task_and_over_all_and_name_n() -> None:
    scores = {"good": [80.0, 85, 81, 83, 82], "near": [79.0, 87, 78, 84, 83], "poor": [30.0, 33, 29, 31, 30]}
    table = tables.iqms(measured("normalized_score", **scores))
    bold = {line.title: [c.bold for c in line.cells[:2]] for line in table.sections[0].lines}
    assert bold == {"good": [True, True], "near": [True, True], "poor": [False, False]}
    assert "n = 5 seeds" in table.caption
    assert table.data.set_index("method").normalized_score_all_n["good"] == 5
    assert texts(table, "poor")[0][0] == "30.3"  # of five the least and the most are cut


def test_costs_have_intervals_and_the_cheapest_are_bold() -> None:
    made = [
        record(m, "t", s, cpu_seconds=c + s, env_steps=7) for m, c in (("dear", 90.0), ("cheap", 5.0)) for s in range(3)
    ]
    lines = {
        line.title: dict(zip(COSTS, line.cells, strict=False)) for line in tables.cost(gather(made)).sections[0].lines
    }
    assert lines["cheap"]["cpu_seconds"] == Cell("6.0", "[3.5, 8.5]", bold=True)
    assert not lines["dear"]["cpu_seconds"].bold
    assert lines["dear"]["env_steps"] == Cell("7", "", bold=True)  # the same in all


def test_plans_have_a_table_of_the_methods_that_plan() -> None:
    made = [
        record(m, "t", s, metrics=x)
        for m, x in (("plans", {"plan_wall_crossings": 0.1}), ("acts", {}))
        for s in range(3)
    ]
    table = tables.planning(gather(made))
    assert texts(table, "plans") == [["0.100"]]
    assert "so not listed: acts" in table.caption


def test_failed_runs_count_as_the_worst_of_their_task_and_are_marked() -> None:
    def run(method: str, seed: int, value: float | None) -> Record:
        if value is None:
            return record(method, "t", seed, status="failed", reason="x")
        return record(method, "t", seed, metrics={"normalized_score": value})

    good, poor = [80.0, 90.0, None], [50.0, 10.0, 60.0]
    runs = gather([run(m, s, v) for m, values in (("good", good), ("poor", poor)) for s, v in enumerate(values)])
    table = tables.worst_case(runs)
    rows = table.data.set_index("method")
    assert rows.iqm["good"] == pytest.approx((80 + 90 + 10) / 3) and rows.gap["good"] == pytest.approx(120 / 3)
    assert rows.failures_as_worst.to_dict() == {"good": True, "poor": False}
    assert [line.title for line in table.sections[0].lines] == ["good §", "poor"]
    (scores,) = tables.matrices(runs).values()  # rliable gets whole matrices only, runs by tasks
    assert scores.tolist() == [[50], [10], [60]]
    nothing = gather([run("good", 0, None)])
    assert tables.worst_case(nothing).sections[0].lines[0].cells[0].text == "–"  # noqa: RUF001


def test_tables_say_how_sure_one_run_is() -> None:
    """n and half an interval of each run: means in a section of their own, all of them in the CSV."""
    bounds = [Spread(n=90, low=0.2, high=0.4), Spread(n=70, low=0.1, high=0.5), Spread(n=80)]
    runs = gather([record("gail", "halfcheetah", s, spread={"erc_pearson": b}) for s, b in enumerate(bounds)])
    table = tables.erc(runs)
    row = table.data.iloc[0]
    assert (row.erc_pearson_samples, row.erc_pearson_within) == (70, pytest.approx(0.15))  # the third has no interval
    assert "erc_spearman_within" not in table.data
    section = table.sections[-1]
    assert (section.title, section.lines[0].title) == ("Within one run", "HalfCheetah")
    assert section.lines[0].cells[1] == Cell("±0.15", "", "n=70 to 90")
    assert Spread(n=5, error=0.1).half == pytest.approx(0.196)
    assert len(tables.distance(runs).sections) == 0  # nothing measured, nothing said
