"""Contracts that every criterion, structure and allocation keeps, for the tests of your own.

Each function raises an `AssertionError` that says what is not as it has to be.

Example:
    >>> from lightning_prune.criteria import Magnitude
    >>> check_criterion(Magnitude(p=1))
"""

from lightning_prune.testing.allocations import check_allocation
from lightning_prune.testing.criteria import check_criterion
from lightning_prune.testing.structures import check_structure

__all__ = ["check_allocation", "check_criterion", "check_structure"]
