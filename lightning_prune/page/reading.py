"""Reading: runs are found and read one at a time; what cannot be read is named."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_prune.folder import INNER, STATUS, RunFolder, load_report
from lightning_prune.page.record import Record, Shared, build

REPORT = "report.json"
NAMED = 3  # folders of a note
Progress = Callable[[int, int], None]


@dataclass
class Found:
    """What was read.

    Arguments:
        records: Of runs, in the order of their folders.
        unread: Folder and reason of every run that could not be read.
        repeated: Folder of every run that was counted once already, and that of its equal.
        notes: What else a reader should know.
    """

    records: list[Record] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    repeated: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_runs(
    folders: Sequence[str | os.PathLike[str]],
    metric: str | None = None,
    progress: Progress | None = None,
) -> Found:
    """Every run in the folders and below them.

    Arguments:
        folders: Of runs, sweeps, or several of them.
        metric: Name of a metric; None: each run's main metric.
        progress: Called with the number of runs read, and of all.

    Raises:
        FileNotFoundError: A folder does not exist, or has no run in it.
        ValueError: No run could be read.
    """
    places = list(_places(folders))
    found, shared = Found(), Shared()
    known: dict[str, Record] = {}
    for number, (path, told) in enumerate(places, 1):
        try:
            record = read_run(path, told, metric, shared)
        except (OSError, ValueError) as error:
            found.unread.append((told, str(error)))
        else:
            first = known.setdefault(record.identity, record)
            if first is record:
                found.records.append(record)
            else:
                found.repeated.append((told, first.told))
                _compare(record, first, found)
        if progress is not None:
            progress(number, len(places))
    found.notes += _unknown(found.records)
    if not found.records:
        told, why = found.unread[0]
        raise ValueError(f"None of {len(places)} runs could be read; the first, {told}: {why}.")
    return found


def find_folders(root: str | os.PathLike[str]) -> list[Path]:
    """Folders of runs, also of those that a Trainer's callback wrote, without a status.

    Raises:
        FileNotFoundError: There is no such folder, or no run in it.
    """
    if not Path(root).is_dir():
        raise FileNotFoundError(f"There is no folder {root}; give folders of runs or sweeps.")
    found = []
    for place, inner, files in os.walk(root):
        inner[:] = sorted(set(inner) - INNER)
        if {STATUS, REPORT} & set(files):
            found.append(Path(place))
    if not found:
        raise FileNotFoundError(
            f"There is no run in {root}; a run's folder has a {REPORT} or a {STATUS}."
        )
    return found


def read_run(path: Path, told: str, metric: str | None, shared: Shared) -> Record:
    """The record of one run.

    Raises:
        FileNotFoundError: It has no report.
        ValueError: Its report is torn, it is not finished, or has no number to draw.
    """
    status = RunFolder(path).read_status()
    if status["status"] == "failed":
        raise ValueError(f"it failed: {status.get('sentence', 'no reason was kept')}")
    if not (path / REPORT).is_file():
        raise FileNotFoundError(f"it has no {REPORT}")
    try:
        report = load_report(path)
    except ValueError:
        raise ValueError(f"its {REPORT} is torn, or another program's") from None
    # a callback's report has no config, and is whole after every event
    if status["status"] == "running" or (report["config"] and not report["final"]):
        raise ValueError("it is not finished")
    identity = status.get("identity") or _identity(report)
    about = {"path": path, "told": told, "identity": identity, "command": _command(path, report)}
    try:
        return build(report, about, metric, shared)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its {REPORT} is another program's ({error!r})") from None


def _places(folders: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[Path, str]]:
    """Every run's folder once, and how it is named: as seen from where the command is."""
    seen = set()
    for root in folders:
        for path in find_folders(root):
            resolved = path.resolve()
            if resolved not in seen:
                seen.add(resolved)
                yield path, path.as_posix()


def _identity(report: dict[str, Any]) -> str:
    """Of a run without a status: equal reports are of the same run."""
    text = json.dumps(report, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _command(path: Path, report: dict[str, Any]) -> tuple[str, ...] | None:
    """The overrides: of the report, else of the run's rows of its sweep's table."""
    text = (report["extra"] or {}).get("command")
    file = path / "rows.csv"
    if not text and file.is_file():
        with file.open(encoding="utf-8", newline="") as opened:
            text = next(csv.DictReader(opened), {}).get("command")
    return tuple(shlex.split(text)[1:]) if text else None


def _unknown(records: Sequence[Record]) -> Iterator[str]:
    """Runs whose config is missing, which are comparable for all that is known."""
    told = [record.told for record in records if not record.base]
    if told:
        more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
        yield (
            f"No config is known of {', '.join(told[:NAMED])}{more}: networks are compared by size "
            "and layers there, and nothing says that they were trained alike."
        )


def _compare(record: Record, first: Record, found: Found) -> None:
    mine, others = (each.points[-1].metric for each in (record, first))
    if mine != others:
        found.notes.append(
            f"{record.told} and {first.told} are the same run, but end at {mine} and {others}; "
            "the latter counts."
        )
