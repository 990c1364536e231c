"""Records on disk: whole or not at all, and never outside their folder."""

import os
from pathlib import Path

import pytest

from results.schema import METRICS, Record, cell_id
from results.store import Store, StoreError


def record(**changes: object) -> Record:
    given: dict[str, object] = {
        "id": "0123456789abcdef",
        "method": "m",
        "title": "M",
        "task": "t",
        "task_title": "T",
        "seed": 0,
        "demos": 1,
        "step_budget": 1,
        "config": {"a": 1},
        "code": "c",
        "control": False,
        "suite": "s",
        "status": "ok",
        "metrics": {"erc_pearson": 0.5},
    }
    return Record(**{**given, **changes})  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    made.prepare()
    return made


def test_what_is_written_is_read(store: Store) -> None:
    work = store.workspace(record().id)
    (work / "artefacts.npz").write_bytes(b"x")
    store.commit(record())
    assert store.get(record().id) == record()
    assert store.load() == ([record()], [])
    assert (store.folder(record().id) / "artefacts.npz").read_bytes() == b"x"


def test_a_new_run_replaces_record_and_artefacts(store: Store) -> None:
    for content in (b"old", b"new"):
        (store.workspace(record().id) / "artefacts.npz").write_bytes(content)
        store.commit(record(reason=content.decode()))
    assert (store.folder(record().id) / "artefacts.npz").read_bytes() == b"new"
    assert store.load()[0][0].reason == "new"


def test_the_state_of_a_run_after_its_record_is_kept(store: Store) -> None:
    for record_is_older in (False, True):
        store.commit(record(status="failed"))
        part, written = store.state_folder(record().id) / "reward" / "0.pt", store.path(record().id).stat().st_mtime
        part.parent.mkdir(parents=True)
        part.touch()
        os.utime(part, (written, written + (1 if record_is_older else -1)))
        store.prepare()
        assert part.exists() == record_is_older


def test_a_record_with_nan_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.commit(record(metrics={"erc_pearson": float("nan")}))
    assert store.load() == ([], [])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"id": "0123456789abcdef"}', b"\xff\xfe", record(id="f" * 16).model_dump_json().encode()],
)
def test_what_is_no_record_is_named(store: Store, content: bytes) -> None:
    path = store.path("0123456789abcdef")
    path.write_bytes(content)
    store.commit(record(id="a" * 16))
    records, corrupt = store.load()
    assert [r.id for r in records] == ["a" * 16] and [c.path for c in corrupt] == [path] and corrupt[0].reason
    assert store.get("0123456789abcdef") is None


@pytest.mark.parametrize("id", ["../x", "", "0123", "0123456789ABCDEF", "0123456789abcdef/.."])
def test_ids_cannot_leave_the_folder(store: Store, id: str) -> None:
    with pytest.raises(ValueError, match="16 hex digits"):
        store.path(id)
    with pytest.raises(ValueError):
        record(id=id)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(StoreError, match="--results"):
        Store(tmp_path / "runs").prepare()


def test_nothing_stands_before_the_first_run(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").load() == ([], []) and not (tmp_path / "none").exists()


def test_cell_ids_tell_cells_apart() -> None:
    one = cell_id(method="m", seed=0, config={"a": 1, "b": 2})
    assert one == cell_id(config={"b": 2, "a": 1}, seed=0, method="m") and len(one) == 16
    assert one != cell_id(method="m", seed=1, config={"a": 1, "b": 2})


def test_every_metric_is_described() -> None:
    for name, metric in METRICS.items():
        assert metric.label and metric.unit and metric.source, name
        assert metric.range[0] < metric.range[1], name
