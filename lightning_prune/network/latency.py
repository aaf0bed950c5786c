"""Latency tables: what a layer of any width costs in time, as measured on one machine."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_prune.network.layers import plain_name


@dataclass(frozen=True)
class Table:
    """Nanoseconds of a layer alone, by the sizes of the first two dimensions of its weight.

    Between the sizes that were measured the table is bilinear. It never falls, so that no unit
    has a negative price.

    Arguments:
        rows: Sizes of the first dimension, rising from 0.
        columns: Of the second; (0, 1) where the layer has but one size.
        nanoseconds: Whole numbers by row and column; 0 where a size is 0.

    Raises:
        ValueError: The numbers are of another form, or fall.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    nanoseconds: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        grid = torch.tensor(self.nanoseconds)
        if grid.shape != (len(self.rows), len(self.columns)) or min(grid.shape) < 2:
            raise ValueError("A table of latencies has a number for every row and column.")
        for sizes in (self.rows, self.columns):
            if sizes[0] != 0 or any(a >= b for a, b in pairwise(sizes)):
                raise ValueError(f"The sizes of a table rise from 0, unlike {list(sizes)}.")
        if grid[0].any() or grid[:, 0].any() or (grid.diff(dim=0) < 0).any():
            raise ValueError("A table of latencies begins with zeros and never falls.")
        if (grid.diff(dim=1) < 0).any():
            raise ValueError("A table of latencies never falls.")

    @property
    def dense(self) -> int:
        """Of the widest layer."""
        return self.nanoseconds[-1][-1]

    def __call__(self, row: int, column: int = 1) -> int:
        """Nanoseconds of a layer of these sizes, rounded down."""
        i, j = _below(self.rows, row), _below(self.columns, column)
        left, right = self.columns[j : j + 2]
        low, high = self.rows[i : i + 2]
        # in whole numbers: rounded, a sum of floats could fall by one where it should not
        across = [
            self.nanoseconds[at][j] * (right - column)
            + self.nanoseconds[at][j + 1] * (column - left)
            for at in (i, i + 1)
        ]
        weighted = across[0] * (high - row) + across[1] * (row - low)
        return weighted // ((high - low) * (right - left))


@dataclass(frozen=True, eq=False)
class LatencyTables:
    """What the layers of a network cost in time at any width; a measure that `keep` may count.

    The latency of a network is a constant rest and the sum of its layers' tables, which for the
    dense network is the latency that was measured.

    Arguments:
        tables: Layers that are used alike share one.
        layers: By name of the layer, the tables of its uses in one forward, by place.
        rest: Nanoseconds of all that is in no table, which pruning leaves as it is.
        batch: Samples of the forward.
        threads: Of torch.
        device: Where it was measured.
    """

    tables: tuple[Table, ...]
    layers: Mapping[str, tuple[int, ...]]
    rest: int
    batch: int = 1
    threads: int = 1
    device: str = "cpu"

    @property
    def dense(self) -> int:
        """Nanoseconds of one forward of the dense network."""
        places = [place for uses in self.layers.values() for place in uses]
        return self.rest + sum(self.tables[place].dense for place in places)

    def cost(self, name: str, shape: Sequence[int]) -> int:
        """Nanoseconds of a layer in one forward; 0 where it is in no table.

        Arguments:
            name: Of the layer.
            shape: Of its weight, or of the weight that would be left.
        """
        sizes = []
        uses = [self.tables[place] for place in self.layers.get(name, ())]
        for table in uses:
            plain = table.columns == (0, 1)
            sizes.append(table(shape[0]) if plain else table(shape[0], shape[1]))
        return sum(sizes)

    def of(self, model: nn.Module) -> int:
        """Nanoseconds of one forward of a network of these layers, as wide as they are now."""
        return self.rest + sum(self.cost(name, shape) for name, shape in _shapes(model))

    def check(self, model: nn.Module) -> None:
        """Refuse tables of another network.

        Raises:
            ValueError: A layer is missing in the network, or is wider than the table.
        """
        shapes = dict(_shapes(model))
        for name, uses in self.layers.items():
            shape = shapes.get(name)
            for table in (self.tables[place] for place in uses):
                if shape is not None and shape[0] <= table.rows[-1]:
                    plain = table.columns == (0, 1)
                    if plain or shape[1] <= table.columns[-1]:
                        continue
                raise ValueError(
                    f"The latency tables are of another network: its layer {name!r} is "
                    f"{'missing here' if shape is None else 'wider here'}; measure them anew."
                )

    def to_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and dicts only."""
        return {
            "tables": [
                {
                    "rows": list(table.rows),
                    "columns": list(table.columns),
                    "nanoseconds": [list(row) for row in table.nanoseconds],
                }
                for table in self.tables
            ],
            "layers": {name: list(uses) for name, uses in self.layers.items()},
            "rest": self.rest,
            "batch": self.batch,
            "threads": self.threads,
            "device": self.device,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> LatencyTables:
        """What `to_dict` made.

        Raises:
            ValueError: It is something else.
        """
        try:
            tables = tuple(
                Table(tuple(t["rows"]), tuple(t["columns"]), tuple(map(tuple, t["nanoseconds"])))
                for t in found["tables"]
            )
            layers = {name: tuple(uses) for name, uses in found["layers"].items()}
            about = {name: found[name] for name in ("rest", "batch", "threads", "device")}
            return cls(tables, layers, **about)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"These are no latency tables: {error!r}.") from None

    def save(self, path: str | Path) -> None:
        """Write them as json."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> LatencyTables:
        """What `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It holds no latency tables.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path} holds no latency tables: {error}") from None

    def __str__(self) -> str:
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"nanoseconds ({self.device}, batch {self.batch}{threads})"


def _below(sizes: Sequence[int], size: int) -> int:
    """The place of the interval that a size lies in."""
    return min(bisect_right(sizes, size), len(sizes) - 1) - 1


def _shapes(model: nn.Module) -> Iterator[tuple[str, torch.Size]]:
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            yield plain_name(name), weight.shape
