"""Density: what flows have learnt, panel by panel on one scale."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_prune.plots.flows.flow import Flow, check_flows, check_points
from lightning_prune.plots.plane import Plane, looking, panels, some
from lightning_prune.plots.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH = 8192  # points of one call: a solver keeps several states of each
TOP = 0.9999  # of the densities; above it colours no longer change, so that one spike hides nothing
SHOWN = 20_000  # of the data's points


def plot_density(
    flows: Mapping[str, Flow],
    path: str | os.PathLike[str] | None = None,
    points: Tensor | None = None,
    plane: Plane | None = None,
    batch: int = BATCH,
) -> Figure:
    """The densities of flows side by side, with the same colours for the same density.

    Arguments:
        flows: Name of the panel to flow, such as `dense`, `keep 0.30`, `control`.
        path: Where the figure is saved; None: nowhere.
        points: (n, 2), of the data: their own panel, the first.
        plane: What is shown; None: [-2, 2] x [-2, 2] by 200 x 200 points.
        batch: Points of one evaluation.

    Raises:
        ValueError: There is no flow, one is not 2-D, or the points are not.
    """
    check_flows(flows)
    plane = plane or Plane()
    densities = {name: _density(flow, plane, batch) for name, flow in flows.items()}
    known = torch.cat([density.flatten() for density in densities.values()])
    known = known[known.isfinite()]
    top = float(known.quantile(TOP)) if 0 < known.numel() <= 2**24 else float("nan")
    if not top > 0:
        top = float(known.max()) if known.numel() else 1.0
    first = [] if points is None else [some(check_points(points), SHOWN)]
    with panels(len(first) + len(flows), plane) as (figure, axes):
        for data in first:
            axes[0].set_title("data")
            axes[0].plot(*data.T, ".", ms=1.2, alpha=0.4, color="0.25", rasterized=True)
            plane.frame(axes[0])
        for here, (name, density) in zip(axes[len(first) :], densities.items(), strict=True):
            # a missing density, of a solver that diverged, stays white
            image = here.imshow(
                density.numpy(),
                extent=(*plane.x, *plane.y),
                origin="lower",
                vmin=0,
                vmax=top or 1.0,
                cmap="viridis",
            )
            here.set_title(name)
            plane.frame(here)
        figure.colorbar(image, ax=axes, label="density", extend="max", shrink=0.85, pad=0.02)
        return save(figure, path)


def _density(flow: Flow, plane: Plane, batch: int) -> Tensor:
    with looking(flow) as device:
        return plane.values(lambda x: flow.log_prob(x.to(device)).exp().float().cpu(), batch)
