"""A suite on a Ray cluster of two real nodes, one of which is lost on the way."""

import re
import shlex
import threading
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from benchmark import registry
from benchmark.cell import Cell
from benchmark.ray_executor import RayCluster
from benchmark.runner import Interrupt, Listener, run
from benchmark.suite import cells, load_suite
from results.schema import Record
from results.store import Store
from tests.desk import ROOT, SUITE, Desk, traced, wait_for


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one core."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    made.shutdown()


class Killer(Listener):
    """Ends a node, without grace, once a cell is done and another is under way there."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self.cluster, self.node, self.finishes, self.sums = cluster, node, list[str](), dict[str, float]()

    def progressed(self, cell: Any, fraction: float, values: dict[str, float]) -> None:
        if "sum" in values:
            self.sums[cell.id] = values["sum"]

    def finished(self, cell: Any, record: Record) -> None:
        self.finishes.append(cell.id)
        if self.node is not None:
            time.sleep(0.5)
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


def grid(folder: Path, methods: list[str], seeds: int, steps: int = 20) -> list[Cell]:
    (folder / "suite.yaml").write_text(SUITE)
    found = registry.discover()
    for toy in ("COUNTS", "RAISES", "SEGFAULTS"):
        found.method(f"tests.toys:{toy}")
    slow = {"steps": steps, "sleep": 0.1, "trace": str(folder / "trace")}
    settings = {"toy-counts": slow} if "toy-counts" in methods else {}
    return cells("ray", load_suite(str(folder / "suite.yaml"))[1], found, methods, [], range(seeds), settings)


def test_a_lost_node_loses_no_record_and_doubles_none(cluster: Any, tmp_path: Path) -> None:
    store, node = Store(tmp_path / "runs"), cluster.add_node(num_cpus=1)
    store.prepare()
    todo = [*grid(tmp_path, ["toy-counts"], 5), *grid(tmp_path, ["toy-raises", "toy-segfaults"], 1)]
    executor, killer = RayCluster(store, {}, cluster.address), Killer(cluster, node)
    assert executor.workers == 2
    run(todo, store, executor, killer, {})
    records, corrupt = store.load()
    assert killer.node is None and sorted(killer.finishes) == sorted(cell.id for cell in todo)
    assert {record.id for record in records} == {cell.id for cell in todo} and not corrupt
    outcomes = {record.method: (record.status, record.reason) for record in records}
    assert outcomes["toy-counts"] == ("ok", "") and outcomes["toy-raises"] == ("failed", "ValueError: as intended")
    assert "SIGSEGV" in outcomes["toy-segfaults"][1]
    good = [record for record in records if record.method == "toy-counts"]
    assert all(record.status == "ok" and record.provenance["executor"] == "ray" for record in good)
    assert all((store.folder(record.id) / "artefacts.npz").is_file() for record in good)
    assert {record.id for record in good} == killer.sums.keys() and all(killer.sums.values())
    assert not list((tmp_path / "runs" / ".work").iterdir())
    assert 5 * 20 <= len(traced(tmp_path / "trace")) <= 6 * 20  # only what the lost node was at ran again


def test_a_cancelled_cell_writes_down_where_it_is_and_goes_on(cluster: Any, tmp_path: Path) -> None:
    store, interrupt, trace = Store(tmp_path / "runs"), Interrupt(), tmp_path / "trace"
    store.prepare()
    (cell,) = grid(tmp_path, ["toy-counts"], 1, steps=60)

    def ask() -> None:
        wait_for(lambda: len(traced(trace)) >= 5)
        interrupt.asked = True

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(KeyboardInterrupt):
        run([cell], store, RayCluster(store, {}, cluster.address), Listener(), {}, interrupt)
    asking.join()
    assert store.get(cell.id) is None and store.under_way(cell.id) == "interrupted"
    assert 5 <= len(traced(trace)) < 60
    run([cell], store, RayCluster(store, {}, cluster.address), Listener(), {})
    assert traced(trace) == list(range(60))  # no count was made twice, none left out
    assert [record.status for record in store.load()[0]] == ["ok"]
    assert not list((tmp_path / "runs" / ".work").iterdir())


def test_artefacts_come_back_from_nodes_that_do_not_see_the_results(cluster: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    store.prepare()
    executor = RayCluster(store, {}, cluster.address)
    executor._seen_as = str(tmp_path / "theirs")  # of the same name, but another folder
    (tmp_path / "theirs").mkdir()
    (cell,) = grid(tmp_path, ["toy-counts"], 1)
    run([cell], store, executor, Listener(), {})
    assert [record.status for record in store.load()[0]] == ["ok"]
    assert (store.folder(cell.id) / "artefacts.npz").is_file()
    assert not list((tmp_path / "runs" / ".work").iterdir()) and not list((tmp_path / "theirs").iterdir())


@pytest.mark.parametrize(("share", "at_once", "wait"), [(0.5, 2, 120), (1.0, 1, 2)])
def test_cells_share_a_gpu_as_their_suite_says(
    cluster: Any, tmp_path: Path, share: float, at_once: int, wait: int
) -> None:
    """Ray counts GPUs as it is told to: this one need not be there."""
    node = cluster.add_node(num_cpus=4, num_gpus=1)
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE + f"gpus: {{toy-shares: {share}}}\n")
    found, store = registry.discover(), Store(tmp_path / "runs")
    found.method("tests.toys:SHARES")
    settings = {"toy-shares": {"sleep": wait, "trace": str(tmp_path / "trace")}}
    todo = cells("ray", load_suite(str(suite))[1], found, ["toy-shares"], [], range(4), settings)
    store.prepare()
    run(todo, store, RayCluster(store, {}, cluster.address), Listener(), {})
    cluster.remove_node(node)
    said = [line.split() for line in (tmp_path / "trace").read_text().splitlines()]
    assert [record.status for record in store.load()[0]] == ["ok"] * 4
    assert {gpu for _, gpu, _ in said} == {"0"}
    assert max(accumulate(int(word) for word, *_ in said)) == at_once
    assert {file.startswith(str(ROOT)) for *_, file in said} == {False}  # from the checkout that has travelled


def test_an_address_is_of_a_cluster(desk: Desk) -> None:
    code, _, errors = desk.do(*desk.arguments("run", "GOOD", extra=("--address", "x")))
    assert code == 2 and "add --executor ray" in errors


def test_the_documented_commands_are_ones(desk: Desk) -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    commands = [shlex.split(line.split("&")[0]) for line in re.findall(r"^python -m benchmark (run .*)$", text, re.M)]
    assert len(commands) == 4
    for command in commands:
        assert desk.do(*command, "--dry-run")[0] == 0, command
