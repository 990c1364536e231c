"""Tuning: the better settings win without the true reward, studies go on, and what they chose reaches the methods."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.registry import discover
from benchmark.suite import Suite, cells, load_suite, settings_of
from benchmark.tune import FIRST_SEED, Attempt, Study, attempt, run, terms
from envs.maze2d import LARGE_TASK, UMAZE_TASK
from envs.problem import Floats, Problem
from methods import tuned
from methods.base import Config, Learned, Method, PolicyPart
from tests.desk import Desk

FOUND = discover()  # before any test changes the folder that methods read
SUITE = Suite(description="short", seeds=[0], timeout_s=60, step_budget={"maze2d-umaze": 10})


class Steer(PolicyPart):
    """To the goal with a gain; 0 stays."""

    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        away = np.array([1, 1], np.float32) - obs[:, :2]
        return (self.arguments["gain"] * away - obs[:, 2:]).clip(-1, 1).astype(np.float32)


class Gain(Config):
    gain: float = 0.0
    breaks: bool = False


def fit(problem: Problem, config: Gain, rng: np.random.Generator) -> Learned:
    if config.breaks:
        raise ArithmeticError("as intended")
    return Learned(Steer(gain=config.gain), None, "none")


def here(study: Study, chosen: dict[str, Any]) -> Future[Attempt]:
    """Runs an attempt in this process, at once."""
    done: Future[Attempt] = Future()
    done.set_result(attempt(study.method, study.task, chosen, study.suite, study.seeds))
    return done


def method(**search: list[object]) -> Method:
    return Method(name="steer", title="Steer", source="this test", fit=fit, config=Gain, search=search)


STEER = method(gain=[-10.0, 10.0])


def study(folder: Path, found: Method, seeds: tuple[int, ...] = (FIRST_SEED,)) -> Study:
    return Study(found, UMAZE_TASK, SUITE, list(seeds), folder)


def test_better_behaviour_wins_and_a_stopped_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    for trials in (2, 5, 5):
        again = study(tmp_path, STEER)
        run([again], trials, 60, lambda of, trial: told.append(trial.user_attrs["settings"]["gain"]), here)
    assert told[0] == 0.0 and set(told[1:3]) == {-10.0, 10.0} and len(told) == 5  # then nothing else is left to try
    outcome = again.outcome()
    assert outcome["trials"][0]["settings"] == {"gain": 0.0} and outcome["chosen"] == {"gain": 10.0}
    by_gain = {trial["settings"]["gain"]: trial["value"] for trial in outcome["trials"]}
    assert by_gain[10.0] < by_gain[0.0] < by_gain[-10.0]

    monkeypatch.setattr(tuned, "FOLDER", tmp_path / "new")
    again.write(tmp_path / "new")
    assert tuned.tuned("steer", {"maze2d-umaze": {"breaks": False, "gain": 1.0}, "halfcheetah": {}}) == {
        "maze2d-umaze": {"breaks": False, "gain": 10.0},
        "halfcheetah": {},
    }
    assert tuned.trials("steer", "maze2d-umaze") == 5 and tuned.trials("steer", "halfcheetah") == 0


def test_no_settings_are_tried_twice_while_others_are_left(tmp_path: Path) -> None:
    """Whether their trial ended or runs still; what a stop cut off is tried again, the settings that stand as first."""
    found = method(gain=[1.0, 2.0, 3.0], breaks=[False, True])
    stopped = study(tmp_path, found)
    (_, stands), (second, chosen) = stopped.ask(), stopped.ask()
    stopped.tell(second, Attempt(0.5, "", 0.0))
    again = study(tmp_path, found)
    asked = [chosen]
    for number in range(6):
        trial, chosen = again.ask()
        asked.append(chosen)
        if number % 2 == 0:
            again.tell(trial, Attempt(1.0 + number, "", 0.0))
    assert asked[1] == stands and len({json.dumps(chosen) for chosen in asked}) == 7
    assert again.ask()[1] in asked  # all were tried
    assert [trial["settings"] for trial in again.outcome()["trials"]] == [asked[k] for k in (1, 0, 3, 5)]


def test_the_command_writes_the_study(tmp_path: Path, desk: Desk) -> None:
    desk.suite.write_text(desk.suite.read_text() + "demos: {all: 3}\n")
    budget = ("--trials", "2", "--seconds", "600", "--suite", str(desk.suite), "--steps", "7", "--seeds", "1003")
    command = (
        "tune",
        "tests.test_tune:STEER",
        "envs.maze2d:UMAZE_TASK",
        *budget,
        "--folder",
        str(tmp_path / "journals"),
        "--into",
        str(tmp_path / "studies"),
    )
    code, out, errors = desk.do(*command)
    assert code == 0, errors
    assert [path.name for path in (tmp_path / "journals").glob("*.journal")] == ["steer--maze2d-umaze.journal"]
    path = tmp_path / "studies" / "steer--maze2d-umaze.json"
    found = json.loads(path.read_text())
    assert out.splitlines()[-1].startswith(f"{path}: ")
    assert (len(found["trials"]), found["seeds"], found["step_budget"], found["demos"]) == (2, [1003], 7, 3)
    for said in (command, ("confirm", "bc", "maze2d-umaze")):
        assert desk.do(*said, "--seeds", "many")[::2] == (
            2,
            "error: seeds 'many': numbers are needed, as in 0-4, 0,2 or 3\n",
        )


def test_studies_take_turns(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    made = [Study(STEER, task, SUITE, [FIRST_SEED], tmp_path) for task in (UMAZE_TASK, LARGE_TASK)]
    run(made, 2, 60, lambda of, trial: told.append((of.task.name, trial.number)), here)
    assert [number for _, number in told] == [0, 0, 1, 1] and len(set(told)) == 4


def test_trials_of_several_studies_run_in_other_processes(tmp_path: Path, desk: Desk) -> None:
    budget = ("--trials", "2", "--suite", str(desk.suite), "--steps", "7", "--seeds", "1003", "--workers", "2")
    tasks = "maze2d-umaze,maze2d-large"
    folders = ("--folder", str(tmp_path / "journals"), "--into", str(tmp_path / "studies"))
    code, out, errors = desk.do("tune", "tests.test_tune:STEER", tasks, *budget, *folders)
    assert code == 0, errors
    told = {line.split(":")[0] for line in out.splitlines()[:4]}
    assert told == {f"steer--maze2d-{maze} {number}" for maze in ("umaze", "large") for number in (0, 1)}
    alone = study(tmp_path / "alone", STEER, (1003,))
    found = json.loads((tmp_path / "studies" / "steer--maze2d-umaze.json").read_text())["trials"]
    assert [t["reason"] for t in found] == ["", ""] and found[0]["settings"] == alone.ask()[1]


def test_settings_that_break_a_method_are_a_bad_trial(tmp_path: Path) -> None:
    made = study(tmp_path, method(breaks=[True]))
    run([made], 3, 60, lambda of, trial: None, here)
    outcome = made.outcome()
    trials = outcome["trials"]
    assert [trial["reason"] for trial in trials] == ["", *["ArithmeticError: as intended"] * 2]
    assert [trial["value"] is None for trial in trials] == [False, True, True] and made.outcome()["chosen"] == {
        "breaks": False
    }


def test_no_trial_begins_after_the_time(tmp_path: Path) -> None:
    made = study(tmp_path, method(gain=[1.0]))
    run([made], 50, 1e-9, lambda of, trial: None, here)
    assert len(made.finished) == 1


def test_evaluated_seeds_and_nothing_to_search_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="take 1000 and above"):
        study(tmp_path, method(gain=[1.0]), (0, 1000))
    with pytest.raises(UserError, match="names no settings to search"):
        study(tmp_path, method())


def test_the_second_round_keeps_what_wins_on_fresh_seeds(tmp_path: Path, desk: Desk) -> None:
    """Luck of the first round does not last: gain -10 was found better than 10 there. Where nothing won, none runs."""

    def found(task: str, *values: tuple[float, float]) -> Path:
        trials = [{"value": value, "settings": {"gain": gain}} for gain, value in values]
        path = tmp_path / f"tests.test_tune:STEER--{task}.json"
        made = {"method": "tests.test_tune:STEER", "task": task, "seeds": [1000], "trials": trials}
        path.write_text(json.dumps(made | {"step_budget": 4000, "demos": 3, "base_seed": 0}))
        return path

    desk.suite.write_text(desk.suite.read_text() + "demos: {all: 3}\n")

    lucky, settled = found("maze2d-umaze", (10.0, 0.2), (-10.0, 0.1)), found("maze2d-large", (10.0, 0.1), (0.0, 0.2))
    into = ("--into", str(tmp_path))
    command = ("confirm", "tests.test_tune:STEER", "maze2d-umaze,maze2d-large", *into, "--suite", str(desk.suite))
    code, out, errors = desk.do(*command, "--seeds", "1001")
    assert code == 0, errors
    assert len(out.splitlines()) == 3 and "chosen: {'gain': 10.0}" in out.splitlines()[-1]
    kept = json.loads(lucky.read_text())
    first, best = kept["confirmation"]["trials"]
    assert (first["settings"], best["settings"]) == ({"gain": 10.0}, {"gain": -10.0})
    assert first["value"] < best["value"] and kept["chosen"] == {"gain": 10.0}
    alone = json.loads(settled.read_text())
    assert alone["confirmation"]["trials"] == [] and alone["chosen"] == {"gain": 10.0}
    assert desk.do(*command, "--seeds", "1001")[1] == ""  # nothing is left to run
    for seeds, words in (("1000", "must be fresh"), ("0", "must be fresh")):
        code, _, errors = desk.do(*command, "--seeds", seeds)
        assert code == 2 and words in errors
    code, _, errors = desk.do(*command[:5], "--seeds", "1001")  # under suite quick
    assert code == 2 and "the study had {'step_budget': 4000, " in errors and "take the study's suite" in errors
    code, _, errors = desk.do("confirm", "bc", "maze2d-umaze", *into, "--seeds", "1001")
    assert code == 2 and "no such study" in errors


def test_committed_studies_fit_their_methods() -> None:
    """Every stored choice is one that its method takes, on seeds that no suite evaluates."""
    for path in tuned.FOLDER.glob("*.json"):
        found = json.loads(path.read_text())
        chosen, task = FOUND.method(found["method"])[0], FOUND.task(found["task"])[0]
        assert path.stem == f"{found['method']}--{found['task']}" and min(found["seeds"]) >= FIRST_SEED
        stands = settings_of(chosen, task, SUITE, {})
        assert {name: tuned.setting(stands, name) for name in found["chosen"]} == found["chosen"]


def test_every_method_that_has_settings_to_search_was_tuned_alike() -> None:
    """A study on each task: as many trials, the same seeds, budgets, demonstrations and base data; both rounds."""
    suite = load_suite("quick")[1]
    own = {name for name, (found, _) in FOUND.methods.items() if found.search and not found.control}
    learning = sorted(own - {"value-regression", "diffusion-irl-support"})  # they run with diffusion-irl-value's choice
    for task in suite.tasks:
        studies = {name: json.loads((tuned.FOLDER / f"{name}--{task}.json").read_text()) for name in learning}
        shared = ("criterion", "seeds", "step_budget", "demos", "base_seed")
        alike = {str([len(found["trials"]), *(found[key] for key in shared)]) for found in studies.values()}
        assert len(learning) == 16 and len(alike) == 1, alike
        for found in studies.values():
            assert found and found["confirmation"]["seeds"] == [1001, 1002], found
            decided = {row["value"]: row["settings"] for row in found["confirmation"]["trials"]}
            assert found["chosen"] == (decided[min(decided)] if decided else found["trials"][0]["settings"])


def test_every_value_to_search_is_one_that_its_method_takes() -> None:
    for found, _ in FOUND.methods.values():
        for name, values in found.search.items():
            tried = {str(found.config(**tuned.with_settings({}, {name: value}))) for value in values}
            assert len(tried) == len(values) > 1, (found.name, name)


def test_suites_run_with_what_their_own_studies_chose() -> None:
    """Studies at more steps than quick's are made alike, in both rounds, and suites that name them obey them."""
    posed = load_suite("more-steps")[1]
    for name in ("five-minutes", "long", "more-steps", "rival-steps"):
        suite = load_suite(name)[1]
        assert suite.studies is not None
        found = [json.loads(path.read_text()) for path in sorted(suite.studies.glob("*.json"))]
        assert found
        for one in found:
            method, task = FOUND.method(one["method"])[0], FOUND.task(one["task"])[0]
            assert one.items() >= terms(posed, one["method"], task).items()
            assert (len(one["trials"]), one["seeds"], one["confirmation"]["seeds"]) == (10, [1000], [1001, 1002])
            stands = settings_of(method, task, suite, {})
            assert {key: tuned.setting(stands, key) for key in one["chosen"]} == one["chosen"]
            (cell,) = cells(name, suite, FOUND, [method.name], [task.name], [0])
            assert (cell.tuning_trials, cell.config) == (10, stands)


