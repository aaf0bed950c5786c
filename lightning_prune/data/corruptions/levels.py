"""The 256 levels of stored images."""

import numpy as np

ROUNDING = 1e-4  # of a level that a value may lie below it and still count, as float32 needs


def levels(x: np.ndarray) -> np.ndarray:
    """Round values in [0, 1] down to levels 0 to 255, and what is outside to the nearest of them.

    Rounding errors do not count, or flat areas would lose a level that no corruption took.
    """
    return np.floor(np.clip(x, 0, 1) * 255 + ROUNDING)
