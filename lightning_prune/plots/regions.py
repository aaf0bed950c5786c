"""Regions: what planar classifiers decide where, and how sure they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_prune.plots.plane import Plane, looking, panels, some
from lightning_prune.plots.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# of Okabe and Ito (2008): readers tell them apart in light shades too
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
BATCH = 8192
SHADE = 0.65  # of a class's colour where the network is certain


def plot_regions(
    nets: Mapping[str, Callable[[Tensor], Tensor]],
    points: Tensor,
    labels: Tensor,
    path: str | os.PathLike[str] | None = None,
    plane: Plane | None = None,
    shown: int = 1000,
) -> Figure:
    """The class that each network gives every point of the plane; paler where it is less sure.

    Arguments:
        nets: Name of the panel to network, of (n, 2) points to (n, classes) logits.
        points: (n, 2), such as the test set.
        labels: (n,), their classes, from 0.
        path: Where the figure is saved; None: nowhere.
        plane: What is shown; None: the rectangle of the points, by 200 x 200.
        shown: Points drawn at most, at equal distances in their order.

    Raises:
        ValueError: There is no network, the points are not 2-D, or labels do not match them.
    """
    if not nets:
        raise ValueError("There is no network to draw.")
    if points.dim() != 2 or points.shape[1] != 2:
        raise ValueError(f"Regions are those of (n, 2) points, not {tuple(points.shape)}.")
    if labels.shape != points.shape[:1]:
        raise ValueError(f"{len(points)} points need labels (n,), not {tuple(labels.shape)}.")
    points, labels = points.detach().cpu(), labels.detach().cpu()
    plane = plane or Plane.around(points)
    pictures = {name: _picture(net, plane) for name, net in nets.items()}
    with panels(len(nets), plane) as (figure, axes):
        for here, (name, picture) in zip(axes, pictures.items(), strict=True):
            here.imshow(picture.numpy(), extent=(*plane.x, *plane.y), origin="lower", aspect="auto")
            for label in labels.unique().tolist():
                own = some(points, shown)[some(labels, shown) == label]
                here.plot(*own.T, "o", ms=4, color=_colour(label), mec="white", mew=0.4)
            here.set_title(name)
            plane.frame(here)
        return save(figure, path)


def _picture(net: Callable[[Tensor], Tensor], plane: Plane) -> Tensor:
    """(steps, steps, 3), red, green and blue from 0 to 1."""
    with looking(net) as device:
        logits = plane.values(lambda x: net(x.to(device)).float().cpu(), BATCH)
    from matplotlib.colors import to_rgb

    classes = logits.shape[-1]
    sure, best = logits.softmax(-1).max(-1)
    # from white where all classes are alike
    share = ((sure - 1 / classes) / (1 - 1 / classes)).nan_to_num()[..., None] * SHADE
    palette = torch.tensor([to_rgb(_colour(label)) for label in range(classes)])
    return (1 - share + share * palette[best]).clamp(0, 1)


def _colour(label: int) -> str:
    return COLOURS[label % len(COLOURS)]
