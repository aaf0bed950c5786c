"""Names and severities of the common corruptions: one table for training and for testing."""

from collections.abc import Sequence

BENCHMARK = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")

# what one parameter is stands with the function that takes it; lengths are in pixels of an image of
# 32 x 32, but for elastic_transform, where they are shares of the shorter side
SEVERITIES: dict[str, tuple[tuple[float, ...], ...]] = {
    "gaussian_noise": ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
    "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
    "impulse_noise": ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": (
        (1, 1.06, 0.01), (1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.01), (1, 1.26, 0.01),
    ),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    "contrast": ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    "elastic_transform": (
        (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03),
    ),
    "pixelate": ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
    "jpeg_compression": ((80,), (65,), (58,), (50,), (40,)),
    "speckle_noise": ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
    "gaussian_blur": ((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}  # fmt: skip

# where the published images were made by programs that are not used here
APPROXIMATE: dict[str, tuple[int, ...]] = {
    "motion_blur": (1, 2, 3, 4, 5),
    "snow": (1, 2, 3, 4, 5),
    "spatter": (1, 2, 3),
}

COLOURED = ("saturate",)  # which do nothing to a grey image


def corruption_names(channels: int = 3) -> tuple[str, ...]:
    """Names of the corruptions that are possible.

    Args:
        channels: 1 for grey or 3 for colour.

    Returns:
        The names, those of the benchmark first.

    Raises:
        ValueError: If the images have another number of channels.
    """
    if channels not in (1, 3):
        raise ValueError(f"Corruptions are of images with 1 or 3 channels, got {channels}.")
    return tuple(name for name in SEVERITIES if channels == 3 or name not in COLOURED)


def checked_names(names: Sequence[str], channels: int = 3) -> tuple[str, ...]:
    """Refuse corruptions that do not exist, or are not possible; no name is not enough.

    Args:
        names: Names of corruptions.
        channels: 1 for grey or 3 for colour.

    Returns:
        The names.

    Raises:
        ValueError: If one is not possible, or there is none.
    """
    if isinstance(names, str):
        raise ValueError(f"Names of corruptions come as a list, got {names!r}; write [{names}].")
    possible, names = corruption_names(channels), tuple(names)
    if not names:
        raise ValueError("There is no name of a corruption; give at least one.")
    if len(set(names)) < len(names):
        raise ValueError(f"Each corruption is named once, got {', '.join(names)}.")
    for name in names:
        if name == "frost":
            raise ValueError(
                "frost is made of photographs of ice that do not come along; leave it out, or test "
                "on the official images (CIFAR10C)."
            )
        if name in COLOURED and channels == 1:
            raise ValueError(f"{name} is of colours and the images are grey; leave it out.")
        if name not in possible:
            raise ValueError(
                f"There is no corruption {name!r}; there are {', '.join(corruption_names())}."
            )
    return names
