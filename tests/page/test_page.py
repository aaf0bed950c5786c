"""The page: one file that needs no other, with everything on it that was asked for."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from pages import KEEPS, LAYERS, probes, report, shifts, sweep, write

from lightning_prune.page import write_report

VOID = {"meta", "link", "br", "use", "input"}


class Page(HTMLParser):
    """Elements, their attributes and the text of a page; tags that do not match are noted."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open, self.wrong = "", [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def ids(self) -> list[str]:
        return [each["id"] for _, each in self.elements if each.get("id")]


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


@pytest.mark.slow
def test_shifts_and_probes_have_their_place(tmp_path: Path):
    root = sweep(tmp_path / "s", methods=("magnitude",))
    for folder in (root / "method=magnitude").iterdir():
        shifts(folder)
        probes(folder)
    path = write_report(root, tmp_path / "r", delta=0.055)
    tables = tmp_path / "r" / "tables"
    found = pd.read_csv(tables / "g1-shifted.csv").groupby("distribution")["potential"].unique()
    # on the nominal data a tenth of what is pruned is lost, under shift a fifth
    assert found["nominal"].tolist() == pytest.approx([0.5])
    assert found["fog"].tolist() == [0]
    slopes = pd.read_csv(tables / "g1-excess-slopes.csv")
    assert slopes["slope"].tolist() == pytest.approx([0.1])
    behaviour = pd.read_csv(tables / "g1-behaviour.csv").set_index(
        ["curve", "keep_target", "inputs"]
    )
    assert behaviour.loc[("(dense)", 1.0, "shifted"), "accuracy"] == pytest.approx(0.71)
    assert behaviour.loc[("magnitude", 0.5, "nominal"), "accuracy"] == pytest.approx(0.86)
    assert (behaviour["n"] == 3).all()
    drawn = [each["id"] for each in Page(path).all("figure")]
    assert {"g1-shifted", "g1-excess", "g1-noise-1", "g1-features-1"} < set(drawn)


def test_bounds_are_shown_where_there_are_any(tmp_path: Path):
    made = report()
    layer = {"name": "net.fc", "bound_seen": 0.5, "bound": 1.25, "error": 0.25, "error_mean": 0.125}
    made["bounds"] = {
        "bound": 1.25,
        "error": 0.25,
        "held_out": 10,
        "layers": [layer],
        "vacuous": [],
    }
    write(tmp_path / "s" / "0", made)
    text = Page(write_report(tmp_path / "s", tmp_path / "r")).text
    assert "Bounds and errors by layer" in text
    assert "1.25" in text


@pytest.mark.slow
def test_many_curves_are_drawn_as_bands(tmp_path: Path):
    for number in range(210):
        method = f"method{number % 3}"
        made = report(method, keeps=(0.5, 0.1), layers=LAYERS[:1])
        made["config"]["method"]["criterion"]["p"] = number
        write(tmp_path / "s" / f"{number:03}", made)
    path = write_report(tmp_path / "s", tmp_path / "r")
    text = " ".join(Page(path).text.split())
    assert "200 of 210 curves are drawn one by one; where the means of the other 10 lie" in text
    assert "Colours and dashes stand for methods." in text
    assert "One run a point, so without a band of confidence." in text
    assert len(pd.read_csv(tmp_path / "r" / "tables" / "g1-keep.csv")) == 420
    assert "too many curves" in text


def test_deep_networks_have_a_map_of_all_layers(tmp_path: Path):
    names = tuple(
        f"net.encoder.layers.{n}.attention.self.projection_{k}" for n in range(33) for k in "qk"
    )
    write(tmp_path / "s" / "0", report(layers=names))
    path = write_report(tmp_path / "s", tmp_path / "r")
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())
    assert sum("projection_" in label for label in labels) == 66


def test_a_negative_margin_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"margin is 0 or more, not -1\."):
        write_report(sweep(tmp_path / "s"), tmp_path / "r", delta=-1)
