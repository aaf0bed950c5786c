"""Sweep plots: lines are means over seeds, bands their spread, and what is left out is named."""

from __future__ import annotations

import pandas as pd
import pytest

from lightning_prune.plots import plot_curves


def table(seeds: int = 3, keeps: tuple[float, ...] = (0.5, 0.1)) -> pd.DataFrame:
    """Seed s of method i scores i + s at every keep: the mean of three is i + 1, the std 1."""
    return pd.DataFrame(
        {
            "run": f"{name}{seed}", "method": name, "seed": seed, "measure": "params",
            "event": event, "last": event == len(keeps), "keep_target": keep, "keep": keep,
            "metric": float(i + seed), "control": 5.0 + seed, "main_metric": "test/accuracy",
            "test/loss": 1.0 + i, "identity": "", "command": "",
        }
        for i, name in enumerate(("lamp", "magnitude"))
        for seed in range(seeds)
        for event, keep in enumerate(keeps, 1)
    )  # fmt: skip


def lines(figure) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].get_lines()}


def test_a_line_is_the_mean_over_seeds():
    figure = plot_curves(table())
    assert lines(figure) == {"lamp": [1, 1], "magnitude": [2, 2], "dense control": [6, 6]}
    assert figure.axes[0].get_lines()[0].get_xdata().tolist() == pytest.approx([0.1, 0.5])


@pytest.mark.parametrize(("band", "half"), [("std", 1), ("ci95", 4.303 / 3**0.5), ("minmax", 1)])
def test_the_band_of_three_seeds(band, half):
    """Student's t of two degrees of freedom is 4.303 at 97.5 %."""
    frame = table()
    axes = plot_curves(frame[frame["keep"] == 0.1], band=band).axes[0]
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, 1].tolist() == pytest.approx([1 - half, 1 + half], rel=1e-3)


def test_of_events_at_one_budget_the_last_is_drawn():
    frame = table(keeps=(0.5, 0.5))
    frame.loc[frame["event"] == 1, "metric"] = -100
    assert lines(plot_curves(frame))["lamp"] == [1]


def test_another_setting_that_was_swept_makes_lines_of_its_own():
    parts = [
        table().assign(run=lambda f, m=model: f["run"] + m, model=model) for model in ("a", "b")
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame[[*(c for c in frame if c not in ("identity", "command")), "identity", "command"]]
    assert {"lamp, a", "lamp, b"} < set(lines(plot_curves(frame)))


def test_one_seed_and_missing_numbers_are_said():
    frame = table(seeds=1)
    frame.loc[frame["method"] == "lamp", "metric"] = float("nan")
    figure = plot_curves(frame)
    assert "one seed" in figure.get_suptitle()
    assert figure.get_supxlabel() == "without a number: lamp"
    whole = plot_curves(table(seeds=1)).axes[0].get_lines()[1].get_color()
    assert figure.axes[0].get_lines()[0].get_color() == whole


def test_another_metric_has_no_control():
    assert set(lines(plot_curves(table(), metric="test/loss"))) == {"lamp", "magnitude"}


def test_the_figure_is_saved(tmp_path):
    plot_curves(table(), tmp_path / "new" / "curves.png")
    assert (tmp_path / "new" / "curves.png").stat().st_size > 10_000


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no column 'test/nll'"):
        plot_curves(table(), metric="test/nll")
    with pytest.raises(ValueError, match="'minmax', not 'sem'"):
        plot_curves(table(), band="sem")
    with pytest.raises(ValueError, match="No run"):
        plot_curves(table().assign(metric=float("nan")))
