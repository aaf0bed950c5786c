"""Reports: what one event did, layer by layer and in all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class LayerReport:
    """One layer after an event.

    Arguments:
        name: Of the layer.
        units: Units its structure splits it into.
        kept: Units that are left.
        params: Entries of the dense weight.
        nonzero: Entries that are not zero.
        macs: Multiply-adds per sample of the dense layer; None: not traced.
        macs_effective: Those of the entries that are not zero; None: not traced.
        bound_seen: Theory's bound on the relative error of the layer's sums, for the inputs that
            the criterion saw; None: there is no theory, or units were drawn.
        bound: The same for other inputs; 1 and more says nothing.
        error: The error measured on held-out inputs, the largest over rows and inputs; of a
            factored layer that of the folded weight, in the spectral norm.
        error_mean: The same, the mean over rows.
        slices: Of a factored layer, whose `kept` is the rank of each; None: it is not factored.
        scheme: Of folding, with it.
    """

    name: str
    units: int
    kept: int
    params: int
    nonzero: int
    macs: int | None = None
    macs_effective: int | None = None
    bound_seen: float | None = None
    bound: float | None = None
    error: float | None = None
    error_mean: float | None = None
    slices: int | None = None
    scheme: int | None = None


@dataclass(frozen=True)
class PruneReport:
    """One event.

    Arguments:
        method: Name or parts of the method.
        measure: What `keep` counts: `params`, `macs` or `latency`, the last in nanoseconds.
        keep_target: Share of the dense network that was asked for.
        keep: Share that is left, at most the target.
        dense: The dense network, in the measure.
        left: What is left of it, in the measure.
        budget: The most that the target allowed, in the measure.
        params: Entries of all parameters of the dense network.
        nonzero: Those that are not zero after the event, whole network.
        macs: Multiply-adds of one sample's forward of the dense network; None: not traced.
        macs_effective: Those that are left; None: not traced.
        cut: The key at which the order was cut; None where nothing was cut.
        seconds: Wall-clock time of the event.
        layers: One row a layer.
        notes: What a reader should know: floors that bind, layers left out and why.
        bound: The largest of the layers' bounds; None: the method has no theory.
        error: The largest of the layers' errors.
        held_out: Samples that the errors were measured on; 0: none but those seen.
    """

    method: str
    measure: str
    keep_target: float
    keep: float
    dense: int
    left: int
    budget: int
    params: int
    nonzero: int
    macs: int | None
    macs_effective: int | None
    cut: float | None
    seconds: float
    layers: tuple[LayerReport, ...]
    notes: tuple[str, ...] = ()
    bound: float | None = None
    error: float | None = None
    held_out: int | None = None

    @property
    def gap(self) -> int:
        """What the budget would still have allowed, in the measure."""
        return self.budget - self.left

    def to_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and dicts only."""
        plain = dataclasses.asdict(self)
        plain["layers"] = [dataclasses.asdict(layer) for layer in self.layers]
        plain["notes"] = list(self.notes)
        return plain | {"gap": self.gap}

    def table(self) -> Table:
        """The layers and the whole network, for a console."""
        return layer_table(
            [dataclasses.asdict(layer) for layer in self.layers],
            f"{self.method}: {keep_text(self.keep)} of {amount(self.dense, self.measure)}",
        )

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=100, color_system=None, force_jupyter=False)
        with console.capture() as captured:
            console.print(self.table())
            for note in self.notes:
                console.print(f"note: {note}", markup=False, soft_wrap=True)
        return captured.get()


def bounds_of(events: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What a report says of bounds: those of the last event; None where it has none."""
    if not events or events[-1].get("bound") is None:
        return None
    last = events[-1]
    names = ("name", "bound_seen", "bound", "error", "error_mean")
    layers = [{n: row[n] for n in names} for row in last["layers"] if row["bound"] is not None]
    vacuous = [row["name"] for row in layers if row["bound"] >= 1]
    about = {name: last[name] for name in ("bound", "error", "held_out")}
    return about | {"layers": layers, "vacuous": vacuous}


def amount(dense: int, measure: str) -> str:
    """The dense network in the measure, `8,642 params` or `3.21 ms`."""
    return f"{dense / 1e6:.3g} ms" if measure == "latency" else f"{dense:,} {measure}"


def keep_text(keep: float) -> str:
    """Both readings of a share, `keep 0.10 (sparsity 0.90)`."""
    digits = 2 if round(keep, 2) > 0.05 else 4
    return f"keep {keep:.{digits}f} (sparsity {1 - keep:.{digits}f})"


def layer_table(layers: Iterable[Mapping[str, Any]], title: str) -> Table:
    """A rich table of layers: weights, what is left of them, units, multiply-adds and bounds.

    Units are left out where they are the weights themselves, bounds where there is no theory.
    """
    from rich.table import Table

    rows = list(layers)
    columns = {"params": "params", "nonzero": "nonzero"}
    if factored := any(row.get("slices") for row in rows):
        columns = {"kept": "rank", "slices": "slices", "nonzero": "stored"}  # for want of width
    elif any(row["units"] != row["params"] for row in rows):
        columns = {"units": "units", "kept": "kept"} | columns
    if any(row.get("scheme") for row in rows):
        columns = {"scheme": "scheme"} | columns
    if all(row["macs"] is not None for row in rows):
        columns |= {} if factored else {"macs": "macs"}
        columns |= {"macs_effective": "effective"}
    bounded = any(row.get("bound") is not None for row in rows)
    table = Table(title=title)
    table.add_column("layer", overflow="fold", min_width=12)
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("keep", justify="right", no_wrap=True)
    for heading in ("bound", "error") if bounded else ():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        share = row["nonzero"] / max(row["params"], 1)
        told = ("" if row[name] is None else f"{row[name]:,}" for name in columns)
        cells = [row["name"], *told, f"{share:.3f}"]
        if bounded:
            pair = (row["bound"], row["error"])
            cells += ["" if value is None else f"{value:.3g}" for value in pair]
        table.add_row(*cells)
    return table
