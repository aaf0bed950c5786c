"""LightningModules: loss, metrics and optimizers, no pruning."""

from lightning_prune.tasks.base import Task
from lightning_prune.tasks.bits import bits_per_dim
from lightning_prune.tasks.classification import Classification
from lightning_prune.tasks.density import Density
from lightning_prune.tasks.regression import Regression
from lightning_prune.tasks.tagging import Tagging

__all__ = ["Classification", "Density", "Regression", "Tagging", "Task", "bits_per_dim"]
