"""Probes: do pruned networks compute what their dense ones do, and from the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from lightning_prune.page.album import Album
from lightning_prune.page.blocks import Block
from lightning_prune.page.curves import Curve
from lightning_prune.page.groups import Group
from lightning_prune.page.shifts import measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

NOISE, FEATURES = "noise.csv", "features.csv"
CURVES = 6  # that have figures of their own
NETWORKS = 6  # pruned ones of a figure


def probe_blocks(group: Group, album: Album) -> Iterator[Block]:
    """Figures of noise and of informative features, one a curve; nothing where no run has them.

    Arguments:
        group: Of comparable runs.
        album: Writes the files.
    """
    from lightning_prune.plots import plot_features, plot_similarity

    yield _block(
        group, album, NOISE, "Similarity under noise", plot_similarity,
        "How often pruned networks predict what their dense one does, and how far their outputs "
        "are from its, on noisy images; bands: standard deviation over seeds, of one seed over "
        "draws.",
    )  # fmt: skip
    yield _block(
        group, album, FEATURES, "Informative features", plot_features,
        "What every network makes of the pixels that another one decides by; means over seeds.",
    )  # fmt: skip


def _block(
    group: Group,
    album: Album,
    file: str,
    title: str,
    plot: Callable[[DataFrame], Figure],
    caption: str,
) -> Block:
    start = f"{group.slug}-{file.removesuffix('.csv')}"
    found = [(curve, rows) for curve in group.curves if (rows := _rows(curve, file)) is not None]
    drawings = tuple(
        album.draw(f"{start}-{number}", f"{title}: {curve.label}", caption, plot(_few(rows)), rows)
        for number, (curve, rows) in enumerate(found[:CURVES], 1)
    )
    notes = _left([curve for curve, _ in found[CURVES:]])
    return Block(start, title, drawings=drawings, notes=notes)


def _rows(curve: Curve, file: str) -> DataFrame | None:
    rows = measured([curve], file)
    if rows is not None and "keep_target" in rows.columns:
        # seeds keep nearly the same, and were asked for the same
        rows["keep"] = rows["keep_target"].fillna(rows["keep"])
    return rows


def _few(rows: DataFrame) -> DataFrame:
    """Budgets from the largest to the smallest, as many as a figure can tell apart."""
    keeps = sorted(rows["keep"].dropna().unique()) if "keep" in rows.columns else []
    if len(keeps) <= NETWORKS:
        return rows
    places = {round(i * (len(keeps) - 1) / (NETWORKS - 1)) for i in range(NETWORKS)}
    chosen = [keeps[place] for place in places]
    return rows[rows["keep"].isna() | rows["keep"].isin(chosen)]


def _left(curves: Sequence[Curve]) -> tuple[str, ...]:
    if not curves:
        return ()
    names = ", ".join(curve.label for curve in curves)
    return (f"Not drawn, but measured: {names}.",)
