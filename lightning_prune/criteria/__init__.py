"""How much each unit matters."""

from lightning_prune.criteria.activation import MeanActivation, by_input
from lightning_prune.criteria.base import (
    ActivationCriterion,
    Criterion,
    DataCriterion,
    GradientCriterion,
    Reduction,
    SyntheticCriterion,
)
from lightning_prune.criteria.energy_per_cost import EnergyPerCost
from lightning_prune.criteria.magnitude import Magnitude
from lightning_prune.criteria.pca import PCA
from lightning_prune.criteria.random import Random
from lightning_prune.criteria.regrowth import Regrowth
from lightning_prune.criteria.rigl import RigL
from lightning_prune.criteria.set import SET
from lightning_prune.criteria.sipp import SiPP
from lightning_prune.criteria.snip import SNIP
from lightning_prune.criteria.spectral import SpectralError, TailError
from lightning_prune.criteria.synflow import SynFlow
from lightning_prune.criteria.taylor import Taylor
from lightning_prune.criteria.thinet import ThiNet
from lightning_prune.criteria.wanda import Wanda
from lightning_prune.network.layers import Layer

__all__ = [
    "PCA",
    "SET",
    "SNIP",
    "ActivationCriterion",
    "Criterion",
    "DataCriterion",
    "EnergyPerCost",
    "GradientCriterion",
    "Layer",
    "Magnitude",
    "MeanActivation",
    "Random",
    "Reduction",
    "Regrowth",
    "RigL",
    "SiPP",
    "SpectralError",
    "SynFlow",
    "SyntheticCriterion",
    "TailError",
    "Taylor",
    "ThiNet",
    "Wanda",
    "by_input",
]
