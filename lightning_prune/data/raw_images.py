"""The test images of a data module before normalisation."""

from typing import NamedTuple

from torch import Tensor

from lightning_prune.data.base import ImageData
from lightning_prune.data.image_files import ImageFiles
from lightning_prune.data.images import TensorImages
from lightning_prune.data.module import ResumableData


class RawImages(NamedTuple):
    """Test images before normalisation: values from 0 to `peak`."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    peak: float


def raw_test_set(data: ResumableData, images: int | None = None) -> RawImages:
    """The test images of a module as they were read, and what normalises them.

    Raises:
        ValueError: If the module has no labelled test images, or `images` is below 1.
    """
    if images is not None and images < 1:
        raise ValueError(f"images is how many of the test set are taken, at least 1; got {images}.")
    test = ready(data).sets["test"]
    if not len(test):  # type: ignore[arg-type]
        raise ValueError(f"{type(data).__name__} has no test images that could be shifted.")
    if isinstance(test, ImageFiles):
        count = len(test) if images is None else min(images, len(test))
        stored = test.read(range(count))
        return RawImages(stored, test.labels[:count], test.mean.flatten(), test.std.flatten(), 255)
    if not isinstance(data, ImageData) or type(test) is not TensorImages:
        raise ValueError(
            f"{type(data).__name__} has no labelled test images, so there is nothing to shift; "
            "take a data set of images for classification."
        )
    rows = test.rows[:images]
    return RawImages(test.images[rows], test.labels[rows], data.mean, data.std, data.peak)


def ready(data: ResumableData) -> ResumableData:
    """Set the module up for the test, if it is not."""
    if "test" not in data.sets:
        data.prepare_data()
        data.setup("test")
    return data
