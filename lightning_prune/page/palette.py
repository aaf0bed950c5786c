"""The palette: one look for every curve, the same in all figures of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from lightning_prune.page.curves import Curve

LIMIT = 200  # curves in a figure
NAMED = 24  # curves that colours, dashes and marks tell apart
LETTERS = 44  # of a name in a legend


@dataclass(frozen=True)
class Look:
    """Of one curve."""

    colour: str
    dashes: str
    mark: str


@dataclass(frozen=True)
class Palette:
    """Looks by name, and which curves are drawn one by one.

    Arguments:
        looks: Of curves where there are few, else of methods.
        by: `curve` or `method`: what a look stands for.
        drawn: Names of the curves that are drawn.
    """

    looks: dict[str, Look]
    by: str
    drawn: tuple[str, ...]

    def __getitem__(self, curve: Curve) -> Look:
        """Of a curve, by itself or by its method."""
        return self.looks[curve.label if self.by == "curve" else curve.method]


def new_palette(curves: Sequence[Curve]) -> Palette:
    """Looks for curves. Of too many to be drawn, every method has its share."""
    from lightning_prune.plots.sweeps import COLOURS, MARKERS, STYLES

    by = "curve" if len(curves) <= NAMED else "method"
    names = sorted({curve.label if by == "curve" else curve.method for curve in curves})
    looks = {
        name: Look(
            COLOURS[number % len(COLOURS)],
            STYLES[number // len(COLOURS) % len(STYLES)],
            MARKERS[number % len(MARKERS)],
        )
        for number, name in enumerate(names)
    }
    methods: dict[str, list[str]] = {}
    for curve in curves:
        methods.setdefault(curve.method, []).append(curve.label)
    turns = chain.from_iterable(zip_longest(*methods.values()))
    drawn = [label for label in turns if label is not None][:LIMIT]
    return Palette(looks, by, tuple(sorted(drawn)))


def legible(name: str, letters: int = LETTERS) -> str:
    """A name as a figure can show it: not too long, and no formula."""
    short = name if len(name) <= letters else f"{name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"
    # matplotlib reads formulas between dollars, and hides names that begin with an underscore
    return (f" {short}" if short.startswith("_") else short).replace("$", r"\$")
