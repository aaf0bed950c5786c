"""Random numbers of a batch, a stream for each image."""

from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.random import Generator, Philox


class Streams:
    r"""A random stream for each image, a pure function of (seed, epoch, name, row).

    So an image gets the same numbers whatever batch, process or worker it is in. The severity is no
    part of the key: an image has the same noise at all severities, only stronger.

    References:
        | Parallel Random Numbers: As Easy as 1, 2, 3 (Salmon et al., 2011)
        | https://doi.org/10.1145/2063384.2063405

    Args:
        rows: Number of each image in its data set.
        name: What the numbers are for.
        seed: Seed of the run.
        epoch: Epoch, counted from 0.
    """

    def __init__(self, rows: Sequence[int], name: str, seed: int, epoch: int) -> None:
        self.rows, self.purpose = rows, f"{seed} {epoch} {name}"

    @cached_property
    def generators(self) -> list[Generator]:
        """A generator for each image; made when the first number is asked for."""
        digest = blake2b(self.purpose.encode(), digest_size=8).digest()
        first = int.from_bytes(digest, "little") << 64
        return [Generator(Philox(key=first | row % 2**64)) for row in self.rows]

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers: (images, *shape) float64."""
        return self.gather(lambda generator: generator.standard_normal(shape))

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Numbers uniform in [low, high): (images, *shape) float64."""
        return self.gather(lambda generator: generator.uniform(low, high, shape))

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        """Integers uniform in [low, high): (images, *shape) int64."""
        return self.gather(lambda generator: generator.integers(low, high, shape))

    def poisson(self, means: np.ndarray) -> np.ndarray:
        """Poisson numbers: (images, *shape) int64, with the means given for each."""
        pairs = zip(self.generators, means, strict=True)
        return np.stack([generator.poisson(mean) for generator, mean in pairs])

    def gather(self, draw: Callable[[Generator], np.ndarray]) -> np.ndarray:
        """Draw for every image and stack."""
        return np.stack([draw(generator) for generator in self.generators])
