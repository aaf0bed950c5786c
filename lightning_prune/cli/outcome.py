"""The outcome of a sweep: what Hydra calls before its first run and after its last."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.experimental.callback import Callback

from lightning_prune.cli.checks import short
from lightning_prune.cli.sweep import Sweep

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pandas import DataFrame
    from rich.console import Console
    from rich.table import Table


WIDE = 200  # characters in a line
SIDES = ("nominal", "train_mean", "train_min", "test_mean", "test_min")
BUDGETS = 8  # columns that a reader takes in at once


class SweepOutcome(Callback):
    """Says how many runs there will be; at the end prints and draws what came of them."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before the first run."""
        counts = planned(config)
        known = config.hydra.sweeper._target_.endswith("BasicSweeper") and all(counts.values())
        runs = math.prod(counts.values()) if known else config.hydra.sweeper.get("n_trials")
        _sweep(config).plan(runs, [key for key, count in counts.items() if count != 1])

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """After the last run; the command fails if a run is broken, after all others were done."""
        from rich.console import Console

        from lightning_prune.plots import plot_curves
        from lightning_prune.table import curves, summarise

        sweep = _sweep(config)
        console = Console()
        if not console.is_terminal:  # a file, which may have as many columns as it needs
            console.width = WIDE
        failures = sweep.failures()
        try:
            frame = curves(sweep.root)
        except FileNotFoundError:  # no run is finished
            pass
        else:
            sweep.collect()
            console.print(outcome_table(summarise(frame), frame))
            if frame["metric"].notna().any():
                plot_curves(frame, sweep.root / "curves.png")
            where = f"table: {short(sweep.root / 'table.csv')}, plot: curves.png beside it"
            console.print(where, highlight=False, soft_wrap=True)
            if plot := show_potentials(sweep.root, config.evaluation.delta, console):
                where = f"shifted data: {short(plot)} and table_shifts.csv beside it"
                console.print(where, highlight=False, soft_wrap=True)
        if failures:
            print(f"{len(failures)} of the runs are broken:", file=sys.stderr)
            for name, sentence in failures.items():
                print(f"  {name}: {sentence}", file=sys.stderr)
            print("The same command does them again, and no other.", file=sys.stderr)
            sys.exit(1)


def planned(config: DictConfig) -> dict[str, int]:
    """How many values a command with `-m` sets every key to; 0 where only the sweeper knows."""
    params = config.hydra.sweeper.get("params") or {}
    given = [f"{key}={value}" for key, value in params.items()]
    given += [str(override) for override in config.hydra.overrides.task]
    counts = {}
    for override in OverridesParser.create().parse_overrides(given):
        values = 1
        if override.is_sweep_override():
            listed = override.is_discrete_sweep() and not isinstance(override.value(), Glob)
            values = len(list(override.sweep_string_iterator())) if listed else 0
        counts[override.get_key_element()] = values
    return counts


def outcome_table(summary: DataFrame, frame: DataFrame) -> Table:
    """Methods by budgets: mean and standard deviation over seeds, with the dense control."""
    from rich.table import Table

    by = list(summary.columns[: list(summary.columns).index("keep_target")])
    budgets = _spread(sorted(summary["keep_target"].unique(), reverse=True))
    table = Table(
        title=f"{frame['main_metric'].iloc[0]}, mean ± standard deviation over seeds, by keep",
        caption="control: dense, trained as long; (n): runs, where others have more",
        pad_edge=False,
    )
    for name in by:
        table.add_column(name)
    for heading in (*(f"{budget:.3g}" for budget in budgets), "control"):
        table.add_column(heading, justify="right", overflow="fold")
    most = summary["runs"].max()
    for names, part in summary.groupby(by, dropna=False, sort=False):
        cells = {row.keep_target: row for row in part.itertuples()}
        found = [cells.get(budget) for budget in budgets]
        scores = [
            "" if row is None else _score(row.mean, row.std, row.runs if row.runs != most else None)
            for row in found
        ]
        control = part[["control", "control_std"]].mean()
        names = names if isinstance(names, tuple) else (names,)
        table.add_row(
            *(str(name) for name in names),
            *scores,
            _score(control["control"], control["control_std"]),
        )
    return table


def show_potentials(root: Path, delta: float, console: Console) -> Path | None:
    """Prune potentials of what was tested on shifted data, as a table and a plot.

    Arguments:
        root: Of the sweep, or of a run.
        delta: Share of samples that may be wrong more often than with the dense network.
        console: Where the table goes.

    Returns:
        The plot; None where nothing was evaluated, or there is nothing to compare.
    """
    from lightning_prune.evaluation import potentials, summarise_potentials
    from lightning_prune.plots import plot_potentials
    from lightning_prune.table import shifts

    try:
        frame = shifts(root)
    except FileNotFoundError:  # nothing was evaluated
        return None
    if not {"pruned", "dense"} <= set(frame["network"]):
        return None
    found = potentials(frame, delta=delta)
    console.print(potential_table(summarise_potentials(found), delta))
    run = (root / "shifts.csv").is_file()
    if not run:
        frame.to_csv(root / "table_shifts.csv", index=False, lineterminator="\n")
    plot = (root / "plots" if run else root) / "potentials.png"
    plot_potentials(found, plot)
    return plot


def potential_table(summary: DataFrame, delta: float) -> Table:
    """Curves by sides: the largest sparsity within `delta` of the dense network's accuracy."""
    from rich.table import Table

    table = Table(
        title=f"prune potential: largest sparsity that loses at most {delta:g}",
        caption="test: distributions that the training has not seen; mean and smallest over them, "
        "mean ± standard deviation over seeds; censored: share of potentials that are the largest "
        "sparsity there was",
        pad_edge=False,
    )
    columns = list(summary.columns)
    by = columns[: columns.index("nominal")]
    for name in by:
        table.add_column(name)
    same = summary["train_mean"].equals(summary["nominal"])  # no corruptions in training
    shown = [n for n in SIDES if summary[n].notna().any() and not (same and n.startswith("train"))]
    for name in shown:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("censored", justify="right")
    for _, row in summary.iterrows():
        scores = [_score(row[name], row[f"{name}_std"]) for name in shown]
        table.add_row(*(str(row[name]) for name in by), *scores, f"{row['censored']:.0%}")
    return table


def _spread(budgets: list[float]) -> list[float]:
    """The first, the last, and as many between as a table has room for."""
    if len(budgets) <= BUDGETS:
        return budgets
    places = [round(i * (len(budgets) - 1) / (BUDGETS - 1)) for i in range(BUDGETS)]
    return [budgets[place] for place in places]


def _score(mean: float, std: float, runs: int | None = None) -> str:
    if math.isnan(mean):
        return ""
    text = f"{mean:.4f}" + (
        "" if math.isnan(std) else f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{std:.4f}"
    )
    return text if runs is None else f"{text}\N{NO-BREAK SPACE}({runs})"


def _sweep(config: DictConfig) -> Sweep:
    return Sweep(Path(config.hydra.sweep.dir).absolute() / config.name, 0)
