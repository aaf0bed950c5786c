"""LightningModules: loss, metrics and optimizers, no pruning."""

from lightning_prune.tasks.classification import Classification

__all__ = ["Classification"]
