"""Blocks: what a section of the page is made of."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_prune.page.album import Drawing
from lightning_prune.page.commands import Recipe
from lightning_prune.page.tables import Table


@dataclass(frozen=True)
class Block:
    """A heading with what belongs under it.

    Arguments:
        slug: Its anchor.
        title: The heading.
        text: A paragraph.
        drawings: Figures.
        tables: Under the figures.
        recipes: Commands of curves.
        notes: What could not be drawn, and why.
    """

    slug: str
    title: str
    text: str = ""
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """There is nothing to be seen."""
        return not (self.text or self.drawings or self.tables or self.recipes or self.notes)
