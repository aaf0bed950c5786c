"""Shifted test sets: the test images of a data module as other cameras might have taken them."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from torch import Tensor
from torch.utils.data import Dataset

from lightning_prune.data.base import ImageData
from lightning_prune.data.corruptions import checked_names, corrupt, corruption_names
from lightning_prune.data.images import TensorImages
from lightning_prune.data.mixed import MixedCorruptions
from lightning_prune.data.module import ResumableData
from lightning_prune.data.raw_images import RawImages, raw_test_set

REMEMBERED = 640 * 2**20  # bytes: 18 corruptions of 10,000 colour images of 32 x 32 pixels


@dataclass(frozen=True)
class Distribution:
    r"""A test set, and what was done to it.

    Args:
        name: Of the corruption or of the data set; "nominal" for the test set itself.
        severity: 1 to 5 for a corruption, otherwise 0.
        side: "train" for the nominal test set and for corruptions that the training images have as
            well, "test" for all others.
        dataset: Normalised images and labels, in fixed order.
    """

    name: str
    severity: int
    side: str
    dataset: Dataset


class Shift(ABC):
    """A family of shifted test sets."""

    @abstractmethod
    def distributions(self, data: ImageData, images: int | None = None) -> Iterator[Distribution]:
        """Make the shifted test sets, one at a time.

        Arguments are checked at once; images are read or made when the iterator comes to them.

        Args:
            data: Where test set, normalisation and training augmentation come from; it is set up
                for the test if it was not.
            images: Only the first so many images of each test set; None for all.

        Returns:
            The distributions, in fixed order.

        Raises:
            ValueError: If the shift does not fit the data.
        """


class Corruptions(Shift):
    r"""The test images under common corruptions, made here.

    They are a pure function of the images, the corruption, its severity and the seed; those of one
    corruption at two severities share their random numbers. In one process the latest 640 MiB of
    them are remembered, since a sweep evaluates the same ones for every network.

    References:
        | Benchmarking Neural Network Robustness to Common Corruptions and Perturbations (Hendrycks
          and Dietterich, 2019)
        | https://arxiv.org/abs/1903.12261

    Args:
        names: Names of corruptions, see `corrupt`; None for all that the images admit.
        severities: Each from 1 to 5.
        seed: Seed of the corruptions; the seed of the run plays no part.

    Raises:
        ValueError: If a name or a severity does not exist; in `distributions`, if a corruption is
            not possible with the images.
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        severities: Sequence[int] = (3,),
        seed: int = 0,
    ) -> None:
        self.names = None if names is None else checked_names(names)
        self.severities = checked_severities(severities)
        self.seed = seed

    def distributions(self, data: ImageData, images: int | None = None) -> Iterator[Distribution]:
        """Corrupt the test images: every corruption at every severity, one at a time."""
        raw = raw_test_set(data, images)
        channels = raw.images.shape[1]
        names = corruption_names(channels) if self.names is None else self.names
        return self._each(data, raw, checked_names(names, channels))

    def _each(
        self, data: ImageData, raw: RawImages, names: tuple[str, ...]
    ) -> Iterator[Distribution]:
        key = fingerprint(raw.images)
        for name in names:
            for severity in self.severities:
                made = remembered(raw, key, name, severity, self.seed)
                dataset = TensorImages(made, raw.labels, None, raw.mean, raw.std)
                yield Distribution(name, severity, side(data, name), dataset)


def nominal(data: ImageData, images: int | None = None) -> Distribution:
    """The test set as it is.

    Args:
        data: The data module; it is set up for the test if it was not.
        images: Only the first so many images; None for all.

    Returns:
        The distribution "nominal", severity 0, on the side of the training.
    """
    raw = raw_test_set(data, images)
    dataset = TensorImages(raw.images, raw.labels, None, raw.mean, raw.std)
    return Distribution("nominal", 0, "train", dataset)


def side(data: ResumableData, name: str) -> str:
    """The side of a corruption: "train" if the training images have it as well, else "test"."""
    augment = getattr(data, "augment", None)
    if isinstance(augment, MixedCorruptions) and any(augment.severities):
        return "train" if name in augment.names else "test"
    return "test"


def checked_severities(severities: Sequence[int]) -> tuple[int, ...]:
    """Refuse severities that are not from 1 to 5, repeated ones, and none."""
    severities = tuple(severities)
    fit = all(each in range(1, 6) for each in severities)
    if not severities or not fit or len(set(severities)) < len(severities):
        raise ValueError(
            f"severities of shifted test sets come each once, from 1 to 5, got {severities}."
        )
    return severities


def fingerprint(images: Tensor) -> bytes:
    """Hash shape, type and values of images."""
    digest = blake2b(f"{tuple(images.shape)} {images.dtype}".encode(), digest_size=16)
    digest.update(images.contiguous().numpy())  # type: ignore[arg-type]
    return digest.digest()


_made: OrderedDict[tuple[bytes, float, str, int, int], Tensor] = OrderedDict()  # oldest first


def remembered(raw: RawImages, key: bytes, name: str, severity: int, seed: int) -> Tensor:
    """Corrupt images, or look up what was made of them before."""
    entry = (key, raw.peak, name, severity, seed)
    made = _made.pop(entry, None)
    if made is None:
        made = corrupt(raw.images, name, severity, seed=seed, peak=raw.peak)
    _made[entry] = made
    while sum(images.nbytes for images in _made.values()) > REMEMBERED:
        _made.popitem(last=False)
    return made
