"""Several cells at a time: equal results, memory given back, longest first."""

from pathlib import Path

import psutil
import pytest
from rich.console import Console

from benchmark import registry
from benchmark.cell import Cell
from benchmark.cli import THREADS
from benchmark.display import Display
from benchmark.executors import Processes
from benchmark.runner import Listener, Past, Plan, plan, run
from benchmark.suite import cells, load_suite
from results.schema import Record
from results.store import Store
from tests.desk import SUITE, Desk, outcome, start, traced


def test_results_do_not_depend_on_workers_or_order(desk: Desk, tmp_path: Path) -> None:
    seen = []
    for workers, toys in ((2, ("GOOD", "PROPER")), (1, ("PROPER", "GOOD")), (0, ("GOOD", "PROPER"))):
        desk.results = tmp_path / f"runs{workers}"
        desk.run(*toys, extra=("--workers", str(workers), "--seeds", "0-1"))
        seen.append(outcome(desk.results))
    assert len(seen[0]) == 4
    assert seen[0] == seen[1] == seen[2]
    good = [r for r in Store(desk.results).load()[0] if r.method == "toy-good"]
    assert good[0].metrics != good[1].metrics  # seeds do matter


@pytest.mark.parametrize(
    ("methods", "tasks"),
    [
        (("bc", "diffusion-irl-mse"), ("maze2d-umaze", "halfcheetah")),
        pytest.param((), (), marks=pytest.mark.slow, id="all of it"),
    ],
)
def test_suite_smoke_does_not_depend_on_workers_or_order(
    tmp_path: Path, methods: tuple[str, ...], tasks: tuple[str, ...]
) -> None:
    found, seen = registry.discover(), []
    grid = cells("smoke", load_suite("smoke")[1], found, methods, tasks)
    for workers, todo in ((1, grid), (2, grid[::-1])):
        store = Store(tmp_path / str(workers))
        store.prepare()
        run(todo, store, Processes(workers, store, {}, [cell.method_module for cell in grid]), Listener(), {})
        seen.append(outcome(store.root))
    assert len(seen[0]) == len(grid) and seen[0] == seen[1]


def test_a_worker_computes_on_one_thread(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREADS:
        monkeypatch.setenv(name, "2")
    trace = tmp_path / "trace"
    process = start(desk.arguments("run", "THREADS", extra=("--workers", "1", "--set", f"toy-threads.trace={trace}")))
    assert process.wait(120) == 0
    assert len(traced(trace)) > 1 and set(traced(trace)) == {1}


class Weigher(Display):
    """Weighs, in MiB, this process and all that it started whenever a cell is finished."""

    def __init__(self, planned: Plan) -> None:
        super().__init__(planned, 1, Console(quiet=True))
        self.runner, self.others = list[float](), list[float]()

    def finished(self, cell: Cell, record: Record) -> None:
        super().finished(cell, record)
        this = psutil.Process()
        self.runner.append(this.memory_info().rss / 2**20)
        self.others.append(sum(one.memory_info().rss for one in this.children(recursive=True)) / 2**20)


def test_memory_of_finished_cells_is_returned(desk: Desk) -> None:
    found, store = registry.discover(), Store(desk.results)
    found.method("tests.toys:HOARDS")
    grid = cells("any", load_suite(str(desk.suite))[1], found, ["toy-hoards"], [], range(6))
    store.prepare()
    with Weigher(plan(grid, store)) as weigher:
        run(grid, store, Processes(1, store, {}, [grid[0].method_module]), weigher, {})
    records = store.load()[0]
    assert len(records) == len(weigher.runner) == 6
    assert all(record.peak_memory_mib > 256 and len(record.curve) == 10_000 for record in records)
    # the first two fill what is reused; a hoard kept would be 256 MiB a cell, a record kept some five
    assert max(weigher.others) - weigher.others[0] < 32
    assert weigher.runner[-1] - weigher.runner[1] < 4


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


def test_cpu_estimates_follow_processors_updates_and_base_models_that_ship() -> None:
    found, suite = registry.discover(), load_suite("smoke")[1]

    def cell(method: str, steps: int = 12, base: int = 0) -> Cell:
        settings = {"dac": {"all": {"steps_per_update": steps}}}
        changed = suite.model_copy(update={"settings": settings, "base_seed": base})
        return cells("any", changed, found, [method], ["maze2d-umaze"])[0]

    took = {"wall_seconds": 1000.0, "score_seconds": 1.0, "cpu_seconds": 10.0}  # others had the core
    loaded, trained = cell("unguided-diffuser"), cell("unguided-diffuser", base=3)
    records = [cell("dac").record("ok", {}, env_steps=4000, **took), trained.record("ok", {}, **took)]
    past = Past(records, cpu=True)
    assert (past.seconds(cell("dac")), past.seconds(cell("dac", steps=4))) == (11, 31)
    assert past.seconds(loaded) == 11  # nothing better is known
    past.add(loaded.record("ok", {}, score_seconds=1.0, cpu_seconds=0.5))
    assert past.seconds(loaded) == 1.5 and past.seconds(trained) == 6.25
    assert Past(records).seconds(cell("dac")) == 1000


def test_a_share_of_a_gpu_is_set_aside_by_method(desk: Desk) -> None:
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [expert, random]") + "gpus: {random: 0.25}\n")
    grid = cells("any", load_suite(str(desk.suite))[1], registry.discover())
    assert {cell.method: cell.gpus for cell in grid} == {"expert": 0.0, "random": 0.25}
