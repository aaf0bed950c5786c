"""Schedules: what is to be kept at which time."""

from lightning_prune.schedules.base import Schedule, Unit, check_keep
from lightning_prune.schedules.listed import Grid, OneShot, Steps
from lightning_prune.schedules.polynomial import Polynomial
from lightning_prune.schedules.regular import Constant, Geometric

__all__ = [
    "Constant",
    "Geometric",
    "Grid",
    "OneShot",
    "Polynomial",
    "Schedule",
    "Steps",
    "Unit",
    "check_keep",
]
