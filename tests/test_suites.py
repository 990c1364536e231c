"""Suites: what grid a YAML file and options unroll into."""

import pytest

from benchmark import registry
from benchmark.errors import UserError
from benchmark.suite import cells, grid, load_suite, parse_seeds, suite_names
from tests.desk import SUITE, Desk

MAIN = {"maze2d-umaze", "maze2d-large", "halfcheetah"}


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


def test_the_suites_that_come_along_hold_for_everything_found() -> None:
    found = registry.discover()
    for name in suite_names():
        made = cells(*load_suite(name), found)
        assert made and len({cell.id for cell in made}) == len(made)
        corner = {"maze2d-umaze-corner", "maze2d-large-corner"}
        variants = {"paper-corner": corner, "full-replay": {"halfcheetah-full-replay"}}
        variants["no-dwell"] = {"maze2d-umaze-nodwell", "maze2d-large-nodwell"}
        variants |= dict.fromkeys(("ablations", "more-tuning", "more-updates"), MAIN | corner)
        assert {cell.task for cell in made} <= variants.get(name, MAIN)
        assert any(cell.reoptimise for cell in made) == (name == "paper-reoptimise")  # costs too much elsewhere
    assert "reduced" in load_suite("quick")[1].description


def test_the_paper_suite_is_what_it_says() -> None:
    found = registry.discover()
    name, made = grid("paper", found)
    own = [cell for cell in made if cell.suite == name]
    places = {(m, task, seed, "") for m in found.methods for task in MAIN for seed in range(5)}
    assert {cell.place for cell in own} == places
    quick = {(cell.method, cell.task): cell for cell in cells(*load_suite("quick"), found)}
    shared = [(cell, quick[cell.method, cell.task]) for cell in own if (cell.method, cell.task) in quick]
    assert all((c.step_budget, c.demos) == (q.step_budget, q.demos) for c, q in shared)
    assert {c.method for c, q in shared if c.config != q.config} == {"dac", "maxent"}  # more updates
    along = {cell.suite for cell in made} - {name}
    assert along == {"paper-demos", "paper-corner", "paper-reoptimise"}
    assert len({cell.id for cell in made}) == len(made)
    assert {cell.suite for cell in made if cell.reoptimise} == {"paper-reoptimise"}
    assert all(cell.base_seed == cell.seed for cell in made)


def test_a_method_may_have_a_step_budget_of_its_own(desk: Desk) -> None:
    text = SUITE.replace("methods: []", "methods: [bc, gail]")
    desk.suite.write_text(text.replace("{all: 4000}", "{maze2d-umaze: {all: 5000, gail: 9000}, all: 7000}"))
    made = cells(*load_suite(str(desk.suite)), registry.discover(), tasks=["maze2d-umaze", "halfcheetah"])
    given = {(cell.method, cell.task): cell.step_budget for cell in made}
    assert given == {
        ("bc", "maze2d-umaze"): 5000,
        ("gail", "maze2d-umaze"): 9000,
        ("bc", "halfcheetah"): 7000,
        ("gail", "halfcheetah"): 7000,
    }
    desk.suite.write_text(text.replace("{all: 4000}", "{maze2d-umaze: {gial: 9000}}"))
    with pytest.raises(UserError, match=r"unknown method 'gial'.*gail"):
        cells(*load_suite(str(desk.suite)), registry.discover())


def test_the_thesis_suite_has_the_numbers_of_the_thesis() -> None:
    """Oliveira 2024: windows, diffusion steps, networks, guidance, optimiser, chunk compared, demonstrations."""
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
        assert (base["network"], base["width"], base["blocks"]) == ("unet", 32, 2)
        assert base["skip"] == 1 and plan["inner"] == 2 and not (base["octaves"] or base["relative"] or base["half"])
        if not cell.control:
            assert (c["hidden"], c["batch"], c["compared"]) == learned
            rate = 2e-3 if cell.task == "halfcheetah" else {"mse": 2e-4}.get(c["similarity"], 2e-2)
            assert (c["learning_rate"], c["updates"], c["through"]) == (rate, 500, 0)


def test_suites_run_along_once_and_keep_to_what_is_asked(desk: Desk) -> None:
    desk.suite.write_text(
        SUITE.replace("methods: []", "methods: [expert, random, bc]") + "demos: {all: 2}\nalso: [more.yaml]\n"
    )
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
    assert [cell.variant for cell in fixed] == ["demos=1, scale=1.5, steps=9", "demos=3, scale=1.5, steps=9"]


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


@pytest.mark.parametrize(
    ("given", "expected"), [("0-2", [0, 1, 2]), ("0,2", [0, 2]), (3, [3]), ("1, 3-4,3", [1, 3, 4]), ([5], [5])]
)
def test_seeds(given: object, expected: list[int]) -> None:
    assert parse_seeds(given) == expected
