"""Images: what flows of images draw from the same noise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_prune.plots.flows.flow import Flow, draw
from lightning_prune.plots.style import new_figures, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = 0.62  # inches of an image


def plot_images(
    flows: Mapping[str, Flow],
    path: str | os.PathLike[str] | None = None,
    images: Tensor | None = None,
    count: int = 10,
) -> Figure:
    """Samples of flows of images, a row for each flow and a column for each noise.

    Arguments:
        flows: Name of the row to flow, whose samples are (count, channels, height, width).
        path: Where the figure is saved; None: nowhere.
        images: (n, channels, height, width), of the data: their own row, the first.
        count: Of images in a row.

    Raises:
        ValueError: There is no flow, or its samples are no images of 1 or 3 channels.
    """
    if not flows:
        raise ValueError("There is no flow to draw.")
    rows = {} if images is None else {"data": images[:count]}
    rows |= {name: draw(flow, count) for name, flow in flows.items()}
    for name, drawn in rows.items():
        if drawn.dim() != 4 or drawn.shape[1] not in (1, 3):
            raise ValueError(
                f"The samples of {name!r} are {tuple(drawn.shape)}, and not (count, 1 or 3, "
                "height, width); plot_samples shows points of the plane."
            )
    size = (SIZE * count + 1.2, (SIZE + 0.05) * len(rows) + 0.1)
    with new_figures(len(rows), count, *size) as (figure, axes):
        for place, (name, drawn) in enumerate(rows.items()):
            line = axes[place * count : (place + 1) * count]
            for here, image in zip(line, drawn.detach().cpu().clamp(0, 1), strict=False):
                here.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            for here in line:
                here.set(xticks=[], yticks=[])
                here.spines[:].set_visible(False)
                here.grid(visible=False)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        return save(figure, path)
