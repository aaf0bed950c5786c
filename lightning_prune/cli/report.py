"""`lightning-prune-report`: any number of runs and sweeps on one page.

Nothing heavy is imported before there is something to draw: help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_prune.page.page import DELTA, Wish, Written, write

NAME = "lightning-prune-report"
# what users can do something about
MISTAKES = (ValueError, OSError, ImportError)


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(
        prog=NAME,
        description="Read the runs in folders and below them, and write one page that opens in a "
        "browser without a network, with every figure as png and its numbers as csv beside it. "
        "Runs that are not comparable are in sections of their own.",
    )
    add = made.add_argument
    add("folders", nargs="+", type=Path, metavar="FOLDER", help="of runs, sweeps, or several")
    add("--output", type=Path, default=Path("report"), metavar="FOLDER", help="(report)")
    add(
        "--delta",
        type=float,
        default=DELTA,
        help=f"by how much the metric may be worse that counts as no worse ({DELTA:g})",
    )
    add("--metric", metavar="NAME", help="as test/loss, in place of each run's main metric")
    add(
        "--together",
        action="store_true",
        help="also draw groups of one metric on one axis, which are not comparable",
    )
    add("--title", help="of the page")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: mistakes are answered in one line."""
    given = parser().parse_args(arguments)
    try:
        report(given)
    except MISTAKES as error:
        print(f"{NAME}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def report(given: argparse.Namespace) -> None:
    """Read, write, and say where the page is and what is not on it.

    Raises:
        ValueError: An argument is out of its range, or no run can be read.
        FileNotFoundError: A folder is missing, or there is no run in it.
    """
    _check(given)
    wish = Wish(given.delta, given.metric, given.together, given.title)
    progress = _progress if sys.stderr.isatty() else None
    written = write(given.folders, given.output, wish, progress)
    for line in _told(written):
        print(line)


def _told(written: Written) -> list[str]:
    found = written.found
    count = len(found.unread)
    lines = [f"{count} run{'s' if count > 1 else ''} could not be read:"] if count else []
    lines += [f"  {path}: {why}" for path, why in found.unread]
    if found.repeated:
        count = len(found.repeated)
        lines.append(f"{count} run{'s' if count > 1 else ''} found again and counted once:")
        lines += [f"  {path} is {first}" for path, first in found.repeated]
    lines += found.notes
    runs, groups = len(found.records), len(written.groups)
    return [
        *lines,
        f"{written.path}: {runs} run{'s' if runs != 1 else ''} in {groups} "
        f"group{'s' if groups != 1 else ''}",
    ]


def _progress(done: int, runs: int) -> None:
    """One line that is written over; it goes when all runs are read."""
    if done == runs:
        print(f"\r\033[Kdrawing {runs} runs", end="\r", file=sys.stderr, flush=True)
    elif done % 10 == 0:
        print(f"\r\033[Kreading {done}/{runs}", end="", file=sys.stderr, flush=True)


def _check(given: argparse.Namespace) -> None:
    """What can be known before anything is imported."""
    if not 0 <= given.delta < float("inf"):
        raise ValueError(f"--delta is a number from 0 on, not {given.delta:g}.")
    for folder in given.folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder}; give folders of runs or sweeps.")
    if given.output.exists() and not given.output.is_dir():
        raise ValueError(f"{given.output} is a file; --output is a folder.")
    if not given.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {given.output.parent} to write into.")


if __name__ == "__main__":
    main()
