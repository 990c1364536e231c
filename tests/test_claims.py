"""Claims judged on made-up records whose answers are known."""

from typing import Any

import numpy as np
import pytest
from made_up import record
from scipy import stats

from benchmark import registry
from benchmark.suite import cells, load_suite, suite_names
from reports import claims
from reports.render import latex, markdown
from reports.statistics import Interval
from results.schema import METRICS, Record

UMAZE, LARGE, CHEETAH = "maze2d-umaze", "maze2d-large", "halfcheetah"


def runs(method: str, task: str, values: list[float], metric: str = "normalized_score", **changes: Any) -> list[Record]:
    return [record(method, task, s, metrics={metric: v}, **changes) for s, v in enumerate(values)]


def found(records: list[Record], name: str) -> tuple[str, list[claims.Finding]]:
    ((findings,),) = ([f for c, f in claims.judge(records) if c.id == name],)
    return claims.overall(findings), findings


def level(mean: float, n: int = 5) -> list[float]:
    return [mean + d for d in (0.0, 1.0, -1.0, 0.5, -0.5, 0.2)[:n]]


def test_every_claim_names_what_exists() -> None:
    known = claims.claims()
    assert len({c.id for c in known.claims}) == len(known.claims)
    for claim in known.claims:
        assert {*claim.metrics, *claim.where, *[claim.than] * bool(claim.than)} <= METRICS.keys()


def test_every_claim_can_be_decided_by_a_suite() -> None:
    """Both sides of each comparison run in one suite with as many seeds as a verdict needs, and leave the metric."""
    found, known = registry.discover(), claims.claims()
    of = {name: cells(*load_suite(name), found) for name in suite_names()}
    undecidable = []
    for claim in known.claims:
        fewest = getattr(claim, "fewest", None) or known.fewest
        asked = {*claim.metrics, *claim.where, *[claim.than] * bool(claim.than)}
        variants = claim.variants or ("", "")
        sides = zip((claim.ours, claim.theirs), variants, strict=True)
        needed = [(side, variant) for side, variant in sides if not isinstance(side, float)]
        grids = [*of.values()]
        if claim.suites:
            ours, theirs = (known.families.get(str(side), [str(side)]) for side in (claim.ours, claim.theirs))
            both = [[cell for cell in of[name] if cell.task in claim.tasks] for name in claim.suites]
            sides_of = [[c for c in grid if c.method in side] for grid, side in zip(both, (ours, theirs), strict=True)]
            assert len({frozenset((c.seed, c.demos, c.base_seed) for c in side) for side in sides_of}) == 1
            grids = [[*sides_of[0], *sides_of[1]]]
        for task in claim.tasks:
            for grid in grids:
                made: dict[tuple[str, str], set[int]] = {}
                agents = any(metric.startswith("reoptimised") for metric in asked)
                for cell in grid:
                    if cell.task == task and (cell.reoptimise or not agents):
                        made.setdefault((cell.method, cell.variant), set()).add(cell.seed)
                        if not cell.control:
                            for kind in ("contestants", "rivals"):  # whoever is there
                                made.setdefault((kind, cell.variant), set()).add(cell.seed)
                members = [
                    (method, variant)
                    for side, variant in needed
                    for method in known.families.get(side or claim.ours, [side or claim.ours])
                ]
                if all(len(made.get(member, ())) >= fewest for member in members):
                    break
            else:
                undecidable.append((claim.id, task))
    assert undecidable == []


def test_supported_refuted_undecided_and_too_few() -> None:
    lags = [*runs("diffusion-irl-mse", CHEETAH, level(20)), *runs("gail", CHEETAH, level(60))]
    verdict, (finding,) = found(lags, "lags")
    assert (verdict, finding.gap, finding.n) == ("supported", pytest.approx(40), 5)
    assert finding.sides == ("GAIL", "Diffusion-IRL (MSE)")
    turned = [*runs("diffusion-irl-mse", CHEETAH, level(60)), *runs("gail", CHEETAH, level(20))]
    assert found(turned, "lags")[0] == "refuted"
    noisy = [*runs("diffusion-irl-mse", CHEETAH, [0, 90, 0, 90, 50]), *runs("gail", CHEETAH, level(50))]
    verdict, (finding,) = found(noisy, "lags")
    assert (verdict, finding.said) == ("undecided", "undecided: its interval holds the bound")
    few = [*runs("diffusion-irl-mse", CHEETAH, level(20, 4)), *runs("gail", CHEETAH, level(60, 4))]
    verdict, (finding,) = found(few, "lags")
    assert (verdict, finding.said) == ("undecided", "undecided: needs 5 seeds, has 4")
    assert finding.interval and finding.interval.low > 0  # clear, yet too few
    assert found([], "lags")[1][0].said == "undecided: not run"


