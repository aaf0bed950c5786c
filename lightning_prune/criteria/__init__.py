"""How much each unit matters."""

from lightning_prune.criteria.base import (
    ActivationCriterion,
    Criterion,
    DataCriterion,
    GradientCriterion,
)
from lightning_prune.criteria.magnitude import Magnitude
from lightning_prune.criteria.random import Random

__all__ = [
    "ActivationCriterion",
    "Criterion",
    "DataCriterion",
    "GradientCriterion",
    "Magnitude",
    "Random",
]
