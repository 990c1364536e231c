"""Several cells at a time: equal results, memory given back, longest first."""

from pathlib import Path

import numpy as np

from benchmark import registry
from benchmark.cell import Cell
from benchmark.runner import Past, plan
from benchmark.suite import cells, load_suite
from results.store import Store
from tests.desk import SUITE, Desk


def results_of(desk: Desk) -> dict[str, tuple[dict[str, float], dict[str, bytes]]]:
    store = Store(desk.results)
    found = {}
    for record in store.load()[0]:
        with np.load(store.folder(record.id) / "artefacts.npz") as file:
            found[record.id] = (record.metrics, {name: file[name].tobytes() for name in file})
    return found


def test_results_do_not_depend_on_workers_or_order(desk: Desk, tmp_path: Path) -> None:
    seen = []
    for workers, toys in ((2, ("GOOD", "PROPER")), (1, ("PROPER", "GOOD")), (0, ("GOOD", "PROPER"))):
        desk.results = tmp_path / f"runs{workers}"
        desk.run(*toys, extra=("--workers", str(workers), "--seeds", "0-1"))
        seen.append(results_of(desk))
    assert len(seen[0]) == 4
    assert seen[0] == seen[1] == seen[2]
    good = [r for r in Store(desk.results).load()[0] if r.method == "toy-good"]
    assert good[0].metrics != good[1].metrics  # seeds do matter


def test_longest_first_where_it_is_known(desk: Desk) -> None:
    found = registry.discover()
    for toy in ("GOOD", "PROPER"):
        found.method(f"tests.toys:{toy}")
    suite = load_suite(str(desk.suite))[1]
    grid = cells("any", suite, found, ["toy-good", "toy-proper", "expert"])
    store = Store(desk.results)
    store.prepare()
    for cell, seconds in zip(grid[:2], (1.0, 9.0), strict=True):
        store.commit(cell.record("ok", {}, wall_seconds=seconds))
    later = cells("any", suite, found, ["toy-good", "toy-proper", "expert"], [], [1])
    assert [cell.method for cell in plan(later, store).todo] == ["expert", "toy-proper", "toy-good"]
    assert len(plan(grid, store).done) == 2 and len(plan(grid, store, ["ok"]).done) == 0


def test_estimates_follow_budgets_and_agents_on_the_reward() -> None:
    found, suite = registry.discover(), load_suite("smoke")[1]
    more = suite.model_copy(update={"step_budget": {"all": 8000}, "reoptimise": {"gail": {"all": 50}}})

    def cell(method: str, **changes: object) -> Cell:
        return cells("any", (more if changes else suite), found, [method], ["maze2d-umaze"])[0]

    gail, bc = cell("gail"), cell("bc")
    taken = {"wall_seconds": 11.0, "score_seconds": 1.0}
    past = Past([gail.record("ok", {}, env_steps=4000, **taken), bc.record("ok", {}, **taken)])
    assert (past.seconds(gail), past.seconds(bc), past.seconds(cell("bc", more=1))) == (11, 11, 11)
    assert past.seconds(cell("gail", more=1)) is None  # what agents on its reward take, nothing tells
    other = cells(
        "any", more.model_copy(update={"reoptimise": {"airl": {"all": 50}}}), found, ["airl"], ["maze2d-umaze"]
    )[0]
    past.add(other.record("ok", {}, env_steps=8000, wall_seconds=90.0, score_seconds=60.0))
    assert past.seconds(cell("gail", more=1)) == 80
    past.add(gail.record("failed", {}, env_steps=4000, wall_seconds=1000.0))
    assert past.seconds(gail) == 11


def test_a_share_of_a_gpu_is_set_aside_by_method(desk: Desk) -> None:
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [expert, random]") + "gpus: {random: 0.25}\n")
    grid = cells("any", load_suite(str(desk.suite))[1], registry.discover())
    assert {cell.method: cell.gpus for cell in grid} == {"expert": 0.0, "random": 0.25}
