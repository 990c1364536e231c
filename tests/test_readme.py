"""What stands in the checkout because of the committed records is what they give."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_up import record, study, sweeps
from PIL import Image

from reports.analysis import analysis
from reports.readme import digested, manifest, rendered
from results.schema import Record
from results.store import Store
from tests.desk import Desk

ROOT = Path(__file__).parents[1]


def stale_blocks(path: Path, records: list[Record]) -> list[str]:
    """Names of the generated blocks of a page that are not what the records give."""
    old = path.read_text(encoding="utf-8")
    blocks = re.compile(r"<!-- begin:(.*?) -->\n(.*?)<!-- end", re.DOTALL)
    pairs = zip(blocks.findall(old), blocks.findall(rendered(old, records)), strict=True)
    return [name for (name, before), (_, after) in pairs if before != after]


def test_readme_blocks_are_made_and_checked(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    blocks = "".join(f"<!-- begin:{n} -->\nold\n<!-- end:{n} -->\ntext\n" for n in ("headline", "counts", "named"))
    readme.write_text(f"# Title\n{blocks}")
    records = study(3, ["bc", "gail", "expert"], ["halfcheetah", "maze2d-umaze"])
    assert stale_blocks(readme, records) == ["headline", "counts", "named"]
    readme.write_text(rendered(readme.read_text(), [*records, *sweeps()[:9]]))  # of the largest suite, no sweep
    assert stale_blocks(readme, records) == []
    text = readme.read_text()
    assert text.startswith("# Title\n<!-- begin:headline -->\n| Method |")
    assert text.count("text\n") == 3
    assert "2 methods and 1 controls on 2 tasks with 3 seeds" in text
    readme.write_text(text.replace("2 methods", "8 methods"))
    assert stale_blocks(readme, records) == ["counts"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin:nothing -->\n<!-- end:nothing -->", "unknown blocks nothing: choose from headline"),
        ("<!-- begin:headline -->\n", "without its partner"),
        ("<!-- begin:headline -->\n<!-- end:counts -->", "without its partner"),
    ],
)
def test_readme_marks_that_are_wrong_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rendered(text, study(3, ["bc"], ["halfcheetah"]))


def test_what_stands_because_of_the_committed_records_is_what_they_give(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README, analysis and manifest; and what the README's command makes: tables and page by bytes, figures by data."""
    reference = ROOT / "results" / "reference"
    records, corrupt = Store(reference).load()
    assert not corrupt
    assert stale_blocks(ROOT / "README.md", records) == []
    assert (ROOT / "reports" / "ANALYSIS.md").read_text(encoding="utf-8") == analysis(records)
    assert (reference / "README.md").read_text(encoding="utf-8") == manifest(records)
    committed = json.loads((reference / "digests.json").read_text())
    shown = ["make", "-n", "report", "RECORDS=results/reference"]
    assert f"`{' '.join(shown[:1] + shown[2:])}`" in (ROOT / "README.md").read_text(encoding="utf-8")
    made = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    (line,) = (line for line in made if "-m benchmark" in line)  # make within make says where it is, too
    monkeypatch.chdir(ROOT)
    code, _, errors = desk.do(*shlex.split(line)[3:], "--out", str(tmp_path / "out"))
    assert code == 0, errors
    assert digested(tmp_path / "out") == committed
    with Image.open(reference / "understanding.png") as image:
        assert image.info["Data"] == committed["figures/understanding.png"]


def test_the_analysis_says_which_link_loses_and_what_is_not_recorded() -> None:
    def level(method: str, score: float, **metrics: float) -> list[Record]:
        control = method in ("expert", "oracle-diffuser", "unguided-diffuser", "oracle-value")
        found = {"normalized_score": score, "score_seen": score, "score_unseen": score, **metrics}
        return [record(method, "halfcheetah", s, metrics=found, control=control) for s in range(5)]

    records = [*level("expert", 100), *level("unguided-diffuser", 5), *level("diffusion-irl-mse", 20, erc_pearson=0.1)]
    text = analysis([*records, *level("oracle-diffuser", 60), *level("gail", 90)])
    assert "unguided 5.0; guided by the learnt reward 20.0 (Diffusion-IRL (MSE)); by the true reward 60.0;" in text
    assert "it falls behind GAIL and AIRL on HalfCheetah" in text and "**supported**" in text
    assert "ranked with a correlation of not recorded" in text
    assert "not all controls of this task have run" in analysis(records)
    assert "Base model: unguided" not in text
    plans = level("unguided-diffuser", 5, plan_wall_crossings=0.25, plan_one_step_error=0.012)
    text = analysis([*records[:5], *plans, *records[10:], *level("oracle-diffuser", 15, plan_one_step_error=0.5)])
    assert r"Base model: unguided, a share of 0.250 \[0.250, 0.250\] of plans leads through a wall, and" in text
    assert r"Planner: guided by the true reward, a planned token lies 0.500 \[0.500, 0.500\] from" in text
    assert "## Given base data up to near the expert" not in text


def test_the_analysis_sets_richer_base_data_beside_the_main_suite() -> None:
    given = {"suite": "full-replay", "variant": "demos=10", "demos": 10}
    rich = [
        record("diffusion-irl-value", "halfcheetah-full-replay", s, metrics={"score_seen": 87.5}, **given)
        for s in (0, 1, 2)
    ]
    few, many = ({"env_steps": steps, "cpu_seconds": 90.0} for steps in (100_000, 2_500_000))
    more = [record("gail", "halfcheetah", s, suite="five-minutes", **many) for s in (0, 1, 2)]
    more += [record("airl", "maze2d-umaze", s, suite="five-minutes", **many) for s in (0, 1, 2)]
    worth = {"suite": "paper-reoptimise", "metrics": {"reoptimised_score": 41.5}}
    more += [record("dac", "maze2d-umaze", s, **worth) for s in (0, 1, 2)]
    own = [record("gail", "halfcheetah", s, **few) for s in (0, 1, 2)]
    text = analysis([*study(3, ["diffusion-irl-value", "expert"], ["halfcheetah"]), *own, *rich, *more])
    seen = np.mean([r.metrics["score_seen"] for r in own])  # curves rise to it evenly
    on_the_way = ", ".join(f"{share * seen:.1f}" for share in (0.25, 0.5, 0.75))
    assert f"| HalfCheetah | GAIL | `made-up` | 100,000 | 1.5 | {on_the_way} |" in text
    assert "| HalfCheetah | GAIL | `five-minutes` | 2,500,000 | 1.5 |" in text
    assert "U-Maze | AIRL |" not in text  # nothing stands beside it
    assert r"| 41.5 \[41.5, 41.5\] | not recorded |" in text
    assert r"| 10 | 87.5 \[87.5, 87.5\] | not recorded" in text and "| 1 | not recorded" in text


def test_the_analysis_sets_learners_on_the_true_reward_beside_their_imitators() -> None:
    def level(method: str, score: float, control: bool = False) -> list[Record]:
        return [
            record(method, "halfcheetah", s, metrics={"normalized_score": score}, control=control) for s in (0, 1, 2)
        ]

    records = [*level("expert", 100, control=True), *level("gail", 10), *level("airl", 40)]
    text = analysis([*records, *level("oracle-ppo", 30, control=True)])
    assert "| HalfCheetah | 30.0" in text and "| 10.0" in text and "| 40.0" in text
    assert "makes of the true reward" not in analysis(records)
