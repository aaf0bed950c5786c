"""The run folder: tables and one report that a reader, or a program, finds after a run."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
STATUS = "run.json"
# in these no run is looked for
INNER = {"checkpoints", "control", "dense", "earlier", "logs", "plots"}

# every report has these, whoever writes the first part of it
EMPTY: dict[str, Any] = {
    "schema": SCHEMA,
    "method": None,
    "seed": None,
    "measure": None,
    "dense": None,
    "control": None,
    "final": None,
    "events": [],
    "layers": [],
    "environment": {},
    "config": {},
    "bounds": None,
    "extra": {},
}

EVENT_COLUMNS = (
    "epoch", "step", "keep_target", "keep", "params", "nonzero", "macs", "macs_effective",
    "seconds", "bound", "error", "held_out",
)  # fmt: skip
# of a sweep's table: it begins with these; metrics and the settings of the command follow
COLUMNS = (
    "run", "method", "seed", "measure", "event", "last", "epoch", "step", "keep_target", "keep",
    "params", "nonzero", "macs", "macs_effective", "seconds", "main_metric", "direction", "metric",
    "dense", "control", "control_cycle",
)  # fmt: skip
CLOSING = ("identity", "command")
LAYER_COLUMNS = (
    "name", "units", "kept", "params", "nonzero", "macs", "macs_effective", "bound_seen", "bound",
    "error", "error_mean", "slices", "scheme",
)  # fmt: skip


class RunFolder:
    """`events.csv`, `layers.csv` and `report.json` of one run.

    Every file is replaced as a whole, so that a reader never sees half of one.

    Arguments:
        path: The folder; it is made when something is written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def write_events(self, events: Sequence[Mapping[str, Any]]) -> Path:
        """One row an event, its metrics as columns of their own.

        Arguments:
            events: With `epoch`, `step`, `keep_target`, `keep`, `params`, `nonzero`, `macs`,
                `macs_effective`, `seconds`; `metrics` (name to number) and `notes` may be missing.
        """
        metrics = list(dict.fromkeys(name for e in events for name in e.get("metrics") or {}))
        rows = [
            [i, *(event.get(column) for column in EVENT_COLUMNS)]
            + [(event.get("metrics") or {}).get(name) for name in metrics]
            + ["; ".join(event.get("notes") or ())]
            for i, event in enumerate(events, 1)
        ]
        return self._write_csv("events.csv", ["event", *EVENT_COLUMNS, *metrics, "notes"], rows)

    def write_layers(self, events: Sequence[Mapping[str, Any]]) -> Path:
        """One row an event and layer.

        Arguments:
            events: As for `write_events`; the rows are their `layers`.
        """
        rows = [
            [i, event["epoch"], event["step"], *(layer.get(column) for column in LAYER_COLUMNS)]
            for i, event in enumerate(events, 1)
            for layer in event.get("layers") or ()
        ]
        return self._write_csv("layers.csv", ["event", "epoch", "step", *LAYER_COLUMNS], rows)

    def read_report(self) -> dict[str, Any]:
        """The report as it stands; an empty one where there is none.

        A file that is no whole report (a power cut, a full disk) is set aside with a warning that
        names it: what can still be read from it is not lost.
        """
        path = self.path / "report.json"
        if not path.is_file():
            return dict(EMPTY)
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(report, dict):
                raise ValueError("not an object")
        except ValueError:
            aside = path.with_suffix(".json.torn")
            os.replace(path, aside)
            warnings.warn(
                f"{path} is torn; it was set aside as {aside.name} and is written anew.",
                stacklevel=2,
            )
            return dict(EMPTY)
        return EMPTY | report

    def update_report(self, **parts: Any) -> dict[str, Any]:
        """Replace parts of the report and leave the others; `extra` is added to.

        Arguments:
            parts: By their names in the report, of numbers, strings, lists and dicts. Numbers
                that JSON does not know (nan, inf) become null.

        Returns:
            The whole report.
        """
        report = self.read_report()
        extra = {**report["extra"], **parts.pop("extra", {})}
        report |= {**plain(parts), "extra": plain(extra), "schema": SCHEMA}
        self._write("report.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
        return report

    def write_rows(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """`rows.csv`: what the run adds to the table of a sweep, one row an event."""
        return self.write_table("rows.csv", rows)

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """A csv file with a column for every key, in the order in which they first appear."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        return self._write_csv(name, columns, [[row.get(key) for key in columns] for row in rows])

    def write_status(self, status: str, **parts: Any) -> None:
        """`run.json`: how far the run is (`running`, `finished`, `failed`), and more about it."""
        self.write_json(STATUS, {"status": status, **parts})

    def read_status(self) -> dict[str, Any]:
        """What `write_status` wrote; only `status: none` where nothing whole is."""
        return {"status": "none"} | self.read_json(STATUS)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """A small file of numbers, strings, lists and dicts."""
        self._write(name, json.dumps(plain(value), indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """What `write_json` wrote; empty where nothing whole is."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        return self._write(name, text.getvalue())

    def _write(self, name: str, text: str) -> Path:
        self.path.mkdir(parents=True, exist_ok=True)
        target = self.path / name
        # in the same folder, because a file is only replaced at once within a file system
        handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            # mkstemp's files are for their owner only
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return target


def find_runs(root: str | os.PathLike[str]) -> list[Path]:
    """Folders of runs in a folder and below it, in the order of their names.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not Path(root).is_dir():
        raise FileNotFoundError(f"There is no folder {root}.")
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - INNER)
        if STATUS in files:
            found.append(Path(place))
    return found


def load_report(source: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    """A report, given as such, as its file or as the run folder it lies in.

    Raises:
        FileNotFoundError: There is no report.
        ValueError: The file is no report.
    """
    if isinstance(source, Mapping):
        return dict(source)
    path = Path(source)
    file = path / "report.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"There is no report at {file}; give report.json or its folder.")
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        return EMPTY | report
    except (ValueError, TypeError):
        raise ValueError(f"{file} is no report: it is torn, or another program's.") from None


def plain(value: Any) -> Any:
    """The value in numbers, strings, lists and dicts that JSON knows.

    Raises:
        TypeError: It holds something else.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "item"):  # a number of torch or numpy
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"A report holds numbers, strings, lists and dicts, not {value!r}.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
