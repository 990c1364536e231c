"""The command line: what is there, what is refused, and in which words."""

import csv
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up import study, write

from benchmark import registry
from benchmark.errors import UserError
from results.store import Store
from tests.desk import ROOT, SUITE, Desk

BAD = {
    "suite": (("run", "smokey"), "unknown suite 'smokey'. Did you mean smoke?"),
    "suite file": (("run", "nowhere/mine.yaml"), "cannot be read"),
    "method": (("run", "smoke", "--method", "expertt"), "unknown method 'expertt'. Did you mean expert?"),
    "reference": (("run", "smoke", "--method", "tests.toys:NOPE"), "cannot be imported"),
    "no method": (("run", "smoke", "--method", "tests.toys:SUITE"), "cannot be imported"),
    "not a method": (("run", "smoke", "--method", "tests.toys:ToyConfig"), "must be a Method of methods.base"),
    "task reference": (("run", "smoke", "--task", "tests.toys:NOPE"), "task 'tests.toys:NOPE' cannot be imported"),
    "not a task": (("run", "smoke", "--task", "tests.toys:GOOD"), "is a Method; it must be a Task of envs.problem"),
    "task": (("run", "smoke", "--task", "maze2d-umase"), "Did you mean maze2d-umaze"),
    "seeds": (("run", "smoke", "--seeds", "one"), "numbers are needed, as in 0-4"),
    "order of seeds": (("run", "smoke", "--seeds", "4-0"), "4 comes after 0"),
    "form of set": (("run", "smoke", "--set", "epochs=3"), "the form is method.key=value"),
    "method in set": (("run", "smoke", "--method", "expert", "--set", "bc.epochs=3"), "unknown method in --set 'bc'"),
    "key in set": (
        ("run", "smoke", "--method", "tests.toys:GOOD", "--set", "toy-good.step=3"),
        "unknown key 'step'. Did you mean steps",
    ),
    "type in set": (
        ("run", "smoke", "--method", "tests.toys:GOOD", "--set", "toy-good.steps=many"),
        "steps = 'many'",
    ),
    "date in set": (("run", "smoke", "--set", "gail.lr=2024-13-45"), "the value is no YAML"),
    "infinite in set": (("run", "smoke", "--method", "f-irl", "--set", "f-irl.limit=.inf"), "is not finite"),
    "out": (("run", "smoke", "--method", "expert", "--out", str(ROOT / "README.md")), "File exists"),
    "metric": (("report", "smoke", "--metric", "erc_pearsn"), "Did you mean erc_pearson"),
    "retry": (("run", "smoke", "--retry", "all"), "unknown status in --retry 'all'. Allowed: failed, skipped, timeout"),
    "policy": (("data", "train", "halfcheetah-exprt"), "Did you mean halfcheetah-expert"),
}


def test_settings_tuned_for_no_task_are_told_of(desk: Desk) -> None:
    code, _, errors = desk.do(*desk.arguments("status", "MISSPELT"))
    assert code == 0
    assert "tuned settings of toy-misspelt: unknown task 'maze2d-umaz'. Did you mean maze2d-umaze" in errors


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_message_and_exit_code_2(desk: Desk, arguments: tuple[str, ...], message: str) -> None:
    where = () if arguments[0] == "data" else ("--results", str(desk.results))
    code, out, errors = desk.do(*arguments, *where)
    assert code == 2 and message in errors and out == ""
    assert errors.count("\n") == 1 and "Traceback" not in errors
    assert not desk.results.exists()


def test_dry_run_writes_nothing(desk: Desk) -> None:
    code, out, _ = desk.do(*desk.arguments("run", "GOOD", extra=("--dry-run",)))
    assert code == 0 and "0 cells done, 1 cells to run" in out and "how long 1 of them take is not known" in out
    assert not desk.results.exists()
    code, out, _ = desk.do(*desk.arguments("run", "GOOD", extra=("--dry-run", "--json")))
    assert json.loads(out)["todo"][0]["method"] == "toy-good"
    desk.run("GOOD", "RAISES")
    arguments = desk.arguments("run", "GOOD", "RAISES", extra=("--seeds", "0-2", "--dry-run", "--json"))
    found = json.loads(desk.do(*arguments)[1])
    assert len(found["done"]) == 2 and len(found["todo"]) == 4
    known = [cell["seconds"] for cell in found["todo"]]
    assert found["cells_without_estimate"] == known.count(None) == 2
    assert 3600 * found["cpu_hours"] == pytest.approx(2 * max(s for s in known if s))


def test_a_run_ends_with_tables_and_figures(desk: Desk, tmp_path: Path) -> None:
    arguments = desk.arguments("run", "GOOD", extra=("--report", "--out", str(tmp_path / "out")))
    code, out, _ = desk.do(*arguments)
    assert code == 0 and "toy-good" in out and str(tmp_path / "out") in out
    assert "toy-good" in (tmp_path / "out" / "tables" / "main.md").read_text()
    assert list((tmp_path / "out" / "figures").glob("*.pdf"))


