"""Trajectories: the ways from noise to data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_prune.plots.flows.flow import SEED, Flow, check_flows
from lightning_prune.plots.plane import Plane, looking, panels
from lightning_prune.plots.style import CONTROL, PRUNED, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REACH = 3.0  # of 200 points of noise one is farther out along an axis


def plot_trajectories(
    flows: Mapping[str, Flow],
    path: str | os.PathLike[str] | None = None,
    count: int = 200,
    steps: int = 100,
    plane: Plane | None = None,
) -> Figure:
    """The ways of the same noise through each flow, from time 1 to the samples at time 0.

    Arguments:
        flows: Name of the panel to flow.
        path: Where the figure is saved; None: nowhere.
        count: Of ways.
        steps: States along each way, at least 2.
        plane: What is shown; None: all of it, within [-3, 3] x [-3, 3].

    Raises:
        ValueError: There is no flow, or one is not 2-D.
    """
    from matplotlib.collections import LineCollection

    check_flows(flows)
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(SEED))
    ways = {name: _ways(flow, noise, steps) for name, flow in flows.items()}
    plane = plane or _plane(torch.cat([way.flatten(0, 1) for way in ways.values()]))
    with panels(len(flows), plane, legend=True) as (figure, axes):
        for here, (name, way) in zip(axes, ways.items(), strict=True):
            lines = LineCollection(list(way.transpose(0, 1).numpy()), lw=0.5, alpha=0.35, color="k")
            here.add_collection(lines, autolim=False)
            here.plot(*way[0].T, ".", ms=3.5, color=PRUNED, label="noise, time 1")
            here.plot(*way[-1].T, ".", ms=3.5, color=CONTROL, label="samples, time 0")
            here.set_title(name)
            plane.frame(here)
        marks = axes[0].get_legend_handles_labels()
        figure.legend(*marks, loc="outside lower center", ncols=2, markerscale=2.5)
        return save(figure, path)


def _ways(flow: Flow, noise: Tensor, steps: int) -> Tensor:
    with looking(flow) as device:
        times = torch.linspace(1, 0, steps, device=device)
        return flow.trajectories(noise.to(device), times).float().cpu()


def _plane(states: Tensor) -> Plane:
    """A square around the origin that holds the states, and no more than a few that ran away."""
    known = states[states.isfinite().all(-1)].abs()
    reach = min(1.05 * float(known.max()), REACH) if known.numel() else REACH
    return Plane((-reach, reach), (-reach, reach))
