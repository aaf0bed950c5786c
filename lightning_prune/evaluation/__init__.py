"""Evaluation: what a network costs."""

from lightning_prune.evaluation.size import measure_size, measure_sizes

__all__ = ["measure_size", "measure_sizes"]
