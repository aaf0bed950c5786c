"""Image flows: densities of images by continuous flows at several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_prune.models.concat_conv import ConvField
from lightning_prune.models.divergence import LogDetField, Trace
from lightning_prune.models.flow import CNF
from lightning_prune.models.logit import Logit
from lightning_prune.models.pyramid import Pyramid
from lightning_prune.solve import Solver


class ImageFlow(CNF):
    r"""A multiscale flow of images: a logit, then fields of convolutions, scale by scale.

    At each scale but the last, `blocks` fields move the image, 2x2 pixels become four channels,
    `blocks` more fields move these, and half of the channels are noise from there on. At the last
    scale there are `blocks` fields. Where only some pixels are left, the receptive field of few
    layers is the whole image. 800,646 parameters for 28x28 pixels in one channel, 1,358,882 for
    32x32 in three. A probe of a stochastic trace is drawn once for every field's solve.

    Args:
        shape: Channels, height and width of an image.
        hidden: Channels of the fields' hidden layers.
        blocks: Fields one after another before, and behind, every squeeze.
        activation: "tanh", "sigmoid", "softplus" or "relu".
        solver: None: eight steps of rk4.
        trace: See `CNF`; "exact" takes as many products with the Jacobian as an image has pixels.
        alpha: Of the logit.
        scales: How many; None: as many as leave a height and width of at least 4.
        trainable_end_time: Whether the fields' end times are trained. The original detaches them
            and so leaves them at 1; None: they are no parameters.

    Attributes:
        shape: Channels, height and width of an image.
        dims: Their product.
        pyramid: The shapes that the fields see, from data to noise; `blocks` fields see each.
        tally: Counts evaluations of the fields.

    Raises:
        ValueError: If an argument is out of its range, or the height or width cannot be halved as
            often as there are scales.

    References:
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        | (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367
        | Sparse Flows: Pruning Continuous-depth Models (Liebenwein et al., 2021)
        | https://arxiv.org/abs/2106.12718
    """

    def __init__(  # noqa: PLR0913
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (64, 64, 64),
        blocks: int = 2,
        activation: str = "softplus",
        solver: Solver | None = None,
        trace: Trace = "rademacher",
        alpha: float = 1e-6,
        scales: int | None = None,
        trainable_end_time: bool | None = True,
    ) -> None:
        if len(shape) != 3 or min(shape) < 1 or blocks < 1:
            raise ValueError(
                "ImageFlow needs channels, height and width of at least 1 and at least one block, "
                f"got {tuple(shape)} and {blocks}."
            )
        pyramid = Pyramid((shape[0], shape[1], shape[2]), scales)
        each = [seen for seen in pyramid.shapes for _ in range(blocks)]
        fields = [ConvField(seen[0], hidden, activation) for seen in each]
        super().__init__(
            fields, math.prod(shape), solver, trace, trainable_end_time=trainable_end_time
        )
        self.shape, self.pyramid, self.blocks = pyramid.shape, pyramid, blocks
        self.logit = Logit(alpha)
        self._with_divergence = [
            LogDetField(field, seen) for field, seen in zip(fields, each, strict=True)
        ]

    def transform(
        self,
        x: Tensor,
        solver: Solver | None = None,
        trace: Trace | None = None,
        probes: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Move images from data to noise.

        Args:
            x: (batch, channels, height, width), pixels in [0, 1].
            solver: None: the flow's own.
            trace: None: the flow's own.
            probes: Of a stochastic trace, whose mean is taken.

        Returns:
            (batch, dims) where they arrive, what left first in front, and (batch,) the log
            determinant of the way.

        Raises:
            ValueError: If the images are of another shape or their pixels outside of [0, 1].
        """
        self._check_images(x)
        x, logdet = self.logit(x)
        noise: list[Tensor] = []
        for stage in range(len(self.pyramid.shapes)):
            x, gone = self.pyramid.enter(stage, x)
            noise += gone
            for number in self._numbers(stage):
                times = (0.0, self.end(number))
                x, change = self._move(number, x, times, solver, trace or self.trace, probes)
                logdet = logdet + change
        return torch.cat([part.flatten(1) for part in (*noise, x)], 1), logdet

    def invert(
        self,
        z: Tensor,
        solver: Solver | None = None,
        trace: Trace | None = None,
        probes: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Move (batch, dims) points from noise to images.

        Returns:
            (batch, channels, height, width), pixels in [0, 1] up to alpha, and (batch,) the log
            determinant of this way back.
        """
        return self._back(z, solver, trace or self.trace, probes)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        solver: Solver | None = None,
    ) -> Tensor:
        """Draw (count, channels, height, width) images from the model, pixels in [0, 1]."""
        like = next(self.parameters())
        z = torch.randn(count, self.dims, generator=generator, dtype=like.dtype)
        return self._back(z.to(like.device), solver, None)[0].clamp(0, 1)

    def trajectories(self, z: Tensor, times: Tensor, solver: Solver | None = None) -> Tensor:
        """Refused: between its ends the way of an image has parts that already are noise.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "The ways of a multiscale flow have no images between their ends."
        )

    def _back(
        self, z: Tensor, solver: Solver | None, trace: Trace | None, probes: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Images, and the log determinant of the way; without a trace only that of the logit."""
        self._check(z)
        *noise, x = self.pyramid.split(z)
        logdet = z.new_zeros(len(z))
        for stage in reversed(range(len(self.pyramid.shapes))):
            for number in reversed(self._numbers(stage)):
                times = (self.end(number), 0.0)
                x, change = self._move(number, x, times, solver, trace, probes)
                logdet = logdet + change
            x = self.pyramid.leave(stage, x, noise)
        x, change = self.logit.invert(x)
        return x, logdet + change

    def _numbers(self, stage: int) -> range:
        """Which fields see the images of a stage."""
        return range(stage * self.blocks, (stage + 1) * self.blocks)

    def _check_images(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"The flow is one of (batch, {', '.join(map(str, self.shape))}) images and got "
                f"{tuple(x.shape)}; build it with shape= the size of an image."
            )