def test_runs_of_more_seeds_than_the_suites_own_are_reported_and_kept(desk: Desk, tmp_path: Path) -> None:
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [random, expert]"))
    for extra in ((), ("--seeds", "1", "--method", "random")):
        assert desk.do(*desk.arguments("run", extra=extra))[0] == 0
    words = (str(desk.suite), "--results", str(desk.results))
    assert desk.do("report", *words, "--out", str(tmp_path / "out"))[0] == 0
    rows = list(csv.DictReader((tmp_path / "out" / "tables" / "main.csv").open(encoding="utf-8")))
    counts = {row["method"]: (row["expected"], row["ok"]) for row in rows}
    assert counts == {"expert": ("1", "1"), "random": ("2", "2")}  # none of expert, seed 1, which nobody asked for
    assert desk.do("keep", *words, "--into", str(tmp_path / "kept"))[0] == 0
    kept = [("expert", 0), ("random", 0), ("random", 1)]
    assert sorted((r.method, r.seed) for r in Store(tmp_path / "kept").load()[0]) == kept
    again = str(tmp_path / "again")  # elsewhere one of them is run alone, and kept beside the others
    assert desk.do("run", str(desk.suite), "--results", again, "--no-report", "--method", "random")[0] == 0
    assert "0 older gone" in desk.do("keep", words[0], "--results", again, "--into", str(tmp_path / "kept"))[1]
    assert sorted((r.method, r.seed) for r in Store(tmp_path / "kept").load()[0]) == kept


def test_methods_that_the_suite_does_not_name_stay_in_reports(desk: Desk, tmp_path: Path) -> None:
    """Found by presence or named by their module, whatever is run after them; what nobody ran is no row of theirs."""
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [expert]").replace('seeds: "0"', "seeds: 0-1"))
    own, out = ("toy-good", "random"), tmp_path / "out"
    report = ("--report", "--out", str(out))

    def rows() -> dict[str, str]:
        found = csv.DictReader((out / "tables" / "main.csv").open(encoding="utf-8"))
        return {row["method"]: row["expected"] for row in found}

    desk.run("GOOD")
    desk.run(extra=("--method", "random", "--seeds", "0"))
    assert desk.do(*desk.arguments("run", extra=report))[0] == 0
    assert rows() == {"expert": "2", "toy-good": "2", "random": "1"}
    words = ("--results", str(desk.results), "--out", str(out))
    for suite in ((), (str(desk.suite),)):  # of the records, or as named
        shutil.rmtree(out)
        code, text, errors = desk.do("report", *suite, *words)
        assert code == 0 and not errors and all(method in text for method in own), errors
        assert rows().keys() == {"expert", *own}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert all(f">{title}" in page for title in ("toy-good", "Random"))
    assert desk.do("figures", "scores", str(desk.suite), *words)[0] == 0
    assert desk.do("keep", str(desk.suite), "--results", str(desk.results), "--into", str(tmp_path / "kept"))[0] == 0
    assert {r.method for r in Store(tmp_path / "kept").load()[0]} == {"expert"}


def test_a_method_that_has_changed_since_is_shown_as_it_was_and_told_of(desk: Desk, tmp_path: Path) -> None:
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [expert, random]"))
    records = desk.run()
    store, old = Store(desk.results), records["random"].model_copy(update={"id": "0" * 16, "code": "old"})
    store.path(records["random"].id).unlink()
    store.commit(old)
    code, text, errors = desk.do(
        "report", str(desk.suite), "--results", str(desk.results), "--out", str(tmp_path / "out")
    )
    assert code == 0 and re.search(r"(?m)^Random", text)
    assert "records of random in suite 'mine' were made by other code or settings" in errors


def test_a_run_that_suites_share_is_kept_under_the_one_that_is_kept(desk: Desk, tmp_path: Path) -> None:
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [random]"))
    assert desk.do(*desk.arguments("run"))[0] == 0
    other, words = tmp_path / "other.yaml", ("--results", str(desk.results), "--into", str(tmp_path / "kept"))
    other.write_text("include: mine.yaml\nmethods: [random, expert]\n")
    assert desk.do("keep", str(other), *words)[0] == 0
    records, corrupt = Store(tmp_path / "kept").load()
    assert [(r.suite, r.method) for r in records] == [("other", "random")] and not corrupt
    assert [r.suite for r in Store(desk.results).load()[0]] == ["mine"]


def test_a_plain_run_is_not_taken_by_a_suite_that_runs_through_it(desk: Desk, tmp_path: Path) -> None:
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [random]"))
    swept, words = tmp_path / "swept.yaml", ("--results", str(desk.results), "--into", str(tmp_path / "kept"))
    swept.write_text("include: mine.yaml\ndemos: {all: [3, 4]}\n")
    other = tmp_path / "other.yaml"  # has the plain run too, beside those it runs through
    other.write_text("include: mine.yaml\nmethods: [random, bc]\nsweep: {bc: {updates: [1, 2]}}\n")
    for suite in (desk.suite, swept, other):
        assert desk.do("run", str(suite), "--results", str(desk.results), "--no-report", "--workers", "0")[0] == 0
        assert desk.do("keep", str(suite), *words)[0] == 0
    kept = Store(tmp_path / "kept").load()[0]
    assert sorted((r.suite, r.demos, r.variant) for r in kept) == [
        ("mine", 3, ""),
        ("other", 3, "updates=1"),
        ("other", 3, "updates=2"),
        ("swept", 4, "demos=4"),
    ]


