"""Plots of what pruning costs beyond accuracy: what is drawn is what the tables say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lightning_prune.plots import (
    plot_excess,
    plot_features,
    plot_potentials,
    plot_similarity,
)

PLACES = (("fog", "test"), ("nominal", "train"), ("snow", "train"))


def potential_table(seeds: int = 3) -> pd.DataFrame:
    """Seed s of method i reaches .1 (i + s) in fog, where the first seed is censored.

    On nominal data it is .1 more, on snow .2.
    """
    return pd.DataFrame(
        {
            "method": name, "seed": seed, "distribution": distribution,
            "severity": 0 if distribution == "nominal" else 3, "side": side,
            "potential": 0.1 * (i + seed + place), "next": 1.0,
            "censored": distribution == "fog" and seed == 0, "none": False, "grid": 5,
        }
        for i, name in enumerate(("lamp", "magnitude"))
        for seed in range(seeds)
        for place, (distribution, side) in enumerate(PLACES)
    )  # fmt: skip


def excess_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    table = pd.DataFrame(
        {
            "method": name, "seed": 0, "run": name, "keep": 1 - ratio, "ratio": ratio,
            "difference": slope * ratio,
        }
        for name, slope in (("lamp", 0.02), ("magnitude", -0.01))
        for ratio in (0.5, 0.9)
    )  # fmt: skip
    slopes = pd.DataFrame(
        {
            "method": ["lamp", "magnitude"], "slope": [0.02, -0.01], "low": [0.01, math.nan],
            "high": [0.04, math.nan], "networks": [3, 1], "points": 2, "repeats": 2000,
        }
    )  # fmt: skip
    return table, slopes


def similarity_rows(draws: float | None = 0.01) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "network": name, "eps": eps, "matching": 1 - eps * (1 + i), "matching_std": draws,
            "distance": eps * i, "distance_std": draws,
        }
        for i, name in enumerate(("half", "separate", "control"))
        for eps in (0.0, 0.1, 0.2)
    )  # fmt: skip


def feature_rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ranked_by": a, "judged_by": b, "confidence": 0.1 * i + 0.2 * j, "accuracy": 0.5,
            "units": 64, "kept": 6, "images": 20,
        }
        for i, a in enumerate(("dense", "keep 0.1"))
        for j, b in enumerate(("dense", "keep 0.1"))
    )  # fmt: skip


def dots(figure) -> dict[tuple[float, float], str]:
    """(potential, height) of every dot to its filling."""
    lines = [line for line in figure.axes[0].get_lines() if line.get_marker() not in ("", "None")]
    return {
        (round(float(x), 6), round(float(y), 6)): str(line.get_markerfacecolor())
        for line in lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def test_potentials_are_means_with_nominal_data_first():
    figure = plot_potentials(potential_table())
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["nominal", "snow", "fog"]
    assert {text.get_text() for text in axes.texts} == {"nominal", "train side", "test side"}
    # of three seeds: .2 on nominal data, .3 on snow and .1 in fog, and .1 more of the second
    expected = {(mean, height - 0.2) for height, mean in enumerate((0.2, 0.3, 0.1))}
    expected |= {(mean, height + 0.2) for height, mean in enumerate((0.3, 0.4, 0.2))}
    assert set(dots(figure)) == {(round(x, 6), round(y, 6)) for x, y in expected}


def test_the_bars_are_standard_deviations():
    axes = plot_potentials(potential_table()).axes[0]
    widths = {
        round(float(np.ptp(segment[:, 0])), 6)
        for lines in axes.collections
        for segment in lines.get_segments()
    }
    assert widths == {0.2}


def test_censored_potentials_are_open():
    figure = plot_potentials(potential_table())
    assert {y for (_, y), filling in dots(figure).items() if filling == "white"} == {1.8, 2.2}
    assert "open" in figure.get_suptitle()
    closed = plot_potentials(potential_table().assign(censored=False))
    assert "white" not in dots(closed).values()
    assert "open" not in closed.get_suptitle()


def test_several_severities_are_told_apart():
    table = potential_table(1)
    more = table[table["distribution"] != "nominal"].assign(severity=5)
    figure = plot_potentials(pd.concat([table, more]))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["nominal", "snow, 3", "snow, 5", "fog, 3", "fog, 5"]
    assert "one seed" in figure.get_suptitle()


def test_curves_may_be_put_together():
    figure = plot_potentials(potential_table().assign(data="digits"), by="data")
    assert {round(y) for _, y in dots(figure)} == {0, 1, 2}
    assert len(dots(figure)) == 3


def test_a_dozen_curves_are_told_apart():
    tables = [potential_table(1).assign(method=f"{i:02}") for i in range(12)]
    lines = plot_potentials(pd.concat(tables)).axes[0].get_lines()
    named = [line for line in lines if not line.get_label().startswith("_")]
    assert len({(line.get_color(), line.get_marker()) for line in named}) == len(named) == 12


def test_excess_has_a_panel_a_curve_in_percent():
    figure = plot_excess(*excess_tables())
    lamp, magnitude = figure.axes
    _, points, line = lamp.get_lines()
    assert points.get_xdata().tolist() == pytest.approx([50, 90])
    assert points.get_ydata().tolist() == pytest.approx([1, 1.8])
    assert list(line.get_ydata()) == pytest.approx([0, 2])
    assert lamp.get_title() == "lamp\nslope +0.020 [+0.010, +0.040]"
    (band,) = lamp.collections
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(4)
    assert magnitude.get_title() == "magnitude\nslope -0.010"
    assert not magnitude.collections


def test_slopes_of_another_table_are_refused():
    table, slopes = excess_tables()
    with pytest.raises(ValueError, match="no slope of magnitude"):
        plot_excess(table, slopes[:1])


def test_similarity_has_a_line_a_network():
    matching, distance = plot_similarity(similarity_rows()).axes
    lines = {line.get_label(): line for line in matching.get_lines()}
    assert set(lines) == {"half", "dense, trained apart", "dense control"}
    assert list(lines["half"].get_ydata()) == pytest.approx([1, 0.9, 0.8])
    assert lines["dense, trained apart"].get_linestyle() == "--"
    assert list(distance.get_lines()[1].get_ydata()) == pytest.approx([0, 0.1, 0.2])
    band = matching.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(1.01)


def test_the_band_of_several_seeds_is_theirs():
    rows = similarity_rows()
    both = pd.concat([rows, rows.assign(matching=rows["matching"] - 0.2)])
    axes = plot_similarity(both).axes[0]
    assert list(axes.get_lines()[0].get_ydata()) == pytest.approx([0.9, 0.8, 0.7])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(0.9 + 0.2 / math.sqrt(2))
    assert plot_similarity(similarity_rows(None)).axes[0].get_lines()


def test_pruned_networks_are_told_apart_by_keep():
    parts = [similarity_rows().assign(keep=keep) for keep in (0.1, 0.5)]
    rows = pd.concat(parts, ignore_index=True)
    rows.loc[rows["network"] != "half", "keep"] = math.nan
    labels = [line.get_label() for line in plot_similarity(rows).axes[0].get_lines()]
    assert labels == ["keep 0.5", "keep 0.1", "dense, trained apart", "dense control"]


def test_the_legend_of_many_networks_is_short():
    parts = [similarity_rows()[:3].assign(keep=1 / keep) for keep in range(1, 31)]
    lines = plot_similarity(pd.concat(parts)).axes[0].get_lines()
    assert len(lines) == 30
    named = [line.get_label() for line in lines if not line.get_label().startswith("_")]
    assert len(named) == 8
    assert (named[0], named[-1]) == ("keep 1", "keep 0.033")


def test_features_are_numbers_in_a_grid():
    figure = plot_features(feature_rows())
    confidence, accuracy = figure.axes
    told = {text.get_position(): text.get_text() for text in confidence.texts}
    assert told == {(0, 0): "0.00", (1, 0): "0.20", (0, 1): "0.10", (1, 1): "0.30"}
    assert {text.get_text() for text in accuracy.texts} == {"0.50"}
    assert [label.get_text() for label in confidence.get_yticklabels()] == ["dense", "keep 0.1"]
    assert figure.get_suptitle() == "6 of 64 units kept, mean over 20 images"


def test_a_pair_that_is_not_known_stays_empty():
    rows = feature_rows()
    assert len(plot_features(rows[rows["judged_by"] == "dense"]).axes[0].texts) == 2


@pytest.mark.parametrize(
    ("plot", "tables"),
    [
        (plot_potentials, (potential_table(),)),
        (plot_excess, excess_tables()),
        (plot_similarity, (similarity_rows(),)),
        (plot_features, (feature_rows(),)),
    ],
)
def test_figures_are_saved_and_bad_frames_refused(plot, tables, tmp_path):
    plot(*tables, tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").stat().st_size > 10_000
    first, *rest = tables
    with pytest.raises(ValueError, match="no row"):
        plot(first[:0], *rest)
    lost = "seed" if "seed" in first else first.columns[0]
    with pytest.raises(ValueError, match=f"no column '{lost}'"):
        plot(first.drop(columns=lost), *rest)
