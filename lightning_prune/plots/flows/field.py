"""Field: the velocities that flows follow, and how fast they are where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_prune.plots.flows.flow import Flow, check_flows
from lightning_prune.plots.plane import Plane, looking, panels
from lightning_prune.plots.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

LEVELS = 20


def plot_field(
    flows: Mapping[str, Flow],
    path: str | os.PathLike[str] | None = None,
    plane: Plane | None = None,
    time: float = 0.0,
) -> Figure:
    """Stream lines of each flow's velocity over its speed, on one scale of speeds.

    The whole grid is one call of the network. Velocities lead from data to noise.

    Arguments:
        flows: Name of the panel to flow.
        path: Where the figure is saved; None: nowhere.
        plane: What is shown; None: [-2, 2] x [-2, 2] by 100 x 100 points.
        time: 0 at the data, 1 at the noise; of no matter where the field does not know time.

    Raises:
        ValueError: There is no flow, one is not 2-D, or no velocity is finite.
    """
    check_flows(flows)
    plane = plane or Plane(steps=100)
    fields = {name: _velocity(flow, plane, time) for name, flow in flows.items()}
    speeds = {name: field.norm(dim=-1) for name, field in fields.items()}
    known = torch.cat([speed[speed.isfinite()] for speed in speeds.values()])
    if not known.numel():
        raise ValueError("No flow has a finite velocity in the plane.")
    top = float(known.max()) or 1.0
    levels = torch.linspace(0, top, LEVELS + 1).tolist()
    first, second = (side.numpy() for side in plane.sides)
    with panels(len(flows), plane) as (figure, axes):
        for here, (name, field) in zip(axes, fields.items(), strict=True):
            filled = here.contourf(
                first, second, speeds[name].numpy(), levels, cmap="YlGnBu", vmin=0
            )
            if float(speeds[name].nan_to_num().max()) > 0:  # a field that rests has no streams
                u, v = field.unbind(-1)
                here.streamplot(
                    first, second, u.numpy(), v.numpy(),
                    color="#333333", density=0.9, linewidth=0.7, arrowsize=0.8,
                )  # fmt: skip
            here.set_title(name)
            plane.frame(here)
        bar = figure.colorbar(filled, ax=axes, shrink=0.85, pad=0.02)
        bar.set_label(f"speed at time {time:g}")
        bar.locator = _ticks()
        bar.update_ticks()
        return save(figure, path)


def _velocity(flow: Flow, plane: Plane, time: float) -> Tensor:
    with looking(flow) as device:
        return plane.values(lambda x: flow.velocity(time, x.to(device)).float().cpu())


def _ticks() -> Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(6)
