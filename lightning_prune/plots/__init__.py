"""Plots of a run: curves over keep, and what every layer keeps."""

from lightning_prune.plots.curves import plot_curve
from lightning_prune.plots.layers import plot_layers

__all__ = ["plot_curve", "plot_layers"]
