"""Sections: one of the page for every group of comparable runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_prune.page.album import Album, Drawing
from lightning_prune.page.allocation import find_allocation, plot_allocation
from lightning_prune.page.beyond import beyond_blocks
from lightning_prune.page.blocks import Block
from lightning_prune.page.bounds import COLUMNS as BOUNDS, bounds
from lightning_prune.page.commands import recipe
from lightning_prune.page.curves import frame
from lightning_prune.page.facts import Fact, facts
from lightning_prune.page.groups import Group
from lightning_prune.page.nominal import (
    COLUMNS as POTENTIALS,
    SHOWN,
    nominal_potentials,
    plot_nominal,
    summary,
)
from lightning_prune.page.probes import probe_blocks
from lightning_prune.page.results import COLUMNS as RESULTS, results
from lightning_prune.page.tables import new_table
from lightning_prune.page.trade import trade_drawings

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Section:
    """One group on the page.

    Arguments:
        slug: Its anchor.
        title: What it is.
        facts: About its runs.
        blocks: From the top.
    """

    slug: str
    title: str
    facts: tuple[Fact, ...]
    blocks: tuple[Block, ...]


def new_section(group: Group, album: Album, delta: float) -> Section:
    """Draw a group.

    Arguments:
        group: Of comparable runs.
        album: Writes the files.
        delta: By how much a network may be worse that counts as no worse.
    """
    blocks = tuple(block for block in _blocks(group, album, delta) if not block.empty)
    return Section(group.slug, group.title, facts(group, delta), blocks)


def _blocks(group: Group, album: Album, delta: float) -> Iterator[Block]:
    rows, slug = frame(group.curves), group.slug
    drawings = tuple(trade_drawings(group, rows, album))
    yield Block(f"{slug}-trade", "Main metric", drawings=drawings)
    table = new_table(
        album, f"{slug}-results", f"{group.metric} by method and budget", results(rows), RESULTS
    )
    yield Block(f"{slug}-table", "Results", tables=(table,))
    yield _potential(group, rows, album, delta)
    yield from beyond_blocks(group, album, delta)
    yield from probe_blocks(group, album)
    yield _layers(group, album)
    found = bounds(group.curves)
    if len(found):
        table = new_table(album, f"{slug}-bounds", "Bounds and errors by layer", found, BOUNDS)
        yield Block(f"{slug}-theory", "Bounds", tables=(table,))
    recipes = tuple(recipe(curve) for curve in group.curves)
    yield Block(f"{slug}-commands", "Commands", recipes=recipes)


def _potential(group: Group, rows: DataFrame, album: Album, delta: float) -> Block:
    slug = f"{group.slug}-potential"
    found = nominal_potentials(rows, group.direction, delta)
    if found.empty:
        text = "No run knows its dense network's metric, so that there is nothing to be as good as."
        return Block(slug, "Prune potential", text)
    worse = "higher" if group.direction == "min" else "lower"
    text = (
        f"The largest share that can be pruned while {group.metric} is at most {delta:g} {worse} "
        "than that of the dense network before its first event, or of its control, which trained "
        "as long as the pruned networks."
    )
    table = new_table(
        album, f"{slug}-table", "Prune potential on the test set", summary(found), POTENTIALS
    )
    more = found["curve"].nunique() - SHOWN
    caption = "Pale: every seed; full: their mean." + (
        f" The {SHOWN} curves with the largest potential; {more} more are in the table."
        if more > 0
        else ""
    )
    title = f"Prune potential by method, {group.metric}"
    drawing = album.draw(slug, title, caption, plot_nominal(found), found)
    return Block(slug, "Prune potential", text, (drawing,), (table,))


def _layers(group: Group, album: Album) -> Block:
    slug = f"{group.slug}-layers"
    found = find_allocation(group.curves)
    if found is None:
        return Block(slug, "Allocation by layer")
    budget = (
        "at each row's smallest budget, since the methods have none in common"
        if found.keep is None
        else f"at keep {found.keep:.3g}, the smallest budget that all methods have"
    )
    who = "method, of which there are too many curves" if found.averaged else "method"
    caption = (
        f"Share of every layer's units that is kept, {budget}; means over seeds, a row a {who}. "
        "Grey: there is no such layer."
    )
    numbers = found.shares.rename_axis("method").reset_index()
    drawing: Drawing = album.draw(
        slug, "Kept share by layer", caption, plot_allocation(found), numbers
    )
    return Block(slug, "Allocation by layer", drawings=(drawing,))
