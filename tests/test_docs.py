"""Documentation cannot lie: its files are written, its commands run, its names looked up."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command

from benchmark.cli import app
from benchmark.conformance import DYNAMIC, FIT, STATIC
from benchmark.options import discovered
from benchmark.suite import grid, load_suite
from envs import halfcheetah, maze2d
from methods.base import Learned
from methods.policies import MLPPolicy
from methods.rewards import StepReward
from methods.tuned import FOLDER
from reports.claims import claims
from results.schema import METRICS, Record
from results.store import Store
from tests.conftest import copy_checkout
from tests.made_up import record

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)```", re.DOTALL)
# what takes minutes, or needs what a test machine lacks, is parsed in full and planned, but not carried out
PLANNED = {"run quick": "--dry-run", "run paper": "--dry-run", "data train": "--help", "data pretrain": "--help"}
PLANNED |= {"results merge results/a": "--help", "report paper": "--help", "tune": "--trials 1 --steps 2000"}
MADE_UP = "run paper --method red"  # carried out as if its cells had run


def command(line: str) -> list[str]:
    """A line of a page as it is run here."""
    if line == ". .venv/bin/activate":  # tests run in an environment already
        return ["true"]
    if line.startswith("make test-one"):
        return ["make", "--old-file", ".venv/.stamp", f"PY={sys.executable}", *shlex.split(line)[1:]]
    if line.startswith("make "):
        return ["make", "-n", *shlex.split(line)[1:]]
    words = shlex.split(line)
    if words[0] == "python" and words[1].endswith(".py"):  # a file that the page itself shows
        return [sys.executable, *words[1:]]
    assert words[:3] == ["python", "-m", "benchmark"], f"{line!r}: pages show make, python -m benchmark, and own files"
    extra = [word for start, more in PLANNED.items() if " ".join(words[3:]).startswith(start) for word in more.split()]
    return [sys.executable, *words[1:], *extra]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout that a reader has typed all files of the pages into."""
    copy = copy_checkout(tmp_path_factory.mktemp("checkout"))
    shutil.copytree(ROOT / "results" / "reference", copy / "results" / "reference")
    rng = np.random.default_rng(0)
    shapes = {"weight0": (4, 8), "bias0": (8,), "weight1": (8, 2), "bias1": (2,)}
    np.savez(copy / "policy.npz", **{name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()})
    return copy


def make_up(line: str, **where: Any) -> list[str]:
    """Leaves a record of every cell that a `run` has to run; the line as it then is carried out."""
    words = command(line)
    planned = subprocess.run([*words, "--json"], **where, check=True)
    store = Store(where["cwd"] / words[words.index("--results") + 1])
    for cell in json.loads(planned.stdout)["todo"]:
        store.commit(record(**{name: cell[name] for name in Record.model_fields.keys() & cell.keys()}))
    return [word for word in words if word != "--dry-run"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_files_of_a_page_work(page: Path, checkout: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    where: dict[str, Any] = {"cwd": checkout, "env": environment, "capture_output": True, "text": True}
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if found["file"]:
            (checkout / found["file"]).write_text(found["text"], encoding="utf-8")
        elif found["kind"] == "sh":
            for line in found["text"].replace("\\\n", " ").splitlines():
                words = make_up(line, **where) if MADE_UP in line else command(line)
                done = subprocess.run(words, **where)
                assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        elif found["kind"] == "python":
            exec(compile(found["text"], f"{page.name}", "exec"), {"__name__": "page"})
    for name in re.findall(r"<!-- file: baselines/(\w+)\.py -->", page.read_text(encoding="utf-8")):
        check = [sys.executable, "-m", "benchmark", "check", name.replace("_", "-"), "--task", "maze2d-umaze"]
        done = subprocess.run(check, **where)
        assert done.returncode == 0, done.stdout + done.stderr[-1500:]
    if page.stem == "faq":  # any policy and reward, as a run leaves them
        space, left = maze2d.UMAZE_TASK.make_env(1).action_space, checkout / "left" / "learned"
        left.mkdir(parents=True)
        policy = MLPPolicy(4, space.low.tolist(), space.high.tolist())
        Learned(policy, StepReward(4, 2), "raw").save(left)
        done = subprocess.run([sys.executable, "ask.py", left.parent], **where)
        assert done.returncode == 0, done.stderr[-1500:]
    if page.stem == "add-a-method":  # the worked example stands in the tables of the run that the page shows
        assert "RED" in (checkout / "reports/out/smoke/tables/main.md").read_text(encoding="utf-8")
        assert_beside_all_published(checkout / "both")
        assert len((checkout / "baselines/red.py").read_text(encoding="utf-8").splitlines()) <= 60


def assert_beside_all_published(both: Path) -> None:
    """The worked example and every published method stand in each main table, each with all of its seeds."""
    reference = pd.read_csv(both / "report" / "tables" / "main.csv")
    rows = {(row.task, row.method): row.expected for row in reference.itertuples()}
    published, _ = Store(ROOT / "results" / "reference").load()
    cells = Counter((r.task, r.method) for r in published if r.suite == "paper")
    assert rows == cells | {(task, "red"): 5 for task in {task for task, _ in cells}}
    assert "RED" in (both / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_shown_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"python -m\s+benchmark ([a-z-]+)", text)) <= set(get_command(app).list_commands(None))
    shown = set(re.findall(r"`((?:envs|methods|baselines|benchmark|results|reports|docs)/[\w./-]*)`", text))
    written = set(re.findall(r"<!-- file: (\S+) -->", text))
    made = {"reports/out/quick/index.html", "reports/out/paper/", "results/runs/", "results/cache/", "results/verified"}
    made.add("results/submitted")
    assert {path for path in shown if not (ROOT / path).exists()} - written - made == set()
    links = set(re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text))
    assert {link for link in links if not (page.parent / link).exists()} == set()


