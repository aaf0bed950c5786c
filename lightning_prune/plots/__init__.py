"""Plots: curves over keep, what pruning costs beyond accuracy, layers, bounds, planar networks."""

from lightning_prune.plots.bounds import plot_bounds
from lightning_prune.plots.curves import plot_curve
from lightning_prune.plots.excess import plot_excess
from lightning_prune.plots.features import plot_features
from lightning_prune.plots.flatness import plot_flatness
from lightning_prune.plots.flows import (
    plot_density,
    plot_field,
    plot_flow_curves,
    plot_images,
    plot_samples,
    plot_trajectories,
)
from lightning_prune.plots.layers import plot_layers
from lightning_prune.plots.plane import Plane
from lightning_prune.plots.potential import plot_potentials
from lightning_prune.plots.regions import plot_regions
from lightning_prune.plots.similarity import plot_similarity
from lightning_prune.plots.sweeps import plot_curves

__all__ = [
    "Plane",
    "plot_bounds",
    "plot_curve",
    "plot_curves",
    "plot_density",
    "plot_excess",
    "plot_features",
    "plot_field",
    "plot_flatness",
    "plot_flow_curves",
    "plot_images",
    "plot_layers",
    "plot_potentials",
    "plot_regions",
    "plot_samples",
    "plot_similarity",
    "plot_trajectories",
]
