"""The page in headless Chromium: sorts, filters, opens runs and figures, exports, and takes no record at its word."""

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up import record, study, write

from reports import build, page
from reports.frame import gather
from results.schema import Record
from results.store import Store

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & 'x'"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-quic", "--disable-component-update"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page over a study with failures, two suites, and a hostile method."""
    root, out = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("out")
    methods = ["bc", "gail", "maxent", "diffusion-irl-mse", "expert"]
    found = study(3, methods, ["halfcheetah", "maze2d-umaze"])
    found += [record("evil", "maze2d-umaze", s, title=EVIL, config={"note": EVIL}, notes=[EVIL]) for s in range(2)]
    found += [record("evil", "maze2d-umaze", 2, title=EVIL, status="failed", reason=EVIL)]
    found += [record("bc", "halfcheetah", 0, suite="other", step_budget=50_000, id="0" * 16)]
    write(root, found)
    build.build(root, out, "made-up")
    return out / "index.html"


def test_the_page_is_one_small_file_without_network(made: Path) -> None:
    text = made.read_text()
    assert len(text.encode()) < page.LIMIT
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert "<script>document.title" not in text
    assert "<img src=x" not in text


def test_numbers_of_the_page_are_the_tables(made: Path) -> None:
    table = csv.DictReader(io.StringIO((made.parent / "tables" / "main.csv").read_text()))
    (row,) = [r for r in table if (r["method"], r["task"]) == ("gail", "maze2d-umaze")]
    assert (
        f'"score_seen":[{float(row["score_seen_low"]):.5g},{float(row["score_seen_high"]):.5g},3]' in made.read_text()
    )


def test_runs_that_were_made_anew_stand_once(tmp_path: Path) -> None:
    def three(suite: str, code: str, finished: str) -> list[Record]:
        found = [
            record("bc", "halfcheetah", s, suite=suite, id=f"{suite}{code == 'old':d}{s}".ljust(16, "0"))
            for s in range(3)
        ]
        return [r.model_copy(update={"code": code, "provenance": {"finished": finished}}) for r in found]

    old, new, of_other, newer = (
        three("a", "old", "1"),
        three("a", "new", "2"),
        three("b", "old", "1"),
        three("b", "new", "2"),
    )
    write(tmp_path, [*old, *new, *of_other, *newer])
    data = page._data(gather(new), [*old, *new, *newer, *of_other], Store(tmp_path), "a")
    assert {run["id"] for run in data["runs"]} == {r.id for r in [*new, *newer]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs a browser: .ci/run installs chromium")
        pytest.skip("no chromium on this machine: apt-get install chromium to test the page")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Any, made: Path) -> Iterator[Any]:
    """The page, opened; no test may leave an error on the console."""
    context = browser.new_context(accept_downloads=True)
    found, errors = context.new_page(), []
    found.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    found.on("pageerror", lambda e: errors.append(str(e)))
    found.on("request", lambda r: errors.append(r.url) if r.url.startswith("http") else None)
    found.goto(made.as_uri())
    yield found
    assert found.title() == "irlbench: made-up"
    context.close()
    assert errors == []


def column(tab: Any, index: int) -> list[str]:
    return [text.strip() for text in tab.locator(f"#leaderboard tbody tr > :nth-child({index})").all_inner_texts()]


def test_bold_is_what_it_is_in_the_tables(tab: Any, made: Path) -> None:
    source = (made.parent / "tables" / "main.html").read_text()
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", source, re.DOTALL)
    bold = sorted(name for name, cells in rows if re.match(r"<td><strong>", cells.strip()))
    tab.uncheck("#controls")
    shown = [name.strip() for name in tab.locator("tr:has(td:nth-child(3).best) th").all_inner_texts()]
    assert sorted(shown) == bold != []


def test_it_sorts(tab: Any) -> None:
    tab.click("[data-sort=score_seen]")
    assert tab.locator("th[aria-sort=descending]").count() == 1
    values = [
        float(t.split("\n")[0].replace("\N{MINUS SIGN}", "-"))
        for t in column(tab, 3)
        if re.match(r"[\N{MINUS SIGN}\d]", t)
    ]
    assert values == sorted(values, reverse=True)
    tab.click("[data-sort=score_seen]")
    turned = [t.split("\n")[0].replace("\N{MINUS SIGN}", "-") for t in column(tab, 3)[: len(values)]]
    assert [*map(float, turned)] == values[::-1]
    assert column(tab, 3)[-1] == "missing"  # what is missing comes last either way


def test_it_filters(tab: Any) -> None:
    everything = len(column(tab, 1))
    tab.select_option("#task", "halfcheetah")
    assert len(column(tab, 1)) == 6 < everything
    tab.uncheck("#controls")
    assert "Expert†" not in column(tab, 1)
    tab.fill("#find", "gail")
    assert column(tab, 1) == ["GAIL"]
    tab.fill("#seeds", "0")
    value = record("gail", "halfcheetah", 0).metrics["score_seen"]
    assert column(tab, 2)[0].split("\n")[0] == f"{value:.1f}"
    tab.fill("#seeds", "x")
    assert "Seeds must be numbers" in tab.inner_text("#said")
    tab.select_option("#group", "correlation")
    assert "ERC (Spearman)" in tab.inner_text("#leaderboard thead")
    tab.fill("#find", "")
    tab.select_option("#suite", "other")
    assert [o.get_attribute("value") for o in tab.locator("#budget option").all()] == ["", "50000"]


def test_a_view_is_a_link(tab: Any, made: Path) -> None:
    tab.select_option("#task", "maze2d-umaze")
    tab.click("[data-sort=erc_pearson]")
    address = tab.url
    before = column(tab, 1)
    tab.goto("about:blank")
    tab.goto(address)
    assert column(tab, 1) == before
    assert tab.input_value("#task") == "maze2d-umaze"


def test_it_opens_a_run_by_keyboard_and_shows_forged_text_as_text(tab: Any) -> None:
    tab.fill("#find", "owned")
    tab.select_option("#task", "maze2d-umaze")
    button = tab.locator("#leaderboard button.runs")
    button.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#detail").is_visible()
    tab.click("#detail .run >> nth=0")
    assert EVIL in tab.inner_text("#detail pre >> nth=0").replace('\\"', '"')
    assert tab.locator("#detail svg").count() >= 1
    assert "artefacts.npz" in tab.inner_text("#detail")
    assert f"run={record('evil', 'maze2d-umaze', 0).id}" in tab.url
    tab.keyboard.press("Escape")
    assert not tab.locator("#detail").is_visible()
    tab.wait_for_function("!location.hash.includes('run=')")


def test_figures_enlarge_and_failures_are_shown(tab: Any) -> None:
    tab.click("#figure-understanding .zoom")
    assert tab.locator("#large").evaluate("image => image.naturalWidth") > 400
    tab.keyboard.press("Escape")
    assert "acts are not finite" in tab.inner_text("#failures")
    tab.click("#failures a >> nth=0")
    assert "#figure-worst-" in tab.url
    tab.click("#failures .run >> nth=0")
    assert "failed" in tab.inner_text("#detail")


def test_nothing_is_cut_on_a_narrow_screen(browser: Any, made: Path) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 700})
    found = context.new_page()
    found.goto(made.as_uri() + f"#run={record('gail', 'halfcheetah', 0).id}")
    assert found.evaluate("document.documentElement.scrollWidth <= innerWidth")
    inside = """values => { const edge = document.getElementById("detail").getBoundingClientRect().right;
        return values.map(v => v.getBoundingClientRect()).every(r => r.width > 40 && r.right < edge); }"""
    assert found.locator("#detail dd").evaluate_all(inside)
    context.close()


def test_the_shown_table_is_saved(tab: Any) -> None:
    tab.select_option("#task", "halfcheetah")
    with tab.expect_download() as saved:
        tab.click("#csv")
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text())))
    assert [r["title"] for r in rows][:2] == [EVIL, "Behavioural cloning"]
    assert float(rows[1]["score_seen"]) == pytest.approx(
        sum(record("bc", "halfcheetah", s).metrics["score_seen"] for s in range(3)) / 3, rel=1e-4
    )
    tab.select_option("#task", "")
    with tab.expect_download() as saved:
        tab.click("#latex")
    text = saved.value.path().read_text()
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 1
    bodies = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in bodies} == {4}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", ["", "run"])
def test_axe_finds_nothing_serious(browser: Any, made: Path, scheme: Any, opened: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    found = context.new_page()
    found.goto(made.as_uri() + (f"#run={record('gail', 'halfcheetah', 0).id}" if opened else ""))
    for details in found.locator("details").all() if not opened else []:
        details.evaluate("node => node.open = true")
    result = Axe().run(found)
    bad = [v for v in result.response["violations"] if v["impact"] in ("serious", "critical")]
    context.close()
    assert not bad, [(v["id"], v["nodes"][0]["html"][:200]) for v in bad]
