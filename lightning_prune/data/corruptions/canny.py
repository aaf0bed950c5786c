"""Edges of grey images."""

import numpy as np

LOW, HIGH = 50, 150  # thresholds of the gradient, for values up to 255
STEEP = np.tan(np.deg2rad(67.5))  # directions are told apart by 45 degrees
FLAT = np.tan(np.deg2rad(22.5))


def edges(images: np.ndarray) -> np.ndarray:
    r"""Find thin lines along which a grey value changes strongly.

    Gradients are those of Sobel, their size the sum over both axes. A pixel is on a line if its
    gradient is the largest across the line, and above HIGH, or above LOW and connected to such a
    one.

    References:
        | A Computational Approach to Edge Detection (Canny, 1986)
        | https://doi.org/10.1109/TPAMI.1986.4767851

    Args:
        images: (n, height, width), from 0 to 255.

    Returns:
        (n, height, width) bool.
    """
    from scipy.ndimage import label

    down, right = slope(images, 1, 2), slope(images, 2, 1)
    size = np.abs(down) + np.abs(right)
    weak = (size > LOW) & ridges(size, down, right)
    # connected also over corners, and never from one image to another
    near = np.zeros((3, 3, 3), dtype=bool)
    near[1] = True
    lines, count = label(weak, structure=near)
    strong = np.zeros(count + 1, dtype=bool)
    strong[lines[weak & (size > HIGH)]] = True
    strong[0] = False
    return strong[lines]


def slope(images: np.ndarray, axis: int, across: int) -> np.ndarray:
    """Difference between the neighbours along an axis, smoothed across it."""
    from scipy.ndimage import correlate1d

    difference = correlate1d(images, (-1, 0, 1), axis, mode="nearest")
    return correlate1d(difference, (1, 2, 1), across, mode="nearest")


def ridges(size: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Where the gradient is larger than at both neighbours in its direction: (n, h, w) bool."""
    _, height, width = size.shape
    padded = np.pad(size, ((0, 0), (1, 1), (1, 1)))

    def beside(y: int, x: int) -> np.ndarray:
        return padded[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    flat = np.abs(down) < FLAT * np.abs(right)
    steep = np.abs(down) > STEEP * np.abs(right)
    falling = down * right < 0
    # of two equal neighbours along an axis one is taken
    along_x = (size > beside(0, -1)) & (size >= beside(0, 1))
    along_y = (size > beside(-1, 0)) & (size >= beside(1, 0))
    one = (size > beside(-1, -1)) & (size > beside(1, 1))
    other = (size > beside(-1, 1)) & (size > beside(1, -1))
    return np.where(flat, along_x, np.where(steep, along_y, np.where(falling, other, one)))
