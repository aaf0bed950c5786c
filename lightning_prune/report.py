"""Reports: what one event did, layer by layer and in all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
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
    """

    name: str
    units: int
    kept: int
    params: int
    nonzero: int
    macs: int | None = None
    macs_effective: int | None = None


@dataclass(frozen=True)
class PruneReport:
    """One event.

    Arguments:
        method: Name or parts of the method.
        measure: What `keep` counts, `params` or `macs`.
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
            f"{self.method}: {keep_text(self.keep)} of {self.dense:,} {self.measure}",
        )

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=100, color_system=None, force_jupyter=False)
        with console.capture() as captured:
            console.print(self.table())
            for note in self.notes:
                console.print(f"note: {note}", markup=False, soft_wrap=True)
        return captured.get()


def keep_text(keep: float) -> str:
    """Both readings of a share, `keep 0.10 (sparsity 0.90)`."""
    digits = 2 if round(keep, 2) > 0.05 else 4
    return f"keep {keep:.{digits}f} (sparsity {1 - keep:.{digits}f})"


def layer_table(layers: Iterable[Mapping[str, Any]], title: str) -> Table:
    """A rich table of layers: weights, what is left of them, units and multiply-adds.

    Units are left out where they are the weights themselves.
    """
    from rich.table import Table

    rows = list(layers)
    columns = {"params": "params", "nonzero": "nonzero"}
    if any(row["units"] != row["params"] for row in rows):
        columns = {"units": "units", "kept": "kept"} | columns
    if all(row["macs"] is not None for row in rows):
        columns |= {"macs": "macs", "macs_effective": "effective"}
    table = Table(title=title)
    table.add_column("layer", overflow="fold")
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("keep", justify="right", no_wrap=True)
    for row in rows:
        share = row["nonzero"] / max(row["params"], 1)
        table.add_row(row["name"], *(f"{row[name]:,}" for name in columns), f"{share:.3f}")
    return table
