"""Together: groups of one metric on one axis, for those who know what they compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lightning_prune.page.album import Album, Drawing
from lightning_prune.page.blocks import Block
from lightning_prune.page.curves import frame
from lightning_prune.page.groups import Group, differing, telling
from lightning_prune.page.section import Section
from lightning_prune.page.trade import trade_drawings

TOLD = 12  # keys that a caption names


def together_section(groups: Sequence[Group], album: Album) -> Iterator[Section]:
    """A section with a block for every metric that two groups or more have; none without."""
    metrics: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        metrics.setdefault((group.metric, group.direction), []).append(group)
    blocks = [
        _block(number, part, album)
        for number, part in enumerate(metrics.values(), 1)
        if len(part) > 1
    ]
    if blocks:
        yield Section("together", "Groups together, which are not comparable", (), tuple(blocks))


def _block(number: int, groups: Sequence[Group], album: Album) -> Block:
    curves = tuple(
        replace(curve, label=f"{group.number}: {curve.label}")
        for group in groups
        for curve in group.curves
    )
    joined = Group(number, "", {}, curves)
    keys = telling(differing([group.facts for group in groups]))
    more = f" and {len(keys) - TOLD} more" if len(keys) > TOLD else ""
    told = ", ".join(key.removesuffix("._target_") for key in keys[:TOLD]) + more
    numbers = ", ".join(str(group.number) for group in groups)
    warning = f"Not comparable: groups {numbers} differ in {told}."
    drawings: tuple[Drawing, ...] = tuple(
        replace(drawing, caption=f"{warning} {drawing.caption}")
        for drawing in trade_drawings(joined, frame(curves), album, f"together-{number}")
    )
    text = "Where curves are named, the number before a method is that of its group."
    return Block(f"together-{number}", groups[0].metric, text, drawings)
