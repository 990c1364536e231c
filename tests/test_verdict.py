"""The verdict says which side won, by how much, and when it cannot say."""

from typing import Any

from made_up import record

from reports.frame import gather
from reports.verdict import verdict
from results.schema import Record

TASK = "maze2d-umaze"


def runs_of(method: str, score: float, erc: float | None = None, seeds: int = 4) -> list[Record]:
    made = []
    for seed in range(seeds):
        metrics: dict[str, Any] = {"normalized_score": score + seed}
        if erc is not None:
            metrics["erc_pearson"] = erc + seed / 1000
        made.append(record(method, TASK, seed, metrics=metrics))
    return made


def test_a_constant_gap_is_a_win_or_a_loss_and_controls_do_not_compete() -> None:
    records = [*runs_of("diffusion-irl-mse", 50, 0.9), *runs_of("diffusion-irl-mmd-matern", 60, 0.5)]
    records += [*runs_of("gail", 80, 0.3), *runs_of("bc", 70), *runs_of("oracle-diffuser", 99, 1.0)]
    (line, missing) = verdict(gather(records))
    assert "worse than GAIL 81.5 (difference \N{MINUS SIGN}20.0" in line
    assert "ERC 0.90, better than GAIL 0.30 (difference 0.60" in line
    assert "Oracle" not in line
    assert "no complete runs on one side" in missing  # the fix did not run


def test_a_gap_that_changes_sign_with_the_seed_is_no_verdict() -> None:
    records = [record("diffusion-irl-mse", TASK, s, metrics={"normalized_score": 50.0 + (-30) ** s}) for s in range(3)]
    records += runs_of("gail", 50, seeds=3)
    assert "not told apart from GAIL" in verdict(gather(records))[0]


def test_a_method_with_a_failed_run_is_not_picked() -> None:
    failed = record("diffusion-irl-mse", TASK, 3, status="failed", reason="Diverged")
    records = [*runs_of("diffusion-irl-mse", 90, seeds=3), failed, *runs_of("diffusion-irl-mmd-matern", 60)]
    assert "Score 61.5, worse than GAIL 81.5" in verdict(gather([*records, *runs_of("gail", 80)]))[0]


def test_below_three_seeds_it_says_so() -> None:
    records = [*runs_of("diffusion-irl-mse", 50, seeds=2), *runs_of("gail", 80, seeds=2)]
    assert "too few seeds to tell it from GAIL 80.5" in verdict(gather(records))[0]
