"""The page: one file that needs no other, with everything on it that was asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from markup import Page
from pages import KEEPS, LAYERS, report, sweep, write

from lightning_prune.page import write_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep."""
    root = tmp_path_factory.mktemp("plain")
    return write_report(sweep(root / "sweep"), root / "report")


def test_the_page_is_well_formed_and_its_names_are_unique(plain: Path):
    page = Page(plain)
    assert page.wrong == []
    assert len(page.ids) == len(set(page.ids))
    places = [each["href"] for each in page.all("a") if (each["href"] or "").startswith("#")]
    assert places
    assert {place.removeprefix("#") for place in places if place} <= set(page.ids)


def test_the_page_needs_nothing_else(plain: Path):
    """Links go to files beside it; nothing that is loaded has an address."""
    page = Page(plain)
    loaded = [
        attributes[name]
        for tag, attributes in page.elements
        for name in ("src", "href", "xlink:href", "data", "srcset")
        if name in attributes and tag != "a"
    ]
    assert all(place.startswith(("#", "data:")) for place in loaded)
    text = plain.read_text()
    assert not re.search(r"@import|url\((?!#)", text)
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }
    linked = [each["href"] for each in page.all("a") if not each["href"].startswith("#")]
    assert linked
    assert all((plain.parent / name).is_file() for name in linked)


def test_every_figure_has_a_name_a_picture_and_numbers(plain: Path):
    page = Page(plain)
    figures = [each["id"] for each in page.all("figure")]
    assert figures == ["g1-keep", "g1-keep-macs", "g1-latency", "g1-potential", "g1-layers"]
    drawn = page.all("svg")
    assert len(drawn) == len(figures)
    for name, svg in zip(figures, drawn, strict=True):
        assert svg["role"] == "img"
        assert svg["aria-labelledby"] in page.ids
        assert (plain.parent / "figures" / f"{name}.png").stat().st_size > 5_000
        assert len(pd.read_csv(plain.parent / "tables" / f"{name}.csv")) >= 2
    # text is text, which can be searched and read out
    assert "magnitude" in re.findall(r"<text[^>]*>([^<]*)</text>", plain.read_text())


def test_the_results_are_those_of_the_reports(plain: Path):
    table = pd.read_csv(plain.parent / "tables" / "g1-results.csv")
    assert len(table) == 2 * len(KEEPS)
    first = table[(table["curve"] == "magnitude") & (table["keep_target"] == 0.1)].iloc[0]
    assert first["n"] == 3
    assert first["mean"] == pytest.approx(0.9 + 0.01 - 0.09, abs=0.005)
    assert first["keep_macs"] == pytest.approx(0.1)
    assert first["difference"] == pytest.approx(-0.1, abs=0.005)
    assert first["latency"] == pytest.approx(2.1 / 3)
    assert f"{first['mean']:.4f}" in Page(plain).text


def test_the_potential_is_that_of_the_curve(tmp_path: Path):
    """A tenth of what is pruned is lost, and at most 0.004 by chance: 0.055 allows for a half."""
    path = write_report(sweep(tmp_path / "s"), tmp_path / "r", delta=0.055)
    table = pd.read_csv(path.parent / "tables" / "g1-potential-table.csv")
    dense = table[table["reference"] == "dense"]
    assert dense["potential"].tolist() == pytest.approx([0.5, 0.5])
    assert dense["next"].tolist() == pytest.approx([0.8, 0.8])
    # the control is 0.01 better, so that 0.05 and more is too much
    control = table[table["reference"] == "control"]
    assert control["potential"].tolist() == [0, 0]
    assert control["none"].tolist() == [1, 1]


def test_layers_are_averaged_over_seeds_at_the_smallest_common_budget(plain: Path):
    table = pd.read_csv(plain.parent / "tables" / "g1-layers.csv", index_col="method")
    assert list(table.columns) == list(LAYERS)
    assert table.to_numpy() == pytest.approx(KEEPS[-1])
    assert "at keep 0.1, the smallest budget that all methods have" in Page(plain).text


