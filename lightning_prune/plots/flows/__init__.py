"""Plots of planar continuous normalising flows, pruned ones beside the dense one."""

from lightning_prune.plots.flows.curves import plot_flow_curves
from lightning_prune.plots.flows.density import plot_density
from lightning_prune.plots.flows.field import plot_field
from lightning_prune.plots.flows.images import plot_images
from lightning_prune.plots.flows.samples import plot_samples
from lightning_prune.plots.flows.trajectories import plot_trajectories

__all__ = [
    "plot_density",
    "plot_field",
    "plot_flow_curves",
    "plot_images",
    "plot_samples",
    "plot_trajectories",
]
