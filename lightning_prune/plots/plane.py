"""The plane: a grid of points, what a function says there, and panels that show it side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_prune.network.untouched import untouched
from lightning_prune.plots.style import new_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 5  # more panels are spread over rows
PANEL = 2.6  # inches


@dataclass(frozen=True)
class Plane:
    """A square grid over a rectangle.

    Arguments:
        x: Lowest and highest first coordinate.
        y: Lowest and highest second coordinate.
        steps: Points along either side, at least 2.
    """

    x: tuple[float, float] = (-2.0, 2.0)
    y: tuple[float, float] = (-2.0, 2.0)
    steps: int = 200

    @classmethod
    def around(cls, points: Tensor, steps: int = 200, margin: float = 0.1) -> Plane:
        """The rectangle of (n, 2) points, wider by a share of its sides at each edge."""
        low, high = points.min(0).values, points.max(0).values
        edge = margin * (high - low)
        (x, y) = torch.stack([low - edge, high + edge], 1).tolist()
        return cls(tuple(x), tuple(y), steps)

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """The grid's first and second coordinates, (steps,) each."""
        return torch.linspace(*self.x, self.steps), torch.linspace(*self.y, self.steps)

    def points(self) -> Tensor:
        """(steps * steps, 2), row by row of the picture."""
        first, second = self.sides
        columns, rows = torch.meshgrid(first, second, indexing="xy")
        return torch.stack([columns.flatten(), rows.flatten()], 1)

    def values(self, function: Callable[[Tensor], Tensor], batch: int | None = None) -> Tensor:
        """What the function says at every point: (steps, steps, ...), of (n, ...) outputs.

        Arguments:
            function: Of (n, 2) points.
            batch: Points of one call; None: one call.
        """
        parts = self.points().split(batch or self.steps**2)
        return torch.cat([function(part) for part in parts]).unflatten(0, (self.steps, self.steps))

    def frame(self, axes: Axes) -> None:
        """Show the rectangle, with equal scales."""
        axes.set(xlim=self.x, ylim=self.y, aspect="equal")
        axes.grid(visible=False)


def some(rows: Tensor, most: int) -> Tensor:
    """At most so many rows, at equal distances: data often lie in the order of their classes."""
    return rows[:: max(-(-len(rows) // most), 1)]


def device_of(model: Any) -> torch.device:
    """Where a module computes; the CPU where it has no tensors, or is no module."""
    if not isinstance(model, nn.Module):
        return torch.device("cpu")
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def looking(model: Any) -> Iterator[torch.device]:
    """Evaluate without gradients, and leave the model and the random streams as they were."""
    guard = untouched(model) if isinstance(model, nn.Module) else nullcontext()
    with guard, torch.no_grad():
        yield device_of(model)


@contextmanager
def panels(count: int, plane: Plane, legend: bool = False) -> Iterator[tuple[Figure, list[Axes]]]:
    """Axes of one size, as many as asked for, with coordinates at the outer edges only.

    Arguments:
        count: Of panels.
        plane: What they show.
        legend: Leave room for a line beneath.
    """
    from matplotlib.ticker import MaxNLocator

    rows = -(-count // COLUMNS)
    columns = -(-count // rows)
    ratio = (plane.y[1] - plane.y[0]) / (plane.x[1] - plane.x[0])
    height = PANEL * min(max(ratio, 0.4), 2.5) + 0.35
    size = (PANEL * columns + 1.0, height * rows + 0.65 * legend)
    with new_figures(rows, columns, *size, sharex=True, sharey=True) as (figure, axes):
        # panels have the shape of the plane, which leaves gaps that the layout is to close
        figure.set_layout_engine("compressed")
        # the outermost labels would touch those of the next panel
        axes[0].xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], prune="both"))
        axes[0].yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        for empty in axes[count:]:
            empty.set_visible(False)
        # where the last row is short, the panels above its gap are the lowest of their columns
        for place in range(max(count - columns, 0), count):
            axes[place].tick_params(labelbottom=True)
        yield figure, axes[:count]
