"""The table of runs: what they reached at every budget, tidy, and its means over seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_prune.folder import CLOSING, COLUMNS, find_runs

if TYPE_CHECKING:
    from pandas import DataFrame

POINTS = 40  # budgets of a curve; a schedule that passes more is on its way to the last


def curves(folder: str | os.PathLike[str]) -> DataFrame:
    """Every event of every finished run in a folder and below it, one row each.

    Arguments:
        folder: Of a sweep, of a run, or of several of them.

    Returns:
        A frame sorted by run and event, with the columns

        - `run`: the run's folder, seen from `folder`; `method`, `seed`, `measure`;
        - `event` (from 1), `last` (it is the run's last), `epoch`, `step`, `keep_target`, `keep`;
        - `params`, `nonzero`, `macs`, `macs_effective`, `seconds` (of the event);
        - `metric`: the task's main metric on the test set at the end of the event's cycle;
          `main_metric` and `direction` say which, and whether `max` or `min` is better; `dense`
          and `control`: that of the network before the first event, and of the dense control;
          `control_cycle`: that of the control after as many cycles;
        - a column for every metric, and one for every setting that the command set;
        - `identity` of the run's config, and the `command` that repeats the run.

    Raises:
        FileNotFoundError: The folder does not exist, or no run in it is finished.
    """
    import pandas as pd

    root = Path(folder)
    tables = []
    for run in find_runs(root):
        file = run / "rows.csv"
        if file.is_file() and (table := pd.read_csv(file, dtype={"command": str})).size:
            table.insert(0, "run", run.relative_to(root).as_posix())
            tables.append(table)
    if not tables:
        raise FileNotFoundError(f"There is no finished run in {root}; give the folder of a sweep.")
    frame = pd.concat(tables, ignore_index=True)
    frame = frame.sort_values(["run", "event"], kind="stable", ignore_index=True)
    between = [c for c in frame.columns if c not in (*COLUMNS, *CLOSING)]
    metrics = sorted(c for c in between if "/" in c)
    settings = sorted(c for c in between if "/" not in c)
    return frame.reindex(columns=[*COLUMNS, *metrics, *settings, *CLOSING])


def shifts(folder: str | os.PathLike[str]) -> DataFrame:
    """Every network of every finished run on every distribution that it was tested on, a row each.

    Arguments:
        folder: Of a sweep, of a run, or of several of them, run with `evaluation=corruptions` or
            another evaluation.

    Returns:
        A frame sorted by run, in the order of the networks and distributions, with the columns

        - `run`, `method`, `seed`, `measure` and one for every setting, as of `curves`;
        - `network` (`dense`, `control`, `separate` or `pruned`), and of pruned ones `event`,
          `keep_target` and `keep`;
        - `distribution`, `severity` (0 to 5), `side` (`train`: the training has seen it);
        - every metric, as of `lightning_prune.evaluation.evaluate_shifts`;
        - `identity` and `command`, as of `curves`.

    Raises:
        FileNotFoundError: The folder does not exist, or no run in it was evaluated.
    """
    import pandas as pd

    root = Path(folder)
    tables = []
    for run in find_runs(root):
        if not ((run / "shifts.csv").is_file() and (run / "rows.csv").is_file()):
            continue
        rows, table = pd.read_csv(run / "rows.csv"), pd.read_csv(run / "shifts.csv")
        if not rows.size or not table.size:
            continue
        told = rows.iloc[0]
        settings = [c for c in rows.columns if "/" not in c and c not in (*COLUMNS, *CLOSING)]
        before = {name: told[name] for name in ("method", "seed", "measure", *settings)}
        table = pd.DataFrame(before, index=table.index).join(table)
        table.insert(0, "run", run.relative_to(root).as_posix())
        tables.append(table.assign(**{name: told[name] for name in CLOSING}))
    if not tables:
        raise FileNotFoundError(
            f"No finished run in {root} was evaluated on shifted data; run the same command again "
            "with evaluation=corruptions, which trains nothing anew."
        )
    frame = pd.concat(tables, ignore_index=True)
    last = [column for column in frame.columns if column not in CLOSING]
    return frame.reindex(columns=[*last, *CLOSING])


def points(frame: DataFrame) -> DataFrame:
    """The rows that are points of a curve: one for every run and budget.

    Of several events with the same target the last one counts; of runs that visit many targets
    on their way to one, that one only.
    """
    rows = frame.drop_duplicates(["run", "keep_target"], keep="last")
    if rows["keep_target"].nunique() > POINTS:
        rows = rows[rows["last"]]
    return rows


def swept(frame: DataFrame) -> list[str]:
    """Settings that tell curves apart: what varies besides seeds and budgets."""
    settings = [c for c in frame.columns if "/" not in c and c not in (*COLUMNS, *CLOSING)]
    budget = [c for c in settings if c.startswith("schedule.") and "keep" in c]
    names = ["method", *(c for c in settings if c not in budget)]
    return [name for name in names if frame[name].nunique(dropna=False) > 1] or ["method"]


def summarise(frame: DataFrame, by: Sequence[str] | None = None) -> DataFrame:
    """Mean, standard deviation and number of runs for every method and budget.

    Arguments:
        frame: Of `curves`.
        by: Columns that tell curves apart; None: the method and whatever else was swept.

    Returns:
        A frame with the columns of `by`, `keep_target`, `keep` (mean), `mean`, `std` (NaN for
        one run), `runs`, `control` (mean) and `control_std`, sorted by `by` and falling budgets.
    """
    by = list(by or swept(frame))
    groups = points(frame).groupby([*by, "keep_target"], dropna=False, sort=False)
    table = groups.agg(
        keep=("keep", "mean"),
        mean=("metric", "mean"),
        std=("metric", "std"),
        runs=("metric", "count"),
        control=("control", "mean"),
        control_std=("control", "std"),
    ).reset_index()
    falling = [True] * len(by) + [False]
    return table.sort_values([*by, "keep_target"], ascending=falling, ignore_index=True)