def test_the_bound_decides_not_zero() -> None:
    def optimal(mean: float) -> str:
        expert = [r for t in (UMAZE, LARGE) for r in runs("expert", t, [100.0] * 5, "score_seen", control=True)]
        ours = [r for t in (UMAZE, LARGE) for r in runs("diffusion-irl-mse", t, level(mean), "score_seen")]
        return found([*expert, *ours], "optimal")[0]

    assert [optimal(99), optimal(95), optimal(80)] == ["supported", "undecided", "refuted"]
    assert claims.judged(Interval(-4, -3), 5, -5)[0] == "supported"


def test_one_task_refutes_a_claim_of_several_and_one_alone_does_not_support_it() -> None:
    oracle = {t: runs("oracle-diffuser", t, level(80), control=True) for t in (UMAZE, LARGE, CHEETAH)}
    mse = {t: runs("diffusion-irl-mse", t, level(50)) for t in (UMAZE, LARGE, CHEETAH)}
    everything = [r for part in (oracle, mse) for rs in part.values() for r in rs]
    assert found(everything, "reward-limits")[0] == "supported"
    assert found([*oracle[UMAZE], *mse[UMAZE]], "reward-limits")[0] == "undecided"
    poor = runs("oracle-diffuser", LARGE, level(10), control=True)
    assert found([*oracle[UMAZE], *mse[UMAZE], *poor, *mse[LARGE]], "reward-limits")[0] == "refuted"


def test_one_chance_refutation_among_many_does_not_refute() -> None:
    def judged(*chances: float) -> str:
        verdict = lambda p: "refuted" if p < 0.025 else "undecided"  # noqa: E731
        claim = claims.claims().claims[0]
        return claims.overall([claims.Finding(claim, "", "", n=5, verdict=verdict(p), chance=p) for p in chances])

    assert judged(0.02) == "refuted"
    assert judged(0.02, *[0.3] * 8) == "undecided"
    assert judged(0.002, *[0.3] * 8) == "refuted"  # 9 * 0.002 < 0.025
    assert judged(0.013, 0.016, 0.3) == "refuted"  # 3 * 0.013 > 0.025, but 3 / 2 * 0.016 < 0.025
    assert judged(0.013, 0.3, 0.3) == "undecided"


def test_the_chance_of_a_gap_is_that_of_students_test() -> None:
    values = [0.1, -0.4, -0.2, -0.5, -0.3]
    _, (finding,) = found([*runs("gail", CHEETAH, values), *runs("diffusion-irl-mse", CHEETAH, [0.0] * 5)], "lags")
    assert finding.chance == pytest.approx(stats.ttest_1samp(values, 0, alternative="less").pvalue, rel=0.1)


def test_the_best_of_a_family_is_picked_by_the_other_seeds() -> None:
    """Of equal methods the best after the fact looks better than each: picked by the other seeds it does not."""
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(60):
        ours = [r for m in claims.claims().families["thesis"] for r in runs(m, CHEETAH, [*rng.normal(50, 10, 5)])]
        theirs = runs("gail", CHEETAH, [50.0] * 5)
        gaps.append(-found([*ours, *theirs], "lags")[1][0].gap)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / len(gaps) ** 0.5 < 3


def test_a_member_with_a_failed_run_is_not_picked() -> None:
    best = runs("diffusion-irl-mse", CHEETAH, level(90))
    best[2] = record("diffusion-irl-mse", CHEETAH, 2, status="failed", reason="Diverged")
    records = [*best, *runs("diffusion-irl-mmd-matern", CHEETAH, level(30)), *runs("gail", CHEETAH, level(60))]
    assert found(records, "lags")[1][0].sides[1].startswith("Diffusion-IRL (MMD, Matérn)")


def test_numbers_of_demonstrations_and_conditions() -> None:
    sweep = [
        r
        for n, mean in ((1, 10), (50, 80))
        for r in runs("bc", UMAZE, level(mean), demos=n, suite="demos", variant=f"demos={n}")
    ]
    _, findings = found(sweep, "demos-score")
    assert [(f.verdict, f.sides) for f in findings if f.n] == [
        ("supported", ("Behavioural cloning (demos=50)", "Behavioural cloning (demos=1)"))
    ]

    def run(method: str, seed: int, score: float, erc: float) -> Record:
        return record(method, UMAZE, seed, metrics={"normalized_score": score, "erc_pearson": erc})

    records = [run("gail", s, 95, 0.3 + s / 100) for s in range(5)] + [run("airl", s, 10, 0.99) for s in range(5)]
    verdict, findings = found(records, "return-implies-reward")
    assert verdict == "refuted"
    assert findings[0].means[0] == pytest.approx(0.32)  # AIRL imitates poorly and is not asked

    def worth(method: str, erc: float, score: float) -> list[Record]:
        values = enumerate(level(score))
        return [record(method, UMAZE, s, metrics={"erc_pearson": erc, "reoptimised_score": v}) for s, v in values]

    verdict, findings = found(
        [*worth("gail", 0.95, 120), *worth("airl", 0.95, 40), *worth("dac", 0.5, 10)], "erc-is-safe"
    )
    assert verdict == "refuted"  # each alone: one that is worth much does not make up for one that is not
    assert {f.sides[0]: f.verdict for f in findings if f.n} == {"AIRL": "refuted", "GAIL": "supported"}


