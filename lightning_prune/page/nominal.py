"""The nominal potential: how much every curve can prune before the main metric is worse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_prune.page.album import new_axes
from lightning_prune.page.palette import legible
from lightning_prune.page.tables import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

REFERENCES = ("dense", "control")
SHOWN = 40  # curves of a figure
COLUMNS = (
    Column("curve", "method"),
    Column("reference", "beside"),
    Column("potential", "potential", ".3f", "largest share that can be pruned, mean over seeds"),
    Column("std", "std", ".3f", "standard deviation over seeds"),
    Column("smallest", "smallest", ".3f", "of the seeds"),
    Column("next", "next tried", ".3f", "the next larger share that was tried, mean over seeds"),
    Column("censored", "censored", ".0%", "seeds whose largest share qualifies, so that the "
           "potential may be larger"),
    Column("none", "none", ".0%", "seeds of which no share qualifies"),
    Column("seeds", "seeds", ".0f"),
    Column("grid", "budgets", ".0f", "tried, at most"),
)  # fmt: skip


def nominal_potentials(rows: DataFrame, direction: str, delta: float) -> DataFrame:
    """The prune potential of every curve and seed, on what the main metric was measured on.

    Arguments:
        rows: Of `lightning_prune.page.curves.frame`.
        direction: `max` or `min`, whichever is better of the metric.
        delta: By how much it may be worse.

    Returns:
        A frame with `curve`, `seed`, `reference` (`dense`: the network before its first event;
        `control`: after as much training), `potential`, `next`, `censored`, `none` and `grid`.
    """
    import pandas as pd

    from lightning_prune.evaluation.potential import prune_potential

    sign = -1 if direction == "max" else 1
    worse = {"dense": rows["metric"] - rows["dense"], "control": rows["difference"]}
    kept, found = rows["keep"].clip(upper=1), []
    for (curve, seed), part in rows.groupby(["curve", "seed"], dropna=False):
        for reference in REFERENCES:
            lost = sign * worse[reference].loc[part.index].dropna()
            if lost.empty:
                continue
            keeps = kept.loc[lost.index].tolist()
            one = prune_potential(keeps, lost.tolist(), 0.0, delta)
            told = {"curve": curve, "seed": seed, "reference": reference, "potential": one.value}
            found.append(told | {name: getattr(one, name) for name in COUNTED})
    columns = ["curve", "seed", "reference", "potential", *COUNTED]
    return pd.DataFrame(found, columns=columns)


COUNTED = ("next", "censored", "none", "grid")


def summary(table: DataFrame) -> DataFrame:
    """Means over seeds, a row a curve and reference, the largest potential first."""
    import pandas as pd

    table = table.assign(next=pd.to_numeric(table["next"]))
    groups = table.groupby(["curve", "reference"], sort=False)
    found = groups.agg(
        potential=("potential", "mean"),
        std=("potential", "std"),
        smallest=("potential", "min"),
        next=("next", "mean"),
        censored=("censored", "mean"),
        none=("none", "mean"),
        seeds=("potential", "count"),
        grid=("grid", "max"),
    ).reset_index()
    order = ["reference", "potential", "curve"]
    return found.sort_values(order, ascending=[False, False, True], ignore_index=True)


def plot_nominal(table: DataFrame) -> Figure:
    """Every seed's potential as a mark, and their mean, a line a curve.

    Arguments:
        table: Of `nominal_potentials`.
    """
    from lightning_prune.plots.style import CONTROL, PRUNED

    means = table.groupby("curve")["potential"].mean().sort_values(kind="stable")
    names = means.index.tolist()[-SHOWN:]
    looks = {"dense": (PRUNED, "o", 0.12), "control": (CONTROL, "D", -0.12)}
    with new_axes(7.6, 1.3 + 0.27 * len(names)) as (figure, axes):
        for reference, (colour, mark, shift) in looks.items():
            part = table[table["reference"] == reference]
            part = part[part["curve"].isin(names)]
            if part.empty:
                continue
            places = [names.index(curve) + shift for curve in part["curve"]]
            axes.plot(part["potential"], places, mark, color=colour, alpha=0.35, ms=4, mew=0)
            mean = part.groupby("curve")["potential"].mean()
            heights = [names.index(curve) + shift for curve in mean.index]
            label = f"beside {'the dense network' if reference == 'dense' else 'its control'}"
            axes.plot(mean, heights, mark, color=colour, ms=7, label=label)
        axes.set_yticks(range(len(names)), [legible(name) for name in names], fontsize=9)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("prune potential: share that can be pruned")
        figure.legend(loc="outside upper left", ncols=2, fontsize=9)
        return figure
