"""The two-dimensional sets of the papers, as torchdyn makes them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_prune.data.loader import combined
from lightning_prune.data.mixture import Mixture
from lightning_prune.data.spiral import spiral_entropy


@dataclass(frozen=True)
class Toy:
    r"""How torchdyn makes one set.

    Args:
        generator: Its name in torchdyn.
        classes: Components, arms or classes, all of the same size.
        each: Training points of each in the paper, validation included.
        arguments: What the generator is called with, apart from the number of points.
        density: Whether the set is there to learn its density, not its classes.
    """

    generator: str
    classes: int
    each: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    density: bool = False

    def generate(self, each: int, data_seed: int, test: bool = False) -> tuple[Tensor, Tensor]:
        r"""Make points, a pure function of the arguments.

        Args:
            each: Points of each class, at least 1.
            data_seed: Seed of the data.
            test: Whether these are drawn for the test, independently of the others.

        Returns:
            (classes * each, 2) float32 points, class by class, and their (classes * each,) int64
            classes.
        """
        with seeded(combined(data_seed, int(test))):
            from torchdyn.datasets import ToyDataset

            # moons and spheres count all points, the others those of one component or arm
            count = each * (self.classes if self.generator in ("moons", "spheres") else 1)
            points, labels = ToyDataset().generate(count, self.generator, **self.arguments)
        return points.float(), labels.long()

    def mixture(self) -> Mixture | None:
        """The density of the points, if they are a mixture of Gaussians."""
        got = self.arguments
        if self.generator == "gaussians":
            loop = self.classes
            radii = torch.full((self.classes,), float(got["radius"]))
            stds = torch.full((self.classes,), float(got["std_gaussians"]))
        elif self.generator == "gaussians_spiral":
            loop = got["n_gaussians_per_loop"]
            radii = torch.linspace(got["radius_start"], got["radius_end"], self.classes)
            stds = torch.linspace(
                got["std_gaussians_start"], got["std_gaussians_end"], self.classes
            )
        else:
            return None
        # the first one lies one step around the circle already
        angles = torch.arange(1, self.classes + 1) * (2 * torch.pi / loop)
        return Mixture(radii[:, None] * torch.stack([angles.cos(), angles.sin()], 1), stds)

    def entropy(self) -> float:
        """Entropy in nats of a set whose density is to be learned."""
        known = self.mixture()
        return spiral_entropy(self.arguments["noise"]) if known is None else known.entropy()


# torchdyn would move each Gaussian by a shift drawn anew in each call, of deviation `noise`;
# without it the known mixture is that of the training and of the test set
TOYS = {
    "gaussians": Toy(
        "gaussians", 6, 2**14 // 6,
        {"n_gaussians": 6, "radius": 4, "std_gaussians": 0.5, "noise": 0.0}, density=True,
    ),
    "gaussians_spiral": Toy(
        "gaussians_spiral", 10, 2**14 // 10,
        {
            "n_gaussians": 10, "n_gaussians_per_loop": 6, "radius_start": 4, "radius_end": 1,
            "std_gaussians_start": 0.3, "std_gaussians_end": 0.1, "noise": 0.0,
        },
        density=True,
    ),
    "spirals": Toy("spirals", 2, 2**14, {"noise": 0.5}, density=True),
    "moons": Toy("moons", 2, 512, {"noise": 0.1}),
    "circles": Toy(
        "spheres", 2, 512, {"dim": 2, "inner_radius": 0.75, "outer_radius": 1.5, "noise": 0.1}
    ),
    "spiral_arms": Toy("spirals", 2, 1024, {"noise": 0.9}),
}  # fmt: skip


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global streams of torch's CPU and numpy, and put them back as they were."""
    of_torch, of_numpy = torch.get_rng_state(), np.random.get_state()
    try:
        # not torch.manual_seed, which would seed the accelerators for good
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        yield
    finally:
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)
