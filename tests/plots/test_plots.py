"""Plots: what a reader sees is what the report says."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lightning_prune.folder import RunFolder
from lightning_prune.plots import plot_curve, plot_layers

KEEPS = [0.5, 0.2, 0.1]
SCORES = [0.97, 0.96, 0.9]
NAMES = ["conv", "stages.0.conv", "fc"]


@pytest.fixture
def report(tmp_path: Path) -> dict:
    events = [
        {
            "epoch": i,
            "step": i,
            "keep": keep,
            "keep_target": keep,
            "metrics": {"test/accuracy": score, "val/loss": 1 - score},
            "layers": [
                {"name": name, "params": 100, "nonzero": int(100 * keep) - j}
                for j, name in enumerate(NAMES)
            ],
        }
        for i, (keep, score) in enumerate(zip(KEEPS, SCORES, strict=True))
    ]
    return RunFolder(tmp_path).update_report(
        method="magnitude",
        measure="params",
        events=events,
        dense={"metrics": {"test/accuracy": 0.98}},
        control={"metrics": {"test/accuracy": 0.975}},
        extra={"main_metric": "test/accuracy"},
    )


def lines(figure) -> dict:
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def test_the_curve_has_every_event_the_dense_network_and_the_control(report):
    drawn = lines(plot_curve(report))
    points = sorted(zip(KEEPS, SCORES, strict=True))
    assert list(zip(*drawn["magnitude"].get_data(), strict=True)) == points
    assert list(drawn["dense, before the first event"].get_data()[1]) == [0.98]
    assert set(drawn["dense control, equal training"].get_ydata()) == {0.975}


def test_the_curve_of_another_metric(report):
    axes = plot_curve(report, metric="val/loss").axes[0]
    assert axes.get_ylabel() == "val/loss"
    assert set(lines(axes.figure)) == {"magnitude"}


def test_an_unknown_metric_is_refused_with_those_there_are(report):
    with pytest.raises(ValueError, match="there are test/accuracy, val/loss"):
        plot_curve(report, metric="test/nll")


def test_a_difference_within_noise_looks_small(report):
    for event, score in zip(report["events"], (0.972, 0.971, 0.972), strict=True):
        event["metrics"]["test/accuracy"] = score
    low, high = plot_curve(report).axes[0].get_ylim()
    assert high - low > 0.045
    assert low < 0.971 < 0.98 < high


def test_labels_of_close_keeps_do_not_touch(report):
    report["events"] += [{**report["events"][-1], "keep": 0.1 + i / 1000} for i in range(20)]
    ticks = plot_curve(report).axes[0].get_xticks()
    assert all(b / a > 1.15 for a, b in itertools.pairwise(ticks))


def test_the_map_has_a_row_a_layer_and_a_column_an_event(report):
    figure = plot_layers(report)
    shares = figure.axes[0].get_images()[0].get_array()
    assert shares.shape == (len(NAMES), len(KEEPS))
    assert shares[1][2] == pytest.approx(0.09)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == NAMES


def test_a_report_without_layers_is_refused(report):
    with pytest.raises(ValueError, match="no event with layers"):
        plot_layers({**report, "events": []})


def test_figures_are_saved_from_a_folder(report, tmp_path: Path):
    for draw in (plot_curve, plot_layers):
        path = tmp_path / "plots" / f"{draw.__name__}.png"
        draw(tmp_path, path)
        assert path.read_bytes().startswith(b"\x89PNG")
