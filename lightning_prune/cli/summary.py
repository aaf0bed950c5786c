"""Summary: the report, the plots and the table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from lightning_prune.cli.checks import short
from lightning_prune.cli.experiment import Experiment
from lightning_prune.cli.scores import Scores
from lightning_prune.folder import RunFolder
from lightning_prune.plots import plot_bounds, plot_curve, plot_layers
from lightning_prune.report import bounds_of, keep_text

NO_BREAK = "\N{NO-BREAK SPACE}"


def finish(
    results: RunFolder, experiment: Experiment, scores: Scores, control: bool
) -> dict[str, Any]:
    """Test every cycle's end, measure dense, control and final, and write it all down.

    Returns:
        The report.
    """
    pruned = experiment.pruned
    compared = {"dense": experiment.before.cycle(0), "final": pruned.final}
    if control:
        compared["control"] = experiment.control.final
    stages = {"dense": experiment.before, "control": experiment.control}
    structured = pruned.method is not None and pruned.method.structure.structured
    known = scores.compare(
        {name: path for name, path in compared.items() if path.is_file()},
        {name: stage.folder for name, stage in stages.items() if stage.shared},
        masked="final" if structured and not experiment.cfg.thin else None,
    )
    events = trained_events(experiment)
    for number, event in enumerate(events, 1):
        last = number == len(events)
        if last:
            metrics = known["final"]["metrics"]
        elif pruned.cycle(number).is_file():
            metrics = scores.test(scores.load(pruned.cycle(number)))
        else:
            metrics = {}
        event["metrics"] = {**(event.get("metrics") or {}), **metrics}
    if control and len(events) > 1:
        beside = scores.cycles(experiment.control, len(events))
        events = [{**e, "control": m} for e, m in zip(events, beside, strict=True)]
    results.write_events(events)
    results.write_layers(events)
    task = experiment.task()
    return results.update_report(
        dense=known.get("dense"),
        control=known.get("control"),
        final=known["final"],
        events=events,
        layers=events[-1]["layers"] if events else [],
        bounds=bounds_of(events),
        environment=experiment.environment(),
        extra=_main_metric(task, known["final"]["metrics"])
        | _floor(scores.data)
        | _slices(scores, pruned.final),
    )


def trained_events(experiment: Experiment) -> list[dict[str, Any]]:
    """The events as the final checkpoint knows them: the files may be of an earlier stop."""
    callback = experiment.pruning(experiment.pruned)
    state = torch.load(experiment.pruned.final, map_location="cpu", weights_only=True)
    callback.load_state_dict(state["callbacks"][callback.state_key])
    return callback.events


def _main_metric(task: Any, metrics: Mapping[str, float]) -> dict[str, Any]:
    """What compares the networks: the task's own choice, else its first test metric."""
    name = f"test/{task.main_metric}" if hasattr(task, "main_metric") else next(iter(metrics), None)
    told = {"main_metric": name, "direction": getattr(task, "direction", None)}
    return told | ({"likelihood": task.about()} if hasattr(task, "about") else {})


def _floor(data: Any) -> dict[str, Any]:
    """The entropy of the data, where it is known: no density has a smaller expected loss."""
    return {"floor": data.floor} if getattr(data, "floor", None) is not None else {}


def _slices(scores: Scores, final: Path) -> dict[str, Any]:
    """Of factored layers, where slices cost time."""
    told = scores.slices(final)
    return {} if told is None else {"slices": told}


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """The plots, as far as there is something to draw."""
    metric = report["extra"].get("main_metric")
    if any((event["metrics"] or {}).get(metric) is not None for event in report["events"]):
        plot_curve(report, folder / "plots" / "curve.png")
    if any(event.get("layers") for event in report["events"]):
        plot_layers(report, folder / "plots" / "layers.png")
    if report["bounds"]:
        plot_bounds(report, folder / "plots" / "bounds.png")


def show(report: Mapping[str, Any], folder: Path) -> None:
    """The table, and in one line what came of it."""
    metric = report["extra"].get("main_metric")
    console = Console()
    console.print(results_table(report))
    events = report["events"]
    line = keep_text(events[-1]["keep"]) if events else "no event"
    for name, title in (("final", metric), ("control", "dense control"), ("dense", "dense")):
        value = ((report[name] or {}).get("metrics") or {}).get(metric)
        if value is not None:
            line += f", {title} {value:.4f}"
    console.print(line, highlight=False, soft_wrap=True)
    for told in (report["extra"].get("slices"), (report["final"] or {}).get("thin_refused")):
        if told:
            console.print(f"note: {told}", highlight=False, soft_wrap=True, markup=False)
    where = f"report, tables, checkpoints and plots: {short(folder)}"
    console.print(where, highlight=False, soft_wrap=True)


def results_table(report: Mapping[str, Any]) -> Table:
    """The dense network, every event and the control, a row each; the last event is the result."""
    metric = report["extra"].get("main_metric")
    table = Table(
        title=f"{report['method']}; keep counts {report['measure']}",
        caption="macs: multiply-adds of one sample with non-zero weights; thin: the last network "
        "without its zero filters, keep in parameters; control: dense, trained as long"
        if (report["final"] or {}).get("thin")
        else "macs: multiply-adds of one sample with non-zero weights; "
        "control: dense, trained as long",
        pad_edge=False,
    )
    table.add_column("network")
    for heading in ("epoch", "keep (sparsity)", "nonzero", "macs", "ms", metric or ""):
        table.add_column(heading, justify="right")
    table.add_row("dense", "", *_cells(report["dense"], 1.0, metric))
    for number, event in enumerate(report["events"], 1):
        last = number == len(report["events"])
        row = {**event, "latency_ms": (report["final"] or {}).get("latency_ms") if last else None}
        cells = [f"event {number}", str(event["epoch"]), *_cells(row, event["keep"], metric)]
        table.add_row(
            *(cell.replace(" ", NO_BREAK) for cell in cells), style="bold" if last else ""
        )
    if small := (report["final"] or {}).get("thin"):
        cells = _cells(small, small["params"] / report["dense"]["params"], None)
        table.add_row("  thin", "", *cells)
    if report["control"]:
        table.add_section()
        table.add_row("control", "", *_cells(report["control"], 1.0, metric))
    return table


def _cells(row: Mapping[str, Any] | None, keep: float, metric: str | None) -> list[str]:
    row = row or {}
    score = (row.get("metrics") or {}).get(metric)
    latency = row.get("latency_ms")
    counts = [row.get("nonzero"), row.get("macs_effective")]
    return [
        keep_text(keep).removeprefix("keep ").replace("sparsity ", ""),
        *("" if count is None else f"{count:,}" for count in counts),
        "" if latency is None else f"{latency:.2f}",
        "" if score is None else f"{score:.4f}",
    ]