def test_every_check_of_a_method_is_explained() -> None:
    text = (ROOT / "docs/add-a-method.md").read_text(encoding="utf-8")
    missing = [f"| `{check.__name__}` | {check.__doc__} |" for check in (*STATIC, *DYNAMIC)]
    assert [row for row in (*missing, f"| `fit` | {FIT} |") if row not in text] == []


def test_every_metric_is_explained_in_its_group() -> None:
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8").lower()
    known = {"score", "mmd", "wasserstein", "erc", "per-step", "per-window", "within a start", "epic", "dard", "starc"}
    known |= {"re-optimised", "return", "90 %", "through a wall", "one-step error"}
    unexplained = {m.label for m in METRICS.values() if not any(w in m.label.lower() and w in text for w in known)}
    assert unexplained == set()


@pytest.mark.parametrize(
    ("page", "data"), [("cluster", "gpu-h200"), ("cluster", "gpu-h100"), ("protocol", "reoptimised-true-reward")]
)
def test_measurements_on_a_page_are_those_kept(page: str, data: str) -> None:
    """A table with the header of committed data holds that data, row by row."""
    with (ROOT / "results" / "reference" / f"{data}.csv").open(encoding="utf-8", newline="") as kept:
        rows = [f"| {' | '.join(row)} |" for row in csv.reader(kept)]
    lines = [line.strip() for line in (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").splitlines()]
    first = lines.index(rows[0])
    assert [lines[first], *lines[first + 2 : first + 1 + len(rows)]] == rows and not lines[first + 1 + len(rows)]


def test_the_protocol_tells_of_the_studies_what_they_hold() -> None:
    page = " ".join((ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").split())
    studies = [json.loads(path.read_text()) for path in FOLDER.glob("*.json")]
    cost = [round(sum(trial["cpu_seconds"] for trial in study["trials"])) for study in studies]
    alone = sum(not study["confirmation"]["trials"] for study in studies)
    stayed = sum(study["chosen"] == study["trials"][0]["settings"] for study in studies)
    repeated = sum(len({str(trial["settings"]) for trial in study["trials"]}) == 9 for study in studies)
    assert {len(study["trials"]) for study in studies} == {10}
    assert f"ten trials took {min(cost)} to {max(cost)} CPU seconds" in page
    assert f"In {alone} of {len(studies)} studies no trial beat the first one, in {stayed - alone} the second " in page
    assert f"went back to it, in {len(studies) - stayed} the settings are new" in page
    assert f"In {repeated} studies settings were drawn once more" in page


def test_the_protocol_tells_of_the_longer_studies_what_they_hold() -> None:
    """The thesis' method's are as long as the costliest rival's, rivals' as what their ten trials left of it."""
    page = " ".join((ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").split())
    thesis = claims().families["thesis"]
    folder = load_suite("more-tuning")[1].studies
    assert folder is not None
    mains = [task.name for task in (maze2d.UMAZE_TASK, maze2d.LARGE_TASK, halfcheetah.TASK)]
    usual, longer = ({path.name: json.loads(path.read_text()) for path in at.glob("*.json")} for at in (FOLDER, folder))
    cost = {name: sum(trial["cpu_seconds"] for trial in study["trials"]) for name, study in usual.items()}
    costliest = {task: max((n for n in cost if usual[n]["task"] == task), key=cost.__getitem__) for task in mains}
    counts: dict[bool, list[int]] = {True: [], False: []}
    for name, study in longer.items():
        most, before = cost[costliest[study["task"]]], usual[name]
        rival, spent = study["method"] not in thesis, [trial["cpu_seconds"] for trial in study["trials"]]
        counts[not rival].append(len(spent))
        begun = sum(spent) + (cost[name] - spent[-1]) * rival  # of a rival's few trials the last goes far over
        assert begun < 1.02 * most and sum(spent) + cost[name] * rival > 0.99 * most
        shared = ("criterion", "seeds", "step_budget", "demos", "base_seed", "search")
        assert all(study[key] == before[key] for key in shared)
        assert study["confirmation"]["seeds"] == before["confirmation"]["seeds"]
        assert study["trials"][0]["settings"] == before["chosen"]
    assert f"{min(counts[True])} to {max(counts[True])} trials, all" in page
    assert f"{min(counts[False])} to {max(counts[False])} trials each" in page
    # as it says: not yet, and not of the costliest
    without = {"gail--halfcheetah.json", "airl--halfcheetah.json", "bc--maze2d-large.json"}
    without |= {f"{method}--{task}.json" for method in ("diffusion-bc", "relative-reward") for task in mains}
    assert [*costliest.values()] == [
        f"{m}--{t}.json" for m, t in zip(("iq-learn", "f-irl", "f-irl"), mains, strict=True)
    ]
    rivals = {name for name in usual if not name.startswith("diffusion-irl")}
    assert rivals - without - {*costliest.values()} == {
        name for name, study in longer.items() if study["method"] not in thesis
    }
    new = {name for name, study in longer.items() if study["chosen"] != study["trials"][0]["settings"]}
    grids = [grid(suite, discovered())[1] for suite in ("more-tuning", "rival-tuning")]
    ran = {f"{cell.method}--{cell.task}.json" for cells in grids for cell in cells}
    assert new == {name for name in ran if not name.endswith("-corner.json")}


def test_the_protocol_tells_how_far_agents_on_the_true_reward_vary() -> None:
    page, records = (ROOT / "docs/protocol.md").read_text(encoding="utf-8"), Store(ROOT / "results/reference").load()[0]
    told = []
    for task, title in (("maze2d-umaze", "U-Maze"), ("maze2d-large", "Large")):
        ends = {
            (r.method, r.seed): (r.metrics["return_seen"] + r.metrics["return_unseen"]) / 2
            for r in records
            if (r.suite, r.task) == ("paper", task) and r.method in ("random", "expert")
        }
        scores = [
            100
            * (r.metrics["reoptimised_reference"] - ends["random", r.seed])
            / (ends["expert", r.seed] - ends["random", r.seed])
            for r in records
            if (r.suite, r.task) == ("paper-reoptimise", task) and "reoptimised_reference" in r.metrics
        ]
        told.append(f"{min(scores):.0f} to {max(scores):.0f} on {title}")
    assert ", ".join(told) in " ".join(page.split())


def test_default_demonstrations_are_the_most_before_bc_saturates_in_the_table_of_its_records() -> None:
    path = ROOT / "results" / "reference" / "bc-by-demonstrations.csv"
    means = pd.read_csv(path).groupby(["task", "demonstrations"])["score_unseen"].mean().round().astype(int)
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    for task, title in ((maze2d.UMAZE_TASK, "U-Maze"), (maze2d.LARGE_TASK, "Large"), (halfcheetah.TASK, "HalfCheetah")):
        found = means[task.name]
        assert f"| {title} | {' | '.join(str(mean) for mean in found)} |" in page
        unsaturated = (found < 90).cummin()
        assert task.default_demos == unsaturated[unsaturated].index.max()
