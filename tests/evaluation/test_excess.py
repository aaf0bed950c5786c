"""Excess error and slopes: closed forms, and how often intervals cover a slope that was planted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lightning_prune.evaluation import (
    bootstrap_slope,
    excess,
    excess_difference,
    excess_error,
    excess_slopes,
    slope_through_origin,
)

RATIOS = np.array([0.2, 0.4, 0.6, 0.8, 0.9])


def shifts(seeds: int = 3, slope: float = 0.1, fog: float = 0.2) -> pd.DataFrame:
    """On fog and snow seed s errs `slope` (s + 1) ratio more than it does on the nominal set."""
    rows = []
    for seed in range(seeds):
        head = {"run": f"run{seed}", "method": "lamp", "seed": seed}
        for keep in (1.0, 0.5, 0.1):
            about = {"network": "dense" if keep == 1 else "pruned", "event": 1, "keep": keep}
            for name, side, shifted in (
                ("nominal", "train", 0.0),
                ("fog", "test", fog),
                ("snow", "test", 0.3),
            ):
                error = 0.05 + (1 - keep) * 0.02 + shifted
                error += slope * (seed + 1) * (1 - keep) if side == "test" else 0
                place = {"distribution": name, "severity": 3, "side": side}
                accuracy = {"keep_target": keep, "accuracy": 1 - error}
                rows.append({**head, **about, **place, **accuracy})
    return pd.DataFrame(rows)


def test_the_published_example():
    assert excess_error(0.25, 0.08) == pytest.approx(0.17)
    assert excess_difference(0.30, 0.085, 0.25, 0.08) == pytest.approx(0.045)


def test_a_network_has_no_more_excess_than_itself():
    assert excess_difference(0.25, 0.08, 0.25, 0.08) == 0


def test_what_a_shift_adds_to_all_cancels():
    plain, shifted = excess(shifts(fog=0.2)), excess(shifts(fog=0.5))
    assert plain["difference"].tolist() == pytest.approx(shifted["difference"].tolist())


def test_the_frame_has_a_row_a_network():
    table = excess(shifts())
    assert list(table.columns) == ["method", "seed", "run", "keep", "ratio", "difference"]
    assert table["ratio"].tolist() == pytest.approx([0.5, 0.9] * 3)
    expected = [0.1 * seed * ratio for seed in (1, 2, 3) for ratio in (0.5, 0.9)]
    assert table["difference"].tolist() == pytest.approx(expected)


def test_the_dense_network_is_the_origin():
    frame = shifts()
    own = frame[frame["network"] == "dense"].assign(network="pruned")
    table = excess(pd.concat([frame, own], ignore_index=True))
    assert table.loc[table["ratio"] == 0, "difference"].tolist() == [0, 0, 0]


def test_slopes_of_the_frame():
    """Slopes of single seeds are .1, .2 and .3: mean .2, and a standard error of .1 / sqrt(3)."""
    found = excess_slopes(excess(shifts())).iloc[0]
    assert found["slope"] == pytest.approx(0.2)
    half = 4.3027 * 0.1 / math.sqrt(3)
    assert found["high"] - found["slope"] == pytest.approx(half, rel=0.05)
    assert (found["networks"], found["points"], found["repeats"]) == (3, 6, 2000)
    assert math.isnan(excess_slopes(excess(shifts(1))).iloc[0]["low"])


def test_a_setting_that_one_method_lacks_is_a_curve_too():
    parts = [shifts().assign(method=name) for name in ("lamp", "sipp")]
    frame = pd.concat([part.assign(run=part["run"] + part["method"]) for part in parts])
    frame["criterion.samples"] = np.where(frame["method"] == "sipp", 16, math.nan)
    found = excess_slopes(excess(frame))
    assert list(found.columns[:2]) == ["method", "criterion.samples"]
    assert found["slope"].tolist() == pytest.approx([0.2, 0.2])


def test_a_side_without_distributions_is_refused():
    frame = shifts()
    with pytest.raises(ValueError, match="none of the side 'train'"):
        excess(frame[frame["side"] == "test"])


def test_the_slope_is_least_squares():
    assert slope_through_origin([1, 2], [1, 3]) == pytest.approx(7 / 5)
    x = np.random.default_rng(0).normal(size=50)
    y = np.random.default_rng(1).normal(size=50)
    expected = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    assert slope_through_origin(x, y) == pytest.approx(expected)


def test_clusters_that_agree_leave_no_doubt():
    found = bootstrap_slope([1, 2, 1, 2], [2, 4, 2, 4], ["a", "a", "b", "b"])
    assert (found.value, found.low, found.high, found.clusters) == (2, 2, 2, 2)


def test_single_networks_say_nothing_of_others():
    found = bootstrap_slope([1, 2], [1, 3], ["a", "a"])
    assert (found.value, found.clusters) == (pytest.approx(1.4), 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_points_twice_do_not_narrow_the_interval():
    """Of one network twice as many points say no more about other networks."""
    x, y, owner = planted(np.random.default_rng(0), 5)
    once = bootstrap_slope(x, y, owner)
    twice = bootstrap_slope(np.tile(x, 2), np.tile(y, 2), np.tile(owner, 2))
    assert (once.low, once.high) == pytest.approx((twice.low, twice.high))


def test_points_at_the_origin_have_no_part():
    plain = bootstrap_slope([1, 1], [1, 2], [0, 1])
    more = bootstrap_slope([1, 1, 0], [1, 2, 5], [0, 1, 2])
    assert plain == more


@pytest.mark.parametrize(
    ("networks", "interval"), [(3, "t"), (6, "t"), (20, "t"), (40, "percentile")]
)
def test_intervals_cover_the_planted_slope(networks, interval):
    """95 of 100 would be right; of 200 repeats the standard error is 1.5 in 100."""
    assert 0.90 <= coverage(networks, interval) <= 0.99


def test_percentiles_of_three_networks_are_too_narrow():
    """At best 75 of 100: one of two cases of eight has all three slopes on one side."""
    assert coverage(3, "percentile") <= 0.8


def coverage(networks: int, interval: str) -> float:
    covered = 0
    for repeat in range(200):
        points = planted(np.random.default_rng([networks, repeat]), networks)
        found = bootstrap_slope(*points, repeats=1000, seed=repeat, interval=interval)
        covered += found.low <= 0.3 <= found.high
    return covered / 200


def planted(stream: np.random.Generator, networks: int):
    """Every network has a slope of its own around .3, and noise at every point."""
    slopes = stream.normal(0.3, 0.1, networks)
    y = slopes[:, None] * RATIOS + stream.normal(0, 0.02, (networks, len(RATIOS)))
    return np.tile(RATIOS, networks), y.ravel(), np.repeat(np.arange(networks), len(RATIOS))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1], [1, 2], [0]), {}, "as long as each other"),
        (([1, 2], [1, 2], [0]), {}, "2 points and 1"),
        (([0, 0], [1, 2], [0, 1]), {}, "x that is not 0"),
        (([1, math.nan], [1, 2], [0, 1]), {}, "finite"),
        (([1], [1], [0]), {"interval": "bca"}, "not 'bca'"),
        (([1], [1], [0]), {"level": 1}, "level"),
        (([1], [1], [0]), {"repeats": 1}, "2 repeats"),
    ],
)
def test_bad_points_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_slope(*arguments, **options)
