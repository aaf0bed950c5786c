import pytest

from lightning_prune.data import corruption_names
from lightning_prune.data.corruptions import (
    APPROXIMATE,
    BENCHMARK,
    EXTRA,
    SEVERITIES,
    checked_names,
)
from lightning_prune.data.corruptions.corrupt import CORRUPTIONS

# make_cifar_c.py of the authors, severities 1 to 5: one column a parameter
PUBLISHED = {
    "gaussian_noise": [(0.04, 0.06, 0.08, 0.09, 0.10)],
    "shot_noise": [(500, 250, 100, 75, 50)],
    "impulse_noise": [(0.01, 0.02, 0.03, 0.05, 0.07)],
    "defocus_blur": [(0.3, 0.4, 0.5, 1, 1.5), (0.4, 0.5, 0.6, 0.2, 0.1)],
    "glass_blur": [(0.05, 0.25, 0.4, 0.25, 0.4), (1, 1, 1, 1, 1), (1, 1, 1, 2, 2)],
    "motion_blur": [(6, 6, 6, 8, 9), (1, 1.5, 2, 2, 2.5)],
    "zoom_blur": [(1,) * 5, (1.06, 1.11, 1.16, 1.21, 1.26), (0.01,) * 5],
    "snow": [
        (0.1, 0.1, 0.15, 0.25, 0.3),
        (0.2, 0.2, 0.3, 0.3, 0.3),
        (1, 1, 1.75, 2.25, 1.25),
        (0.6, 0.5, 0.55, 0.6, 0.65),
        (8, 10, 10, 12, 14),
        (3, 4, 4, 6, 12),
        (0.95, 0.9, 0.9, 0.85, 0.8),
    ],
    "fog": [(0.2, 0.5, 0.75, 1, 1.5), (3, 3, 2.5, 2, 1.75)],
    "brightness": [(0.05, 0.1, 0.15, 0.2, 0.3)],
    "contrast": [(0.75, 0.5, 0.4, 0.3, 0.15)],
    "elastic_transform": [
        (0, 0.05, 0.08, 0.1, 0.1),
        (0, 0.2, 0.06, 0.04, 0.03),
        (0.08, 0.07, 0.06, 0.05, 0.03),
    ],
    "pixelate": [(0.95, 0.9, 0.85, 0.75, 0.65)],
    "jpeg_compression": [(80, 65, 58, 50, 40)],
    "speckle_noise": [(0.06, 0.1, 0.12, 0.16, 0.2)],
    "gaussian_blur": [(0.4, 0.6, 0.7, 0.8, 1)],
    "spatter": [
        (0.62, 0.65, 0.65, 0.65, 0.65),
        (0.1, 0.1, 0.3, 0.1, 0.1),
        (0.7, 0.8, 1, 0.7, 0.5),
        (0.7, 0.7, 0.69, 0.69, 0.68),
        (0.5, 0.5, 0.5, 0.6, 0.6),
        (0, 0, 0, 1, 1),
    ],
    "saturate": [(0.3, 0.1, 1.5, 2, 2.5), (0, 0, 0, 0.1, 0.2)],
}


def test_the_severities_are_the_published_ones():
    assert set(SEVERITIES) == set(PUBLISHED) == set(CORRUPTIONS)
    for name, columns in PUBLISHED.items():
        assert SEVERITIES[name] == tuple(zip(*columns, strict=True)), name


def test_fourteen_of_the_benchmark_and_four_more_are_possible():
    assert (len(BENCHMARK), len(EXTRA)) == (14, 4)
    assert corruption_names() == (*BENCHMARK, *EXTRA)
    assert set(corruption_names()) - set(corruption_names(1)) == {"saturate"}
    assert {name: len(severities) for name, severities in APPROXIMATE.items()} == {
        "motion_blur": 5, "snow": 5, "spatter": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "channels", "message"),
    [
        (["frost"], 3, "photographs of ice"),
        (["saturate"], 1, "the images are grey; leave it out"),
        (["rain"], 3, r"no corruption 'rain'; there are gaussian_noise, .*saturate"),
        (["fog"], 2, "1 or 3 channels, got 2"),
        (["fog", "snow", "fog"], 3, "named once"),
        ("fog", 3, r"write \[fog\]"),
        ([], 3, "at least one"),
    ],
)
def test_impossible_names_are_refused(names, channels, message):
    with pytest.raises(ValueError, match=message):
        checked_names(names, channels)
