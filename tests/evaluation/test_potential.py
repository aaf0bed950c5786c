"""Prune potentials: tables that a reader can check by eye, and frames of several runs."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from lightning_prune.evaluation import (
    Potential,
    potentials,
    prune_potential,
    summarise_potentials,
)

KEEPS = (0.5, 0.2, 0.1)


def frame(errors, method="lamp", seed=0, nominal=0.1, **settings) -> pd.DataFrame:
    """A run: errors by distribution and keep, above those of its dense network."""
    rows = []
    for distribution, (side, above) in errors.items():
        place = {"distribution": distribution, "severity": 0, "side": side}
        head = {"run": f"{method}{seed}", "method": method, "seed": seed, **settings}
        reference = {"keep": 1.0, "keep_target": math.nan, "event": math.nan}
        rows.append(head | {"network": "dense"} | reference | place | {"accuracy": 1 - nominal})
        rows += [
            head
            | {"network": "pruned", "keep": keep, "keep_target": keep, "event": event}
            | place
            | {"accuracy": 1 - nominal - error}
            for event, (keep, error) in enumerate(zip(KEEPS, above, strict=True), 1)
        ]
    return pd.DataFrame(rows)


RUN = {
    "nominal": ("train", [-0.01, 0.0, 0.004]),
    "fog": ("test", [0.0, 0.02, 0.03]),
    "snow": ("test", [0.006, 0.02, 0.005]),
    "noise": ("test", [0.01, 0.02, 0.03]),
}


def test_the_published_example():
    """At .9 the error is .0005 above the dense one's .08 and the margin."""
    keeps, errors = [1, 0.5, 0.2, 0.1, 0.05], [0.080, 0.078, 0.082, 0.0855, 0.11]
    found = prune_potential(keeps, errors, 0.08)
    assert found == Potential(pytest.approx(0.8), pytest.approx(0.9), False, False, 5)


def test_the_margin_is_inclusive():
    assert prune_potential([0.3], [0.1 + 0.2], 0.295).value == 0.7  # 0.30000000000000004
    assert prune_potential([0.3], [0.1 + 2e-6], 0.1, 0).none


def test_smaller_ratios_need_not_qualify():
    found = prune_potential([0.5, 0.4, 0.3, 0.2], [0.9, 0.1, 0.9, 0.1], 0.1)
    assert (found.value, found.next, found.censored) == (0.8, None, True)


def test_none_qualifies():
    found = prune_potential([0.2, 0.5], [0.3, math.nan], 0.1)
    assert found == Potential(0.0, 0.5, False, True, 2)


def test_numbers_that_are_no_numbers_never_qualify():
    found = prune_potential([0.5, 0.1], [-3.0, math.nan], -3.0)  # nats
    assert (found.value, found.next, found.censored) == (0.5, 0.9, False)
    assert prune_potential([0.5], [math.inf], 1e300).none


def test_the_order_of_points_does_not_matter():
    keeps, errors = [0.5, 0.4, 0.3, 0.2], [0.1, 0.101, 0.3, 0.2]
    forth, back = (
        prune_potential(keeps, errors, 0.1),
        prune_potential(keeps[::-1], errors[::-1], 0.1),
    )
    assert forth == back == Potential(0.6, 0.7, False, False, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 0.1), "0 keeps and 0 errors"),
        (([0.5], [0.1, 0.2], 0.1), "1 keeps and 2 errors"),
        (([1.5], [0.1], 0.1), "from 0 to 1"),
        (([math.nan], [0.1], 0.1), "from 0 to 1"),
        (([0.5], [0.1], math.nan), "error of nan"),
    ],
)
def test_bad_points_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        prune_potential(*arguments)


def test_every_distribution_has_its_own_potential():
    table = potentials(frame(RUN))
    assert list(table.columns) == [
        "method", "seed", "distribution", "severity", "side", "potential", "next", "censored",
        "none", "grid",
    ]  # fmt: skip
    assert table["distribution"].tolist() == list(RUN)
    assert table["potential"].tolist() == pytest.approx([0.9, 0.5, 0.9, 0])
    assert table["next"].tolist() == pytest.approx([math.nan, 0.8, math.nan, 0.5], nan_ok=True)
    assert table["censored"].tolist() == [True, False, True, False]
    assert table["none"].tolist() == [False, False, False, True]