def test_the_same_runs_give_the_same_bytes(plain: Path, tmp_path: Path):
    again = write_report(plain.parent.parent / "sweep", tmp_path / "again")
    for path in sorted(plain.parent.rglob("*")):
        if path.is_file():
            assert (again.parent / path.relative_to(plain.parent)).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_what_is_not_comparable_is_in_sections_of_its_own(tmp_path: Path):
    sweep(tmp_path / "a")
    sweep(tmp_path / "b", model__depth=20)
    path = write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "r")
    page = Page(path)
    assert [each["id"] for each in page.all("section") if each.get("class") == "group"] == [
        "groups", "g1", "g2"
    ]  # fmt: skip
    table = pd.read_csv(tmp_path / "r" / "tables" / "groups-differences.csv")
    assert table.to_dict("records") == [{"key": "model.depth", "g1": 8, "g2": 20}]
    for number in (1, 2):
        drawn = pd.read_csv(tmp_path / "r" / "tables" / f"g{number}-keep.csv")
        assert (drawn["n"] == 3).all()
    assert "make up 2 groups that are not comparable with each other" in " ".join(page.text.split())
    assert not list((tmp_path / "r" / "figures").glob("together*"))


@pytest.mark.slow
def test_together_says_what_differs(tmp_path: Path):
    sweep(tmp_path / "a")
    sweep(tmp_path / "b", model__depth=20)
    sweep(tmp_path / "c", metric="test/nll")
    folders = [tmp_path / name for name in "abc"]
    path = write_report(folders, tmp_path / "r", together=True)
    text = Page(path).text
    assert "Not comparable: groups 1, 2 differ in model.depth." in text
    drawn = pd.read_csv(tmp_path / "r" / "tables" / "together-1-keep.csv")
    assert sorted(drawn["curve"].unique()) == [
        "1: magnitude", "1: random", "2: magnitude", "2: random"
    ]  # fmt: skip


def test_of_a_likelihood_less_is_better(tmp_path: Path):
    path = write_report(sweep(tmp_path / "s", metric="test/nll"), tmp_path / "r", delta=0.055)
    text = Page(path).text
    assert "test/nll (smaller is better)" in text
    assert "at most 0.055 higher than that of the dense network" in " ".join(text.split())
    table = pd.read_csv(tmp_path / "r" / "tables" / "g1-potential-table.csv")
    assert table[table["reference"] == "dense"]["potential"].tolist() == pytest.approx([0.5, 0.5])


def test_names_are_text_and_no_markup(tmp_path: Path):
    name = "<b>bold</b> & $x$ \"q\" 'r' _y"
    for seed in range(2):
        made = report(name, seed, dataset__name="<script>alert(1)</script>")
        write(tmp_path / "s" / str(seed), made, f"method={name}", f"seed={seed}")
    path = write_report(tmp_path / "s", tmp_path / "r", title="<i>title</i>")
    page = Page(path)
    assert page.wrong == []
    assert page.all("b") == page.all("i") == []
    assert len(page.all("script")) == 1
    assert name in page.text
    assert "<script>alert(1)</script>" in page.text


def test_unreadable_and_repeated_runs_are_named_on_the_page(tmp_path: Path):
    root = sweep(tmp_path / "s")
    write(tmp_path / "t" / "torn", report())
    (tmp_path / "t" / "torn" / "report.json").write_text("{")
    write(tmp_path / "t" / "again", report(), identity=(root / "method=magnitude" / "0").as_posix())
    text = Page(write_report([root, tmp_path / "t"], tmp_path / "r")).text
    assert "1 run could not be read and is not shown" in text
    assert "its report.json is torn, or another program's" in text
    assert "1 run was found again and counted once" in text
    assert "6 runs of 2 methods" in text


def test_a_negative_margin_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"margin is 0 or more, not -1\."):
        write_report(sweep(tmp_path / "s"), tmp_path / "r", delta=-1)
