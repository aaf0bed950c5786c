"""Samples: where flows put their points, and which modes of the data they reach."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_prune.plots.flows.flow import Flow, Mixture, check_flows, check_points, draw
from lightning_prune.plots.plane import Plane, panels, some
from lightning_prune.plots.style import PRUNED, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_samples(
    flows: Mapping[str, Flow],
    path: str | os.PathLike[str] | None = None,
    mixture: Mixture | None = None,
    points: Tensor | None = None,
    count: int = 4000,
    plane: Plane | None = None,
) -> Figure:
    """Samples of each flow, of the same noise; with a mixture, coloured by their mode.

    A sample's mode is the one that most likely drew it: the nearest, where modes are equally wide.

    Arguments:
        flows: Name of the panel to flow.
        path: Where the figure is saved; None: nowhere.
        mixture: The density of the data, whose means are marked.
        points: (n, 2), of the data: their own panel, the first, of at most `count` points.
        count: Of samples of each flow.
        plane: What is shown; None: [-2, 2] x [-2, 2].

    Raises:
        ValueError: There is no flow, one is not 2-D, or the points are not.
    """
    check_flows(flows)
    plane = plane or Plane()
    clouds = {} if points is None else {"data": some(check_points(points), count)}
    # not merged by name: a flow may be called data
    drawn = [*clouds.items(), *((name, draw(flow, count)) for name, flow in flows.items())]
    with panels(len(drawn), plane, legend=mixture is not None) as (figure, axes):
        for here, (name, cloud) in zip(axes, drawn, strict=True):
            _scatter(here, cloud, mixture)
            here.set_title(name)
            plane.frame(here)
        if mixture is not None:
            marks = axes[0].get_legend_handles_labels()
            figure.legend(*marks, loc="outside lower center")
        return save(figure, path)


def _scatter(axes: Axes, cloud: Tensor, mixture: Mixture | None) -> None:
    cloud = cloud[cloud.isfinite().all(-1)].float()
    look: dict[str, Any] = {"s": 3, "alpha": 0.5, "lw": 0, "rasterized": True}
    if mixture is None:
        axes.scatter(*cloud.T, color=PRUNED, **look)
        return
    means = mixture.means
    modes = mixture.posterior(cloud.to(means)).argmax(1).cpu()
    # one colour a mode while there are names for them, then around the wheel
    palette: dict[str, Any] = {"cmap": "tab10", "vmax": 9} if len(means) <= 10 else {"cmap": "hsv"}
    first, second = cloud.unbind(1)
    axes.scatter(first, second, c=modes, vmin=0, **{"vmax": len(means), **palette}, **look)
    axes.plot(*means.cpu().T, "+", color="black", ms=7, mew=1.4, ls="", label="means of the modes")
