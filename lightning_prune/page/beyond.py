"""Beyond the test metric: potentials under shift, excess error, calibration and agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_prune.page.album import Album, Drawing
from lightning_prune.page.blocks import Block
from lightning_prune.page.groups import Group
from lightning_prune.page.palette import NAMED
from lightning_prune.page.shifts import COLUMNS, FILE, SLOPES, SUMMARY, behaviour, measured
from lightning_prune.page.tables import Table, new_table

if TYPE_CHECKING:
    from pandas import DataFrame


def beyond_blocks(group: Group, album: Album, delta: float) -> Iterator[Block]:
    """What a group's runs measured beyond the main metric; nothing where they did not.

    Arguments:
        group: Of comparable runs.
        album: Writes the files.
        delta: By how much a network may err more that counts as no worse.
    """
    shifts = measured(group.curves, FILE)
    if shifts is not None:
        few, left = _few(shifts)
        yield _potentials(group, shifts, few, left, album, delta)
        yield _excess(group, shifts, few, left, album)
        slug = f"{group.slug}-behaviour"
        table = new_table(
            album, slug, "Networks on nominal and shifted data", behaviour(shifts), COLUMNS,
            "shifted: mean over the distributions that training has not seen; dense, control and "
            "separate: networks that were not pruned, the last trained apart from the first.",
        )  # fmt: skip
        yield Block(slug, "Calibration, agreement and the worst class", tables=(table,))


def _few(shifts: DataFrame) -> tuple[DataFrame, str]:
    """As many curves as a figure can tell apart, and what is said of the others."""
    names = sorted(shifts["curve"].unique())
    if len(names) <= NAMED:
        return shifts, ""
    left = len(names) - NAMED
    return shifts[shifts["curve"].isin(names[:NAMED])], f" {left} more curves are in the table."


def _potentials(
    group: Group, shifts: DataFrame, few: DataFrame, left: str, album: Album, delta: float
) -> Block:
    from lightning_prune.evaluation.potential import potentials, summarise_potentials
    from lightning_prune.plots import plot_potentials

    slug, title = f"{group.slug}-shifted", "Prune potential by distribution"
    by = ["curve"]
    try:
        found = potentials(shifts, by, delta)
    except ValueError as error:
        return Block(slug, title, notes=(str(error),))
    table = new_table(
        album, f"{slug}-table", "Prune potential, nominal and under shift",
        summarise_potentials(found), SUMMARY,
        "train and test: mean and smallest over the distributions that training has and has not "
        "seen.",
    )  # fmt: skip
    drawn = found[found["curve"].isin(few["curve"])]
    caption = (
        "The largest share that can be pruned while at most "
        f"{100 * delta:g} percentage points more of the samples are wrong than with the dense "
        "network of the same run, on the same samples."
    )
    drawing = album.draw(slug, title, caption + left, plot_potentials(drawn, by=by), found)
    return Block(slug, title, drawings=(drawing,), tables=(table,))


def _excess(group: Group, shifts: DataFrame, few: DataFrame, left: str, album: Album) -> Block:
    from lightning_prune.evaluation.excess import excess, excess_slopes
    from lightning_prune.plots import plot_excess

    slug, title = f"{group.slug}-excess", "Excess error under shift"
    try:
        found = excess(shifts, ["curve"])
    except ValueError as error:
        return Block(slug, title, notes=(str(error),))
    slopes = excess_slopes(found)
    tables: tuple[Table, ...] = (
        new_table(
            album, f"{slug}-slopes", "Slopes of the difference in excess error", slopes, SLOPES,
            "Lines through the origin; 95 % intervals by a bootstrap over dense networks.",
        ),
    )  # fmt: skip
    names = few["curve"].unique()
    figure = plot_excess(found[found["curve"].isin(names)], slopes[slopes["curve"].isin(names)])
    caption = (
        "How much more a pruned network loses than its dense one where the data are shifted. At 0 "
        "pruning costs no more there than on the nominal data."
    )
    drawing: Drawing = album.draw(slug, title, caption + left, figure, found)
    return Block(slug, title, drawings=(drawing,), tables=tables)
