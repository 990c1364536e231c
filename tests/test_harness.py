"""The harness as a user meets it: what is run, kept, refused, and what becomes of what goes wrong."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console

from benchmark import provenance, registry
from benchmark.cell import Cell
from benchmark.display import Display
from benchmark.errors import UserError
from benchmark.runner import Past, Plan, plan
from benchmark.suite import cells, grid, load_suite, parse_seeds, suite_names
from results.store import Store
from tests.desk import ROOT, SUITE, Desk, start, traced, wait_for

MAIN = {"maze2d-umaze", "maze2d-large", "halfcheetah"}


def test_whatever_happens_becomes_a_record(desk: Desk) -> None:
    toys = ["RAISES", "EXITS", "EXITS_HARD", "SEGFAULTS", "NAN_POLICY", "NAN_REWARD", "FLAT_REWARD", "GREEDY", "SKIPS"]
    records = desk.run("GOOD", "DIVERGES", *toys)
    outcomes = {name: (record.status, record.reason) for name, record in records.items()}
    assert outcomes == {
        "toy-good": ("ok", ""),
        "toy-flat-reward": ("ok", ""),
        "toy-raises": ("failed", "ValueError: as intended"),
        "toy-diverges": ("failed", "Diverged: the loss rose"),
        "toy-exits": ("failed", "SystemExit: 3"),
        "toy-exits-hard": ("failed", "worker exited with code 3 before it left a record"),
        "toy-segfaults": ("failed", "worker killed by SIGSEGV before it left a record"),
        "toy-nan-policy": ("failed", "ValueError: actions [4, 2] must be finite and of shape [4, 2]"),
        "toy-nan-reward": ("failed", "NotFinite: learnt return is not finite on 133 of 133 episodes"),
        "toy-greedy": ("failed", outcomes["toy-greedy"][1]),
        "toy-skips": ("skipped", "not for me"),
    }
    assert records["toy-diverges"].curve == [{"gradient_steps": 1, "loss": 0.5}]  # the last good part of it
    assert "budget" in outcomes["toy-greedy"][1]
    good, flat = records["toy-good"], records["toy-flat-reward"]
    assert good.metrics.keys() >= {"score_seen", "score_unseen", "normalized_score", "erc_pearson", "window_pearson"}
    assert good.env_steps == 20 and good.gradient_steps == 1 and good.peak_memory_mib > 1 and good.wall_seconds > 0
    assert good.provenance["versions"]["mujoco"] and good.provenance["finished"]
    assert "erc_pearson" not in flat.metrics and any(note.startswith("erc_pearson:") for note in flat.notes)
    store = Store(desk.results)
    assert "last words" in (store.folder(records["toy-exits-hard"].id) / "error.txt").read_text()
    assert "as intended" in (store.folder(records["toy-raises"].id) / "error.txt").read_text()
    with np.load(store.folder(good.id) / "artefacts.npz", allow_pickle=False) as file:
        assert file["reward_map"].shape == file["true_map"].shape == file["grid_xy"].shape[:2]
        assert file["paths_seen"].shape == file["paths_unseen"].shape == (2, 301, 2)
        assert file["learnt_returns"].shape == file["true_returns"].shape == (133,)
        assert file["learnt_steps"].shape == (2000,) and file["learnt_steps"].dtype == np.float32


def test_a_cell_that_hangs_is_ended_and_the_run_goes_on(desk: Desk) -> None:
    desk.suite.write_text(SUITE.replace("timeout_s: 60", "timeout_s: 6"))
    started = time.monotonic()
    records = desk.run("HANGS", "CHATTERS", "COUNTS", extra=("--workers", "1"))
    for name in ("toy-hangs", "toy-chatters"):
        assert records[name].status == "timeout" and "6 s" in records[name].reason
    assert records["toy-counts"].status == "ok"
    assert time.monotonic() - started < 300  # the toys would take longer
    assert not any("_work" in " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True))


def test_what_is_done_is_not_done_again_unless_asked(desk: Desk, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with_trace = ("--set", f"toy-good.trace={trace}")
    first = desk.run("GOOD", "RAISES", extra=with_trace)
    again = desk.run("GOOD", "RAISES", extra=with_trace)
    assert again == first and len(trace.read_text().split()) == 1
    code, out, _ = desk.do(*desk.arguments("run", "GOOD", "RAISES", extra=with_trace))
    assert code == 0 and "2 done, 0 to run" in out
    retried = desk.run("GOOD", "RAISES", extra=(*with_trace, "--retry", "failed"))
    assert retried["toy-good"] == first["toy-good"]
    assert retried["toy-raises"].provenance["finished"] > first["toy-raises"].provenance["finished"]


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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on_where_it_was(desk: Desk, tmp_path: Path, how: signal.Signals) -> None:
    trace = tmp_path / "trace"
    settings = ("--set", f"toy-good.trace={trace}", "--set", "toy-good.sleep=2", "--seeds", "0-3", "--workers", "1")
    process = start(desk.arguments("run", "GOOD", extra=settings))
    wait_for(lambda: 1 <= len(Store(desk.results).load()[0]) < len(traced(trace)))
    process.send_signal(how)
    _, errors = process.communicate(timeout=300)
    if how == signal.SIGINT:
        assert process.returncode == 130 and "goes on from here" in errors and "Traceback" not in errors
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in traced(trace)))
    kept = Store(desk.results).load()[0]
    assert 1 <= len(kept) < 4
    desk.run("GOOD", extra=settings)
    records = Store(desk.results).load()[0]
    assert len(records) == 4 and all(record in records for record in kept)
    assert len(traced(trace)) <= 5  # only the cell that was cut off, if any, ran twice


def test_two_runs_at_once_share_the_work(desk: Desk, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    settings = ("--set", f"toy-good.trace={trace}", "--set", "toy-good.sleep=1", "--seeds", "0-3", "--workers", "1")
    both = [start(desk.arguments("run", "GOOD", extra=settings)) for _ in range(2)]
    for process in both:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert out.count(" ok ") >= 1
    assert len(traced(trace)) == 4 and len(Store(desk.results).load()[0]) == 4


def test_a_corrupt_record_is_named_skipped_counted_and_made_again(desk: Desk) -> None:
    records = desk.run("GOOD", "PROPER")
    path = Store(desk.results).path(records["toy-good"].id)
    path.write_text(path.read_text()[:100])
    code, out, errors = desk.do(*desk.arguments("status", "GOOD", "PROPER"))
    assert code == 0 and str(path) in errors and "skipped" in errors
    assert "1 missing, 1 ok" in out
    code, out, _ = desk.do(*desk.arguments("status", "GOOD", "PROPER", extra=("--json",)))
    assert json.loads(out)["corrupt"] == [str(path)]
    assert desk.run("GOOD", "PROPER")["toy-good"].metrics == records["toy-good"].metrics


def test_dry_run_writes_nothing(desk: Desk) -> None:
    code, out, _ = desk.do(*desk.arguments("run", "GOOD", extra=("--dry-run",)))
    assert code == 0 and "0 cells done, 1 cells to run" in out and "nothing is known of 1 cells" in out
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


BAD = {
    "suite": (("run", "smokey"), "unknown suite 'smokey'. Did you mean smoke?"),
    "suite file": (("run", "nowhere/mine.yaml"), "cannot be read"),
    "method": (("run", "smoke", "--method", "expertt"), "unknown method 'expertt'. Did you mean expert?"),
    "reference": (("run", "smoke", "--method", "tests.toys:NOPE"), "cannot be imported"),
    "no method": (("run", "smoke", "--method", "tests.toys:SUITE"), "cannot be imported"),
    "not a method": (("run", "smoke", "--method", "tests.toys:ToyConfig"), "must be a methods.base.Method"),
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
    "metric": (("report", "smoke", "--metric", "erc_pearsn"), "Did you mean erc_pearson"),
    "retry": (("run", "smoke", "--retry", "all"), "allowed are failed, timeout, skipped"),
    "policy": (("data", "train", "halfcheetah-exprt"), "Did you mean halfcheetah-expert"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_message_and_exit_code_2(desk: Desk, arguments: tuple[str, ...], message: str) -> None:
    where = () if arguments[0] == "data" else ("--results", str(desk.results))
    code, out, errors = desk.do(*arguments, *where)
    assert code == 2 and message in errors and out == ""
    assert errors.count("\n") == 1 and "Traceback" not in errors
    assert not desk.results.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("timeout_s", "timeout", "Did you mean timeout_s?"),
        ('seeds: "0"', "seeds: x", "numbers are needed"),
        ("timeout_s: 60", "timeout_s: -1", "timeout_s = -1"),
        ("tasks: [maze2d-umaze]", "tasks: [maze2d-umazes]", "Did you mean maze2d-umaze"),
        ("{all: 4000}", "{maze: 4000}", "unknown task 'maze'"),
        ("{all: 4000}", "{all: 0}", "greater than or equal to 1"),
        ("description: for tests", "- nothing", "cannot be read"),
        (SUITE, "just text", "keys and values are needed"),
    ],
)
def test_a_bad_suite_is_refused(desk: Desk, old: str, new: str, message: str) -> None:
    desk.suite.write_text(SUITE.replace(old, new))
    code, _, errors = desk.do(*desk.arguments("run", "GOOD"))
    assert code == 2 and message in errors and not desk.results.exists()


def test_a_folder_that_cannot_be_written_is_refused(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    desk.results = tmp_path / "file" / "runs"
    code, _, errors = desk.do(*desk.arguments("run", "GOOD"))
    assert code == 2 and "cannot be written" in errors and "--results" in errors
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_run_ends_with_tables_and_figures(desk: Desk, tmp_path: Path) -> None:
    arguments = desk.arguments("run", "GOOD", extra=("--report", "--out", str(tmp_path / "out")))
    code, out, _ = desk.do(*arguments)
    assert code == 0 and "toy-good" in out and str(tmp_path / "out") in out
    assert "toy-good" in (tmp_path / "out" / "tables" / "main.md").read_text()
    assert list((tmp_path / "out" / "figures").glob("*.pdf"))


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


def test_the_suites_that_come_along_hold_for_everything_found() -> None:
    found = registry.discover()
    for name in suite_names():
        made = cells(*load_suite(name), found)
        assert made and len({cell.id for cell in made}) == len(made)
        corner = {"maze2d-umaze-corner", "maze2d-large-corner"}
        assert {cell.task for cell in made} <= (corner if "corner" in name else MAIN)
    assert "reduced" in load_suite("quick")[1].description


def test_the_paper_suite_is_what_it_says() -> None:
    found = registry.discover()
    name, made = grid("paper", found)
    own = [cell for cell in made if cell.suite == name]
    places = {(m, task, seed, "") for m in found.methods for task in MAIN for seed in range(5)}
    assert {cell.place for cell in own} == places
    assert {(cell.task, cell.step_budget) for cell in own} == {
        *zip(sorted(MAIN), (200_000, 300_000, 200_000), strict=True)
    }
    rewards = {m for m, (method, _) in found.methods.items() if method.recovers_reward and not method.control}
    windows = {m for m in rewards if m.startswith("diffusion-irl-m")}
    shared = {"value-regression"}  # its reward is that of diffusion-irl-value
    assert {cell.method for cell in own if cell.reoptimise} == rewards - windows - shared
    along = {cell.suite for cell in made} - {name}
    assert along == {"paper-demos", "paper-corner"} and len({cell.id for cell in made}) == len(made)
    assert not [cell for cell in made if cell.suite in along and cell.reoptimise]
    assert all(cell.base_seed == cell.seed for cell in made)


def test_the_thesis_suite_has_the_numbers_of_the_thesis() -> None:
    """Oliveira 2024: windows, diffusion steps, guidance, reward network, optimiser, chunk compared, demonstrations."""
    shapes = {  # tokens, diffusion steps, scale, first guided step; hidden layers, batch, tokens compared
        "maze2d-umaze": ((128, 64, 0.1, 2), ([384, 128, 64], 16, 10)),
        "maze2d-large": ((384, 256, 0.1, 2), ([1024, 512, 128], 16, 10)),
        "halfcheetah": ((4, 20, 0.001, 0), ([64, 32, 16], 256, 4)),
    }
    made = cells(*load_suite("thesis"), registry.discover())
    assert {(cell.task, cell.demos) for cell in made} >= {("maze2d-umaze", 9), ("maze2d-large", 8)}
    for cell in made:
        c, (planned, learned) = cell.config, shapes[cell.task]
        base, plan = c["base"], c["planning"]
        assert (base["tokens"], base["steps"], plan["scale"], plan["stop"]) == planned
        assert base["skip"] == 1 and plan["inner"] == 2 and not (base["octaves"] or base["relative"] or base["half"])
        if not cell.control:
            assert (c["hidden"], c["batch"], c["compared"]) == learned
            rate = 2e-3 if cell.task == "halfcheetah" else {"mse": 2e-4}.get(c["similarity"], 2e-2)
            assert (c["learning_rate"], c["updates"], c["through"]) == (rate, 500, 0)


def test_suites_run_along_once_and_keep_to_what_is_asked(desk: Desk) -> None:
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [expert, random, bc]") + "also: [more.yaml]\n")
    desk.suite.with_name("more.yaml").write_text(
        "include: mine.yaml\nalso: null\nmethods: [random, bc]\nseeds: 0-1\ndemos: {all: [2, 5]}\n"
    )
    found = registry.discover()
    name, made = grid(str(desk.suite), found)
    assert name == "mine" and [(c.suite, c.method, c.seed, c.demos) for c in made] == [
        *(("mine", method, 0, 2) for method in ("expert", "random", "bc")),
        *(("more", method, 0, 5) for method in ("random", "bc")),  # with 2 demonstrations they stand above
        *(("more", method, 1, demos) for method in ("random", "bc") for demos in (2, 5)),
    ]
    few = grid(str(desk.suite), found, ["bc", "expert"], [], [0], {"bc": {"updates": 3}, "expert": {}})[1]
    assert [(c.suite, c.method, c.seed) for c in few] == [("mine", "bc", 0), ("mine", "expert", 0), ("more", "bc", 0)]


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


def forget() -> None:
    for cached in (provenance.code_hash, provenance.imports, provenance._source, provenance._digest):
        cached.cache_clear()


def test_the_code_hash_follows_what_a_method_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "plug"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "method.py").write_text("def f():\n    from plug import helper\n    import numpy\n")
    (package / "helper.py").write_text("x = 1")
    (package / "other.py").write_text("x = 1")

    def digest() -> str:
        forget()
        return provenance.code_hash("plug.method")

    assert {"plug.method", "plug.helper"} <= provenance.sources(["plug.method"]).keys()
    before = digest()
    (package / "other.py").write_text("x = 2")
    assert digest() == before
    (package / "helper.py").write_text("x = 2")
    assert digest() != before


def test_words_about_code_change_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest(source: str) -> str:
        (tmp_path / "plug_words.py").write_text(source)
        forget()
        return provenance.code_hash("plug_words")

    plain = digest("def f(x):\n    return x + 1\n")
    assert digest('"""Says."""\n\ndef f(x):\n    """Adds."""\n    return (x\n        + 1)  # one\n') == plain
    assert digest("def f(x):\n    return x + 2\n") != plain
    assert digest("def f(x):\n    'a'\n") != digest("def f(x):\n    return 'a'\n")


def test_an_edit_reruns_only_the_cells_whose_method_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, original = registry.discover(), provenance._source
    name, suite = load_suite("smoke")

    def ids() -> dict[str, str]:
        provenance.code_hash.cache_clear()
        return {cell.method: cell.id for cell in cells(name, suite, found, tasks=["maze2d-umaze"])}

    before, edited = ids(), tmp_path / "similarity.py"
    edited.write_text((ROOT / "methods" / "similarity.py").read_text() + "\nEDITED = True\n")
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_source", lambda m: edited if m == "methods.similarity" else original(m))
        after = ids()
    forget()
    changed = {method for method in before if before[method] != after[method]}
    thesis = {method for method, (_, module) in found.methods.items() if module == "methods.diffusion_irl"}
    assert thesis and thesis <= changed
    assert not changed & {"gail", "airl", "maxent", "dac", "bc", "sqil", "expert", "random", "unguided-diffuser"}


def test_the_code_hash_covers_harness_and_data_but_not_other_methods() -> None:
    found = provenance.sources(["methods.diffusion_irl", "envs.halfcheetah", *provenance.HARNESS])
    assert {"methods.diffuser", "methods.base", "benchmark.metrics", "benchmark.references", "envs.physics"} <= set(
        found
    )
    assert not any(name.startswith(("baselines", "reports", "benchmark.runner", "torch")) for name in found)


def test_identity_changes_with_what_decides_the_result(tmp_path: Path) -> None:
    found = registry.discover()
    base = load_suite("smoke")[1]

    def ids(**changes: object) -> set[str]:
        suite = base.model_copy(update={"methods": ["expert"], "tasks": ["maze2d-umaze"], **changes})
        return {cell.id for cell in cells("any", suite, found)}

    same = ids()
    assert ids(timeout_s=1.0, description="other") == same
    for changes in ({"seeds": [1]}, {"base_seed": 1}, {"step_budget": {"all": 5}}, {"demos": {"all": 3}}):
        assert not ids(**changes) & same, changes
    assert not ids(eval_starts=1) & same


def test_settings_win_in_order() -> None:
    found = registry.discover()
    found.method("tests.toys:GOOD")
    suite = load_suite("smoke")[1].model_copy(
        update={"settings": {"toy-good": {"all": {"steps": 3, "scale": 3.0}, "maze2d-umaze": {"steps": 4}}}}
    )
    assigned = {"toy-good": {"scale": 5}}
    grid = cells("any", suite, found, ["toy-good"], ["maze2d-umaze", "maze2d-large"], [], assigned)
    assert [(cell.config["steps"], cell.config["scale"]) for cell in grid] == [(4, 5.0), (3, 5.0)]


def test_a_suite_runs_through_demonstrations_and_settings(desk: Desk) -> None:
    found = registry.discover()
    found.method("tests.toys:GOOD")
    sweep = "sweep: {toy-good: {steps: [2, 4], scale: [1.5]}}\n"
    desk.suite.write_text(SUITE + "demos: {maze2d-umaze: [1, 3]}\n" + sweep)
    suite = load_suite(str(desk.suite))[1]
    grid = cells("any", suite, found, ["toy-good"])
    assert [(cell.demos, cell.config["steps"], cell.variant) for cell in grid] == [
        (demos, steps, f"demos={demos}, steps={steps}, scale=1.5") for demos in (1, 3) for steps in (2, 4)
    ]
    assert len({cell.id for cell in grid}) == 4
    fixed = cells("any", suite, found, ["toy-good"], assigned={"toy-good": {"steps": 9}})
    assert [cell.variant for cell in fixed] == ["demos=1, scale=1.5", "demos=3, scale=1.5"]


def test_a_dotted_setting_changes_one_value_inside_another() -> None:
    suite = load_suite("smoke")[1].model_copy(
        update={"settings": {"oracle-diffuser": {"all": {"planning.scale": 3.0}}}}
    )
    found = registry.discover()
    assigned = {"oracle-diffuser": {"planning.stop": 1}}
    (cell,) = cells("any", suite, found, ["oracle-diffuser"], ["halfcheetah"], [], assigned)
    tuned = found.method("oracle-diffuser")[0].tuned["halfcheetah"]["planning"]
    assert cell.config["planning"]["execute"] == tuned["execute"]
    assert (cell.config["planning"]["scale"], cell.config["planning"]["stop"]) == (3.0, 1)
    with pytest.raises(UserError, match=r"diffuser: unknown key 'planning.scal'. Did you mean planning.scale"):
        cells("any", suite, found, ["oracle-diffuser"], ["halfcheetah"], [], {"oracle-diffuser": {"planning.scal": 1}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include: base.yaml\nsteps: 5\n", r"mine.yaml, line 2\): unknown key 'steps'"),
        ("include: base.yaml\ntimeout_s:\n  - 5\n", r"mine.yaml, line 2\): timeout_s = \[5\]"),
        ("include: base.yaml\ndemos:\n  all: 1\n  maze2d-umaze: many\n", r"mine.yaml, line 4\): demos.maze2d-umaze"),
        ("include: base.yaml\nsettings:\n  bc:\n    all:\n      update: 5\n", r"mine.yaml, line 5\): .*mean updates"),
        ("include: base.yaml\nsettings:\n  oracle-diffuser:\n    all: {planning.scal: 5}\n", "mine.yaml, line 4"),
        ("include: base.yaml\n", r"base.yaml, line 1\): unknown key 'budget'"),
    ],
)
def test_an_error_in_a_suite_names_file_and_line(desk: Desk, text: str, message: str) -> None:
    wrong = "budget: 1\n" if text == "include: base.yaml\n" else ""
    desk.suite.with_name("base.yaml").write_text(wrong + SUITE)
    desk.suite.write_text(text)
    with pytest.raises(UserError, match=message):
        cells(*load_suite(str(desk.suite)), registry.discover(), ["bc", "oracle-diffuser"])


def test_settings_tuned_for_no_task_are_told_of(desk: Desk) -> None:
    code, _, errors = desk.do(*desk.arguments("status", "MISSPELT"))
    assert code == 0
    assert "tuned settings of toy-misspelt: unknown task 'maze2d-umaz'. Did you mean maze2d-umaze" in errors


def test_a_suite_includes_another_and_lays_its_own_over_it(desk: Desk) -> None:
    desk.suite.with_name("base.yaml").write_text(SUITE)
    desk.suite.write_text("include: base.yaml\nseeds: 0-3\nstep_budget: {maze2d-large: 10}\n")
    name, suite = load_suite(str(desk.suite))
    assert name == "mine" and suite.seeds == [0, 1, 2, 3] and suite.eval_starts == 2
    assert suite.step_budget == {"all": 4000, "maze2d-large": 10}
    desk.suite.with_name("base.yaml").write_text("include: mine.yaml")
    with pytest.raises(UserError, match="includes itself"):
        load_suite(str(desk.suite))
    desk.suite.write_text("include: smoky\n")
    with pytest.raises(UserError, match="Did you mean smoke"):
        load_suite(str(desk.suite))


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


@pytest.mark.parametrize(
    ("given", "expected"), [("0-2", [0, 1, 2]), ("0,2", [0, 2]), (3, [3]), ("1, 3-4,3", [1, 3, 4]), ([5], [5])]
)
def test_seeds(given: object, expected: list[int]) -> None:
    assert parse_seeds(given) == expected


def test_nothing_is_left_behind(desk: Desk) -> None:
    desk.run("GOOD", "EXITS_HARD")
    left = {path.name for path in desk.results.iterdir()} - {".locks", ".work"}
    stems = {record.id for record in Store(desk.results).load()[0]}
    assert left == stems | {f"{stem}.json" for stem in stems}
    assert not list((desk.results / ".work").iterdir())
    assert os.environ["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(("option", "lines"), [("--plain", 2), ("--quiet", 0)])
def test_plain_and_quiet_runs_are_for_logs(desk: Desk, option: str, lines: int) -> None:
    code, out, errors = desk.do(*desk.arguments("run", "COUNTS", extra=(option, "--workers", "0")))
    assert code == 0 and len(out.splitlines()) == lines and not errors
    assert len(Store(desk.results).load()[0]) == 1


def test_tensorboard_gets_events_of_every_cell(desk: Desk, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = ("--set", "toy-counts.sleep=0.3", "--seeds", "0-1", "--tensorboard", str(tmp_path / "events"))
    records = desk.run("COUNTS", "SHOWS", extra=settings)
    record = records["toy-counts"]
    folders = sorted((tmp_path / "events" / "mine" / "toy-counts" / "maze2d-umaze").iterdir())
    assert [folder.name.split("-")[0] for folder in folders] == ["seed0", "seed1"]
    found = EventAccumulator(str(next(folder for folder in folders if record.id in folder.name)))
    found.Reload()
    tags = found.Tags()["scalars"]
    assert "live/sum" in tags and "metrics/normalized_score" in tags
    assert found.Scalars("metrics/normalized_score")[0].value == pytest.approx(record.metrics["normalized_score"], 1e-5)
    shown = records["toy-shows"]
    (folder,) = (tmp_path / "events" / "mine" / "toy-shows" / "maze2d-umaze").glob(f"*{shown.id}")
    found = EventAccumulator(str(folder))
    found.Reload()
    live, final = [e.value for e in found.Scalars("live/score")], shown.metrics["normalized_score"]
    assert live == pytest.approx([*[row["score"] for row in shown.curve], final], 1e-5) and len(live) == 4


def test_a_share_of_a_gpu_is_set_aside_by_method(desk: Desk) -> None:
    desk.suite.write_text(SUITE.replace("methods: []", "methods: [expert, random]") + "gpus: {random: 0.25}\n")
    grid = cells("any", load_suite(str(desk.suite))[1], registry.discover())
    assert {cell.method: cell.gpus for cell in grid} == {"expert": 0.0, "random": 0.25}


def test_the_display_shows_counts_progress_and_time_left() -> None:
    found = registry.discover()
    suite = load_suite("smoke")[1].model_copy(update={"methods": ["expert", "random"], "tasks": ["maze2d-umaze"]})
    first, second = cells("any", suite, found)
    terminal, plain = (Console(file=io.StringIO(), force_terminal=tty, width=150) for tty in (True, False))
    for console in (terminal, plain):
        past = Past([first.record("ok", {}, wall_seconds=60.0), second.record("ok", {}, wall_seconds=30.0)])
        planned = Plan([], [first, second], past)
        with Display(planned, 1, console) as display:
            display.started(first)
            display.progressed(first, 0.25, {"loss": 0.5, "env_steps": 100})
            display.progressed(first, 0.0, {"score": 12.5, "env_steps": 100})
            console.is_terminal and time.sleep(0.1)
            display.progressed(first, 0.5, {"loss": 0.25, "env_steps": 5100})
            console.is_terminal and time.sleep(0.6)
            display.finished(first, first.record("failed", {}, reason="[red]ValueError"))
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    for piece in (
        "0/2 cells",
        "1 running  1 waiting",
        "about 1:30 left",
        "expert · maze2d-umaze · seed 0",
        "score 12.5  loss 0.25",
        "env steps/s",
        "1:00 left",
    ):
        assert piece in shown, piece
    lines = plain.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == ["[1/2] failed  expert · maze2d-umaze · seed 0 · 0.0 s · [red]ValueError"]
