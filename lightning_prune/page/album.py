"""The album: every figure as vectors for the page, as a PNG and as the numbers it shows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

FIGURES, TABLES = "figures", "tables"
PIXELS = 150  # an inch
# as wide as what matplotlib measured with, where a reader lacks its font
FONTS = "font-family: 'DejaVu Sans', Verdana, sans-serif"


@dataclass(frozen=True)
class Drawing:
    """One figure of the page.

    Arguments:
        slug: Name of its files and its anchor.
        title: In a few words.
        caption: What is seen, how many runs it is of, and what was left out.
        svg: To be put into a page as it is.
        png: Beside the page.
        csv: Beside the page.
    """

    slug: str
    title: str
    caption: str
    svg: str
    png: str
    csv: str


@dataclass
class Album:
    """Writes figures and tables of a page.

    Arguments:
        folder: Of the page.
    """

    folder: Path
    files: list[str] = field(default_factory=list)

    def draw(
        self, slug: str, title: str, caption: str, figure: Figure, numbers: DataFrame
    ) -> Drawing:
        """Write a figure and what it shows.

        Arguments:
            slug: Name of its files, without an ending.
            title: For those who do not see it, too.
            caption: A sentence or two.
            figure: It is saved twice, and can be dropped then.
            numbers: What it shows.
        """
        import matplotlib as mpl

        png, csv = f"{FIGURES}/{slug}.png", self.write(slug, numbers)
        text = io.StringIO()
        # the same runs give the same bytes: no date, no random names
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": slug}):
            figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        # everything has its place now, and finding it takes as long as drawing
        figure.set_layout_engine("none")
        target = self._place(png)
        figure.savefig(target, dpi=PIXELS, metadata={"Software": None})
        return Drawing(slug, title, caption, inline(text.getvalue(), slug, title), png, csv)

    def write(self, slug: str, numbers: DataFrame) -> str:
        """Write a table as csv; its path, seen from the page."""
        csv = f"{TABLES}/{slug}.csv"
        numbers.to_csv(self._place(csv), index=False, lineterminator="\n")
        return csv

    def _place(self, name: str) -> Path:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.files.append(name)
        return target


def inline(svg: str, slug: str, title: str) -> str:
    """A figure that can stand in a page beside others.

    What comes before the element goes, names are its own, and it has a title for those who do not
    see it.

    Arguments:
        svg: A file of matplotlib's.
        slug: Makes its names different from those of other figures.
        title: In a few words.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{slug}-\1"', text)
    text = re.sub(r'(xlink:href|href)="#([^"]+)"', rf'\1="#{slug}-\2"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{slug}-\1)", text)
    # a style of one figure holds for the whole page
    text = re.sub(
        r"<style[^>]*>\*(\{[^}]*\})</style>", rf"<style>#{slug}-svg *\1</style>", text, count=1
    )
    text = re.sub(r"font-family: [^;\"]*", FONTS, text)
    head, rest = text.split(">", 1)
    named = f' id="{slug}-svg" role="img" aria-labelledby="{slug}-title">'
    return f'{head}{named}<title id="{slug}-title">{escape(title)}</title>{rest}'


@contextmanager
def new_axes(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure and its axes in the package's style, on paper of its own."""
    from lightning_prune.plots.style import new_figure

    with new_figure(width, height) as (figure, axes):
        axes.set_axisbelow(True)
        yield figure, axes
