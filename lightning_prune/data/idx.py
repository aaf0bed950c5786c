"""Reader of idx files, the format of MNIST and its relatives."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

UINT8 = 8  # the format's code for the only type that MNIST and its relatives use


def read_idx(path: Path, ndim: int) -> Tensor:
    r"""Read an idx file of unsigned bytes, packed (`.gz`) or not, without writing anything.

    The header has two zero bytes, the type code 8, the number of dimensions, and each size as a
    big-endian 32-bit integer; the values follow.

    References:
        | The MNIST database of handwritten digits (LeCun, Cortes and Burges)
        | http://yann.lecun.com/exdb/mnist/

    Args:
        path: The file.
        ndim: Dimensions it must have: 3 for images, 1 for labels.

    Returns:
        uint8 tensor of the sizes in the header.

    Raises:
        ValueError: If the file is damaged, truncated, or something else.
    """
    try:
        packed = path.read_bytes()
        data = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or truncated; get the official file again.") from error
    start = 4 + 4 * ndim
    if len(data) < start or data[:4] != bytes([0, 0, UINT8, ndim]):
        raise ValueError(
            f"{path} is not an idx file of bytes in {ndim} dimensions; put the official file there."
        )
    sizes = np.frombuffer(data, dtype=">u4", count=ndim, offset=4).astype(int).tolist()
    count = int(np.prod(sizes, dtype=object))
    if len(data) != start + count:
        raise ValueError(
            f"{path} is truncated or damaged: its header says {count} values "
            f"and {len(data) - start} follow; get the official file again."
        )
    # a bytearray, because torch wants memory that may be written
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).view(sizes)
