"""The page: runs of any number of sweeps on one sheet that opens without a network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning_prune
from lightning_prune.page.album import Album
from lightning_prune.page.groups import Group, find_groups
from lightning_prune.page.overview import differences_table, overview_table
from lightning_prune.page.reading import Found, Progress, read_runs
from lightning_prune.page.section import Section, new_section
from lightning_prune.page.together import together_section

TITLE = "Pruning report"
INDEX = "index.html"
FEW = 6  # lines and commands that need not be folded away
DELTA = 0.005


@dataclass(frozen=True)
class Written:
    """What was written.

    Arguments:
        path: Of the page.
        found: What was read.
        groups: Of comparable runs.
    """

    path: Path
    found: Found
    groups: tuple[Group, ...]


def write_report(
    folders: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    output: str | os.PathLike[str] = "report",
    *,
    delta: float = DELTA,
    metric: str | None = None,
    together: bool = False,
    title: str | None = None,
) -> Path:
    """One page on any number of runs and sweeps, with every figure and table beside it.

    Reports are read one after another. Runs that differ in more than pruning, budget and seed are
    in sections of their own, and the page says in what they differ. A run that cannot be read, is
    not finished or has failed is named; a run that is found twice counts once.

    Arguments:
        folders: Of runs, sweeps, or several of them.
        output: Folder of `index.html`, `figures/` and `tables/`; it is made where it is missing.
        delta: By how much the metric may be worse that counts as no worse, for prune potentials;
            shares of samples under shift.
        metric: A name in the reports, as `test/loss`; None: every run's main metric.
        together: Also draw groups of one metric on one axis, which the page says not to be
            comparable.
        title: Of the page.

    Returns:
        Path of `index.html`. The same runs give the same bytes, with the same versions.

    Raises:
        FileNotFoundError: A folder is missing, or there is no run in it.
        ValueError: No run could be read, or the margin is negative.
    """
    return write(folders, output, Wish(delta, metric, together, title)).path


@dataclass(frozen=True)
class Wish:
    """What a page is to show; as of `write_report`."""

    delta: float = DELTA
    metric: str | None = None
    together: bool = False
    title: str | None = None


def write(
    folders: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    output: str | os.PathLike[str],
    wish: Wish,
    progress: Progress | None = None,
) -> Written:
    """As `write_report`, and say what was read."""
    if not wish.delta >= 0:
        raise ValueError(f"The margin is 0 or more, not {wish.delta:g}.")
    listed = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    found = read_runs(listed, wish.metric, progress)
    groups = find_groups(found.records)
    album = Album(Path(output))
    path = Path(output) / INDEX
    text = render(found, groups, album, wish)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return Written(path, found, tuple(groups))


def render(found: Found, groups: Sequence[Group], album: Album, wish: Wish) -> str:
    """The page's text; the album writes what belongs to it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    sections = [new_section(group, album, wish.delta) for group in groups]
    many = len(groups) > 1
    if wish.together and many:
        sections = [*together_section(groups, album), *sections]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html").render(
        title=wish.title or TITLE,
        lead=_lead(found, groups),
        notes=found.notes,
        warnings=list(_warnings(found)),
        overview=overview_table(groups, album) if many else None,
        differences=differences_table(groups, album) if many else None,
        sections=sections,
        groups=len(groups),
        contents=list(_contents(sections, many)),
        few=FEW,
        version=lightning_prune.__version__,
    )


def _lead(found: Found, groups: Sequence[Group]) -> str:
    methods = {record.method for record in found.records}
    parts = (
        (len(found.records), "run"),
        (len(methods), "method"),
        (len(groups), "group"),
    )
    runs, used, kinds = (f"{count} {name}{'s' if count != 1 else ''}" for count, name in parts)
    text = f"{runs} of {used}"
    return f"{text} in {kinds} of comparable runs." if len(groups) > 1 else f"{text}, comparable."


def _warnings(found: Found) -> Iterator[tuple[str, str, list[str]]]:
    unread, repeated = len(found.unread), len(found.repeated)
    if unread:
        told = "1 run could not be read and is not shown"
        if unread > 1:
            told = f"{unread} runs could not be read and are not shown"
        yield "unread", told, [f"{path}: {why}" for path, why in found.unread]
    if repeated:
        told = f"{repeated} run{'s were' if repeated > 1 else ' was'} found again and counted once"
        yield "repeated", told, [f"{path} is {first}" for path, first in found.repeated]


def _contents(sections: Sequence[Section], many: bool) -> Iterator[tuple[str, str, Any]]:
    yield "overview", "Overview", []
    if many:
        yield "groups", "Groups", []
    for section in sections:
        number = f"{section.slug.removeprefix('g')} " if many and section.facts else ""
        inner = [(block.slug, block.title) for block in section.blocks]
        yield section.slug, number + section.title, inner