def test_a_suites_study_speaks_for_variants_of_its_task(tmp_path: Path) -> None:
    """By the task's name, else its family's; a folder that is not there, or a study that is none, is an error."""
    path = tmp_path / "mine.yaml"
    path.write_text("include: quick\nstudies: own\n")
    with pytest.raises(UserError, match="studies = 'own' is no folder"):
        load_suite(str(path))
    (tmp_path / "own").mkdir()
    bc, (corner, _), (large, _) = FOUND.method("bc")[0], FOUND.task("maze2d-umaze-corner"), FOUND.task("maze2d-large")
    before = settings_of(bc, corner, load_suite(str(path))[1], {})
    study, found = tmp_path / "own" / "bc--maze2d-umaze.json", {"method": "bc", "task": "maze2d-umaze"}
    study.write_text(json.dumps({**found, "chosen": {"updates": 7}, "trials": [{}, {}, {}]}))
    suite = load_suite(str(path))[1]
    assert settings_of(bc, corner, suite, {}) == {**before, "updates": 7}
    assert settings_of(bc, large, suite, {})["updates"] != 7
    made = cells("mine", suite, FOUND, ["bc"], [corner.name, large.name], [0])
    assert [cell.tuning_trials for cell in made] == [3, 10]
    for wrong, words in (("{", "cannot be read"), ("{}", "method, task, chosen and trials are needed")):
        study.write_text(wrong)
        with pytest.raises(UserError, match=words):
            load_suite(str(path))
    study.write_text(json.dumps({"method": "cb", "task": "maze2d-umaze", "chosen": {}, "trials": [{}]}))
    with pytest.raises(UserError, match="unknown method 'cb'"):
        cells("mine", load_suite(str(path))[1], FOUND)
