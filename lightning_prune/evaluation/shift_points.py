"""Points under shift: pruned networks beside the reference of their run, on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_prune.table import swept

if TYPE_CHECKING:
    from pandas import DataFrame

NOMINAL = "nominal"  # name of the unchanged test set among distributions
TRAIN, TEST = "train", "test"  # sides: what training knows, and what it does not
PLACE = ("distribution", "severity", "side")
NEEDED = ("run", "method", "seed", "network", "event", "keep_target", "keep", *PLACE, "accuracy")
METRICS = (
    "samples", "accuracy", "loss", "calibration", "agreement", "distance", "agreement_separate",
    "distance_separate", "worst_class", "worst_drop", "evaluations",
)  # fmt: skip


def against_reference(
    frame: DataFrame, by: Sequence[str] | None, reference: str
) -> tuple[list[str], DataFrame]:
    """Errors of the pruned networks, each with that of its run's reference.

    Of several events of a run with the same target the last one counts.

    Arguments:
        frame: Of `lightning_prune.shifts`.
        by: Columns that tell curves apart; None: the method and whatever else was swept.
        reference: Value of `network` in the rows that others are compared with.

    Returns:
        The columns that tell curves apart, and a frame with them, `run`, `seed`, `keep`,
        `distribution`, `severity`, `side`, `error` and `reference_error`.

    Raises:
        ValueError: A column is missing, no network is pruned, or a run lacks the reference.
    """
    missing = [name for name in (*NEEDED, *(by or ())) if name not in frame.columns]
    if missing:
        raise ValueError(f"The frame has no column {missing[0]!r}; give that of `shifts`.")
    by = list(by or swept(frame.drop(columns=["network", *PLACE, *METRICS], errors="ignore")))
    ordered = frame.sort_values(["run", "event"], kind="stable")
    pruned = ordered[ordered["network"] == "pruned"]
    if pruned.empty:
        raise ValueError("No row of the frame is of a pruned network.")
    where = ["run", *PLACE]
    pruned = pruned.drop_duplicates(["keep_target", *where], keep="last")
    # a control may have been looked at after several events
    others = ordered[ordered["network"] == reference].drop_duplicates(where, keep="last")
    others = others[where].assign(reference_error=1 - others["accuracy"])
    points = pruned.merge(others, "left", where)
    lost = points[points["reference_error"].isna()]
    if len(lost):
        run, distribution = lost.iloc[0][["run", "distribution"]]
        raise ValueError(f"Run {run} has no accuracy of its {reference} network on {distribution}.")
    points["error"] = 1 - points["accuracy"]
    columns = dict.fromkeys([*by, "run", "seed", "keep", *PLACE, "error", "reference_error"])
    return by, points[list(columns)]


def curve_columns(table: DataFrame) -> list[str]:
    """The columns that tell curves apart, which are those before `seed`."""
    return list(table.columns[: table.columns.get_loc("seed")])
