"""``verify``: recorded cells run again, into a folder of their own, judged by the spread of the recorded seeds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up import record

from benchmark.verify import drawn, holds, judged, prediction_interval, text
from results.schema import Record
from results.store import Store
from tests.desk import SUITE, Desk


def test_the_interval_is_that_of_one_more_draw() -> None:
    low, high = prediction_interval([1.0, 2.0, 3.0]) or (0, 0)
    assert (low, high) == pytest.approx((2 - 4.302653 * (4 / 3) ** 0.5, 2 + 4.302653 * (4 / 3) ** 0.5), abs=1e-5)
    assert prediction_interval([1.0]) is None
    rng, held = np.random.default_rng(0), 0
    for n in (3, 5):
        for draws in rng.standard_normal((2000, n + 1)):
            low, high = prediction_interval(draws[:n].tolist()) or (0, 0)
            held += low <= draws[n] <= high
    assert 0.94 < held / 4000 < 0.96


def scored(seed: int, value: float, **changes: object) -> Record:
    return record("gail", "halfcheetah", seed, metrics={"score_seen": value, "seconds_to_90": 3.0}, **changes)


def test_each_metric_is_judged_and_chance_is_allowed_for() -> None:
    known = [scored(seed, value) for seed, value in enumerate((10.0, 11.0, 12.0))]

    def of(new: Record) -> tuple[str, bool]:
        found = [*judged(known, {known[0].id: new})]
        assert len(found) == 1 and new.status[:2] in text(found, 0, False) + "okfa"  # durations are not judged
        return found[0].verdict, holds(found)

    assert of(scored(0, 10.0)) == ("within", True)
    assert of(scored(0, 15.9)) == ("within", True) and of(scored(0, 16.0)) == ("outside", False)
    assert of(record("gail", "halfcheetah", 0, metrics={})) == ("outside", False)
    assert of(scored(0, 10.0, status="failed", reason="ValueError")) == ("outside", False)
    alone = [scored(0, 10.0)]
    (found,) = judged(alone, {alone[0].id: scored(0, 10.5)})
    assert found.verdict == "no interval" and not holds([found]) and not holds([])
    assert "nothing can be judged" in text([found], 0, True)
    inside = [*judged(known, {known[0].id: scored(0, 10.0)})] * 9
    assert holds([*inside, *judged(known, {known[0].id: scored(0, 99.0)})])  # one in ten


def test_the_choice_is_random_and_can_be_made_again() -> None:
    known = [scored(seed, 0.0, id=f"{seed:016x}") for seed in range(100)]
    known[0] = known[0].model_copy(update={"status": "timeout"})
    first = drawn(known, 0.05, 1)
    assert len(first) == 5 and first == drawn(known[::-1], 0.05, 1) != drawn(known, 0.05, 2)
    assert len(drawn(known, 0.0, 1)) == 1 and known[0] not in drawn(known, 1.0, 1)


def test_recorded_cells_are_run_again_beside_the_records(desk: Desk, tmp_path: Path) -> None:
    desk.suite.write_text(SUITE + "reoptimise: {}\n")
    desk.run("PROPER", extra=("--seeds", "0-3"))
    before = {path: path.read_bytes() for path in desk.results.rglob("*") if path.is_file()}
    command = ["verify", "--method", "tests.toys:PROPER", "--workers", "0", "--into", str(tmp_path / "verified")]
    words = [*command, "--share", "0.5", "--seed", "3"]
    code, out, errors = desk.do(*words, "--records", str(desk.results))
    assert code == 0 and out.splitlines()[-1] == "reproduced", out + errors
    assert "equal bit by bit, with equal code, versions and processor, as they must be" in out
    assert "score_seen" in out and "interval (seeds)" in out and "2 of 4 cells, choice --seed 3" in errors
    assert {path: path.read_bytes() for path in desk.results.rglob("*") if path.is_file()} == before
    assert len(Store(tmp_path / "verified" / "seed3").load()[0]) == 2

    changed = tmp_path / "changed"
    shutil.copytree(desk.results, changed)
    for path in changed.glob("*.json"):
        content = json.loads(path.read_text())
        del content["digest"]
        content["metrics"] = {name: value + 1000 for name, value in content["metrics"].items()}
        path.write_text(json.dumps(content))
    code, out, _ = desk.do(*words, "--records", str(changed))
    assert code == 1 and "outside" in out and out.splitlines()[-1] == "NOT reproduced"
    assert "something decides besides the seed" in out
    code, out, _ = desk.do(*words, "--records", str(changed), "--json")
    assert code == 1 and {row["verdict"] for row in json.loads(out)["findings"]} == {"outside"}


def test_what_cannot_be_verified_says_why(desk: Desk, tmp_path: Path) -> None:
    code, _, errors = desk.do("verify", "--records", str(desk.results))
    assert code == 2 and "no records to verify" in errors
    desk.run("GOOD")
    code, _, errors = desk.do("verify", "--records", str(desk.results), "--into", str(desk.results / "inside"))
    assert code == 2 and "name another folder" in errors