def test_runs_of_one_budget_each_are_one_grid():
    whole = frame(RUN)
    parts = []
    for keep in KEEPS:
        part = whole[(whole["network"] == "dense") | (whole["keep"] == keep)]
        parts.append(part.assign(run=f"keep={keep}", **{"schedule.keep": keep}))
    split = potentials(pd.concat(parts, ignore_index=True))
    pd.testing.assert_frame_equal(split, potentials(whole))


def test_the_reference_is_that_of_the_same_run():
    """The second run is 0.2 worse throughout, and so is its dense network."""
    both = pd.concat([frame(RUN), frame(RUN, "magnitude", nominal=0.3)], ignore_index=True)
    table = potentials(both)
    own = [part["potential"].tolist() for _, part in table.groupby("method")]
    assert own[0] == own[1]


def test_the_control_can_be_the_reference():
    run = frame(RUN)
    control = run[run["network"] == "dense"].assign(network="control", event=3)
    control["accuracy"] -= 0.05
    better = control.assign(event=1, accuracy=1.0)  # an earlier look, which does not count
    table = potentials(pd.concat([run, better, control]), reference="control")
    assert table["potential"].tolist() == pytest.approx([0.9] * 4)
    with pytest.raises(ValueError, match="Run lamp0 has no accuracy of its control network on"):
        potentials(run, reference="control")


def test_of_events_with_one_target_the_last_counts():
    run = frame(RUN)
    run.loc[run["keep_target"] == 0.5, "keep_target"] = 0.2
    assert potentials(run)["grid"].tolist() == [2] * 4
    assert potentials(run)["potential"].tolist() == pytest.approx([0.9, 0, 0.9, 0])


def test_settings_and_severities_are_apart():
    parts = [frame(RUN, augment=name, seed=seed) for name in ("plain", "robust") for seed in (0, 1)]
    parts = [part.assign(run=str(place)) for place, part in enumerate(parts)]
    parts += [part.assign(severity=5) for part in parts]
    table = potentials(pd.concat(parts, ignore_index=True))
    assert list(table.columns[:2]) == ["augment", "seed"]
    assert len(table) == 2 * 2 * 4 * 2
    assert set(table["grid"]) == {3}


def test_the_summary_is_over_sides_then_seeds():
    worse = {**RUN, "noise": ("test", [0.0, 0.0, 0.0]), "fog": ("train", [0.0, 0.0, 0.3])}
    table = potentials(pd.concat([frame(RUN), frame(worse, seed=1)], ignore_index=True))
    found = summarise_potentials(table).iloc[0]
    # test side: .5 .9 0 of the first seed, .9 .9 of the second; train side: .9, and .9 .8
    assert found["nominal"] == pytest.approx(0.9)
    assert found["test_mean"] == pytest.approx((1.4 / 3 + 0.9) / 2)
    assert found["test_mean_std"] == pytest.approx((0.9 - 1.4 / 3) / math.sqrt(2))
    assert found["test_min"] == pytest.approx(0.45)
    assert found["train_mean"] == pytest.approx((0.9 + 0.85) / 2)
    assert found["train_min"] == pytest.approx((0.9 + 0.8) / 2)
    assert found["censored"] == pytest.approx(5 / 8)
    assert found["none"] == pytest.approx(1 / 8)
    assert found["seeds"] == 2


def test_one_seed_has_no_deviation_and_an_empty_side_no_number():
    run = {name: entry for name, entry in RUN.items() if entry[0] == "train"}
    found = summarise_potentials(potentials(frame(run))).iloc[0]
    assert math.isnan(found["nominal_std"])
    assert math.isnan(found["test_mean"])
    assert found["train_min"] == pytest.approx(0.9)


def test_bad_frames_are_refused():
    with pytest.raises(ValueError, match="no column 'side'"):
        potentials(frame(RUN).drop(columns="side"))
    with pytest.raises(ValueError, match="no column 'optim'"):
        potentials(frame(RUN), by=["optim"])
    with pytest.raises(ValueError, match="No row of the frame is of a pruned"):
        potentials(frame(RUN).query("network == 'dense'"))
