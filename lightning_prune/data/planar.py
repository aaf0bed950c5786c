"""Two-dimensional sets for flows and neural ODEs."""

import math
from typing import Any

from torch import Tensor

from lightning_prune.data.mixture import Mixture
from lightning_prune.data.module import ResumableData
from lightning_prune.data.split import stratified_split
from lightning_prune.data.tensor_rows import TensorRows
from lightning_prune.data.toys import TOYS


class Planar(ResumableData):
    r"""Points in the plane, made by torchdyn's generators with the papers' parameters.

    Batches are (batch, 2) float32 and (batch,) int64, the component, arm or class.

    - Densities: `gaussians`, six on a ring, 2,730 points each; `gaussians_spiral`, ten on a spiral,
      1,638 each; `spirals`, two arms with uniform noise, 16,384 each.
    - Classification: `moons` and `circles`, 512 points of each class; `spiral_arms`, 1,024 of each.

    The data are a pure function of `data_seed`, whatever the seed of the run, and no global random
    stream moves. The validation set is a fixed share of the training set; the test set is drawn
    separately and half as large.

    Densities are normalised by one mean and one standard deviation over all entries, so that the
    shape is kept: those of the training part, for the test set too. The papers' code normalised the
    test set by its own, which moves a score by less than 0.01 nats. It also shifted each Gaussian
    by about 0.001, anew for the test set; here nothing is shifted.

    The arms of the spirals mirror each other point by point, and the noise of the moons moves both
    coordinates of a point alike; so torchdyn makes them.

    References:
        | Sparse Flows: Pruning Continuous-depth Models (Liebenwein, Hasani, Amini and Rus, 2021)
        | https://arxiv.org/abs/2106.12718
        | TorchDyn: A Neural Differential Equations Library (Poli et al., 2020)
        | https://arxiv.org/abs/2009.09346

    Args:
        kind: One of the names above.
        samples: Training and validation points in all, rounded down to as many of each class; None
            for the paper's.
        validation: Share of them that validates, in [0, 1).
        normalise: Whether points are normalised; None: those of densities only.
        data_seed: Seed of the data.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Attributes:
        classes: Number of components, arms or classes.
        dims: Coordinates of a point, 2.
        mean: What was subtracted from every coordinate; measured in `setup`, 0 if not normalised.
        std: What the difference was divided by; measured in `setup`, 1 if not normalised.
        mixture: The density in the coordinates of the batches; None before `setup` and where it is
            no mixture of Gaussians.
        floor: Entropy in nats in the coordinates of the batches, below which no test loss can stay;
            about 1.13 for gaussians, 0.52 for gaussians_spiral, 0.84 for spirals. None before
            `setup` and for classification.

    Raises:
        ValueError: If an argument is out of its range.
    """

    dims = 2

    def __init__(
        self,
        kind: str = "gaussians",
        samples: int | None = None,
        validation: float = 0.1,
        normalise: bool | None = None,
        data_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if kind not in TOYS:
            raise ValueError(f"kind is one of {', '.join(TOYS)}; got {kind!r}.")
        if not 0 <= validation < 1:
            raise ValueError(
                f"validation is a share of the training set in [0, 1), got {validation}."
            )
        self.kind, self.toy = kind, TOYS[kind]
        self.classes = self.toy.classes
        self.each = self.toy.each if samples is None else samples // self.classes
        if self.each < 2:  # half of it is the test set
            raise ValueError(
                f"{kind} needs two samples of each of its {self.classes} classes; set samples to "
                f"{2 * self.classes} or more, got {samples}."
            )
        self.validation, self.data_seed = validation, data_seed
        self.normalise = self.toy.density if normalise is None else normalise
        self.mean, self.std = 0.0, 1.0
        self.mixture: Mixture | None = None
        self.floor: float | None = None

    def setup(self, stage: str | None = None) -> None:
        """Make all sets, once."""
        if self.sets:
            return
        points, labels = self.toy.generate(self.each, self.data_seed)
        train, val = stratified_split(labels, self.validation, seed=0)
        if self.normalise:
            entries = points[train].double()
            self.mean, self.std = float(entries.mean()), float(entries.std(correction=0))
        if self.toy.density:
            known, entropy = self.toy.mixture(), self.toy.entropy()
            self.mixture = known and known.scaled(self.mean, self.std)
            self.floor = entropy - self.dims * math.log(self.std)
        points = self.normalised(points)
        of_test, classes = self.toy.generate(self.each // 2, self.data_seed, test=True)
        self.sets = {
            "train": TensorRows(points[train], labels[train]),
            "val": TensorRows(points[val], labels[val]),
            "test": TensorRows(self.normalised(of_test), classes),
        }

    def normalised(self, points: Tensor) -> Tensor:
        """Take points of the generator to the coordinates of the batches, (n, 2) float32."""
        return ((points.double() - self.mean) / self.std).float()
