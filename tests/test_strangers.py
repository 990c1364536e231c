"""A results folder from a stranger can neither run code, nor reach outside its folder, nor break a report."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from reports.build import build
from results.store import Store, StoreError
from tests.desk import Desk
from tests.made_up import record, write

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'|`$\\ \x1b[31m\x00"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_names_that_climb_reach_nowhere(tmp_path: Path) -> None:
    made = record("gail", "maze2d-umaze", 0).model_copy(
        update={"method": "../../../climbed", "task": "/tmp/climbed", "suite": "../climbed", "variant": "../.."}
    )
    write(tmp_path / "in" / "runs", [made])
    (tmp_path / "out").mkdir()
    before = contents(tmp_path / "in")
    build(tmp_path / "in" / "runs", tmp_path / "out" / "report")
    assert contents(tmp_path / "in") == before
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report"}
    assert not Path("/tmp/climbed").exists()


def test_html_in_strings_is_text_in_every_file(tmp_path: Path) -> None:
    fields = ("title", "task_title", "reason", "reward_kind", "suite", "variant", "code")
    made = [record("gail", "maze2d-umaze", s).model_copy(update=dict.fromkeys(fields, EVIL)) for s in range(3)]
    made[0] = made[0].model_copy(update={"status": "failed", "metrics": {}})
    made[1] = made[1].model_copy(update={"notes": [EVIL], "config": {EVIL: EVIL}, "provenance": {EVIL: EVIL}})
    write(tmp_path / "runs", made)
    text = build(tmp_path / "runs", tmp_path / "out")
    assert "\x1b" not in text
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".md", ".html"):
            written = path.read_text()
            assert "<script>alert" not in written and "<img src=x" not in written and "\x1b" not in written, path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", "1" + "0" * 400),
        ("metrics", '{"normalized_score": 1e999}'),
        ("metrics", '{"normalized_score": NaN}'),
        ("seed", "1" * 10_000),
        ("config", "[" * 100_000 + "]" * 100_000),
        ("method", "3"),
        ("id", '"../../../etc/passwd"'),
        ("status", '"<b>"'),
    ],
)
def test_what_cannot_be_a_record_is_named_and_harms_nothing_else(tmp_path: Path, field: str, value: str) -> None:
    made = [record("gail", "maze2d-umaze", s) for s in range(2)]
    write(tmp_path / "runs", made)
    path = Store(tmp_path / "runs").path(made[0].id)
    content = {**json.loads(path.read_text()), field: "HERE"}
    path.write_text(json.dumps(content).replace('"HERE"', value))
    records, corrupt = Store(tmp_path / "runs").load()
    assert [r.id for r in records] == [made[1].id] and [c.path for c in corrupt] == [path]
    assert len(corrupt[0].reason) < 300
    build(tmp_path / "runs", tmp_path / "out")


def test_links_lead_nowhere(tmp_path: Path, desk: Desk) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    made = [record("gail", "maze2d-umaze", s) for s in range(3)]
    write(tmp_path / "theirs", made)
    (outside / "secret").write_text("mine")
    first, second, third = (Store(tmp_path / "theirs").folder(r.id) for r in made)
    os.rename(first.with_suffix(".json"), outside / "record.json")
    first.with_suffix(".json").symlink_to(outside / "record.json")
    (second / "learned").symlink_to(outside)
    os.rename(third, outside / "artefacts")
    third.symlink_to(outside / "artefacts")
    records, corrupt = Store(tmp_path / "theirs").load()
    assert len(records) == 2 and "no plain file" in corrupt[0].reason
    first.with_suffix(".json").unlink()
    before = contents(outside)
    assert desk.do("results", "merge", str(tmp_path / "theirs"), "--into", str(tmp_path / "ours"))[0] == 0
    names = {path.name for path in (tmp_path / "ours").rglob("*") if path.is_file()}
    assert "secret" not in names and not any(path.is_symlink() for path in (tmp_path / "ours").rglob("*"))
    assert not list((tmp_path / "ours" / made[2].id).iterdir())
    theirs = Store(tmp_path / "theirs")  # writing into their folder does not follow their links either
    (theirs.workspace(made[2].id) / "artefacts.npz").touch()
    theirs.commit(made[2])
    assert (theirs.folder(made[2].id) / "artefacts.npz").is_file() and not theirs.folder(made[2].id).is_symlink()
    assert contents(outside) == before


@pytest.mark.parametrize("name", [".work", ".locks"])
def test_a_folder_whose_insides_are_links_is_not_written_to(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="could lead anywhere"):
        Store(tmp_path / "runs").prepare()


def test_a_pipe_or_a_device_in_place_of_a_record_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{'0' * 16}.json")
    (tmp_path / f"{'1' * 16}.json").symlink_to("/dev/zero")
    records, corrupt = Store(tmp_path).load()
    assert not records and len(corrupt) == 2


def test_yaml_makes_no_objects(desk: Desk, tmp_path: Path) -> None:
    desk.suite.write_text(f"description: !!python/object/apply:os.system ['touch {tmp_path}/made']\n")
    code, _, errors = desk.do(*desk.arguments("run", "GOOD"))
    assert code == 2 and "cannot be read" in errors and not (tmp_path / "made").exists()
    code, _, errors = desk.do("run", "smoke", "--method", "bc", "--set", "bc.l2=!!python/name:os.system")
    assert code == 2 and "no YAML" in errors


def test_merging_unites_and_refuses_what_differs(desk: Desk, tmp_path: Path) -> None:
    a, b = [record("gail", "maze2d-umaze", s) for s in (0, 1)], [record("gail", "maze2d-umaze", s) for s in (1, 2)]
    write(tmp_path / "a", a)
    write(tmp_path / "b", b)
    merge = ("results", "merge", str(tmp_path / "a"), str(tmp_path / "b"), "--into", str(tmp_path / "all"))
    code, out, _ = desk.do(*merge)
    assert code == 0 and "3 records taken over, 1 were there already" in out
    records, corrupt = Store(tmp_path / "all").load()
    assert {r.seed for r in records} == {0, 1, 2} and not corrupt
    with np.load(Store(tmp_path / "all").folder(b[1].id) / "artefacts.npz") as file:
        assert "true_returns" in file
    assert "0 records taken over, 4 were there already" in desk.do(*merge)[1]
    write(tmp_path / "d", [record("gail", "maze2d-umaze", 8)])
    more, target = ("results", "merge", str(tmp_path / "d"), "--into", str(tmp_path / "all")), Store(tmp_path / "all")
    with target.lock(record("gail", "maze2d-umaze", 8).id):
        code, _, errors = desk.do(*more)
        assert code == 2 and "is being run there" in errors and len(target.load()[0]) == 3
    score = a[0].metrics["normalized_score"]
    other = a[0].model_copy(update={"metrics": {"normalized_score": -1.5}})
    write(tmp_path / "c", [other, record("gail", "maze2d-umaze", 7)])
    code, _, errors = desk.do("results", "merge", str(tmp_path / "c"), "--into", str(tmp_path / "all"))
    assert code == 2 and "normalized_score -1.5" in errors and f"normalized_score {score:.6g}" in errors
    assert len(Store(tmp_path / "all").load()[0]) == 3  # all or none