def test_report_without_records_says_what_to_run(desk: Desk) -> None:
    code, _, errors = desk.do("report", "smoke", "--results", str(desk.results))
    assert code == 2 and "run smoke" in errors


def test_help_is_fast_and_loads_no_torch() -> None:
    code = "import sys; sys.argv = ['irlbench', 'run', '--help']\nfrom benchmark import cli\n"
    code += "try: cli.main()\nexcept SystemExit: pass\nassert not {'torch', 'mujoco', 'pandas'} & set(sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "--method" in done.stdout
    # processor time: other tests may hold the cores
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


def test_list_says_what_is_there(desk: Desk) -> None:
    code, out, _ = desk.do("list", "--json")
    found = json.loads(out)
    assert code == 0 and found["methods"].keys() >= {"expert", "random"}
    assert found["tasks"].keys() >= {"maze2d-umaze", "maze2d-large"}
    assert found["suites"].keys() >= {"smoke", "quick", "paper", "demos", "guidance"}
    assert all(method["source"] for method in found["methods"].values())
    assert " How strongly to guide\n" in desk.do("list")[1]  # a line each; whole descriptions with --json


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that counts as part of baselines/."""
    import baselines

    monkeypatch.setattr(baselines, "__path__", [*baselines.__path__, str(tmp_path)])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("baselines.zz")]:
        del sys.modules[name]


def test_a_broken_module_is_unavailable_and_stops_nothing_else(plugins: Path) -> None:
    (plugins / "zz_broken.py").write_text("import no_such_module")
    (plugins / "zz_wrong.py").write_text("METHOD = 3")
    (plugins / "zz_twin.py").write_text("from methods.controls import METHODS")
    (plugins / "zz_exits.py").write_text("raise SystemExit")
    (plugins / "_zz_helper.py").write_text("raise RuntimeError('never imported')")
    (plugins / "zz_fine.py").write_text("from tests.toys import GOOD as METHOD")
    found = registry.discover()
    assert "no_such_module" in found.unavailable["baselines.zz_broken"]
    assert "exports a int" in found.unavailable["baselines.zz_wrong"]
    assert "taken by" in found.unavailable["baselines.zz_twin"]
    assert "SystemExit" in found.unavailable["baselines.zz_exits"]
    assert {"toy-good", "expert"} <= found.methods.keys()
    with pytest.raises(UserError, match=r"zz-broken.*unavailable.*no_such_module"):
        found.method("zz-broken")


def test_a_module_that_exits_is_refused(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "plug_exits.py").write_text("import sys\nsys.exit(0)\n")
    code, _, errors = desk.do("status", "smoke", "--method", "plug_exits:METHOD")
    assert code == 2 and "'plug_exits:METHOD' cannot be imported: SystemExit" in errors


def test_a_key_that_is_no_text_is_refused(desk: Desk) -> None:
    desk.suite.write_text(SUITE + "on: true\n")
    code, _, errors = desk.do(*desk.arguments("status"))
    assert code == 2 and "key True is no text" in errors


def test_data_of_tasks_are_made_by_seed(desk: Desk) -> None:
    code, out, errors = desk.do("data", "make", "--task", "maze2d-umaze", "--seeds", "3,4")
    assert code == 0, errors
    lines = out.splitlines()
    assert [line.split(":")[0].rsplit("-", 1)[1] for line in lines] == ["seed3", "seed3", "seed4", "seed4"]
    assert all("maze2d-umaze" in line and "episodes, true returns" in line for line in lines)


def test_a_stored_policy_is_trained_into_a_folder(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("benchmark.experts.train_policy", lambda *given, progress: asked.extend(given))
    assert desk.do("data", "train", "halfcheetah-medium", "--seed", "5", "--out", str(tmp_path))[0] == 0
    assert asked == ["medium", 5, tmp_path]


def test_readme_and_analysis_are_made_anew_from_records(desk: Desk, tmp_path: Path) -> None:
    write(desk.results, study(3, ["bc", "gail"], ["halfcheetah"]))
    page = tmp_path / "README.md"
    (tmp_path / "reports").mkdir()
    page.write_text("# Mine\n<!-- begin:counts -->\nold\n<!-- end:counts -->\n")
    command = ("readme", "--results", str(desk.results), "--path", str(page))
    code, out, errors = desk.do(*command)
    assert code == 0, errors
    made = [page, tmp_path / "reports" / "ANALYSIS.md", desk.results / "README.md", desk.results / "digests.json"]
    assert out.splitlines() == [f"{path}: made anew" for path in made]
    assert "2 methods and 0 controls on 1 tasks with 3 seeds" in page.read_text()
    assert (desk.results / "understanding.png").stat().st_size > 1000
    assert desk.do(*command)[1] == "nothing to change\n"
