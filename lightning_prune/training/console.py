"""The console: what a run says of its events, on the first rank and if it is asked to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_prune.methods import Method, method_name
from lightning_prune.report import amount, keep_text, layer_table
from lightning_prune.schedules import Schedule

MANY = 20  # events; with more of them only every tenth is told
TENTH = 10
NAMED = 3  # of many times, so many are named, and the last


class Console:
    """Lines about a run.

    Attributes:
        verbose: Print; without it nothing is said.
        planned: Events of the whole schedule.
    """

    def __init__(self) -> None:
        self.verbose, self.planned = True, 0
        self._told: set[str] = set()

    def say(self, text: str) -> None:
        """One line."""
        if self.verbose:
            print(text, flush=True)

    def plan(self, method: Method | None, schedule: Schedule) -> None:
        """What will happen and when."""
        unit, targets = schedule.unit, schedule.targets()
        if method is None:
            text = f"events at {unit}s {_listed([str(time) for time in targets])}"
        else:
            text = _listed([f"{unit} {time}: {keep_text(keep)}" for time, keep in targets.items()])
        self.say(f"pruning with {method_name(method)}: {text}")

    def event(self, number: int, event: Mapping[str, Any]) -> None:
        """A line of an event and one of each of its notes.

        Of many events the first, the last and every tenth have their lines, and a note is told
        once.

        Arguments:
            number: Of the event, from 1.
            event: As it stands in the log.
        """
        many = self.planned > MANY
        if not many or number % TENTH == 0 or number in (1, self.planned):
            where = f"epoch {event['epoch']}, step {event['step']}"
            if "measure" in event:
                self.say(
                    f"{where}: {keep_text(event['keep'])} of "
                    f"{amount(event['dense'], event['measure'])}, {event['nonzero']:,} non-zero, "
                    f"in {event['seconds']:.2f} s"
                )
            else:
                self.say(f"{where}: the control prunes nothing")
        for note in event["notes"]:
            if not many or note not in self._told:
                self.say(f"  note: {note}")
                self._told.add(note)

    def missed(self, schedule: Schedule, last: int, keep: float) -> None:
        """That events did not happen, if so.

        Arguments:
            schedule: Of the run.
            last: Time up to which events were done.
            keep: Share of the dense network that is left.
        """
        times = [str(time) for time in schedule.targets() if time > last]
        if times:
            self.say(
                f"note: the events at {schedule.unit}s {_listed(times)} did not happen, because "
                f"training ended before; left is {keep_text(keep)}"
            )

    def left(self, event: Mapping[str, Any]) -> None:
        """The layers after an event, as a table."""
        if self.verbose and event["layers"]:
            from rich.console import Console as RichConsole

            RichConsole().print(layer_table(event["layers"], f"left: {keep_text(event['keep'])}"))


def _listed(parts: list[str]) -> str:
    if len(parts) <= MANY:
        return ", ".join(parts)
    return f"{', '.join(parts[:NAMED])}, ..., {parts[-1]} ({len(parts)} events)"
