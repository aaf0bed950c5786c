"""Shifts: what runs measured beyond the test metrics, joined over the runs of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_prune.page.curves import Curve, spread
from lightning_prune.page.tables import Column

if TYPE_CHECKING:
    from pandas import DataFrame

FILE = "shifts.csv"
OTHERS = ("dense", "control", "separate")
MEASURES = ("accuracy", "calibration", "agreement", "distance", "worst_drop")
ABOUT = {
    "accuracy": "share of samples",
    "calibration": "expected calibration error: confidence less accuracy, in 15 bins",
    "agreement": "share of samples of the class that the dense network predicts",
    "distance": "of the softmax outputs from those of the dense network",
    "worst_drop": "of the recall of the class that lost most, against the dense network",
}
COLUMNS = (
    Column("curve", "method"),
    Column("keep_target", "keep asked", ".3g"),
    Column("inputs", "inputs"),
    Column("accuracy", "accuracy", ".4f", ABOUT["accuracy"]),
    Column("accuracy_half", "\N{PLUS-MINUS SIGN} 95 %", ".4f", "of the accuracy, over networks"),
    *(Column(name, name.replace("_", " "), ".4f", ABOUT[name]) for name in MEASURES[1:]),
    Column("n", "n", ".0f", "networks"),
)
SUMMARY = (
    Column("curve", "method"),
    Column("nominal", "nominal", ".3f", "mean over seeds, as all that follow"),
    Column("nominal_std", "std", ".3f", "standard deviation over seeds"),
    Column("train_mean", "train, mean", ".3f", "over what training has seen"),
    Column("train_min", "train, least", ".3f", "of what training has seen"),
    Column("test_mean", "test, mean", ".3f", "over what training has not seen"),
    Column("test_mean_std", "std", ".3f", "standard deviation over seeds"),
    Column("test_min", "test, least", ".3f", "of what training has not seen"),
    Column("censored", "censored", ".0%", "potentials that may be larger"),
    Column("none", "none", ".0%", "distributions on which no budget qualifies"),
    Column("seeds", "seeds", ".0f"),
)
SLOPES = (
    Column("curve", "method"),
    Column("slope", "slope", "+.4f", "excess error for every unit of the prune ratio"),
    Column("low", "95 % from", "+.4f"),
    Column("high", "to", "+.4f"),
    Column("networks", "networks", ".0f", "dense networks that were pruned"),
    Column("points", "points", ".0f"),
)


def measured(curves: Sequence[Curve], name: str) -> DataFrame | None:
    """A table that runs have beside their reports, of all runs of the curves.

    Arguments:
        curves: Of a group.
        name: Of the file in a run's folder.

    Returns:
        The files' rows with `run`, `method`, `seed`, `measure`, `curve` before them; None where
        no run has the file.
    """
    import pandas as pd

    tables = []
    for curve in curves:
        for record in curve.records:
            file = record.path / name
            if file.is_file() and (table := pd.read_csv(file)).size:
                told = (record.told, curve.method, record.seed, record.measure, curve.label)
                for place, column in enumerate(("run", "method", "seed", "measure", "curve")):
                    table.insert(place, column, told[place])
                tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else None


def behaviour(frame: DataFrame) -> DataFrame:
    """What networks do on the test set as it is, and on the mean of what training has not seen.

    Arguments:
        frame: Of `measured`, of shifts.

    Returns:
        A frame with `curve` (of other networks than pruned ones what they are), `keep_target`,
        `inputs` (`nominal` or `shifted`), the measures (means over runs), `accuracy_half` (of the
        interval of confidence) and `n`.
    """
    import pandas as pd

    from lightning_prune.evaluation.shift_points import NOMINAL, TEST

    # of several events with one target the last one counts
    where = ["run", "network", "keep_target", "distribution", "severity", "side"]
    frame = frame.drop_duplicates(where, keep="last")
    nominal = frame["distribution"] == NOMINAL
    parts = {"nominal": frame[nominal], "shifted": frame[(frame["side"] == TEST) & ~nominal]}
    tables = [_means(part).assign(inputs=inputs) for inputs, part in parts.items() if len(part)]
    table = pd.concat(tables, ignore_index=True)
    table["first"] = ~table["curve"].isin(_titles())
    order = ["first", "curve", "keep_target", "inputs"]
    table = table.sort_values(order, ascending=[True, True, False, True], ignore_index=True)
    return table[[c.name for c in COLUMNS if c.name in table.columns]]


def _means(part: DataFrame) -> DataFrame:
    """Means of the measures over networks, and the interval of the accuracy."""
    import pandas as pd

    names = [name for name in MEASURES if name in part.columns]
    by = ["curve", "keep_target"]
    part = part.assign(curve=_named(part), keep_target=part["keep_target"].fillna(1.0))
    runs = part.groupby([*by, "run"], sort=False)[names].mean().reset_index()
    other = runs["curve"].isin(_titles())
    # shared dense networks are in the folders of many runs, and count once
    apart, pruned = runs[other].drop_duplicates([*by, *names]), runs[~other]
    means = pd.concat([apart, pruned]).groupby(by, sort=False)[names].mean().reset_index()
    # one that was trained apart can be that of all seeds, with which it does not agree alike
    own = ["accuracy", *({"calibration"} & set(names))]
    networks = pd.concat([apart.drop_duplicates([*by, *own]), pruned])
    table = means.merge(spread(networks, "accuracy", by), on=by)
    return table.assign(accuracy_half=table["high"] - table["mean"])


def _titles() -> list[str]:
    return [f"({name})" for name in OTHERS]


def _named(part: DataFrame) -> DataFrame:
    return part["curve"].where(part["network"] == "pruned", "(" + part["network"] + ")")
