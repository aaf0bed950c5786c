"""The page in a browser: nothing fails, everything is seen, and tables are sorted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import probes, shifts, sweep

from lightning_prune.page import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None,
        reason="there is no chromium with its chromedriver; make browser installs them",
    ),
]
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-quic",
    "--disable-dev-shm-usage", "--window-size=1400,1000",
)  # fmt: skip
SCRIPT = "profile.managed_default_content_settings.javascript"

Open = Callable[..., "webdriver.Chrome"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of block."""
    root = tmp_path_factory.mktemp("browser")
    sweep(root / "a", methods=("magnitude", "random", "sipp", "snip"))
    for folder in (root / "a" / "method=magnitude").iterdir():
        shifts(folder)
        probes(folder)
    sweep(root / "b", model__depth=20, metric="test/nll")
    return write_report([root / "a", root / "b"], root / "report")


@pytest.fixture
def opened(page: Path, tmp_path: Path) -> Iterator[Open]:
    """Opens the page in a fresh browser."""
    started = []

    def open_page(script: bool = True) -> webdriver.Chrome:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for option in (*OPTIONS, f"--user-data-dir={tmp_path / str(len(started))}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        if not script:
            options.add_experimental_option("prefs", {SCRIPT: 2})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        started.append(driver)
        driver.get(page.as_uri())
        return driver

    yield open_page
    for driver in started:
        driver.quit()


def boxes(driver: webdriver.Chrome, name: str) -> list[dict]:
    return [element.rect for element in driver.find_elements("css selector", name)]


def column(driver: webdriver.Chrome, table: str, place: int) -> list[str]:
    cells = driver.find_elements("css selector", f"#{table} tbody td:nth-child({place})")
    return [cell.get_attribute("textContent") for cell in cells]


def _ours(asked: dict, page: Path) -> bool:
    return asked["documentURL"].partition("#")[0] == page.as_uri()


def test_nothing_fails_and_nothing_is_fetched(opened: Open, page: Path):
    driver = opened()
    assert driver.get_log("browser") == []
    told = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [each["params"] for each in told if each["method"] == "Network.requestWillBeSent"]
    # the browser's own first page asks for what it likes
    own = {each["requestId"]: each["request"]["url"] for each in sent if _ours(each, page)}
    # pictures that are within the page are no files
    assert {url for url in own.values() if not url.startswith("data:")} == {page.as_uri()}
    failed = [each["params"] for each in told if each["method"] == "Network.loadingFailed"]
    assert not [each for each in failed if each["requestId"] in own]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no_script"])
def test_every_figure_and_table_is_seen(opened: Open, script: bool):
    driver = opened(script)
    for name in ("figure", "figure svg", "figcaption", "table", "dl", "nav a", "pre"):
        found = boxes(driver, name)
        assert found, name
        assert all(box["width"] > 0 and box["height"] > 0 for box in found), name
    assert len(boxes(driver, "figure svg")) == len(boxes(driver, "figure")) > 10
    # with scripts headings are buttons, without there is nothing that does nothing
    assert bool(boxes(driver, "th button")) is script


def test_the_page_is_no_wider_than_the_window(opened: Open):
    driver = opened()
    for width in (1400, 700):
        driver.set_window_size(width, 1000)
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert driver.execute_script(wide) == 0, width


def test_figures_of_one_page_do_not_take_each_others_parts(opened: Open):
    """Every reference within a figure leads to an element of the same figure."""
    driver = opened()
    lost = driver.execute_script(
        "return [...document.querySelectorAll('svg use, svg [clip-path]')].filter(part => {"
        "  const name = part.getAttribute('xlink:href') || part.getAttribute('clip-path');"
        "  const id = name.replace(/^url\\(#|^#|\\)$/g, '');"
        "  const target = document.getElementById(id);"
        "  return !target || target.closest('svg') !== part.closest('svg');"
        "}).length"
    )
    assert lost == 0


def test_a_click_sorts_by_size_and_back(opened: Open):
    driver = opened()
    table, place = "g1-results", 4
    before = column(driver, table, place)
    numbers = sorted(map(float, before))
    assert before != sorted(before)
    button = driver.find_element("css selector", f"#{table} th:nth-child({place}) button")
    assert button.text.startswith("mean")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    for order, wanted in (("ascending", numbers), ("descending", numbers[::-1])):
        button.click()
        assert list(map(float, column(driver, table, place))) == wanted
        heading = driver.find_element("css selector", f"#{table} th[aria-sort]")
        assert heading.get_attribute("aria-sort") == order
    button.click()
    assert column(driver, table, place) == before
    assert driver.find_elements("css selector", f"#{table} th[aria-sort]") == []


def test_signs_and_powers_are_sorted_as_numbers(opened: Open):
    """As text, -0.1 comes before -0.2 and +0.1 before both; 1e-05 after 0.5."""
    driver = opened()
    driver.execute_script(
        "const body = document.querySelector('#g1-results tbody');"
        "const keys = ['-0.1', '', '1e-05', '-0.2', '0.5', '10', '9'];"
        "window.keys = () => [...body.rows].map(row => row.cells[3].dataset.key);"
        "[...body.rows].forEach((row, i) => {"
        "  if (i < keys.length) row.cells[3].dataset.key = keys[i]; else row.remove(); });"
    )
    button = driver.find_element("css selector", "#g1-results th:nth-child(4) button")
    driver.execute_script("arguments[0].click()", button)
    known = driver.execute_script("return window.keys()")
    # rows that were taken away come back, because they are sorted too
    wanted = ["-0.2", "-0.1", "1e-05", "0.5", "9", "10"]
    assert [key for key in known if key in wanted] == wanted
    assert known[-1] == ""


def test_dark_and_light_can_be_read(opened: Open):
    driver = opened()
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        colours = driver.execute_script(
            "const style = getComputedStyle(document.body);"
            "return [style.color, style.backgroundColor].map("
            "  text => text.match(/\\d+/g).slice(0, 3).map(Number));"
        )
        ink, paper = (sum(colour) / 3 for colour in colours)
        assert (ink < paper) == (scheme == "light")
        assert abs(ink - paper) > 150
