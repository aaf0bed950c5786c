"""Parts of the page that not every run has: shifts, probes, bounds, many curves, deep networks."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from markup import Page
from pages import LAYERS, probes, report, shifts, sweep, write

from lightning_prune.page import write_report
from lightning_prune.page.shifts import behaviour

pytestmark = pytest.mark.slow


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
    table = pd.read_csv(tables / "g1-behaviour.csv").set_index(["curve", "keep_target", "inputs"])
    assert table.loc[("(dense)", 1.0, "shifted"), "accuracy"] == pytest.approx(0.71)
    assert table.loc[("magnitude", 0.5, "nominal"), "accuracy"] == pytest.approx(0.86)
    assert (table["n"] == 3).all()
    # 0.90, 0.91 and 0.92: Student's t of two degrees of freedom is 4.303 at 97.5 %
    half = table.loc[("(dense)", 1.0, "nominal"), "accuracy_half"]
    assert half == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3)
    drawn = [each["id"] for each in Page(path).all("figure")]
    assert {"g1-shifted", "g1-excess", "g1-noise-1", "g1-features-1"} < set(drawn)


def test_one_network_of_all_seeds_counts_once():
    """Its accuracy is one number; how it agrees with every seed's dense network are three."""
    rows = [
        {"run": str(seed), "seed": seed, "curve": "lamp", "network": network,
         "keep_target": keep, "distribution": "nominal", "severity": 0, "side": "train",
         "accuracy": accuracy, "calibration": 0.1, "agreement": 0.8 + 0.1 * seed}
        for seed in range(3)
        for network, keep, accuracy in (
            ("separate", None, 0.9), ("pruned", 0.5, 0.3), ("pruned", 0.5, 0.7 + 0.1 * seed)
        )
    ]  # fmt: skip
    table = behaviour(pd.DataFrame(rows)).set_index("curve")
    assert table["n"].to_dict() == {"(separate)": 1, "lamp": 3}
    assert table["agreement"].tolist() == pytest.approx([0.9, 0.9])
    # of two events with one target the last one counts
    assert table.loc["lamp", "accuracy"] == pytest.approx(0.8)


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
