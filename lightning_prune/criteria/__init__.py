"""How much each unit matters."""

from lightning_prune.criteria.base import (
    ActivationCriterion,
    Criterion,
    DataCriterion,
    GradientCriterion,
)
from lightning_prune.criteria.magnitude import Magnitude
from lightning_prune.criteria.random import Random
from lightning_prune.criteria.regrowth import Regrowth
from lightning_prune.criteria.rigl import RigL
from lightning_prune.criteria.set import SET

__all__ = [
    "SET",
    "ActivationCriterion",
    "Criterion",
    "DataCriterion",
    "GradientCriterion",
    "Magnitude",
    "Random",
    "Regrowth",
    "RigL",
]
