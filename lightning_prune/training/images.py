"""Images: plots of the events so far, in every logger that shows figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_prune.folder import EMPTY

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from matplotlib.figure import Figure

MOST = 20  # images of a fit: drawing one takes longer than many an event
DRAWN = MOST - 2  # events with an image; the end has two


def draw_event(
    trainer: pl.Trainer, events: Sequence[Mapping[str, Any]], planned: int, tag: str
) -> None:
    """Show what every layer keeps, if the last event is one of those that are drawn.

    Arguments:
        trainer: Running.
        events: So far.
        planned: Events of the whole schedule; of more than 18, 18 are drawn.
        tag: Of the image.
    """
    if is_drawn(len(events), planned):
        _draw_layers(trainer, events, planned, tag)


def draw_end(
    trainer: pl.Trainer,
    events: Sequence[Mapping[str, Any]],
    dense: Mapping[str, float],
    planned: int,
    named: Callable[[str], str],
) -> None:
    """Show what every layer keeps, and the module's main metric over keep if it was logged.

    A module names its main metric in the attribute `main_metric`; logged as `val/NAME` or NAME.

    Arguments:
        trainer: At the end of a fit.
        events: All of them, with the metrics at the ends of their cycles.
        dense: Metrics before the first event.
        planned: Events of the whole schedule.
        named: (quantity) -> tag.
    """
    _draw_layers(trainer, events, planned, named("layers"))
    main = getattr(trainer.lightning_module, "main_metric", None)
    for metric in (f"val/{main}", f"{main}"):
        if any(metric in event["metrics"] for event in events):
            _draw_curve(trainer, events, dense, metric, named("curve"))
            return


def is_drawn(number: int, planned: int) -> bool:
    """Whether the n-th event of so many has an image; of many, some at equal distances.

    It depends on nothing else, so a resumed run draws what the uninterrupted one would have.

    Arguments:
        number: Of the event, from 1.
        planned: Events of the whole schedule.
    """
    if planned <= DRAWN:
        return True
    return number * DRAWN // planned > (number - 1) * DRAWN // planned


def _draw_layers(
    trainer: pl.Trainer, events: Sequence[Mapping[str, Any]], planned: int, tag: str
) -> None:
    found = writers(trainer)
    # a column for each event would make images of a schedule's length
    shown = [event for number, event in enumerate(events, 1) if is_drawn(number, planned)]
    if events and (not shown or shown[-1] is not events[-1]):
        shown.append(events[-1])
    if found and any(event["layers"] for event in shown):  # a control's have none
        # matplotlib takes long to import, which runs without images need not wait for
        from lightning_prune.plots import plot_layers

        _add(found, tag, plot_layers(_report(shown)), trainer.global_step)


def _draw_curve(
    trainer: pl.Trainer,
    events: Sequence[Mapping[str, Any]],
    dense: Mapping[str, float],
    metric: str,
    tag: str,
) -> None:
    found = writers(trainer)
    if found and any(event["layers"] for event in events):
        from lightning_prune.plots import plot_curve

        report = _report(events) | {"dense": {"metrics": dict(dense)}}
        _add(found, tag, plot_curve(report, metric=metric), trainer.global_step)


def writers(trainer: pl.Trainer) -> list[Any]:
    """Of the loggers; TensorBoard's `SummaryWriter` has this method, and what is made like it."""
    if not trainer.is_global_zero:
        return []
    found = (getattr(logger, "experiment", None) for logger in trainer.loggers)
    return [writer for writer in found if hasattr(writer, "add_figure")]


def _report(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    about = {name: events[-1].get(name) for name in ("method", "measure")}
    return EMPTY | about | {"events": [*events]}


def _add(writers: Sequence[Any], tag: str, figure: Figure, step: int) -> None:
    for writer in writers:
        writer.add_figure(tag, figure, step)
