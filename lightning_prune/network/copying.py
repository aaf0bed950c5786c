"""Copying: a model of which the original stays as it is."""

from __future__ import annotations

import copy

from torch import nn


def copied(model: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        ValueError: The model cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        why = str(error).partition(". ")[0].rstrip(".")
        raise ValueError(
            f"The model cannot be copied ({type(error).__name__}: {why}); inplace=True changes "
            "the model itself."
        ) from error
