"""Plots: curves over keep of a run and of a sweep, what every layer keeps, and its bounds."""

from lightning_prune.plots.bounds import plot_bounds
from lightning_prune.plots.curves import plot_curve
from lightning_prune.plots.layers import plot_layers
from lightning_prune.plots.sweeps import plot_curves

__all__ = ["plot_bounds", "plot_curve", "plot_curves", "plot_layers"]