def test_a_sweep_has_the_runs_that_are_kept_under_another_suites_name() -> None:
    few = runs("bc", CHEETAH, level(10), demos=1, suite="sweep", variant="demos=1")
    many = runs("bc", CHEETAH, level(80), demos=50, suite="paper")
    (finding,) = [f for f in found([*few, *many], "demos-score")[1] if f.n]
    assert (finding.verdict, finding.n, finding.gap) == ("supported", 5, pytest.approx(70))
    other = runs("bc", CHEETAH, level(80), demos=50, suite="paper", step_budget=7)
    assert not [f for f in found([*few, *other], "demos-score")[1] if f.n]


def test_sides_come_from_one_suite_and_the_last_record_of_a_place_counts() -> None:
    ours = runs("gail", CHEETAH, level(60), suite="a")
    theirs = runs("diffusion-irl-mse", CHEETAH, level(20), suite="b")
    assert found([*ours, *theirs], "lags")[1][0].said == "undecided: not run"
    old = runs("gail", CHEETAH, level(5), suite="b", provenance={"finished": "2024"})
    new = runs("gail", CHEETAH, level(70), suite="b", provenance={"finished": "2025"})
    assert found([*theirs, *new, *old], "lags")[1][0].means[0] == pytest.approx(70)


def test_a_claim_may_take_its_sides_from_two_suites() -> None:
    ours = runs("gail", CHEETAH, level(60), suite="rival-steps", step_budget=800_000)
    theirs = runs("diffusion-irl-mse", CHEETAH, level(20), suite="paper")
    (finding,) = found([*ours, *theirs], "lags-steps")[1]
    assert (finding.verdict, finding.gap) == ("supported", pytest.approx(40))
    assert found([*ours, *theirs], "lags")[1][0].said == "undecided: not run"


def test_a_control_stands_beside_in_the_place_of_ours() -> None:
    def seen(method: str, mean: float) -> list[Record]:
        return [record(method, LARGE, s, metrics={"score_seen": v}) for s, v in enumerate(level(mean))]

    expert = seen("expert", 100)
    _, (_, finding) = found([*seen("diffusion-irl-mse", 98), *expert, *seen("oracle-diffuser", 97)], "optimal")
    assert finding.said.startswith("supported (") and "best" not in finding.said
    records = [*seen("diffusion-irl-mse", 60), *expert, *seen("oracle-diffuser", 70)]
    assert "not on the true reward either" in " ".join(claims.named(records))
    records = [*seen("diffusion-irl-mse", 60), *expert, *seen("oracle-diffuser", 99)]
    assert "either" not in " ".join(claims.named(records))


def test_seeds_that_one_member_has_more_do_not_decide_who_is_picked() -> None:
    theirs = [*runs("gail", CHEETAH, level(60)), *runs("airl", CHEETAH, level(20))]
    more = [record("airl", CHEETAH, s, metrics={"normalized_score": 20.0}) for s in range(5, 10)]
    ours = runs("diffusion-irl-mse", CHEETAH, level(40))
    for records in ([*ours, *theirs], [*ours, *theirs, *more]):
        _, (finding,) = found(records, "lags")
        assert (finding.gap, finding.n) == (pytest.approx(20), 5)


def test_texts_hold_verdicts_marks_and_escapes() -> None:
    records = [*runs("diffusion-irl-mse", CHEETAH, level(20)), *runs("gail", CHEETAH, level(60), title="<b>|GAIL")]
    table = claims.table(records)
    (section,) = [s for s in table.sections if s.title.startswith("thesis: In the complex")]
    assert section.title.endswith("supported ‡")
    assert "<b>" not in markdown(table) + claims.brief(records) and "\\|GAIL" in markdown(table)
    said = claims.sentence(records)
    assert said.startswith(
        "6 claims of the thesis (1 of them written after results of five seeds): 0 refuted, 1 supported, 5 open. 3 "
    )
    assert said.endswith(": 0 refuted, 0 supported, 18 open.")
    assert "of 1 comparisons with one, some 0 miss" in table.caption
    (line,) = claims.named(records)
    assert line.startswith("Supported among those of the thesis: it falls behind GAIL")
    assert table.data.set_index("claim").loc["lags", "difference"] == pytest.approx(40)
    assert latex(table).count("{") == latex(table).count("}")
    assert not claims.in_sight(next(c for c in claims.claims().claims if c.id == "airl-gail"))
