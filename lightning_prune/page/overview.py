"""The overview: which groups there are, and in what they differ."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_prune.page.album import Album
from lightning_prune.page.config import shown
from lightning_prune.page.groups import Group, differing
from lightning_prune.page.tables import Column, Table, new_table

COLUMNS = (
    Column("number", "group", ".0f"),
    Column("title", "what it is"),
    Column("metric", "metric"),
    Column("runs", "runs", ".0f"),
    Column("curves", "curves", ".0f"),
    Column("seeds", "seeds", ".0f"),
)


def overview_table(groups: Sequence[Group], album: Album) -> Table:
    """A row a group."""
    import pandas as pd

    rows = [
        {
            "number": group.number,
            "title": group.title,
            "metric": group.metric,
            "runs": len(group.records),
            "curves": len(group.curves),
            "seeds": len({seed for curve in group.curves for seed in curve.seeds}),
        }
        for group in groups
    ]
    return new_table(album, "groups-overview", "Groups of runs", pd.DataFrame(rows), COLUMNS)


def differences_table(groups: Sequence[Group], album: Album) -> Table:
    """A row a setting that groups do not have alike, a column a group."""
    import pandas as pd

    table = differing([group.facts for group in groups])
    rows = [
        {"key": key, **{f"g{g.number}": shown(v) for g, v in zip(groups, values, strict=True)}}
        for key, values in table.items()
    ]
    columns = [Column("key", "setting")]
    columns += [Column(f"g{group.number}", f"group {group.number}") for group in groups]
    note = "Settings that all groups have alike are left out; a dash: there is no such setting."
    return new_table(
        album, "groups-differences", "What differs between the groups", pd.DataFrame(rows), columns,
        note,
    )  # fmt: skip
